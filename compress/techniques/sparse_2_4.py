"""2:4 sparsity for GPUs whose tensor cores multiply it faster: two of every four weights along the inputs become zero.

Nothing is trained here. The masks are part of the graph, so that ``distill`` after it trains the remaining weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.records.technique_reports import SparseLayer, SparseReport
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    import onnx

    from compress.hosts.base import Host
    from compress.measuring.layer_pair import LayerPair
    from compress.network.network import Network
    from compress.target.target import Target

#: The first GPUs with sparse tensor cores (Mishra et al. 2021, arXiv 2104.08378).
_AMPERE = (8, 0)


@dataclass(frozen=True)
class Sparse24(Technique):
    """Mask the weights of wide convolutions and matrix products.

    Attributes:
        least_channels: Smallest number of inputs and outputs of a layer to mask, ≥ 4; smaller layers gain nothing.
    """

    least_channels: int = 256

    def __post_init__(self) -> None:
        value = self.least_channels
        if isinstance(value, bool) or not isinstance(value, int) or value < 4:
            raise RecipeError("least_channels ≥ 4, a whole number", repr(value), "correct the recipe")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("times of layers",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in trainable form, and the same network where nothing gains.

        On a host that measures, a layer is masked only where its sparse form is timed as faster. Without one nothing
        is known to be faster, and the estimated latency stays the dense network's; the report says so.

        Raises:
            RecipeError: The target has no sparse tensor cores, or the network is already an ONNX model.
        """
        import copy

        from torch.nn.utils import parametrize

        from compress.measuring.layer_pair import layer_host
        from compress.network.layer_shapes import shapes_seen, timed_batch
        from compress.pruning.masks_2_4 import Held, mask_2_4, obstacle

        _check_sparse(context.target)
        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to make sparse",
                "an ONNX model",
                "give the torch network, and make it sparse before quantizing",
            )
        graph = copy.deepcopy(network.graph)
        shapes = shapes_seen(graph, timed_batch(network, context.target.batch_sizes[0]))
        layers: dict[str, SparseLayer] = {}
        masked = False
        with layer_host(context.host, context.target) as host:
            timings = _Timings(host, context.target)
            for name, (input_shape, _) in shapes.items():
                layer = graph.get_submodule(name)
                reason = obstacle(layer, self.least_channels)
                timing = None if reason else timings.of(layer, input_shape)
                if timing is not None and not timing.faster:
                    reason = "not faster than the dense layer"
                layers[name] = {
                    "masked": reason is None,
                    "reason": reason or "",
                    "timing": None if timing is None else timing.to_dict(),
                }
                if reason is None:
                    weight: Any = layer.weight
                    parametrize.register_parametrization(layer, "weight", Held(mask_2_4(weight)))
                    masked = True
        measured = host.source == "measured"
        report: SparseReport = {
            "settings": asdict(self),
            "layers": layers,
            "gain": "measured" if measured else "not estimated: the latency given is the dense network's",
        }
        context.reports["sparse_2_4"] = report
        return network.with_graph(graph) if masked else network


class _Timings:
    """Timings of sparse layers against dense ones, equal ones once."""

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._known: dict[Any, LayerPair] = {}

    def of(self, layer: Any, input_shape: tuple[int, ...]) -> LayerPair | None:
        """Time a layer's sparse form; None where the target is not at hand."""
        import copy

        import torch

        from compress.measuring.layer_pair import time_pair
        from compress.network.layer_export import export_layers
        from compress.pruning.masks_2_4 import mask_2_4

        if self._host.source != "measured":
            return None
        key = (repr(layer), input_shape)
        if key not in self._known:
            sparse = copy.deepcopy(layer)
            with torch.no_grad():
                sparse.weight.mul_(mask_2_4(sparse.weight))
            models = [self._typed(export_layers([variant], input_shape)) for variant in (layer, sparse)]
            self._known[key] = time_pair(models[0], models[1], self._host, self._target)
        return self._known[key]

    def _typed(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the model in half precision, which sparse kernels use, if the target has it."""
        from compress.onnx_graph.fold import prepare
        from compress.onnx_graph.half import in_half_precision

        if "fp16" not in self._target.precisions:
            return model
        return in_half_precision(prepare(model), "float16")


def _check_sparse(target: Target) -> None:
    capability = tuple(int(part) for part in (target.compute_capability or "0.0").split("."))
    if target.backend != "tensorrt" or capability < _AMPERE:
        hardware = (
            f"compute capability {target.compute_capability}" if target.compute_capability else "no such GPU"
        )
        raise RecipeError(
            "a TensorRT target with sparse tensor cores (compute capability 8.0 or later)",
            f"{target.name}, {hardware}, {target.backend}",
            "leave sparse_2_4 out of the recipe, or prune channels",
        )
