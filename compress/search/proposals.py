"""Proposals of recipes: which to try, in which order, and when to stop.

The generator is asked for the next recipe only after the last one was recorded, so what it proposes may follow from
what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.backends.providers import short_name
from compress.recipe import Recipe, Step
from compress.records.profile import inside_margin
from compress.search.decision import Limits, choose, judged_latency, lowest_ratio

if TYPE_CHECKING:
    from compress.search.run_directory import RunDirectory
    from compress.target.target import Target

#: The network as it is; always the first candidate and what every other one is compared with.
ORIGINAL = Recipe("fp32")

#: Int8 wherever the back end has it.
WHOLE_CHAINS = Recipe("int8", (Step("quantize", {"scope": "all"}),))

_WEIGHTS_OPS = Step("quantize", {"scope": "weights-ops"})


def propose(
    target: Target,
    limits: Limits,
    run: RunDirectory,
    recipes: Sequence[Recipe] = (),
    backends: Sequence[str] = (),
    *,
    trains: bool = False,
    prunable: bool = False,
    providers: Sequence[str] = (),
    provable: bool = True,
) -> Iterator[Recipe]:
    """Recipes for a target, cheapest and likeliest first.

    Args:
        target: Target, whose precisions are worth trying.
        limits: Limits, whose margin decides whether finer calibration is needed.
        run: Run with all measurements so far.
        recipes: The user's own recipes; where there are any, only these and the original are tried.
        backends: Names of the back ends that compete; empty means the target's own.
        trains: Whether there is data to train on.
        prunable: Whether the network can be pruned: it is in its trainable form, and large enough.
        providers: ONNX Runtime's execution providers that compete beside the target's own.
        provable: Whether the evaluation data can show any build to be inside the margin. Where it cannot, no recipe
            tries to regain accuracy, which takes minutes.
    """
    yield ORIGINAL
    if recipes:
        yield from recipes
        return
    names = backends or (target.backend,)
    for name in names:
        if name == target.backend:
            yield from _own(target, limits, run)
            for provider in providers:
                yield from _of_provider(provider, target.further_providers[provider])
        else:
            yield from _further(target.for_backend(name), run)
    if provable and _int8_gains(run, limits):
        if target.backend in names and "int8" in target.precisions:
            yield from _won_back(limits, run, trains)
        for name in names:
            if name != target.backend:
                yield from _kept_elsewhere(name, limits, run)
    if prunable and provable:
        yield from _pruned(None if target.backend in names else names[0], limits, run, trains)


def _own(target: Target, limits: Limits, run: RunDirectory) -> Iterator[Recipe]:
    """Yield the recipes for the target's own back end that take seconds."""
    if "fp16" in target.precisions:
        yield Recipe("fp16", (Step("cast", {"precision": "float16"}),))
    if "int8" in target.precisions:
        yield WHOLE_CHAINS
        yield Recipe("int8-matmul", (_WEIGHTS_OPS,))
        if load_backend(target.backend).contrib_operators and _is_made_of_matrices(run):
            yield Recipe("dynamic-int8", (Step("quantize_dynamic"),))
    yield from _strongly_typed(target)
    if load_backend(target.backend).contrib_operators:
        yield from _small(limits, run)


def _of_provider(provider: str, precisions: Sequence[str]) -> Iterator[Recipe]:
    """Yield the recipes for another execution provider of the same runtime."""
    name, session = short_name(provider), {"provider": provider}
    steps: dict[str, tuple[Step, ...]] = {
        "fp32": (),
        "fp16": (Step("cast", {"precision": "float16"}),),
        "int8": (Step("quantize", {"scope": "all"}),),
    }
    for precision in precisions:
        if precision in steps:
            yield Recipe(f"{precision}-{name}", steps[precision], session=session)


def _further(target: Target, run: RunDirectory) -> Iterator[Recipe]:
    """Yield recipes for another back end than the target's own: fp32, half precision, and int8 in its flavour.

    What int8 leaves in float may run in bf16 too; where nothing is left, that would be the same build again.
    """
    name = target.backend
    bf16 = {"precision": "bf16"} if "bf16" in target.precisions else {}
    yield Recipe(f"fp32-{name}", backend=name)
    for half in ("fp16", "bf16"):
        if half in target.precisions:
            yield Recipe(f"{half}-{name}", backend=name, session={"precision": half})
    if "int8" not in target.precisions:
        return
    for recipe in _plain_int8(name):
        yield recipe
        if bf16 and _leaves_float(run, recipe):
            yield replace(recipe, name=f"{recipe.name.removesuffix(name)}bf16-{name}", session=bf16)


def _plain_int8(backend: str) -> tuple[Recipe, Recipe]:
    whole = Recipe(f"int8-{backend}", (Step("quantize", {"scope": "all"}),), backend=backend)
    return whole, replace(whole, name=f"int8-matmul-{backend}", steps=(_WEIGHTS_OPS,))


def _kept_elsewhere(backend: str, limits: Limits, run: RunDirectory) -> Iterator[Recipe]:
    """Yield, for a network that loses too much in plain int8 here, what kept accuracy in the target's own back end."""
    plain = _plain_int8(backend)
    if any(_keeps_accuracy(run, limits, recipe) for recipe in plain):
        return
    tried = [recipe.steps for recipe in plain]
    for entry in run.candidates:
        recipe = entry.recipe
        if (
            recipe.kind == "int8"
            and recipe.backend is None
            and recipe.steps not in tried
            and _keeps_accuracy(run, limits, recipe)
        ):
            yield replace(recipe, name=f"{recipe.name}-{backend}", backend=backend)
            return


def _leaves_float(run: RunDirectory, recipe: Recipe) -> bool:
    entry = run.find(recipe)
    coverage = None if entry is None or entry.profile is None else entry.profile.coverage
    return coverage is not None and bool(coverage["float_compute"] or coverage["float_cheap"])


def most_candidates(
    target: Target,
    recipes: Sequence[Recipe] = (),
    backends: Sequence[str] = (),
    *,
    trains: bool = False,
    prunable: bool = False,
    providers: Sequence[str] = (),
) -> int:
    """Return the largest number of recipes that :func:`propose` can yield."""
    if recipes:
        return 1 + len(recipes)
    own_count = ("fp16" in target.precisions) + (7 + trains) * ("int8" in target.precisions)
    own_count += len(list(_strongly_typed(target))) + 2 * load_backend(target.backend).contrib_operators
    most = 1 + prunable * (4 if trains else 1)
    for name in backends or (target.backend,):
        if name == target.backend:
            most += own_count
            most += sum(len(list(_of_provider(each, target.further_providers[each]))) for each in providers)
        else:
            precisions = target.for_backend(name).precisions
            fp16, bf16 = ("fp16" in precisions), ("bf16" in precisions)
            most += 1 + fp16 + bf16 + (2 * (1 + bf16) + 1) * ("int8" in precisions)
    return most


def _won_back(limits: Limits, run: RunDirectory, trains: bool) -> Iterator[Recipe]:
    """Yield int8 recipes that lose less accuracy, where plain int8 lost too much; they take seconds per layer."""
    if not _keeps_accuracy(run, limits, WHOLE_CHAINS):
        yield Recipe("int8-recovered", (Step("quantize", {"scope": "all", "rounding": "reconstructed"}),))
    for method in ("min-max", "percentile"):
        if _keeps_accuracy(run, limits):
            return
        yield Recipe(f"int8-{method}", (Step("quantize", {"scope": "all", "method": method}),))
    if trains and not _keeps_accuracy(run, limits):
        yield Recipe("int8-qat", (Step("qat"),))
    # Some layers do not bear int8 at all; what is lost on other samples decides how much may be lost on these.
    for name, share in (("int8-mixed", 1.0), ("int8-mixed-careful", 0.25)):
        if _keeps_accuracy(run, limits):
            return
        settings = {"max_drop": share * limits.max_drop, "rounding": "reconstructed"}
        yield Recipe(name, (Step("quantize_mixed", settings),))


def _strongly_typed(target: Target) -> Iterator[Recipe]:
    """Yield recipes with fp16 between Q/DQ for TensorRT from 10 on, which takes precisions from the graph alone."""
    release = int((target.tensorrt or "10").split(".")[0])
    if target.backend != "tensorrt" or release < 10 or "fp16" not in target.precisions:
        return
    half = Step("cast", {"precision": "float16"})
    if "int8" in target.precisions:
        yield Recipe("int8-fp16", (Step("quantize", {"scope": "all"}), half))
    if "fp8" in target.precisions:
        yield Recipe("fp8", (Step("float8"), half))


def _small(limits: Limits, run: RunDirectory) -> Iterator[Recipe]:
    """Yield recipes with integer weights alone, where size counts and the network is made of matrix products."""
    if (limits.objective == "size" or limits.max_size_mb is not None) and _is_made_of_matrices(run):
        yield Recipe("int4-weights", (Step("weight_only", {"algorithm": "gptq", "compute": "int8"}),))


def _pruned(backend: str | None, limits: Limits, run: RunDirectory, trains: bool) -> Iterator[Recipe]:
    """Yield recipes with fewer channels for a back end (None: the target's own); last, since each takes minutes.

    Trained, to half of the latency, then to 0.35 or to 0.7 of it, as accuracy was kept or not; what kept it is also
    built as the fastest unpruned build was. Where that is in int8, widths are the fastest in int8: the plain build has
    the same ones, so that both share one training. Untrained, only what the margin allows.
    """
    if not trains:
        settings = {"untrained_drop": limits.max_drop, "importance": "hessian_diagonal", "seconds": 10.0}
        if limits.max_drop > 0:
            yield Recipe("pruned", (Step("prune", settings),), backend=backend)
        return
    fastest = _fastest(run, limits)
    int8 = fastest is not None and fastest.backend == backend and _ends_in_int8(fastest)
    share = 0.5
    for _ in range(2):
        plain = _to_latency(share, backend, {"timing_precision": "int8"} if int8 else {})
        yield plain
        kept = _keeps_accuracy(run, limits, plain)
        if kept and fastest is not None:
            steps = (*plain.steps, *fastest.steps)
            name = f"{plain.name}-{fastest.name}"
            yield Recipe(name, steps, backend=fastest.backend, session=fastest.session)
        share = 0.35 if kept else 0.7


def _ends_in_int8(recipe: Recipe) -> bool:
    """Whether activations are int8: layers then get faster at other widths."""
    return any(
        step.technique in ("quantize", "quantize_dynamic", "quantize_mixed", "qat") for step in recipe.steps
    )


def _to_latency(share: float, backend: str | None, further: dict[str, str]) -> Recipe:
    prune = Step("prune", {"latency_share": share, "importance": "hessian_diagonal", **further})
    return Recipe(f"pruned-{share:g}x", (prune, Step("distill", {"epoch_samples": 8192})), backend=backend)


def _fastest(run: RunDirectory, limits: Limits) -> Recipe | None:
    """Return the fastest candidate that beats the original so far; None where none does."""
    chosen = choose(run.candidates, limits).candidate
    return None if chosen is None or chosen.recipe == ORIGINAL else chosen.recipe


def _is_made_of_matrices(run: RunDirectory) -> bool:
    """Whether matrix products outnumber convolutions and recurrence in what the runtime made of the original."""
    profile = run.candidates[0].profile if run.candidates else None
    counts: dict[str, int] = (profile.coverage or {}).get("float_compute", {}) if profile is not None else {}
    matrices = sum(count for name, count in counts.items() if "MatMul" in name or "Gemm" in name)
    return 2 * matrices > sum(counts.values())


def _int8_gains(run: RunDirectory, limits: Limits) -> bool:
    """Whether int8 builds seem faster than the best build so far, or none has been timed yet.

    Other ranges and roundings of int8 run the same operators, and take the same time.
    """
    best = lowest_ratio(run.candidates, limits)
    int8 = [entry for entry in run.candidates if entry.recipe.kind == "int8"]
    profiles = [entry.profile for entry in int8 if entry.profile is not None]
    ratios = [judged_latency(profile, limits.objective).ratio for profile in profiles]
    return any(ratio is None or ratio < (1 if best is None else best) for ratio in ratios) or not int8


def _keeps_accuracy(run: RunDirectory, limits: Limits, recipe: Recipe | None = None) -> bool:
    """Whether an int8 build, or this one, was measured inside the margin."""
    return any(
        (entry.recipe.kind == "int8" if recipe is None else entry.recipe == recipe)
        and entry.profile is not None
        and entry.profile.accuracy is not None
        and inside_margin(entry.profile.accuracy.drop, limits.max_drop)
        for entry in run.candidates
    )
