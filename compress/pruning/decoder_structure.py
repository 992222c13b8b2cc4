"""Choice of the parts of a decoder that stay: layers, neurons of each, and groups of heads.

For each number of layers to drop, and each number of groups to keep, the widths are chosen by a knapsack over the
costs of layers, so that what is wanted is reached with the least growth of the loss. Layers to drop are found one
after another, each the one without which the loss on the calibration texts is smallest (Minitron, arXiv 2407.14679).
The loss of every structure so found is measured, and the one with the smallest is taken. The same is done for decoders
with fewer values of a token between layers, as long as these alone lose less than the best structure so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from compress.errors import RecipeError
from compress.language.distilling import mean_loss
from compress.language.hidden_width import hidden_scores, narrower
from compress.language.module import DecoderModule
from compress.language.structure import Structure
from compress.language.unit_scores import Scores, unit_scores
from compress.pruning.knapsack import cheapest

if TYPE_CHECKING:
    from torch import Tensor

    from compress.language.config import DecoderConfig
    from compress.pruning.decoder_times import LayerCosts

#: Shares of a layer's neurons that may stay; widths are multiples of the group that shares a scale.
SHARES = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)
MULTIPLE = 32


@dataclass(frozen=True)
class ChosenStructure:
    """A structure, and how it was found.

    Attributes:
        structure: Parts that stay.
        predicted: Share of the cost that is left, predicted.
        before: Mean loss of the whole decoder on the texts, in nats a token.
        after: Mean loss without the parts that go.
    """

    structure: Structure
    predicted: float
    before: float
    after: float


def widths_of(config: DecoderConfig) -> list[int]:
    """Return the numbers of neurons that a layer may keep, the whole number among them."""
    full_width = config.intermediate
    rounded = {max(MULTIPLE, round(full_width * share / MULTIPLE) * MULTIPLE) for share in SHARES}
    return sorted({width for width in rounded if width < full_width} | {full_width})


def groups_of(config: DecoderConfig) -> list[int]:
    """Return the numbers of key and value heads that layers may keep, the whole number first."""
    return [count for count in range(config.kv_heads, 0, -1) if 2 * count >= config.kv_heads]


def choose_structure(
    decoder: DecoderModule,
    batches: Sequence[Tensor],
    costs: LayerCosts,
    share: float,
    *,
    keep: frozenset[int] = frozenset(),
    hidden: int | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> ChosenStructure:
    """Return the structure with the smallest measured loss among those that reach a share of the cost.

    Args:
        decoder: The whole decoder.
        batches: Calibration texts: ids of tokens, negative behind the last one, int64 [texts, tokens].
        costs: Costs of its layers.
        share: Share of the cost to reach, in (0, 1).
        keep: Numbers of layers that stay.
        hidden: Number of values of a token that stay, one of ``costs.narrower``; None lets the loss decide.
        tick: Function that is called with the number of structures measured so far.

    Raises:
        RecipeError: No structure reaches the share.
    """
    best: ChosenStructure | None = None
    problem: RecipeError | None = None
    whole = {} if hidden is not None else {decoder.config.hidden: costs}
    widths = {count: costs.narrower[count] for count in costs.narrower if hidden in (None, count)}
    scores = hidden_scores(decoder, batches) if widths else None
    for width, own_costs in {**whole, **widths}.items():
        narrow, base = decoder, None
        if scores is not None and width < decoder.config.hidden:
            base = scores.structure(decoder.config, width)
            narrow = narrower(decoder, base)
            if best is not None and mean_loss(narrow, batches) >= best.after:
                continue
        try:
            own_share = share * costs.whole / own_costs.whole
            chosen = _Search(narrow, batches, own_costs, own_share, keep, tick).chosen()
        except RecipeError as error:
            problem = problem or error
            continue
        if best is None or chosen.after < best.after:
            best = chosen if base is None else _narrowed(chosen, base, own_costs.whole / costs.whole)
    if best is None:
        assert problem is not None
        raise problem
    if best.structure.hidden is not None:
        best = replace(best, before=mean_loss(decoder, batches))
    return best


def _narrowed(chosen: ChosenStructure, base: Structure, share: float) -> ChosenStructure:
    """Return what was chosen in a decoder with fewer values of a token as parts of the whole one."""
    structure = replace(chosen.structure, hidden=base.hidden, norm_scales=base.norm_scales)
    return replace(chosen, structure=structure, predicted=share * chosen.predicted)


class _Search:
    """The search; :func:`choose_structure` is its only user."""

    def __init__(
        self,
        decoder: DecoderModule,
        batches: Sequence[Tensor],
        costs: LayerCosts,
        share: float,
        keep: frozenset[int],
        tick: Callable[[int], None],
    ) -> None:
        self.decoder, self.batches, self.costs, self.keep, self.tick = decoder, batches, costs, keep, tick
        self.config = decoder.config
        self.demand = (1 - share) * costs.whole
        self.measured = 0
        self.before = self._loss(frozenset(), {})
        self.scores: Scores = unit_scores(decoder, batches)
        self.order = {
            name: np.argsort(-neuron_scores, kind="stable") for name, neuron_scores in self.scores.items()
        }
        self.scales = self._scales()

    def chosen(self) -> ChosenStructure:
        best: ChosenStructure | None = None
        for dropped in self._dropped():
            for groups in groups_of(self.config):
                structure = self._at(dropped, groups)
                if structure is None:
                    continue
                after = self._loss(dropped, self._gates(structure))
                if best is None or after < best.after:
                    best = ChosenStructure(structure, self._predicted(structure), self.before, after)
        if best is None:
            raise RecipeError(
                "parts of the decoder whose removal reaches the share that is wanted",
                "too much of a step's time outside of its layers, or too many layers to keep",
                "ask for a larger share, or trim the vocabulary first",
            )
        return best

    def _dropped(self) -> Iterator[frozenset[int]]:
        """Yield sets of layers to drop, each with one more, until these alone are enough."""
        dropped: frozenset[int] = frozenset()
        while True:
            yield dropped
            left = [layer for layer in range(self.config.layers) if layer not in dropped | self.keep]
            if (
                len(dropped) * self.costs.layer >= self.demand
                or not left
                or len(dropped) + 1 >= self.config.layers
            ):
                return
            dropped |= {min(left, key=lambda layer: self._loss(dropped | {layer}, {}))}

    def _at(self, dropped: frozenset[int], groups: int) -> Structure | None:
        """Return the structure without these layers, and with so many groups, whose widths lose least."""
        layers = [layer for layer in range(self.config.layers) if layer not in dropped]
        saved = len(dropped) * self.costs.layer + len(layers) * self.costs.groups[groups]
        options = [self._widths(layer) for layer in layers]
        savings = [[self.costs.widths[width] for width in layer_options] for layer_options in options]
        losses = [
            [self._growth(layer, width) for width in layer_options]
            for layer, layer_options in zip(layers, options, strict=True)
        ]
        picked = cheapest(savings, losses, self.demand - saved)
        if picked is None:
            return None
        widths = [layer_options[at] for layer_options, at in zip(options, picked, strict=True)]
        layers_and_widths = zip(layers, widths, strict=True)
        return Structure(
            tuple(layers),
            tuple(
                np.sort(self.order[f"model.layers.{layer}.mlp"][:width]) for layer, width in layers_and_widths
            ),
            tuple(np.sort(self.order[f"model.layers.{layer}.self_attn"][:groups]) for layer in layers),
        )

    def _widths(self, layer: int) -> list[int]:
        own_width = self.config.width(layer)
        if layer in self.keep:
            return [own_width]
        return [width for width in self.costs.widths if width < own_width] + [own_width]

    def _growth(self, layer: int, width: int) -> float:
        """Return about how much the loss grows at a width of a layer."""
        name = f"model.layers.{layer}.mlp"
        return self.scales[layer] * float(self.scores[name][self.order[name][width:]].sum())

    def _scales(self) -> list[float]:
        """Return for each layer by how much more the loss grows at half of its width than the scores say."""
        scales = []
        for layer in range(self.config.layers):
            name, half = f"model.layers.{layer}.mlp", self.config.width(layer) // 2
            said = float(self.scores[name][self.order[name][half:]].sum())
            grown = self._loss(frozenset(), {name: self._gate(name, half)}) - self.before
            scales.append(max(grown, 1e-4) / said if said > 0 else 1.0)
        return scales

    def _gates(self, structure: Structure) -> dict[str, Tensor]:
        gates = {}
        for layer, neurons, groups in zip(structure.layers, structure.neurons, structure.groups, strict=True):
            for name, units in (("mlp", neurons), ("self_attn", groups)):
                at = f"model.layers.{layer}.{name}"
                if len(units) < len(self.scores[at]):
                    gates[at] = self._gate(at, len(units))
        return gates

    def _gate(self, name: str, kept: int) -> Tensor:
        gate = torch.zeros(len(self.scores[name]))
        gate[torch.from_numpy(self.order[name][:kept].copy())] = 1
        return gate

    def _loss(self, dropped: frozenset[int], gates: dict[str, Tensor]) -> float:
        self.decoder.skipped, self.decoder.gates = dropped, gates
        try:
            return mean_loss(self.decoder, self.batches)
        finally:
            self.decoder.skipped, self.decoder.gates = frozenset(), {}
            self.measured += 1
            self.tick(self.measured)

    def _predicted(self, structure: Structure) -> float:
        costs, config = self.costs, self.config
        dropped = config.layers - len(structure.layers)
        groups = len(structure.groups[0])
        saved = dropped * costs.layer + len(structure.layers) * costs.groups[groups]
        saved += sum(
            0.0 if len(kept_neurons) == config.width(layer) else costs.widths[len(kept_neurons)]
            for layer, kept_neurons in zip(structure.layers, structure.neurons, strict=True)
        )
        return 1 - saved / costs.whole
