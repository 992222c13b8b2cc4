#!/bin/sh
# Torch-TensorRT's real package for a machine without a GPU, in a directory of its own: enough for its partitioner, not
# for any engine. TensorRT's own libraries are stood in for by three that define what its Python bindings link against.
#
#   sh tests/backends/tensorrt_stub/install.sh DIRECTORY
#   LD_LIBRARY_PATH=DIRECTORY/stub PYTHONPATH=DIRECTORY pytest tests/backends/test_torch_tensorrt_package.py
#
# It wants torch 2.13 (the CPU build will do) in the Python that is used, and a C compiler; about 20 MB are downloaded.
set -eu
directory=$1
here=$(dirname "$0")
"${PYTHON:-python3}" -m pip install --quiet --no-deps --target "$directory" \
    torch-tensorrt==2.13.0 tensorrt-cu13-bindings==11.0.0.114 dllist
rm -rf "$directory/torch_tensorrt/lib"  # its C++ runtime links against CUDA
mkdir -p "$directory/stub" "$directory/tensorrt"
for library in nvinfer nvinfer_plugin nvonnxparser; do
    cc -shared -fPIC -o "$directory/stub/lib$library.so.11" "$here/$library.c"
done
printf 'from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n' >"$directory/tensorrt/__init__.py"
