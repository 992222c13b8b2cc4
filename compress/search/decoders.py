"""Proposals for decoders of text: integer weights, other bits by matrix, rounded keys and values, smaller networks.

A decoding step takes the time that its weights take to read. Ranges of activations are found while it runs: they are a
single row, and products of integers are faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from compress.backends import load_backend
from compress.recipe import Recipe, Step
from compress.search.limits import Limits
from compress.search.mixed_weights import mixed_weights
from compress.search.proposal import Proposal, keeps_accuracy, points, time_of

if TYPE_CHECKING:
    from compress.search.run_directory import RunDirectory
    from compress.target.target import Target

#: Settings of plain rounding, and the recipes that are tried of every decoder.
_FAST = {"algorithm": "rtn", "compute": "int8"}
_INT8 = Recipe("int8-weights", (Step("weight_only", {**_FAST, "bits": 8}),))
_INT4 = Recipe("int4-weights", (Step("weight_only", {**_FAST, "algorithm": "search"}),))


def decoders(
    target: Target, limits: Limits, further: Sequence[str], *, provable: bool, trains: bool
) -> Iterator[Proposal]:
    """Yield the recipes for a decoder of text: integer weights, in groups with a scale each.

    Args:
        target: Target, with its own back end.
        limits: Limits, whose margin decides what follows.
        further: Names of the other back ends that compete.
        provable: Whether the evaluation data can show any build to be inside the margin.
        trains: Whether there is text to train on.
    """
    others = [name for name in further if load_backend(name).decodes]
    for name in others:
        yield Proposal(Recipe(f"fp32-{name}", backend=name))
    has_integers = load_backend(target.backend).contrib_operators
    if has_integers:
        yield from map(Proposal, (_INT8, _INT4))
    for name in others:
        yield from _elsewhere(name, limits)
    if has_integers:
        yield from _own(target, limits, provable, trains)


def _elsewhere(name: str, limits: Limits) -> Iterator[Proposal]:
    """Yield the recipes for another back end than the target's own: integer weights, and keys and values rounded.

    Keys and values of fewer bits are less to read in each step. They are tried with the fastest build of that back end
    that keeps its accuracy.
    """
    plain = [Recipe(f"fp32-{name}", backend=name)]
    for recipe in (_INT8, _INT4):
        plain.append(replace(recipe, name=f"{recipe.name}-{name}", backend=name))
        yield Proposal(plain[-1])

    def rounded(short: str, cache: str, run: RunDirectory) -> Recipe | None:
        known = {recipe.identity for recipe in plain}
        kept = [
            entry
            for entry in run.candidates
            if entry.recipe.identity in known and keeps_accuracy(run, limits, entry.recipe)
        ]
        if not kept:
            return None
        fastest = min(kept, key=lambda entry: time_of(entry, limits)).recipe
        return replace(fastest, name=f"{fastest.name}-{short}-cache", session={"cache": cache})

    for short, cache in (("fp16", "float16"), ("int8", "int8")):
        shown = Recipe(f"…-{name}-{short}-cache", backend=name, session={"cache": cache})
        condition = f"if a build of {name} before it loses no more than {points(limits)}: the fastest"
        yield Proposal(shown, condition, partial(rounded, short, cache))


def _own(target: Target, limits: Limits, provable: bool, trains: bool) -> Iterator[Proposal]:
    """Yield the recipes for the target's own back end after the plain ones."""
    tried = [_INT4]
    yield from mixed_weights(limits, provable, _INT4)
    if provable:
        yield from _smaller_caches(limits, _INT4)
        for name, settings in (
            ("int4-weights-gptq", {"algorithm": "gptq", "compute": "int8"}),
            ("int4-weights-hqq", {"algorithm": "hqq"}),
            ("int4-weights-gptq-float", {"algorithm": "gptq", "compute": "float32"}),
        ):
            recipe, before = Recipe(name, (Step("weight_only", settings),)), tuple(tried)
            tried.append(recipe)
            yield Proposal.where(
                recipe,
                f"if every build of 4 bits before it loses more than {points(limits)}",
                partial(_none_kept, limits, before),
            )
    if "int8" in target.precisions:
        yield Proposal(Recipe("dynamic-int8", (Step("quantize_dynamic"),)))
    if trains:
        yield from _smaller_decoders(limits, provable, _FAST)


def _smaller_decoders(limits: Limits, provable: bool, rounding: dict[str, Any]) -> Iterator[Proposal]:
    """Yield recipes for a decoder with text to train on: fewer tokens, then fewer layers, neurons and heads too.

    Trained to half of a step's time, then to 0.35 or to 0.7 of it, as accuracy was kept or not. What was trained for
    plain rounding is rounded plainly.
    """
    trim, four_bits = Step("trim_vocabulary"), Step("weight_only", rounding)
    searched = Step("weight_only", {**rounding, "algorithm": "search"})
    yield Proposal(Recipe("int4-weights-trimmed", (trim, searched)))
    if not provable:
        return
    train = Step("distill", {"epoch_samples": 4096, "batch_size": 16, "window": 128, "weight_bits": 4})

    def to_share(share: float) -> Recipe:
        prune = Step("prune", {"latency_share": share, "timing_precision": "int4"})
        return Recipe(f"int4-weights-pruned-{share:g}x", (trim, prune, train, four_bits))

    half, shorter, longer = map(to_share, (0.5, 0.35, 0.7))
    yield Proposal(half)
    yield Proposal(
        replace(shorter, name=f"{shorter.name} or {longer.name.rpartition('-')[2]}"),
        f"0.35 if {half.name} loses no more than {points(limits)}, else 0.7",
        lambda run: shorter if keeps_accuracy(run, limits, half) else longer,
    )


def _smaller_caches(limits: Limits, int4: Recipe) -> Iterator[Proposal]:
    """Yield the plain build of 4 bits, where it keeps its accuracy, with keys and values in int8, else in float16."""
    int8, half = (
        Recipe(f"{int4.name}-{name}-cache", (*int4.steps, Step("kv_cache", {"precision": precision})))
        for name, precision in (("int8", "int8"), ("fp16", "float16"))
    )
    kept = f"if {int4.name} loses no more than {points(limits)}"
    yield Proposal.where(int8, kept, lambda run: keeps_accuracy(run, limits, int4))
    yield Proposal.where(
        half,
        f"{kept}, and {int8.name} more",
        lambda run: keeps_accuracy(run, limits, int4) and not keeps_accuracy(run, limits, int8),
    )


def _none_kept(limits: Limits, recipes: Sequence[Recipe], run: RunDirectory) -> bool:
    return not any(keeps_accuracy(run, limits, recipe) for recipe in recipes)
