"""Layers of a graph that can be split, the shapes they see, and the replacement of one layer by two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from compress.low_rank.splits import Layer, obstacle
from compress.network.layer_shapes import shapes_seen

#: Features between two halves whose covariance is still worth finding: its eigenvectors take the cube of it.
_MOST_FEATURES = 4096


@dataclass(frozen=True)
class Place:
    """A layer and the shapes it sees.

    Attributes:
        name: Name of the layer in the graph.
        layer: The layer.
        input_shape: Shape of its input at the batch size that is timed.
        output_shape: Shape of its output at the same batch size.
    """

    name: str
    layer: Layer
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def places(graph: fx.GraphModule, batch: Sequence[Tensor]) -> tuple[list[Place], list[str]]:
    """Return every layer that can be split, in graph order, and a note for each that cannot.

    Args:
        graph: Graph in inference mode.
        batch: One tensor of every input, with as many rows as are to be timed.
    """
    shared = Counter(
        id(tensor)
        for module in graph.modules()
        for tensor in module._parameters.values()
        if tensor is not None
    )
    shared.update(id(_attribute(graph, str(node.target))) for node in graph.graph.find_nodes(op="get_attr"))
    shapes = shapes_seen(graph, batch)
    cut_places, notes = [], []
    for name, (input_shape, output_shape) in shapes.items():
        layer = graph.get_submodule(name)
        reason = obstacle(layer) or _obstacle_here(layer, input_shape, shared)
        if reason is not None:
            notes.append(f"{name} is left whole: {reason}")
            continue
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        cut_places.append(Place(name, layer, input_shape, output_shape))
    return cut_places, notes


def _obstacle_here(layer: nn.Module, input_shape: tuple[int, ...], shared: Counter[int]) -> str | None:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if shared[id(weight)] > 1:
        return "its weight is used elsewhere too"
    if not isinstance(layer, nn.Linear) and len(input_shape) != weight.dim():
        return "its input has no batch axis"
    if len(weight) > _MOST_FEATURES:
        return f"more than {_MOST_FEATURES} outputs"
    return None


def replace_layer(graph: fx.GraphModule, name: str, layers: tuple[Layer, Layer]) -> None:
    """Put two layers, ``<name>.0`` and ``<name>.1``, in the place of one, wherever it is called."""
    calls = [node for node in graph.graph.find_nodes(op="call_module") if node.target == name]
    graph.set_submodule(name, nn.Sequential(*layers))
    for call in calls:
        with graph.graph.inserting_before(call):
            first = graph.graph.call_module(f"{name}.0", call.args)
            second = graph.graph.call_module(f"{name}.1", (first,))
        first.meta = {key: value for key, value in call.meta.items() if key != "val"}
        second.meta = dict(call.meta)
        call.replace_all_uses_with(second)
        graph.graph.erase_node(call)
    graph.graph.lint()
    graph.recompile()


def _attribute(graph: fx.GraphModule, target: str) -> object:
    value: object = graph
    for part in target.split("."):
        value = getattr(value, part)
    return value
