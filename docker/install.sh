#!/bin/sh
# Fills the virtual environment of the image from pinned requirements: install.sh REQUIREMENTS
set -eu
python=/opt/venv/bin/python
site=/opt/venv/lib/python3.13/site-packages

pip3 --python "$python" install --no-cache-dir --no-compile --disable-pip-version-check \
  --only-binary :all: --require-hashes -r "$1"
pip3 --python "$python" uninstall --yes flit-core # makes the command in a checkout; not needed here

# The packages' own tests, 35 MB.
find "$site" -type d -name tests -prune -exec rm -r {} +
rm -r "$site/onnx/backend/test"
# The library for C programs, 35 MB; Python's module has all of it inside, on a CPU for sure.
case $1 in */cpu.txt) rm "$site"/onnxruntime/capi/libonnxruntime.so.* ;; esac

# Hashes in the .pyc and not times: whoever copies a layer may change these.
"$python" -m compileall -q --invalidation-mode unchecked-hash "$site"
