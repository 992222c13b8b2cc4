"""Compilers and runtimes, one file each."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from compress.errors import UnavailableError

if TYPE_CHECKING:
    from compress.backends.base import Backend


#: Module and class of each back end; imported when it is asked for, since each may need a package of its own.
_OURS = {
    "onnxruntime": "onnxruntime:OnnxRuntime",
    "openvino": "openvino:OpenVino",
    "tensorrt": "trtexec:Trtexec",
    "torch-tensorrt": "torch_tensorrt:TorchTensorRt",
}


def load_backend(name: str) -> Backend:
    """Return the back end of that name: one of ours, or an entry point of the group ``compress.backends``.

    Raises:
        UnavailableError: There is none of that name, or its package is not installed.
    """
    if name in _OURS:
        module, kind = _OURS[name].split(":")
        ours: Backend = getattr(importlib.import_module(f"compress.backends.{module}"), kind)()
        return ours
    for entry in entry_points(group="compress.backends", name=name):
        backend: Backend = entry.load()()
        return backend
    raise UnavailableError(
        f"the back end '{name}'",
        "no such back end on this machine",
        "install the package that provides it, or choose another target (compress targets)",
    )


def installed(name: str) -> bool:
    """Whether the runtime of a back end is on this machine.

    Raises:
        UnavailableError: There is no back end of that name.
    """
    return load_backend(name).installed()
