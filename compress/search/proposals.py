"""Proposals of recipes: which to try, in which order, and when to stop.

What a run may try is known before anything is measured: :func:`proposals` lists it. Which of it is tried follows from
what was measured: :func:`propose` is asked for the next recipe only after the last one was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.backends.providers import short_name
from compress.recipe import Recipe, Step
from compress.search.decoders import decoders
from compress.search.int8_between import fastest_between, proposal_between
from compress.search.limits import Limits
from compress.search.proposal import (
    Proposal,
    decided_once,
    int8_gains,
    is_made_of_matrices,
    keeps_accuracy,
    leaves_float,
    points,
    time_of,
)
from compress.search.pruned import proposals_of_pruned

if TYPE_CHECKING:
    from compress.search.run_directory import RunDirectory
    from compress.target.target import Target

#: The network as it is; always the first candidate and what every other one is compared with.
ORIGINAL = Recipe("fp32", origin="network")

#: Int8 wherever the back end has it.
WHOLE_CHAINS = Recipe("int8", (Step("quantize", {"scope": "all"}),))

_WEIGHTS_OPS = Step("quantize", {"scope": "weights-ops"})
_HALF = Step("cast", {"precision": "float16"})

#: Steps of int8 without further ado, by what their recipes are called in every back end.
_PLAIN_INT8 = {"int8": WHOLE_CHAINS.steps, "int8-matmul": (_WEIGHTS_OPS,)}


def propose(listed: Iterable[Proposal], run: RunDirectory) -> Iterator[Recipe]:
    """Yield the recipes to try, in order; each may depend on the measurements of those before it.

    Args:
        listed: Everything that the run may try; see :func:`proposals`.
        run: Run with all measurements so far.
    """
    for proposal in listed:
        for _ in range(proposal.most):
            recipe = proposal.due(run)
            if recipe is None:
                break
            yield recipe


def proposals(
    target: Target,
    limits: Limits,
    recipes: Sequence[Recipe] = (),
    backends: Sequence[str] = (),
    *,
    trains: bool = False,
    prunable: bool = False,
    providers: Sequence[str] = (),
    provable: bool = True,
    decodes: bool = False,
    tune: int | None = None,
    encodes: bool = False,
) -> Iterator[Proposal]:
    """Return all that a run may try for a target, in its order; nothing is measured.

    Args:
        target: Target, whose precisions are worth trying.
        limits: Limits, whose margin decides whether finer calibration is needed.
        recipes: The user's own recipes; where there are any, only these and the original are tried.
        backends: Names of the back ends that compete; empty means the target's own.
        trains: Whether there is data to train on.
        prunable: Whether the network can be pruned: it is in its trainable form, and large enough.
        providers: ONNX Runtime's execution providers that compete beside the target's own.
        provable: Whether the evaluation data can show any build to be inside the margin. Where it cannot, no recipe
            tries to regain accuracy, which takes minutes.
        tune: Number of trainings that search the settings of each training of a pruned network; None searches none.
        decodes: Whether the network is a decoder of text, whose weights are all that a decoding step reads.
        encodes: Whether an encoder comes with it in one graph, which the target's own back end alone runs.
    """
    yield Proposal(ORIGINAL)
    if recipes:
        # A build that ships the original says so in its recipe.toml: as a recipe, that is nothing more to try.
        further = (recipe for recipe in recipes if recipe != ORIGINAL)
        yield from (Proposal(replace(recipe, origin="user")) for recipe in further)
        return
    if decodes:
        names = () if encodes else tuple(name for name in backends if name != target.backend)
        listed = decoders(target, limits, names, provable=provable, trains=trains)
    else:
        listed = _of_the_search(target, limits, backends, trains, prunable, providers, provable, tune)
    for proposal in listed:
        yield replace(proposal, recipe=replace(proposal.recipe, origin="search"))


def _of_the_search(
    target: Target,
    limits: Limits,
    backends: Sequence[str],
    trains: bool,
    prunable: bool,
    providers: Sequence[str],
    provable: bool,
    tune: int | None,
) -> Iterator[Proposal]:
    """Yield the search's own proposals; see :func:`proposals`."""
    names = backends or (target.backend,)
    further = {name: list(_further(target.for_backend(name))) for name in names if name != target.backend}
    for firsts in further.values():
        yield firsts.pop(0)  # fp32 in each back end: all of them compete before the time is over
    for name in names:
        if name == target.backend:
            yield from _own(target, limits)
            for provider in providers:
                yield from map(Proposal, _of_provider(provider, target.further_providers[provider]))
        else:
            yield from further[name]
    if provable:
        gains = decided_once(lambda run: int8_gains(run, limits))
        if target.backend in names and "int8" in target.precisions:
            yield from _won_back(target, limits, trains, gains)
        for name in names:
            if name != target.backend and "int8" in target.for_backend(name).precisions:
                yield _kept_elsewhere(name, limits, gains)
    if prunable and provable:
        yield from proposals_of_pruned(None if target.backend in names else names[0], limits, trains, tune)


def _own(target: Target, limits: Limits) -> Iterator[Proposal]:
    """Yield the recipes for the target's own back end that take seconds."""
    contrib = load_backend(target.backend).contrib_operators
    matrices = "if matrix products outnumber convolutions"
    if "fp16" in target.precisions:
        yield Proposal(Recipe("fp16", (_HALF,)))
    if "int8" in target.precisions:
        yield Proposal(WHOLE_CHAINS)
        yield Proposal(Recipe("int8-matmul", (_WEIGHTS_OPS,)))
        if contrib:
            dynamic = Recipe("dynamic-int8", (Step("quantize_dynamic"),))
            yield Proposal.where(dynamic, matrices, is_made_of_matrices)
    yield from map(Proposal, _strongly_typed(target))
    if contrib and (limits.objective == "size" or limits.max_size_mb is not None):
        weights = Step("weight_only", {"algorithm": "gptq", "compute": "int8"})
        yield Proposal.where(Recipe("int4-weights", (weights,)), matrices, is_made_of_matrices)


def _of_provider(provider: str, precisions: Sequence[str]) -> Iterator[Recipe]:
    """Yield the recipes for another execution provider of the same runtime."""
    name, session = short_name(provider), {"provider": provider}
    steps: dict[str, tuple[Step, ...]] = {
        "fp32": (),
        "fp16": (_HALF,),
        "int8": (Step("quantize", {"scope": "all"}),),
    }
    for precision in precisions:
        if precision in steps:
            yield Recipe(f"{precision}-{name}", steps[precision], session=session)


def _further(target: Target) -> Iterator[Proposal]:
    """Yield recipes for another back end than the target's own: fp32, half precision, and int8 in its flavour.

    What int8 leaves in float may run in bf16 too; where nothing is left, that would be the same build again.
    """
    name = target.backend
    bf16 = {"precision": "bf16"} if "bf16" in target.precisions else {}
    yield Proposal(Recipe(f"fp32-{name}", backend=name))
    for half in ("fp16", "bf16"):
        if half in target.precisions:
            yield Proposal(Recipe(f"{half}-{name}", backend=name, session={"precision": half}))
    if "int8" not in target.precisions:
        return
    for scope, steps in _PLAIN_INT8.items():
        recipe = Recipe(f"{scope}-{name}", steps, backend=name)
        yield Proposal(recipe)
        if bf16:
            mixed = Recipe(f"{scope}-bf16-{name}", steps, backend=name, session=bf16)
            yield _where_float_is_left(mixed, recipe)


def _where_float_is_left(recipe: Recipe, plain: Recipe) -> Proposal:
    return Proposal.where(
        recipe, f"if {plain.name} leaves layers in float", lambda run: leaves_float(run, plain)
    )


def _won_back(
    target: Target, limits: Limits, trains: bool, gains: Callable[[RunDirectory], bool]
) -> Iterator[Proposal]:
    """Yield int8 recipes that lose less accuracy, where plain int8 lost too much; they take seconds per layer.

    Where an engine computes in the types that the graph says, what they leave in float runs in fp16 too.
    """
    recipe = Recipe("int8-recovered", (Step("quantize", {"scope": "all", "rounding": "reconstructed"}),))
    yield Proposal.where(
        recipe,
        f"if int8 is faster, and loses more than {points(limits)}",
        lambda run: gains(run) and not keeps_accuracy(run, limits, WHOLE_CHAINS),
    )
    yield from _with_half_between(recipe, target, limits)
    recipes = [
        Recipe(f"int8-{method}", (Step("quantize", {"scope": "all", "method": method}),))
        for method in ("min-max", "percentile")
    ]
    if trains:
        recipes.append(Recipe("int8-qat", (Step("qat"),)))
    for recipe in (*recipes, _mixed("int8-mixed", limits.max_drop)):
        yield from _where_none_kept(recipe, target, limits, gains)
    between = proposal_between(limits, gains)
    yield between
    if _computes_as_written(target):
        yield _half_of_fastest(between, limits)
    yield from _where_none_kept(_mixed("int8-mixed-careful", limits.max_drop / 4), target, limits, gains)


def _half_of_fastest(between: Proposal, limits: Limits) -> Proposal:
    """Propose the fastest of the builds between that kept their accuracy, with fp16 in what they leave in float."""

    def decide(run: RunDirectory) -> Recipe | None:
        fastest = fastest_between(run, limits)
        return None if fastest is None else _with_half(fastest)

    return Proposal(
        _with_half(between.recipe),
        f"if one of {between.recipe.name} loses no more than {points(limits)}: the fastest",
        decide,
    )


def _with_half(recipe: Recipe) -> Recipe:
    return replace(recipe, name=f"{recipe.name}-fp16", steps=(*recipe.steps, _HALF))


def _mixed(name: str, max_drop: float) -> Recipe:
    """Some layers do not bear int8 at all; what is lost on other samples decides how much may be lost on these."""
    return Recipe(name, (Step("quantize_mixed", {"max_drop": max_drop, "rounding": "reconstructed"}),))


def _where_none_kept(
    recipe: Recipe, target: Target, limits: Limits, gains: Callable[[RunDirectory], bool]
) -> Iterator[Proposal]:
    yield Proposal.where(
        recipe,
        f"if int8 is faster, and every int8 build before it loses more than {points(limits)}",
        lambda run: gains(run) and not keeps_accuracy(run, limits),
    )
    yield from _with_half_between(recipe, target, limits)


def _with_half_between(recipe: Recipe, target: Target, limits: Limits) -> Iterator[Proposal]:
    if _computes_as_written(target):
        yield Proposal.where(
            _with_half(recipe),
            f"if {recipe.name} loses no more than {points(limits)}",
            lambda run: keeps_accuracy(run, limits, recipe),
        )


def _kept_elsewhere(backend: str, limits: Limits, gains: Callable[[RunDirectory], bool]) -> Proposal:
    """Propose for a back end whose plain int8 loses too much what kept accuracy in the target's own back end."""
    plain = [Recipe(f"{scope}-{backend}", steps, backend=backend) for scope, steps in _PLAIN_INT8.items()]

    def decide(run: RunDirectory) -> Recipe | None:
        if not gains(run) or any(keeps_accuracy(run, limits, recipe) for recipe in plain):
            return None
        accurate = [
            entry
            for entry in run.candidates
            if entry.recipe.kind == "int8"
            and entry.recipe.backend is None
            and entry.recipe.steps not in _PLAIN_INT8.values()
            and keeps_accuracy(run, limits, entry.recipe)
        ]
        if not accurate:
            return None
        fastest = min(accurate, key=lambda entry: time_of(entry, limits)).recipe
        return replace(fastest, name=f"{fastest.name}-{backend}", backend=backend)

    return Proposal(
        replace(plain[0], name=f"int8-…-{backend}"),
        f"if {plain[0].name} and {plain[1].name} lose more than {points(limits)}, and another int8 build does not: "
        "that one",
        decide,
    )


def _strongly_typed(target: Target) -> Iterator[Recipe]:
    """Yield recipes with fp16 between Q/DQ, where an engine computes in the types that the graph says."""
    if _computes_as_written(target):
        if "int8" in target.precisions:
            yield Recipe("int8-fp16", (*WHOLE_CHAINS.steps, _HALF))
        if "fp8" in target.precisions:
            yield Recipe("fp8", (Step("float8"), _HALF))


def _computes_as_written(target: Target) -> bool:
    """Whether TensorRT takes precisions from the graph alone, as it does from release 10 on, and has fp16."""
    release = int((target.tensorrt or "10").split(".")[0])
    return target.backend == "tensorrt" and release >= 10 and "fp16" in target.precisions
