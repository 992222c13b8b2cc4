"""Factoring of a network's layers: each is replaced by two smaller ones where the pair is faster.

Fewer operations are not less time: two kernels are launched instead of one, what lies between them is written and
read again, and a thin product uses an arithmetic unit badly. So each pair is timed beside its layer, and only what is
faster stays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from compress.low_rank.layers import Place, places, replace_layer
from compress.low_rank.responses import Basis, Responses, listen, pair
from compress.low_rank.splits import SCHEMES, Split, splits
from compress.network.layer_export import export_layers
from compress.network.onnx_export import in_eval_mode

if TYPE_CHECKING:
    import onnx

    from compress.measuring.layer_pair import LayerPair

#: Times another form of a layer (second) beside the layer (first).
Timer = Callable[["onnx.ModelProto", "onnx.ModelProto"], "LayerPair"]


@dataclass(frozen=True)
class Ranks:
    """Settings for the ranks of layers.

    Attributes:
        energy: Share of the signal between the two halves to keep, in (0, 1].
        latency: Largest share of the layer's time, in (0, 1), for which the largest rank is chosen instead; None uses
            ``energy``.
        multiple: Number that all ranks are a multiple of, as kernels compute so many channels at once.
        schemes: Competing schemes, among :data:`compress.low_rank.splits.SCHEMES`.
    """

    energy: float = 0.95
    latency: float | None = None
    multiple: int = 8
    schemes: tuple[str, ...] = SCHEMES


@dataclass(frozen=True)
class Trial:
    """Outcome of one way to split one layer.

    Attributes:
        layer: Name of the layer.
        scheme: Scheme of the split: ``channels`` or ``spatial``.
        rank: Rank that was tried; 0 where none was.
        full_rank: Rank that represents the layer exactly.
        energy: Share of the signal that the rank keeps, in [0, 1].
        macs: Multiply-accumulate operations of the layer and of the pair, at the batch size that was timed.
        timing: Timing of the pair against the layer; None where it was not timed.
        kept: Whether the pair replaced the layer.
        reason: Reason why it did not; empty where it did.
    """

    layer: str
    scheme: str
    rank: int
    full_rank: int
    energy: float
    macs: tuple[int, int]
    timing: LayerPair | None = None
    kept: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "layer": self.layer,
            "scheme": self.scheme,
            "rank": self.rank,
            "full_rank": self.full_rank,
            "energy": self.energy,
            "macs": list(self.macs),
            "timing": None if self.timing is None else self.timing.to_dict(),
            "kept": self.kept,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Factored:
    """A factored network.

    Attributes:
        graph: New graph; None where no pair was faster than its layer.
        trials: Trials of every layer and scheme, in graph order.
        notes: Layers that could not be split, and the reasons.
    """

    graph: fx.GraphModule | None
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


def factor(
    graph: fx.GraphModule,
    batches: Iterable[Sequence[Tensor]],
    timed: Sequence[Tensor],
    ranks: Ranks,
    timer: Timer,
    keep: Sequence[str] = (),
) -> Factored:
    """Factor the layers that become faster by it.

    Args:
        graph: The lifted graph; it is not changed.
        batches: Calibration data, one tensor for every input; empty takes the weights alone (plain SVD).
        timed: One batch of every input, with as many rows as layers are timed with.
        ranks: Settings for the ranks.
        timer: Function that times a pair against its layer; equal layers are timed once.
        keep: Names of layers that stay whole.
    """
    cut = copy.deepcopy(graph)
    with in_eval_mode(cut):
        cut_places, notes = places(cut, timed)
        cut_places = [place for place in cut_places if place.name not in keep]
        listeners = {
            place.name: [Responses(split) for split in splits(place.layer) if split.scheme in ranks.schemes]
            for place in cut_places
        }
        listen(
            cut,
            {name: layer_listeners for name, layer_listeners in listeners.items() if layer_listeners},
            batches,
        )
    remembered: dict[Any, LayerPair] = {}
    trials: list[Trial] = []
    changed = False
    for place in cut_places:
        tried = [
            _Candidate(place, listener.split, listener.basis(), ranks, timer, remembered)
            for listener in listeners.pop(place.name)
        ]
        best = min(
            (
                candidate
                for candidate in tried
                if candidate.trial.timing is not None and not candidate.trial.reason
            ),
            key=lambda candidate: candidate.trial.timing.ratio,  # type: ignore[union-attr]
            default=None,
        )
        if best is not None:
            replace_layer(cut, place.name, pair(best.split, best.basis, best.trial.rank))
            changed = True
        trials.extend(candidate.outcome(best) for candidate in tried)
    return Factored(cut if changed else None, tuple(trials), tuple(notes))


class _Candidate:
    """One scheme for one layer, with its rank chosen and timed."""

    def __init__(
        self,
        place: Place,
        split: Split,
        basis: Basis,
        ranks: Ranks,
        timer: Timer,
        remembered: dict[Any, LayerPair],
    ) -> None:
        self.split, self.basis = split, basis
        self._place, self._timer, self._remembered = place, timer, remembered
        self.trial = (
            self._by_energy(ranks) if ranks.latency is None else self._by_latency(ranks, ranks.latency)
        )

    def outcome(self, best: _Candidate | None) -> Trial:
        """Return the trial for the report, once the layer's best one is known."""
        from dataclasses import replace

        if self is best:
            return replace(self.trial, kept=True)
        return replace(
            self.trial,
            reason=self.trial.reason or f"{best.split.scheme} is faster" if best else self.trial.reason,
        )

    def _by_energy(self, ranks: Ranks) -> Trial:
        rank = min(_upwards(self.basis.rank(ranks.energy), ranks.multiple), self.split.full_rank)
        if not self._saves(rank):
            needed = f"{100 * ranks.energy:g} % of the energy needs rank {rank}"
            return self._trial(rank, None, f"{needed}, which is no less arithmetic than the layer")
        timing = self._timed(rank)
        return self._trial(rank, timing, "" if timing.faster else "not faster than the layer")

    def _by_latency(self, ranks: Ranks, share: float) -> Trial:
        """Return the largest rank within the time, by bisection: time grows with the rank."""
        steps = list(range(ranks.multiple, self.split.full_rank + 1, ranks.multiple))
        steps = [rank for rank in steps if self._saves(rank)]
        best: tuple[int, LayerPair] | None = None
        while steps:
            middle = len(steps) // 2
            timing = self._timed(steps[middle])
            if timing.faster and timing.ratio <= share:
                best, steps = (steps[middle], timing), steps[middle + 1 :]
            else:
                steps = steps[:middle]
        if best is None:
            return self._trial(0, None, f"no rank takes at most {share:g} of the layer's time")
        return self._trial(*best, "")

    def _trial(self, rank: int, timing: LayerPair | None, reason: str) -> Trial:
        return Trial(
            layer=self._place.name,
            scheme=self.split.scheme,
            rank=rank,
            full_rank=self.split.full_rank,
            energy=self.basis.energy(rank),
            macs=self._macs(rank),
            timing=timing,
            reason=reason,
        )

    def _macs(self, rank: int) -> tuple[int, int]:
        return self.split.macs(rank, self._place.input_shape, self._place.output_shape)

    def _saves(self, rank: int) -> bool:
        whole_macs, cut = self._macs(rank)
        return cut < whole_macs

    def _timed(self, rank: int) -> LayerPair:
        layer, shape = self._place.layer, self._place.input_shape
        # What a layer's repr leaves out of its shape is the input's.
        key = (repr(layer), self.split.scheme, shape, rank)
        if key not in self._remembered:
            halves = pair(self.split, self.basis, rank)
            self._remembered[key] = self._timer(export_layers([layer], shape), export_layers(halves, shape))
        return self._remembered[key]


def _upwards(rank: int, multiple: int) -> int:
    return -(-rank // multiple) * multiple
