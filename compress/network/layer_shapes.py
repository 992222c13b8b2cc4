"""The shapes that layers of a graph see, for techniques that time them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from compress.network.equivalence import noise_like, rows_of
from compress.network.onnx_export import in_eval_mode

if TYPE_CHECKING:
    from compress.network.network import Network


def timed_batch(network: Network, rows: int) -> list[Tensor]:
    """Return noise for every input of a network, with so many rows where it takes any number."""
    return [
        noise_like(
            torch.from_numpy(array),
            rows if spec.dynamic_batch else rows_of(array, spec.batch_axis),
            seed,
            spec.batch_axis,
        )
        for seed, (spec, array) in enumerate(zip(network.inputs, network.sample, strict=True))
    ]


def shapes_seen(
    graph: fx.GraphModule, batch: Sequence[Tensor]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the shapes that every matrix product and convolution takes and returns, at its first call.

    Args:
        graph: Graph, run once in inference mode; it is not changed.
        batch: One tensor of every input.
    """
    kinds = (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    )
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    class Shapes(fx.Interpreter):
        def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            result = super().call_module(target, args, kwargs)
            if isinstance(self.module.get_submodule(target), kinds):
                shapes.setdefault(target, (tuple(args[0].shape), tuple(result.shape)))
            return result

    with in_eval_mode(graph), torch.no_grad():
        Shapes(graph).run(*(tensor.clone() for tensor in batch))
    return shapes
