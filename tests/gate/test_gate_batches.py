"""What a build answers in batches of another size, on repeated samples, and on its own sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress import optimize
from compress.data.task import load_task
from compress.gate import Check, GatePolicy, Verdict, gate, load_subject
from compress.gate.latency import judge_recorded_latencies
from compress.onnx_graph.files import save_model
from compress.records.profile import Interval, Latency

ACCURACY = GatePolicy(checks=("accuracy",))


def linear(path: Path, wrong_below: int = 0, wrong_from: int = 10**6, sign: float = 1.0) -> Path:
    """Scores of three classes; those of class 0 alone in batches of fewer, or of at least so many samples."""
    weights = numpy_helper.from_array(sign * np.eye(4, 3, dtype=np.float32), "w")
    numbers = {"zero": 0, "least": wrong_below, "most": wrong_from}
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    constants.append(numpy_helper.from_array(np.array([[9.0, 0.0, 0.0]], np.float32), "first"))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Less", ["count", "least"], ["few"]),
        helper.make_node("GreaterOrEqual", ["count", "most"], ["many"]),
        helper.make_node("Or", ["few", "many"], ["wrong"]),
        helper.make_node("Where", ["wrong", "first", "scores"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weights, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    save_model(model, path)
    return path


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    return x, x[:, :3].argmax(1).astype(np.int64)


def accuracy(
    candidate: Path, baseline: Path, rows: tuple[np.ndarray, np.ndarray], policy: GatePolicy = ACCURACY
) -> Check:
    (check,) = gate(candidate, baseline, task=load_task(rows, calibrates=False), policy=policy)
    return check


def test_right_in_batches_and_wrong_alone_fails(tmp_path: Path, rows: tuple[np.ndarray, np.ndarray]) -> None:
    base, wrong = linear(tmp_path / "base.onnx"), linear(tmp_path / "wrong.onnx", wrong_below=2)
    assert accuracy(base, base, rows).verdict is Verdict.PASS
    check = accuracy(wrong, base, rows)
    assert check.verdict is Verdict.FAIL
    assert "alone" in check.detail


def test_wrong_in_batches_that_latency_is_judged_at_fails(
    tmp_path: Path, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    base, wrong = linear(tmp_path / "base.onnx"), linear(tmp_path / "wrong.onnx", wrong_from=32)
    policy = GatePolicy(checks=("accuracy", "latency"), looks=(1,), max_slowdown_percent=1000)
    check = gate(wrong, base, task=load_task(rows, calibrates=False), policy=policy)[0]
    assert check.verdict is Verdict.FAIL
    assert "in batches of 32" in check.detail


def test_a_baseline_that_does_the_same_is_not_fallen_behind(
    tmp_path: Path, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    wrong = linear(tmp_path / "wrong.onnx", wrong_below=2)
    assert accuracy(wrong, wrong, rows).verdict is Verdict.PASS


def test_repeated_samples_count_once(tmp_path: Path, rows: tuple[np.ndarray, np.ndarray]) -> None:
    base = linear(tmp_path / "base.onnx")
    few = tuple(np.repeat(each[:10], 100, axis=0) for each in rows)
    check = accuracy(base, base, few)  # type: ignore[arg-type]
    assert check.verdict is Verdict.INCONCLUSIVE
    assert check.figures["samples"] == 10
    assert "10 of 1000 samples are distinct" in check.detail
    each = accuracy(base, base, few, replace(ACCURACY, repeated_samples="each"))  # type: ignore[arg-type]
    assert each.verdict is Verdict.PASS
    assert "10 of 1000 samples are distinct" in each.detail


def test_repeated_samples_of_a_slice_count_once(tmp_path: Path, rows: tuple[np.ndarray, np.ndarray]) -> None:
    base, wrong = linear(tmp_path / "base.onnx"), linear(tmp_path / "wrong.onnx", sign=-1.0)
    doubled = tuple(np.concatenate([each, each]) for each in rows)
    groups = np.r_[np.zeros(400, int), np.ones(400, int)]
    (check,) = gate(
        wrong,
        base,
        task=load_task(doubled, calibrates=False),
        groups=groups,
        policy=GatePolicy(checks=("slices",)),
    )
    assert [row["samples"] for row in check.figures["slices"]] == [400]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, rows: tuple[np.ndarray, np.ndarray]) -> Path:
    directory = tmp_path_factory.mktemp("own_sample")
    recipe = directory / "none.toml"
    recipe.write_text('name = "nothing"\n[[technique]]\nname = "cast"\n')
    network = linear(directory / "base.onnx")
    out = directory / "build"
    optimize(network, data=rows, out=out, recipes=[recipe], seconds=0.05, threads=1)
    return out


def test_without_data_it_says_so_and_runs_the_own_sample(bundle: Path) -> None:
    (check,) = gate(bundle, bundle, policy=ACCURACY)
    assert check.verdict is Verdict.PASS
    assert "as recorded, without --data not run again" in check.detail
    assert "the candidate gives what was recorded for its own sample" in check.detail


def test_a_build_that_does_not_give_what_was_recorded_fails(bundle: Path, tmp_path: Path) -> None:
    subject = load_subject(bundle)
    assert subject.sample is not None
    outputs = [{**each, "tolerance": -1.0} for each in subject.sample["outputs"]]
    other = replace(subject, sample={**subject.sample, "outputs": outputs})
    (check,) = gate(other, bundle, policy=ACCURACY)
    assert check.verdict is Verdict.FAIL
    assert "something else for its own sample" in check.detail
    (check,) = gate(bundle, other, policy=ACCURACY)
    assert check.verdict is Verdict.INCONCLUSIVE


def test_recorded_latency_is_judged_at_every_batch_size() -> None:
    def timed(batch: int, ms: float) -> Latency:
        interval = Interval(ms * 0.99, ms * 1.01, 0.95)
        return Latency("measured", batch, ms, None, None, interval, 1.0, 100)

    quick = [(timed(1, 1.0), timed(1, 10.0)), (timed(32, 1.0), timed(32, 10.0))]
    assert judge_recorded_latencies(quick, GatePolicy()).verdict is Verdict.PASS
    check = judge_recorded_latencies([quick[0], (timed(32, 70.0), timed(32, 10.0))], GatePolicy())
    assert check.verdict is Verdict.FAIL
    assert "batch 32" in check.detail


def test_p99_of_slow_calls_is_given_up(
    tmp_path: Path, rows: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.gate.run._P99_S", 0.0)
    monkeypatch.setattr("compress.profiling.latency.LEAST_CALLS", {90: 64, 99: 10**9})
    base = linear(tmp_path / "base.onnx")
    (check,) = gate(base, base, task=load_task(rows, calibrates=False), policy=GatePolicy(checks=("p99",)))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "p99 needs" in check.detail
