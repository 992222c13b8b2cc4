"""Low rank: matrix products and convolutions written as two smaller ones, where the target runs the pair faster.

Nothing is trained here; the part with the least of the calibration data's signal is cut away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError
from compress.records.technique_reports import LowRankReport
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    import torch

    from compress.low_rank import Timer
    from compress.network.network import Network

_SCHEMES = ("channels", "spatial")


@dataclass(frozen=True)
class LowRank(Technique):
    """Split layers in two, each at its own rank; a layer whose pair is not faster on the target stays whole.

    Layers that are faster alone need not make the network faster, so it is timed against the unfactored one too.

    Attributes:
        energy: Share of the signal between the two halves to keep, in (0, 1].
        latency_share: Largest share of the layer's time, in (0, 1), for which the largest rank is taken instead; None
            uses ``energy``.
        multiple: Number that all ranks are a multiple of, ≥ 1.
        schemes: Schemes that compete for each layer: ``channels`` (fewer channels, then 1×1) and ``spatial`` (k×1, then
            1×k); see :mod:`compress.low_rank.splits`.
        samples: Number of calibration samples to measure the signal on; 0 judges by the weights alone, which loses
            more.
        keep_layers: Names of layers that stay whole.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"latency": "latency_share"}

    energy: float = 0.95
    latency_share: float | None = None
    multiple: int = 8
    schemes: tuple[str, ...] = _SCHEMES
    samples: int = 256
    keep_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_share("energy", self.energy, with_one=True)
        if self.latency_share is not None:
            _check_share("latency_share", self.latency_share, with_one=False)
        for name, least in (("multiple", 1), ("samples", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise RecipeError(f"{name} ≥ {least}, a whole number", repr(value), "correct the recipe")
        for name in ("schemes", "keep_layers"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
                raise RecipeError(f"{name} as a list of names", repr(value), f'write {name} = ["name", …]')
            object.__setattr__(self, name, tuple(value))
        unknown = [name for name in self.schemes if name not in _SCHEMES]
        if unknown or not self.schemes:
            raise RecipeError(f"schemes of {', '.join(_SCHEMES)}", repr(self.schemes), "choose one or both")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples", "times of layers")

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return True

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in trainable form, and the same network where nothing gains.

        Raises:
            RecipeError: The network is already an ONNX model, a layer to keep is not in it, the target is not at hand
                to time layers on, or the factored network is not faster as a whole.
        """
        from compress.low_rank import Ranks, factor
        from compress.measuring.layer_pair import layer_host, time_pair
        from compress.network.layer_shapes import timed_batch

        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to factor",
                "an ONNX model",
                "give the torch network, and factor before quantizing",
            )
        names = dict(network.graph.named_modules())
        for name in self.keep_layers:
            if name not in names:
                raise RecipeError(
                    "a layer of the network", f"'{name}'", did_you_mean(name, names) or "remove it"
                )
        target = context.target
        with layer_host(context.host, target) as host:
            if host.source != "measured":
                host_text = f"{target.name}, which is estimated alone"
                raise RecipeError(
                    "a target at hand, to time layers on", host_text, "give --host, or leave low_rank out"
                )
            timer: Timer = partial(time_pair, host=host, target=target, threads=context.threads)
            done = factor(
                network.graph,
                self._batches(network, context),
                timed_batch(network, target.batch_sizes[0]),
                Ranks(self.energy, self.latency_share, self.multiple, self.schemes),
                timer,
                self.keep_layers,
            )
            factored = None if done.graph is None else network.with_graph(done.graph)
            whole_pair = None if factored is None else timer(network.to_onnx(), factored.to_onnx())
        report: LowRankReport = {
            "settings": asdict(self),
            "layers": [trial.to_dict() for trial in done.trials],
            "whole": None if whole_pair is None else whole_pair.to_dict(),
            "notes": list(done.notes),
        }
        context.reports["low_rank"] = report
        if factored is None or whole_pair is None:
            return network
        # A runtime may fuse a layer with its neighbours, and the pair not.
        if not whole_pair.faster:
            between = (
                ""
                if whole_pair.interval is None
                else " (between {:.2f} and {:.2f})".format(*whole_pair.interval)
            )
            raise RecipeError(
                "a factored network that is faster as a whole",
                f"{whole_pair.ratio:.2f} times the time of the one given{between}, though its layers are faster alone",
                "leave low_rank out of the recipe, or name layers in keep_layers",
            )
        return factored

    def _batches(self, network: Network, context: Context) -> Iterator[list[torch.Tensor]]:
        import torch

        seen = 0
        if not self.samples:
            return
        for batch in calibration_batches(network, context):
            arrays = [batch[spec.name][: self.samples - seen] for spec in network.inputs]
            yield [torch.from_numpy(array) for array in arrays]
            seen += len(arrays[0])
            if seen >= self.samples:
                return


def _check_share(name: str, value: object, *, with_one: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1 or (value == 1 and not with_one):  # type: ignore[operator]
        limits = "(0, 1]" if with_one else "(0, 1)"
        raise RecipeError(f"{name} in {limits}", repr(value), "correct the recipe")
