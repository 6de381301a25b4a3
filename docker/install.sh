#!/bin/sh
# Install pinned requirements into the image's virtual environment: install.sh REQUIREMENTS
set -eu
python=/opt/venv/bin/python
site=/opt/venv/lib/python3.13/site-packages

pip3 --python "$python" install --no-cache-dir --no-compile --disable-pip-version-check \
  --only-binary :all: --require-hashes -r "$1"
# Hatchling and what it needs only build this package; they are not needed at run time.
pip3 --python "$python" uninstall --yes hatchling pathspec pluggy tomlkit trove-classifiers

# Remove the packages' own tests, 35 MB.
find "$site" -type d -name tests -prune -exec rm -r {} +
rm -r "$site/onnx/backend/test"
# Remove the library for C programs, 35 MB: on a CPU, the Python module contains all of it.
case $1 in */cpu.txt) rm "$site"/onnxruntime/capi/libonnxruntime.so.* ;; esac

# Hashes instead of times in the .pyc files: copying a layer may change times.
"$python" -m compileall -q --invalidation-mode unchecked-hash "$site"
