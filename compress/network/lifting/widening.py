"""Half precision of a lifted graph made float32, as :mod:`compress.onnx_graph.widening` makes it of an ONNX file.

Weights lose nothing by it. Techniques then see the network that was trained, with gradients that half precision would
lose, and half precision is one of them. What a file is written of such a network is in half precision again.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree

from compress.core.tensor_spec import TensorSpec
from compress.network.equivalence import outputs_of
from compress.network.lifting.calls import aten, bind

if TYPE_CHECKING:
    from compress.network.lifting.graph import Lifted

_HALF = (torch.float16, torch.bfloat16)
#: What a node's ``meta`` holds of the precision that it named before.
_BEFORE = "half_precision"
#: Largest difference that is half precision's own, as a share of the output's root mean square.
_ROUNDING = 0.1


@dataclass(frozen=True)
class Half:
    """The original network in half precision.

    Attributes:
        graph: Lifted graph of the network.
        dtype: Data type: ``torch.float16`` or ``torch.bfloat16``.
        kept: Names of its tensors of another data type.
    """

    graph: fx.GraphModule
    dtype: torch.dtype
    kept: frozenset[str]

    def run(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network; bfloat16 is given and returned as float32, since NumPy lacks the type."""
        return tuple(_told(output) for output in outputs_of(self.graph, self.given(inputs)))

    def given(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return a batch with its floats in the types that the network takes."""
        placeholders = self.graph.graph.find_nodes(op="placeholder")
        return [
            tensor.to(node.meta["val"].dtype) if tensor.is_floating_point() else tensor
            for tensor, node in zip(inputs, placeholders, strict=True)
        ]


def in_float32(lifted: Lifted, example: Sequence[torch.Tensor]) -> tuple[Lifted, Half | None]:
    """Return a lifted half-precision network in float32, except float16 inputs and outputs; others unchanged.

    Args:
        lifted: Lifted network in eval mode; its graph is not changed.
        example: One batch of every input.

    Returns:
        The network, and its original; None for a network not in half precision, or one that computes other results in
        float32.
    """
    tensors = _tensors(lifted.graph)
    kinds = {tensor.dtype for tensor in tensors.values()} & set(_HALF)
    if len(kinds) != 1:
        return lifted, None
    not_half = frozenset(name for name, tensor in tensors.items() if tensor.dtype not in _HALF)
    half = Half(lifted.graph, kinds.pop(), not_half)
    wide = copy.deepcopy(lifted.graph)
    wide._apply(lambda tensor: tensor.float() if tensor.dtype in _HALF else tensor)  # type: ignore[no-untyped-call]
    for node in list(wide.graph.nodes):
        _widen(node)
    _cast_at_edges(wide.graph, lifted.outputs)
    wide.graph.lint()
    wide.recompile()
    wide_outputs = outputs_of(wide, [_told(tensor) for tensor in example])
    if not all(map(_alike, wide_outputs, half.run(*example))):
        return lifted, None
    inputs, outputs = (tuple(map(_spec, specs)) for specs in (lifted.inputs, lifted.outputs))
    return lifted._replace(graph=wide, inputs=inputs, outputs=outputs), half


def in_half(graph: fx.GraphModule, half: Half) -> fx.GraphModule:
    """Return a copy of a widened graph, or of a technique's result, in the network's original precision."""
    narrow = copy.deepcopy(graph)
    names = {id(tensor): name for name, tensor in _tensors(narrow).items()}

    def narrowed(tensor: torch.Tensor) -> torch.Tensor:
        name = names.get(id(tensor))
        return tensor if tensor.dtype != torch.float32 or name in half.kept else tensor.to(half.dtype)

    narrow._apply(narrowed)  # type: ignore[no-untyped-call]
    for node in list(narrow.graph.nodes):
        before = node.meta.get(_BEFORE)
        if before is not None:
            _rename(node, (torch.float32,), before)
    narrow.recompile()
    return narrow


def _tensors(graph: fx.GraphModule) -> dict[str, torch.Tensor]:
    named = dict(graph.named_parameters(remove_duplicate=False))
    return {**named, **dict(graph.named_buffers(remove_duplicate=False))}


def _widen(node: fx.Node) -> None:
    """Change half precision to float32 in a node, and drop a node that only checks the type."""
    if node.target is aten._assert_tensor_metadata.default and bind(node)["dtype"] in _HALF:
        node.graph.erase_node(node)
        return
    before = _rename(node, _HALF, torch.float32)
    if before is not None:
        node.meta[_BEFORE] = before
    if "val" in node.meta and node.op != "placeholder":
        node.meta["val"] = pytree.tree_map_only(
            torch.Tensor, lambda value: value.float() if value.dtype in _HALF else value, node.meta["val"]
        )


def _rename(node: fx.Node, old: Sequence[torch.dtype], new: torch.dtype) -> torch.dtype | None:
    """Replace float types among a call's arguments by one type, and return a replaced one."""
    replaced: list[torch.dtype] = []

    def other(value: Any) -> Any:
        if isinstance(value, torch.dtype) and value in old:
            replaced.append(value)
            return new
        return value

    if node.op == "call_function":
        node.args, node.kwargs = map_aggregate(node.args, other), map_aggregate(node.kwargs, other)
    return replaced[0] if replaced else None


def _cast_at_edges(graph: fx.Graph, outputs: Sequence[TensorSpec]) -> None:
    """Keep inputs and outputs in float16 by casts; those in bfloat16, which NumPy lacks, become float32."""
    for placeholder in graph.find_nodes(op="placeholder"):
        value = placeholder.meta["val"]
        if value.dtype not in _HALF:
            continue
        with graph.inserting_after(placeholder):
            cast = graph.call_function(aten.to.dtype, (placeholder, torch.float32))
        cast.meta = {"val": value.float(), _BEFORE: value.dtype}
        placeholder.replace_all_uses_with(cast, lambda user, own_cast=cast: user is not own_cast)
        if value.dtype == torch.bfloat16:
            placeholder.meta["val"] = value.float()
    output = graph.output_node()
    returned: Any = output.args[0]
    results = list(returned) if isinstance(returned, list | tuple) else [returned]
    with graph.inserting_before(output):
        for at, (node, spec) in enumerate(zip(results, outputs, strict=True)):
            if spec.dtype != "float16":
                continue
            cast = graph.call_function(aten.to.dtype, (node, torch.float16))
            cast.meta = {"val": node.meta["val"].half()}
            results[at] = cast
    output.args = (tuple(results) if isinstance(returned, list | tuple) else results[0],)


def _alike(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two outputs are equal up to half precision's rounding; values that it cannot hold are skipped."""
    if ours.shape != theirs.shape:
        return False
    one, other = ours.double(), theirs.double()
    both_finite = one.isfinite() & other.isfinite()
    if not both_finite.any() or not theirs.is_floating_point():
        return True
    apart, size = (tensor[both_finite].square().mean().sqrt() for tensor in (one - other, other))
    return bool(apart <= _ROUNDING * size + 1e-6)


def _told(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _spec(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, "float32", spec.shape) if spec.dtype == "bfloat16" else spec
