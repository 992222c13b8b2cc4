"""Every recipe that is proposed, with its settings: a search that lost one of them would be slower, and say nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from compress.recipe import Recipe, Step
from compress.records.coverage import Coverage
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from compress.target.target import load_target
from tests.records import candidate
from tests.searches import most, propose

WON_BACK = [
    "int8-recovered: quantize(scope=all, rounding=reconstructed)",
    "int8-min-max: quantize(scope=all, method=min-max)",
    "int8-percentile: quantize(scope=all, method=percentile)",
]
MIXED = [
    "int8-mixed: quantize_mixed(max_drop=2.0, rounding=reconstructed)",
    "int8-mixed-careful: quantize_mixed(max_drop=0.5, rounding=reconstructed)",
]


class Tried:
    """A history to which each proposal is added as it was measured; nothing is inside the margin but what is named."""

    def __init__(self, coverage: Coverage | None = None, **drops: float) -> None:
        self.coverage, self.drops = coverage, drops
        self.candidates: list[Candidate] = []

    def find(self, recipe: Recipe) -> Candidate | None:
        return next((entry for entry in self.candidates if entry.recipe == recipe), None)

    def add(self, recipe: Recipe) -> None:
        drop = self.drops.get(recipe.name, 9.0)
        entry = candidate(recipe.name, ratio=0.5, drop=(drop, drop, drop))
        if recipe.name == "fp32":
            entry = candidate("fp32")
        assert entry.profile is not None
        profile = replace(entry.profile, coverage=self.coverage)
        self.candidates.append(replace(entry, recipe=recipe, profile=profile))


def told(recipe: Recipe) -> str:
    steps = " + ".join(map(step_told, recipe.steps))
    where = f" in {recipe.backend}" if recipe.backend else ""
    session = "".join(f" with {key}={value}" for key, value in recipe.session.items())
    return f"{recipe.name}: {steps}{where}{session}"


def step_told(step: Step) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in step.settings.items())
    return f"{step.technique}({settings})"


def proposed(target: str, history: Tried | None = None, **settings: object) -> list[str]:
    history = history or Tried()
    found = []
    for recipe in propose(load_target(target), Limits(max_drop=2.0), history, **settings):  # type: ignore[arg-type]
        history.add(recipe)
        found.append(told(recipe))
    return found


def test_on_a_processor() -> None:
    assert proposed("raspberry-pi-5", trains=True) == [
        "fp32: ",
        "int8: quantize(scope=all)",
        "int8-matmul: quantize(scope=weights-ops)",
        *WON_BACK,
        "int8-qat: qat()",
        *MIXED,
    ]


def test_on_a_processor_for_matrices() -> None:
    history = Tried(Coverage(float_compute={"MatMul": 8, "Conv": 1}))
    limits = Limits(max_drop=2.0, max_size_mb=1.0)
    found = []
    for recipe in propose(load_target("raspberry-pi-5"), limits, history):  # type: ignore[arg-type]
        history.add(recipe)
        found.append(told(recipe))
    assert found[1:5] == [
        "int8: quantize(scope=all)",
        "int8-matmul: quantize(scope=weights-ops)",
        "dynamic-int8: quantize_dynamic()",
        "int4-weights: weight_only(algorithm=gptq, compute=int8)",
    ]


def test_in_tensorrt() -> None:
    assert proposed("h100-sxm") == [
        "fp32: ",
        "fp16: cast(precision=float16)",
        "int8: quantize(scope=all)",
        "int8-matmul: quantize(scope=weights-ops)",
        "int8-fp16: quantize(scope=all) + cast(precision=float16)",
        "fp8: float8() + cast(precision=float16)",
        *WON_BACK,
        *MIXED,
    ]


def test_what_tensorrt_cannot_be_told_by_a_graph_is_not_proposed() -> None:
    target = load_target("h100-sxm")
    found = [
        propose(replace(target, tensorrt=release), Limits(), Tried()) for release in ("8.6.1", "10.0.1", None)
    ]  # type: ignore[arg-type]
    names = [{recipe.name for recipe in recipes} for recipes in found]
    assert names[1] - names[0] == {"int8-fp16", "fp8"}
    assert names[1] == names[2]


def test_in_another_execution_provider() -> None:
    target = replace(
        load_target("raspberry-pi-5"),
        further_providers={"CUDAExecutionProvider": ("fp32", "fp16", "int8", "fp8")},
    )
    settings = {"providers": ("CUDAExecutionProvider",)}
    found = list(map(told, propose(target, Limits(), Tried(), **settings)))  # type: ignore[arg-type]
    assert found[3:6] == [
        "fp32-cuda:  with provider=CUDAExecutionProvider",
        "fp16-cuda: cast(precision=float16) with provider=CUDAExecutionProvider",
        "int8-cuda: quantize(scope=all) with provider=CUDAExecutionProvider",
    ]
    alone = most(target)
    assert most(target, **settings) == alone + 3  # type: ignore[arg-type]


def with_openvino(*precisions: str) -> SimpleNamespace:
    """This machine's processor, whose OpenVINO computes in these."""
    target = load_target("cpu")
    openvino = replace(target.for_backend("openvino"), precisions=precisions)
    names = ("backend", "precisions", "tensorrt", "further_providers")
    return SimpleNamespace(**{name: getattr(target, name) for name in names}, for_backend=lambda _: openvino)


def in_openvino(target: SimpleNamespace, history: Tried) -> list[str]:
    found = []
    for recipe in propose(target, Limits(), history, backends=("onnxruntime", "openvino")):  # type: ignore[arg-type]
        history.add(recipe)
        found.append(told(recipe))
    return [line for line in found if " in openvino" in line]


@pytest.mark.parametrize(
    ("coverage", "bf16"),
    [
        (None, False),
        (Coverage(), False),
        (Coverage(float_compute={"Conv": 1}), True),
        (Coverage(float_cheap={"Add": 1}), True),
    ],
)
def test_in_a_second_back_end(coverage: Coverage | None, bf16: bool) -> None:
    assert in_openvino(with_openvino("fp32", "fp16", "bf16", "int8"), Tried(coverage)) == [
        "fp32-openvino:  in openvino",
        "fp16-openvino:  in openvino with precision=fp16",
        "bf16-openvino:  in openvino with precision=bf16",
        "int8-openvino: quantize(scope=all) in openvino",
        *["int8-bf16-openvino: quantize(scope=all) in openvino with precision=bf16"] * bf16,
        "int8-matmul-openvino: quantize(scope=weights-ops) in openvino",
        *["int8-matmul-bf16-openvino: quantize(scope=weights-ops) in openvino with precision=bf16"] * bf16,
    ]


def test_in_a_second_back_end_that_has_no_half_precision() -> None:
    history = Tried(Coverage(float_compute={"Conv": 1}))
    assert in_openvino(with_openvino("fp32", "int8"), history) == [
        "fp32-openvino:  in openvino",
        "int8-openvino: quantize(scope=all) in openvino",
        "int8-matmul-openvino: quantize(scope=weights-ops) in openvino",
    ]
    assert in_openvino(with_openvino("fp32"), Tried()) == ["fp32-openvino:  in openvino"]


def test_what_could_not_be_built_in_a_second_back_end_leaves_nothing_in_float() -> None:
    class Failed(Tried):
        def add(self, recipe: Recipe) -> None:
            self.candidates.append(Candidate(recipe, failure="no memory"))

    found = in_openvino(with_openvino("fp32", "bf16", "int8"), Failed())
    assert [line.partition(":")[0] for line in found] == [
        "fp32-openvino",
        "bf16-openvino",
        "int8-openvino",
        "int8-matmul-openvino",
    ]


def test_the_users_own_recipes_are_all_that_is_tried() -> None:
    mine = Recipe("mine", (Step("cast", {"precision": "float16"}),))
    assert proposed("h100-sxm", recipes=(mine,), trains=True, prunable=True) == [
        "fp32: ",
        "mine: cast(precision=float16)",
    ]
    assert most(load_target("h100-sxm"), (mine,)) == 2


def test_pruned_networks() -> None:
    prune = "prune(latency_share={}, importance=hessian_diagonal, timing_precision=int8) + distill(epoch_samples=8192)"
    history = Tried(**{"int8": 0.5, "pruned-0.5x": 9.0, "pruned-0.7x": 0.5, "pruned-0.59x": 9.0})
    assert proposed("raspberry-pi-5", history, trains=True, prunable=True)[-4:] == [
        f"pruned-0.5x: {prune.format(0.5)}",
        f"pruned-0.7x: {prune.format(0.7)}",
        f"pruned-0.7x-int8: {prune.format(0.7)} + quantize(scope=all)",
        f"pruned-0.59x: {prune.format(0.59)}",
    ]
    untrained = "pruned: prune(untrained_drop=2.0, importance=hessian_diagonal, seconds=10.0)"
    assert proposed("raspberry-pi-5", prunable=True)[-1] == untrained
    none = propose(load_target("raspberry-pi-5"), Limits(max_drop=0.0), Tried(), prunable=True)  # type: ignore[arg-type]
    assert not any(recipe.name.startswith("pruned") for recipe in none)


@pytest.mark.parametrize(
    ("target", "settings", "count"),
    [
        ("raspberry-pi-5", {}, 14),
        ("raspberry-pi-5", {"trains": True}, 15),
        ("raspberry-pi-5", {"prunable": True}, 15),
        ("raspberry-pi-5", {"prunable": True, "trains": True}, 23),
        ("raspberry-pi-5", {"limits": Limits(objective="size")}, 15),  # int4 weights, where size counts
        ("h100-sxm", {}, 22),
        ("jetson", {}, 21),
    ],
)
def test_how_many_there_are_at_the_most(target: str, settings: dict[str, Any], count: int) -> None:
    assert most(load_target(target), **settings) == count
    assert (
        len(proposed(target, **{name: value for name, value in settings.items() if name != "limits"}))
        <= count
    )


def test_a_processor_without_int8_has_nothing_to_try() -> None:
    target = replace(load_target("raspberry-pi-5"), precisions=("fp32",))
    assert [recipe.name for recipe in propose(target, Limits(), Tried())] == ["fp32"]  # type: ignore[arg-type]
    assert most(target) >= 1


@pytest.mark.parametrize(
    ("precisions", "more"),
    [(("fp32",), 1), (("fp32", "fp16"), 2), (("fp32", "fp16", "bf16", "int8"), 8), (("fp32", "int8"), 4)],
)
def test_how_many_more_a_second_back_end_makes(precisions: tuple[str, ...], more: int) -> None:
    target = with_openvino(*precisions)
    both = most(target, backends=("onnxruntime", "openvino"))  # type: ignore[arg-type]
    assert both - most(target) == more  # type: ignore[arg-type]
    assert len(in_openvino(target, Tried(Coverage(float_compute={"Conv": 1})))) <= more


@pytest.mark.parametrize(
    ("operators", "matrices"),
    [
        ({"FusedGemm": 2, "Conv": 1}, True),
        ({"MatMul": 2, "Conv": 1}, True),
        ({"MatMul": 2, "Conv": 2}, False),
        ({"MatMul": 2, "Conv": 3}, False),
        ({"MatMul": 1, "Gemm": 1, "LSTM": 1}, True),
    ],
)
def test_a_network_is_made_of_matrices_where_these_are_more_than_half(
    operators: dict[str, int], matrices: bool
) -> None:
    found = proposed("raspberry-pi-5", Tried(Coverage(float_compute=operators)))
    assert ("dynamic-int8: quantize_dynamic()" in found) is matrices
