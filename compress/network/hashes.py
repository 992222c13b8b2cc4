"""Hashes that identify a network: of its files, of its graph, and of its tensors alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from compress.network.formats.detection import Sniffed
from compress.onnx_graph.files import sha256_of

if TYPE_CHECKING:
    import torch

# What a layer is set by, besides its tensors.
_SETTING = (bool, int, float, str, tuple, type(None))


def sha256_of_graph(graph: torch.fx.GraphModule) -> str:
    """Return the sha256 of a graph: its code, the settings of its layers, and its tensors."""
    digest = hashlib.sha256(graph.code.encode())
    for name, layer in graph.named_modules():
        settings = {key: value for key, value in vars(layer).items() if isinstance(value, _SETTING)}
        if layer is not graph:
            digest.update(f"{name} {type(layer).__qualname__} {sorted(settings.items())}\n".encode())
    digest.update(sha256_of_state(graph).encode())
    return digest.hexdigest()


def sha256_of_file(file: Sniffed) -> str:
    """Return the sha256 of a file's bytes; for a network in several files, of the hashes of all of them."""
    if len(file.files) == 1:
        return sha256_of(file.path)
    return hashlib.sha256("".join(map(sha256_of, file.files)).encode()).hexdigest()


def sha256_of_state(module: torch.nn.Module) -> str:
    """Return the sha256 of a module's parameters and buffers: their names, types, shapes and values."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(_tensors(module).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(module: torch.nn.Module) -> dict[str, Any]:
    return dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )
