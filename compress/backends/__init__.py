"""Compilers and runtimes, one file each."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from compress.errors import UnavailableError

if TYPE_CHECKING:
    from compress.backends.base import Backend


def load_backend(name: str) -> Backend:
    """The back end of that name: one of ours, or an entry point of the group ``compress.backends``.

    Raises:
        UnavailableError: There is none of that name, or its package is not installed.
    """
    if name == "openvino":
        from compress.backends.openvino import OpenVino

        return OpenVino()
    if name == "onnxruntime":
        from compress.backends.onnxruntime import OnnxRuntime

        return OnnxRuntime()
    if name == "tensorrt":
        from compress.backends.trtexec import Trtexec

        return Trtexec()
    if name == "torch-tensorrt":
        from compress.backends.torch_tensorrt import TorchTensorRt

        return TorchTensorRt()
    for entry in entry_points(group="compress.backends", name=name):
        backend: Backend = entry.load()()
        return backend
    raise UnavailableError(
        f"the back end '{name}'",
        "no such back end on this machine",
        "install the package that provides it, or choose another target (compress targets)",
    )


def installed(name: str) -> bool:
    """Whether what runs a back end's artifacts is on this machine.

    Raises:
        UnavailableError: There is no back end of that name.
    """
    return load_backend(name).installed()
