"""vgg-serve: the most probable classes of a photo, from networks of the VGG family."""

import os

__version__ = "0.1.0"

# onnxruntime tells its maker about each start, unless this is set when it is loaded. Every process imports this
# package before any module of it. Nothing leaves the machine whatever the environment says, so "0" is replaced too.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
