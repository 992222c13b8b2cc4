"""Channel pruning by a plain ratio: channels, heads and hidden units that matter least are cut out of the graph.

The tensors really shrink. Nothing is trained here: beyond a small ratio accuracy falls until the network is trained
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    import torch

    from compress.network import Network
    from compress.pruning import Channels, Scores

IMPORTANCES = ("magnitude", "batch_norm_scale", "taylor", "hessian_diagonal")


@dataclass(frozen=True)
class Prune(Technique):
    """Remove a share of all channels, heads and hidden units.

    Attributes:
        ratio: Share of all removable units that go, in [0, 1).
        importance: What the units are judged by, one of ``magnitude``, ``batch_norm_scale``, ``taylor`` and
            ``hessian_diagonal``; see :mod:`compress.pruning.importance`.
        per_layer: Whether each layer loses this share; else all units compete.
        keep_layers: Names of layers whose outputs stay as they are, and of blocks of them.
        multiple: Widths that were multiples of this many units stay multiples of it.
        samples: Calibration samples for ``taylor`` and ``hessian_diagonal``, ≥ 1.
    """

    ratio: float = 0.3
    importance: str = "magnitude"
    per_layer: bool = False
    keep_layers: tuple[str, ...] = ()
    multiple: int = 1
    samples: int = 256

    def __post_init__(self) -> None:
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float) or not 0 <= self.ratio < 1:
            raise RecipeError("a ratio in [0, 1)", repr(self.ratio), "correct the recipe")
        if self.importance not in IMPORTANCES:
            raise RecipeError(
                f"an importance ({', '.join(IMPORTANCES)})", repr(self.importance), "choose one of these"
            )
        if isinstance(self.keep_layers, str):
            raise RecipeError("a list of keep_layers", repr(self.keep_layers), "write it in brackets")
        for name in ("multiple", "samples"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RecipeError(f"{name} ≥ 1, a whole number", repr(value), "correct the recipe")

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is a graph in inference mode.

        Raises:
            RecipeError: The network is an ONNX model by now, nothing of it can be removed, it has no batch norm to
                judge by, or a layer to keep is not in it.
            InternalError: The sliced network does not compute what the masked one does.
        """
        import torch

        from compress.pruning import choose, find_channels, random_batch, remove

        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to prune",
                "an ONNX model",
                "give the torch network, and prune before quantizing",
            )
        example = [torch.from_numpy(array) for array in network.sample]
        channels = find_channels(network.graph, example)
        if not channels.groups:
            raise RecipeError(
                "channels that can be removed",
                "; ".join(channels.notes) or "none between inputs and outputs",
                "leave prune out of the recipe",
            )
        units = choose(
            channels,
            self._scores(channels, network, context),
            self.ratio,
            per_layer=self.per_layer,
            keep=self.keep_layers,
            multiple=self.multiple,
        )
        batch = random_batch(example, [spec.dynamic_batch for spec in network.inputs], context.seed)
        pruned = remove(channels, units, batch)
        context.reports["prune"] = {
            "settings": asdict(self),
            "macs": [channels.macs(), channels.macs(units)],
            "parameters": [channels.parameters(), channels.parameters(units)],
            "groups": {
                group.name: [len(group), len(group) - len(units.get(group.name, ()))]
                for group in channels.groups
            },
            "notes": list(channels.notes),
        }
        return network.with_graph(pruned)

    def _scores(self, channels: Channels, network: Network, context: Context) -> Scores:
        from compress.pruning import batch_norm_scale, hessian_diagonal, magnitude, sampled_loss, taylor

        if self.importance == "magnitude":
            return magnitude(channels)
        if self.importance == "batch_norm_scale":
            return batch_norm_scale(channels)
        metric = context.task.metric
        loss = sampled_loss(context.seed, bool(metric.class_labels or metric.right_or_wrong))
        by_loss = taylor if self.importance == "taylor" else hessian_diagonal
        return by_loss(channels, loss, self._batches(network, context))

    def _batches(self, network: Network, context: Context) -> Iterator[list[torch.Tensor]]:
        import torch

        seen = 0
        for batch in calibration_batches(network, context):
            if seen >= self.samples:
                return
            arrays: list[Any] = [batch[spec.name] for spec in network.inputs]
            seen += len(arrays[0])
            yield [torch.from_numpy(array) for array in arrays]
