"""Networks that carry a state from call to call: how states are found, traced, told apart and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress import quantize
from compress.api.inputs import load_bound
from compress.backends.onnxruntime import OnnxRuntime
from compress.cli import main
from compress.core.tensor_spec import TensorSpec
from compress.data.task import load_task
from compress.errors import CompressError, DataError, MetricError, NetworkError, UsageError
from compress.metrics import load_metric
from compress.metrics.classification import top_k
from compress.metrics.over_frames import over_frames
from compress.metrics.unlabelled.stream_values import stream_value_metric
from compress.network.state_pairs import likely_pairs
from compress.network.states import Streams
from compress.profiling.accuracy import outcomes_of
from tests.streaming import (
    FEATURES,
    HIDDEN,
    STATES,
    STREAMS,
    Recurrent,
    Spotter,
    by_hand,
    denoiser,
    far,
    file_of,
    streams,
)

DATA = streams()


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_stream_is_run_as_a_loop_over_its_frames(tmp_path: Path, batch: int | str):
    model = denoiser(batch)
    network, task = load_bound(load_task({"x": DATA}, streams=True), file_of(tmp_path, model), state=STATES)
    assert task.whole is not None
    artifact = OnnxRuntime().compile(network.to_onnx(), tmp_path, {})
    with OnnxRuntime().open(artifact) as session:
        assert task.judging_calls == len(task.evaluation) * DATA.shape[1]
        runner = task.whole.over(session)
        (found,) = runner.run({"x": DATA[:3] if batch == "batch" else DATA[:1]})
    assert [spec.name for spec in runner.outputs] == ["y"]
    for row, answers in enumerate(found):
        wanted = by_hand(model, DATA[row])["y"][:, 0]
        assert np.abs(answers - wanted).max() < 1e-5
        assert far(by_hand(model, DATA[row], forget=True)["y"][:, 0], wanted) > 0.1


@pytest.mark.parametrize("batch", ["batch", 1])
def test_single_calls_have_the_states_that_the_original_has_there(tmp_path: Path, batch: int | str):
    model = denoiser(batch, rate=True)
    data = {"x": DATA, "rate": np.full(STREAMS, 8000)}
    _, task = load_bound(load_task(data, streams=True), file_of(tmp_path, model), state=STATES)
    calls = task.calls
    assert len(task.evaluation) + len(load_task(data).calibration) == STREAMS
    assert len(calls.calibration) > 100
    known = {
        frame.tobytes(): (stream, number)
        for stream, frames in enumerate(DATA)
        for number, frame in enumerate(frames)
    }
    ages = set()
    for sample in calls.calibration.take(np.arange(30)).batches(1):
        assert sample.inputs["rate"].shape == ()
        assert sample.inputs["rate"] == 8000
        stream, number = known[sample.inputs["x"].tobytes()]
        ages.add(number)
        if number:
            before = by_hand(model, DATA[stream, :number], rate=np.array(8000))
            for state, following in STATES.items():
                assert np.abs(sample.inputs[state] - before[following][-1]).max() < 1e-5
    assert len(ages) > 5


def test_a_first_value_in_the_data_begins_each_stream(tmp_path: Path):
    model = denoiser()
    first = streams(seed=1)[:, 0]
    data = {"x": DATA, "smooth": first}
    network, task = load_bound(load_task(data, streams=True), file_of(tmp_path, model), state=STATES)
    artifact = OnnxRuntime().compile(network.to_onnx(), tmp_path, {})
    with OnnxRuntime().open(artifact) as session:
        (found,) = task.whole.over(session).run({"x": DATA[:2], "smooth": first[:2]})
    ahead = {"x": DATA[0, :1], "h": np.zeros((1, 1, HIDDEN), np.float32), "smooth": first[:1]}
    wanted = OnnxRuntime().open(artifact).run(ahead)[0]
    assert np.allclose(found[0, 0], wanted[0], atol=1e-6)
    assert not np.allclose(found[0, 0], by_hand(model, DATA[0])["y"][0, 0], atol=1e-3)


def test_a_module_is_traced_with_its_states_along_their_own_axes():
    zeros = np.zeros((STREAMS, 1, HIDDEN), np.float32)
    data = {"x": DATA[:, :, None], "h": zeros, "c": zeros, "d": zeros}
    states = {"h": "hn", "c": "cn", "d": "dn"}
    network, task = load_bound(load_task(data, streams=True), Recurrent(), state=states)
    assert [spec.batch_axis for spec in network.inputs] == [0, 1, 1, 1]
    assert task.whole is not None
    assert task.whole.outputs[0].shape == ("batch", "frames", 1, FEATURES)
    with pytest.raises(DataError, match=r"the first value of the state h, c, d.*zeros will do"):
        load_bound(load_task({"x": DATA[:, :, None]}, streams=True), Recurrent(), state=states)


def test_a_module_that_begins_by_itself_tells_how_large_its_state_is():
    network, task = load_bound(load_task({"x": DATA}, streams=True), Spotter(), state={"cache": "output_1"})
    assert [spec.sample_shape for spec in network.inputs] == [(FEATURES,), (FEATURES, 2)]
    batch = next(task.calls.calibration.batches(64))
    assert np.abs(batch.inputs["cache"]).max() > 0
    with pytest.raises(UsageError, match=r"for --state cache=OUTPUT; found 'cash'; .*output"):
        load_bound(load_task({"x": DATA}, streams=True), Spotter(), state={"cache": "cash"})


def test_an_exported_program_tells_how_large_its_state_is(tmp_path: Path):
    zeros = torch.zeros(1, FEATURES, 2)
    program = torch.export.export(Spotter().eval(), (torch.zeros(1, FEATURES), zeros))
    torch.export.save(program, tmp_path / "spotter.pt2")
    task = load_task({"x": DATA}, streams=True)
    network, bound = load_bound(task, tmp_path / "spotter.pt2", state={"cache": "output_1"})
    assert network.inputs[1].sample_shape == (FEATURES, 2)
    assert next(bound.calls.calibration.batches(1)).inputs["cache"].shape == (1, FEATURES, 2)


@pytest.mark.parametrize(
    ("data", "states", "told"),
    [
        ({"x": DATA}, {"hh": "hn"}, r"an input, for --state.*'hh'; (did you mean|name one of).*h"),
        ({"x": DATA}, {"h": "hm", "smooth": "smoothed"}, r"an output, for --state.*'hm'; .*hn"),
        ({"x": DATA}, {"h": "smoothed"}, r"a next value like the state h: float32\[1, batch, 8\]"),
        ({"x": DATA}, {"h": "hn"}, r"none for smooth; carry .*: --state smooth=smoothed$"),
        ({"x": DATA}, {}, r"none for h, smooth; carry .*: --state h=hn --state smooth=smoothed$"),
        (
            {"x": DATA[:, 0]},
            STATES,
            r"streams of frames for input x.*; found \[30, 6\]; .*x\.reshape",
        ),
        ({"x": DATA[..., :3]}, STATES, r"input x: float32\[batch, frames, 6\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(
    tmp_path: Path, data: dict[str, Any], states: dict[str, str], told: str
):
    path = file_of(tmp_path, denoiser())
    with pytest.raises(UsageError, match=told):
        load_bound(load_task(data, streams=bool(states)), path, state=states or None)


def test_a_state_of_one_stream_and_an_input_of_any_number_are_refused(tmp_path: Path):
    model = denoiser()
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(NetworkError, match=r"open in every input, or in none; .*axis of 'h' open"):
        load_bound(load_task({"x": DATA}, streams=True), file_of(tmp_path, model), state=STATES)


def test_likely_pairs_have_one_shape_and_names_alike():
    inputs = [
        TensorSpec("state_in", "float32", (2, "batch", 8)),
        TensorSpec("cache0", "float32", ("batch", 4)),
    ]
    outputs = [
        TensorSpec("y", "float32", ("batch", 4)),
        TensorSpec("state_out", "float32", (2, "n", 8)),
        TensorSpec("cache0_next", "float32", ("batch", 4)),
    ]
    assert likely_pairs(inputs, outputs) == {"state_in": "state_out", "cache0": "cache0_next"}


def test_labels_of_frames_are_judged_frame_by_frame_and_averaged_over_streams():
    random = np.random.default_rng(0)
    scores, labels = random.standard_normal((5, 7, 3)), random.integers(0, 3, (5, 7))
    metric = over_frames(top_k(1)).fitted([TensorSpec("y", "float32", ("batch", "frames", 3))])
    values = metric.values(list(metric.per_sample([scores], labels, None)))
    assert np.allclose(values, (scores.argmax(-1) == labels).mean(axis=1))
    with pytest.raises(MetricError, match=r"a target for each of 7 frames for top-1.*np\.repeat"):
        metric.per_sample([scores], labels[:, 0], None)


def test_one_score_a_frame_is_held_against_one_number_a_frame():
    random = np.random.default_rng(0)
    scores, labels = random.random((5, 7, 1)), random.integers(0, 2, (5, 7))
    spec = TensorSpec("p", "float32", ("batch", "frames", 1))
    for name in ("f1", "auc"):
        metric = over_frames(load_metric(name)).fitted([spec])
        values = metric.values(list(metric.per_sample([scores], labels, None)))
        single = load_metric(name)
        rows = list(single.per_sample([scores.reshape(-1, 1)], labels.reshape(-1, 1), None))
        assert np.allclose(values, single.values(rows).reshape(5, 7).mean(axis=1))


def test_streams_of_several_lengths_and_values_that_are_a_streams_own(tmp_path: Path):
    """Lengths differ from batch to batch; the first value of a state and the rate belong to a whole stream."""
    batches = [
        {"x": streams(8, frames, seed=frames), "smooth": streams(8, 1)[:, 0], "rate": np.full(8, 16000)}
        for frames in (9, 12, 7)
    ]
    path = file_of(tmp_path, denoiser(rate=True))
    result = quantize(path, data=batches, out=tmp_path / "q.onnx", state=STATES)
    assert result.accuracy.samples == 18
    batches[1]["rate"] = np.full(8, 8000)
    with pytest.raises(DataError, match=r"one value of rate"):
        quantize(path, data=batches, out=tmp_path / "q.onnx", state=STATES)
    alone = file_of(tmp_path, denoiser(1, rate=True))
    assert (
        quantize(
            alone,
            data=[{**each, "smooth": each["smooth"][:, None]} for each in batches],
            out=tmp_path / "q.onnx",
            state=STATES,
        ).accuracy.samples
        == 18
    )


def test_labels_of_frames_judge_a_network(tmp_path: Path):
    labels = DATA.argmax(-1).astype(np.int64)
    network, task = load_bound(
        load_task({"x": DATA, "y": labels}, streams=True), file_of(tmp_path, denoiser()), state=STATES
    )
    assert task.metric.name == "top-1"
    assert task.calls.metric.name == "top-1"
    assert task.calls.calibration.labels is not None
    artifact = OnnxRuntime().compile(network.to_onnx(), tmp_path, {})
    with OnnxRuntime().open(artifact) as session:
        (outcomes,) = outcomes_of(session, task)
    rows = [next(task.evaluation.take([row]).batches(1)) for row in range(3)]
    right = [
        (by_hand(denoiser(), row.inputs["x"][0])["y"][:, 0].argmax(-1) == row.targets[0]).mean()
        for row in rows
    ]
    assert np.allclose(outcomes.values[:3], right)


def test_an_error_that_grows_from_frame_to_frame_costs_more_than_one_that_does_not():
    metric = stream_value_metric("y", 0)
    original = np.cumsum(np.random.default_rng(0).standard_normal((30, 100, 2)), axis=1)

    def kept(error: np.ndarray[Any, Any]) -> float:
        return float(metric.values(metric.per_sample([original + error], None, [original])).mean())

    growing = 0.02 * np.arange(100)[None, :, None] * np.ones((30, 1, 2))
    assert kept(np.zeros(1)) == 1
    assert kept(growing) < kept(np.full_like(growing, growing[:, :10].mean())) < 1
    lost = growing.copy()
    lost[4, 50:] = np.nan
    assert metric.values(metric.per_sample([original + lost], None, [original]))[4] == 0


def test_the_option_is_read_as_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = file_of(tmp_path, denoiser())
    np.savez(tmp_path / "data.npz", x=DATA)
    command = ["quantize", str(path), "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "q.onnx")]
    assert main([*command, "--state", "h"]) == 2
    assert "--state of the form INPUT=OUTPUT; found 'h'" in capsys.readouterr().err
    assert main([*command, "--state", "h=hn", "--state", "h=smoothed"]) == 2
    assert "one --state for 'h'" in capsys.readouterr().err
    assert main([*command, "--state", "h=hn", "--state", "smooth=smoothed"]) == 0


def test_a_state_that_grows_is_refused(tmp_path: Path):
    streams_of = Streams.of(
        {"past": "all"},
        [TensorSpec("x", "float32", ("batch", 1)), TensorSpec("past", "float32", ("batch", "length"))],
        [TensorSpec("y", "float32", ("batch", 1)), TensorSpec("all", "float32", ("batch", "longer"))],
        {"x": (4, 5, 1), "past": (4, 2)},
    )

    class Growing:
        inputs, outputs = streams_of.calls, streams_of.gives

        def run(self, feeds: Any, /) -> list[Any]:
            return [feeds["x"], np.concatenate([feeds["past"], feeds["x"]], axis=1)]

    with pytest.raises(NetworkError, match=r"a state 'past' of one shape.*\[4, 2\], then \[4, 3\]"):
        streams_of.over(Growing()).run({"x": np.zeros((4, 5, 1)), "past": np.zeros((4, 2))})
    with pytest.raises(CompressError, match=r"the first value of the state past"):
        Streams.of({"past": "all"}, streams_of.calls, streams_of.gives, {"x": (4, 5, 1)})
