"""Networks of torch that take one sample without an axis that counts samples, such as an image [height, width, 3]."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from compress.errors import CompressError, NetworkError


def takes_one_sample(
    run: Callable[[Mapping[str, torch.Tensor]], object],
    batch: Mapping[str, torch.Tensor],
    samples: Mapping[str, torch.Tensor],
) -> bool:
    """Whether a network fails on a batch but takes a single sample without an axis for it.

    Args:
        run: Network as a function; it raises NetworkError on shapes that it does not take.
        batch: Samples along the assumed axes, by input name.
        samples: Samples along axis 0, ``(n, …)``.

    Returns:
        Whether it takes only the single sample.

    Raises:
        NetworkError: The network takes neither; the message is that of the batch.
    """
    try:
        run(batch)
    except NetworkError:
        if not _runs_on_first(run, samples):
            raise
        return True
    return False


def _runs_on_first(
    run: Callable[[Mapping[str, torch.Tensor]], object], samples: Mapping[str, torch.Tensor]
) -> bool:
    if any(tensor.dim() == 0 for tensor in samples.values()):
        return False
    try:
        run({name: tensor[0] for name, tensor in samples.items()})
    except CompressError:
        return False
    return True


def as_arrays(samples: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return samples as arrays for tracing."""
    return {name: tensor.numpy() for name, tensor in samples.items()}


def with_sample_axis(module: nn.Module) -> None:
    """Make a module take batches of one sample, and return batches of one result.

    It then fails on a batch of more samples.
    """
    if isinstance(module, fx.GraphModule):
        _with_sample_axis(module)
        return
    forward = module.forward

    @functools.wraps(forward)
    def forward_batch(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map_only(torch.Tensor, _only_one, (args, kwargs))
        return pytree.tree_map_only(torch.Tensor, _as_batch, forward(*args, **kwargs))

    module.forward = forward_batch


def _with_sample_axis(module: fx.GraphModule) -> None:
    """Give the graph itself an axis for samples, since torch.export reads it, and not ``forward``."""
    vars(module).pop("forward", None)  # it was made of the graph as it was
    graph = module.graph
    for placeholder in graph.find_nodes(op="placeholder"):
        with graph.inserting_after(placeholder):
            single = graph.call_function(_only_one, (placeholder,))
        placeholder.replace_all_uses_with(
            single, delete_user_cb=lambda user, own_node=single: user is not own_node
        )
    output = graph.output_node()
    with graph.inserting_before(output):
        output.args = fx.map_arg(output.args, lambda node: graph.call_function(_as_batch, (node,)))
    module.recompile()


def _only_one(batch: torch.Tensor) -> torch.Tensor:
    return batch.reshape(batch.shape[1:])


def _as_batch(result: torch.Tensor) -> torch.Tensor:
    return result.unsqueeze(0)
