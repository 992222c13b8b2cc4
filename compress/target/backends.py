"""Back ends by the names that targets give them.

The classes live in :mod:`compress.backends`, above this room, and are imported when one is asked what it wants of a
target. Adding a built-in back end is a file there and a line here; another distribution uses the entry point group
``compress.backends``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.registry import Registry, subclass_of
from compress.errors import UnavailableError

if TYPE_CHECKING:
    from compress.backends.base import Backend

BACKENDS: Registry[type[Backend]] = Registry(
    "back end",
    "compress.backends",
    {
        "onnxruntime": "compress.backends.onnxruntime:OnnxRuntime",
        "openvino": "compress.backends.openvino:OpenVino",
        "tensorrt": "compress.backends.trtexec:Trtexec",
        "torch-tensorrt": "compress.backends.torch_tensorrt:TorchTensorRt",
    },
    wanted="a subclass of compress.backends.base.Backend",
    check=subclass_of("compress.backends.base:Backend", named=True),
    error=UnavailableError,
    todo="install the package that provides it, or choose another (compress plugins)",
)
