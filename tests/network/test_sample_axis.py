"""Which axis counts samples: networks of torch and ONNX files that take them first, after the time, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compress import quantize
from compress.api.inputs import load_bound
from compress.backends import load_backend
from compress.cli import main
from compress.core.progress import Reporter
from compress.core.tensor_spec import TensorSpec
from compress.data.task import load_task
from compress.errors import DataError, NetworkError, UsageError
from compress.network.network import load_network
from compress.network.sample_axis import find_axes, samples_first
from compress.profiling.accuracy import batch_size, forward, outcomes_of

STEPS, FEATURES, CLASSES = 11, 6, 4
RANDOM = np.random.default_rng(0)
SEQUENCES = RANDOM.standard_normal((40, STEPS, FEATURES)).astype(np.float32)


class Last(nn.Module):
    """Classes from the last state of a recurrence."""

    def __init__(self, recurrence: nn.RNNBase) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.recurrence(x)[1]
        return self.head(states[0][-1] if isinstance(states, tuple) else states[-1])


class Steps(nn.Module):
    """Classes at each step, as torch's layers give them by default: [time, batch, classes]."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence, self.head = nn.LSTM(FEATURES, 8), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrence(x)[0])


class Attention(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(FEATURES, 2, 12, dropout=0, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        return self.encoder(x, src_key_padding_mask=padding)


class Recogniser(nn.Module):
    """[batch, features, time] in, [time, batch, classes] out, as for CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(FEATURES, CLASSES, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).permute(2, 0, 1).log_softmax(-1)


def padding() -> np.ndarray:
    return np.arange(STEPS)[None] >= np.array([STEPS - 2, STEPS - 4])[:, None]


@pytest.mark.parametrize(
    ("module", "example", "inputs", "outputs"),
    [
        (Last(nn.GRU(FEATURES, 8)), [SEQUENCES], [("time", "batch", FEATURES)], [("batch", CLASSES)]),
        (Last(nn.LSTM(FEATURES, 8, 2)), [SEQUENCES], [("time", "batch", FEATURES)], [("batch", CLASSES)]),
        (
            Last(nn.GRU(FEATURES, 8, batch_first=True)),
            [SEQUENCES],
            [("batch", STEPS, FEATURES)],
            [("batch", CLASSES)],
        ),
        (Steps(), [SEQUENCES], [("time", "batch", FEATURES)], [("time", "batch", CLASSES)]),
        (
            Attention(batch_first=False),
            [SEQUENCES[:2], padding()],
            [(STEPS, "batch", FEATURES), ("batch", STEPS)],
            [(STEPS, "batch", FEATURES)],
        ),
        (
            Attention(batch_first=True),
            [SEQUENCES[:2], padding()],
            [("batch", STEPS, FEATURES), ("batch", STEPS)],
            [("batch", STEPS, FEATURES)],
        ),
        (
            Recogniser(),
            [SEQUENCES.transpose(0, 2, 1)],
            [("batch", FEATURES, STEPS)],
            [(STEPS, "batch", CLASSES)],
        ),
        (nn.Linear(FEATURES, 3), [SEQUENCES], [("batch", STEPS, FEATURES)], [("batch", STEPS, 3)]),
    ],
    ids=["gru", "lstm", "batch first", "steps", "attention", "attention batch first", "ctc", "pointwise"],
)
def test_the_axis_is_found_and_named_in_the_exported_model(module, example, inputs, outputs):
    network = load_network(module.eval(), example=example)
    assert [spec.shape for spec in network.inputs] == inputs
    assert [spec.shape for spec in network.outputs] == outputs
    model = network.to_onnx()
    declared = [
        tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert declared == inputs + outputs


def test_a_sequence_of_any_length_and_number_runs_as_in_torch(tmp_path: Path):
    torch.manual_seed(0)
    module = Steps().eval()
    result = quantize(module, data={"x": SEQUENCES}, out=tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(str(result.path))
    x = RANDOM.standard_normal((STEPS + 6, 7, FEATURES)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    (found,) = session.run(None, {"x": x})
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_a_network_whose_samples_are_mixed_along_every_axis_is_refused_unless_an_axis_is_named():
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.mean((0, 1), keepdim=True)

    with pytest.raises(NetworkError, match=r"do not depend on each other; .* --batch-axis x=0"):
        load_network(Mixing(), example=[SEQUENCES])
    named = load_network(Mixing(), example=[SEQUENCES], batch_axis={"x": 0})
    assert named.inputs[0].shape == ("batch", STEPS, FEATURES)


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({"inputs": 1}, r"--batch-axis; found 'inputs'; did you mean input\?"),
        ({"elsewhere": 1}, r"--batch-axis; found 'elsewhere'; name one of: input"),
        ({"": 7}, r"--batch-axis of 'input' from 0 to 2; found 7"),
    ],
)
@pytest.mark.parametrize("kind", ["module", "onnx"])
def test_an_input_or_axis_that_is_not_there_is_refused(axes, told, kind, tmp_path: Path):
    task = load_task({"input": SEQUENCES})
    given: nn.Module | Path = nn.Linear(FEATURES, 3)
    if kind == "onnx":
        given = tmp_path / "m.onnx"
        model = recurrent_model(("time", "batch"))
        model.graph.input[0].name = model.graph.node[0].input[0] = "input"
        onnx.save(model, given)
    with pytest.raises(UsageError, match=told):
        load_bound(task, given, batch_axis=axes)


def test_an_axis_that_is_not_the_first_and_a_fixed_batch_are_told():
    notes: list[str] = []

    class Listening(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

    load_bound(load_task({"x": SEQUENCES}), Last(nn.GRU(FEATURES, 8)).eval(), reporter=Listening())
    assert notes == [
        "samples lie along axis 1 of 'x': found by running two alone and together, or named by --batch-axis"
    ]
    notes.clear()
    load_bound(load_task({"x": SEQUENCES}), nn.Linear(FEATURES, 3), reporter=Listening())
    assert notes == []


def test_rounding_of_equal_samples_is_not_taken_for_mixing():
    """What is left where large numbers cancel differs from call to call by more than its own size."""
    calls = iter([1e-3, 2e-3, -1e-3, 3e-3])

    def run(feeds):
        (tokens,) = feeds.values()
        return [np.full((len(tokens), 1), next(calls))]

    assert find_axes(run, {"tokens": np.zeros((2, 5), np.int64)}) is None


def test_a_named_axis_wins():
    network = load_network(nn.Linear(FEATURES, 3), example=[SEQUENCES], batch_axis={"": 1})
    assert network.inputs[0].batch_axis == 1


def test_a_single_sample_and_equal_samples_still_tell():
    module = Last(nn.GRU(FEATURES, 8)).eval()
    for example in (SEQUENCES[:1], np.repeat(SEQUENCES[:1], 2, axis=0), np.zeros_like(SEQUENCES[:2])):
        assert load_network(module, example=[example]).inputs[0].batch_axis == 1


def recurrent_model(names: tuple[str, str]) -> onnx.ModelProto:
    """Class scores of the last step of an LSTM over [time, batch, features]; ``names`` are those of its axes."""
    weights = {
        "w": RANDOM.normal(size=(1, 4 * 8, FEATURES)),
        "r": RANDOM.normal(size=(1, 4 * 8, 8)) / 3,
        "head": RANDOM.normal(size=(8, CLASSES)),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors.append(numpy_helper.from_array(np.array([0]), "first"))
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["all", "last"], hidden_size=8),
        helper.make_node("Squeeze", ["last", "first"], ["state"]),
        helper.make_node("MatMul", ["state", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*names, FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [names[1], CLASSES])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("names", [("time", "batch"), ("batch", "time"), ("T", "N"), ("", "")])
def test_labels_of_an_onnx_file_meet_their_samples_whatever_the_file_calls_its_axes(names, tmp_path: Path):
    model = recurrent_model(names)
    onnx.save(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    labels = session.run(None, {"x": SEQUENCES.transpose(1, 0, 2)})[0].argmax(1)
    result = quantize(tmp_path / "m.onnx", data={"x": SEQUENCES, "y": labels}, out=tmp_path / "q.onnx")
    assert result.original.mean == 1
    assert result.accuracy.mean > 0.8


def test_a_file_for_one_sequence_after_the_time_is_opened_for_any_number(tmp_path: Path):
    model = recurrent_model(("time", "batch"))
    for value, sizes in ((model.graph.input[0], (STEPS, 1)), (model.graph.output[0], (1,))):
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=False):
            dim.dim_value = size
    onnx.save(model, tmp_path / "m.onnx")
    network, task = load_bound(load_task({"x": SEQUENCES}), tmp_path / "m.onnx")
    assert network.inputs[0].shape == (STEPS, "batch", FEATURES)
    assert network.outputs[0].shape[0] == "batch"
    assert next(task.evaluation.batches(3)).inputs["x"].shape == (STEPS, 3, FEATURES)


def with_rate() -> onnx.ModelProto:
    """An audio network: samples, a state along axis 1 and a sampling rate, which counts no samples."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["x", "r"], ["scaled"]),
        helper.make_node("Squeeze", ["state", "first"], ["s"]),
        helper.make_node("Add", ["scaled", "s"], ["both"]),
        helper.make_node("MatMul", ["both", "w"], ["y"]),
        helper.make_node("Unsqueeze", ["y", "first"], ["next"]),
    ]
    weight = RANDOM.normal(size=(FEATURES, FEATURES)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "audio",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, "batch", FEATURES]),
            helper.make_tensor_value_info("rate", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", FEATURES]),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, "batch", FEATURES]),
        ],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([0]), "first")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_input_that_counts_no_samples_is_held_at_its_value(tmp_path: Path):
    onnx.save(with_rate(), tmp_path / "m.onnx")
    data = {
        "x": SEQUENCES[:, 0],
        "state": SEQUENCES[:, 1:2],
        "rate": np.full(len(SEQUENCES), 16000),
    }
    result = quantize(tmp_path / "m.onnx", data=data, out=tmp_path / "q.onnx")
    assert result.accuracy.mean > 0.95
    session = onnxruntime.InferenceSession(str(result.path))
    feeds = {"x": SEQUENCES[:3, 0], "state": SEQUENCES[None, :3, 1], "rate": np.array(16000)}
    assert [each.shape for each in session.run(None, feeds)] == [(3, FEATURES), (1, 3, FEATURES)]
    data["rate"][7] = 8000
    with pytest.raises(DataError, match=r"one value of rate: int64.* for all samples"):
        quantize(tmp_path / "m.onnx", data=data, out=tmp_path / "q.onnx")


def test_a_shape_that_a_file_declares_and_does_not_give_is_corrected(tmp_path: Path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[2, 0, 1]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    weight = numpy_helper.from_array(RANDOM.normal(size=(FEATURES, CLASSES)).astype(np.float32), "w")
    graph = helper.make_graph(
        nodes,
        "lies",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, FEATURES, "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 9, CLASSES])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    task = load_task({"x": SEQUENCES.transpose(0, 2, 1)})
    network, _ = load_bound(task, tmp_path / "m.onnx")
    assert network.outputs[0].shape == ("batch", "y_1", CLASSES)


def test_an_output_without_an_axis_for_samples_is_judged_one_sample_at_a_time(tmp_path: Path):
    """Rows above 0, however many: the number differs from sample to sample."""
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["above"]),
        helper.make_node("NonZero", ["above"], ["places"]),
        helper.make_node("Identity", ["x"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detections",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 9])],
        [
            helper.make_tensor_value_info("places", TensorProto.INT64, [2, "found"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 9]),
        ],
        [numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    task = load_task({"x": RANDOM.standard_normal((30, 9)).astype(np.float32)})
    network, bound = load_bound(task, tmp_path / "m.onnx")
    backend = load_backend("onnxruntime")
    with backend.open(backend.compile(network.to_onnx(), tmp_path, {})) as session:
        assert batch_size(session, bound) == 1
        batch = next(bound.evaluation.batches(1))
        places, scores = forward(session, batch)
        assert places.shape == (1, 2, int((batch.inputs["x"] > 0).sum()))
        assert scores.shape == (1, 9)


def found_rows(path: Path, batch: int | str) -> Path:
    """A network whose only output has a row for each value above 0, of whichever sample."""
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["above"]),
        helper.make_node("NonZero", ["above"], ["places"]),
        helper.make_node("Transpose", ["places"], ["y"], perm=[1, 0]),
    ]
    graph = helper.make_graph(
        nodes,
        "detections",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 9])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["found", 2])],
        [numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("batch", ["batch", 1])
def test_lists_of_what_is_found_are_judged_one_sample_at_a_time(tmp_path: Path, batch: int | str):
    """One row in most samples, which looks like an axis of samples; none in some, and several in others."""
    x = RANDOM.standard_normal((40, 9)).astype(np.float32)
    if batch == 1:
        x[:36] = -1
        x[np.arange(36), np.arange(36) % 9] = 1
    x[30:36] = -1
    path = found_rows(tmp_path / "m.onnx", batch)
    network, bound = load_bound(load_task({"x": x}), path)
    backend = load_backend("onnxruntime")
    with backend.open(backend.compile(network.to_onnx(), tmp_path, {})) as session:
        (outcomes,) = outcomes_of(session, bound, session)
    np.testing.assert_array_equal(outcomes.values, 1)


def test_an_output_of_another_length_than_was_fed_is_refused_and_never_cut():
    spec = TensorSpec("scores", "float32", ("batch", 3))
    assert samples_first(np.zeros((4, 3)), spec, 2, 4).shape == (2, 3)
    with pytest.raises(NetworkError, match="4 samples along axis 0 of output 'scores'; found the shape"):
        samples_first(np.zeros((60, 3)), spec, 4, 4)


def test_ranges_that_are_measured_over_the_whole_batch_do_not_hide_its_axis():
    """As dynamic quantization computes: a sample's result depends a little on the others beside it."""

    def run(feeds):
        x = feeds["x"]
        scale = np.abs(x).max() / 127
        return [np.round(x / scale) * scale @ np.ones((FEATURES, 2))]

    assert find_axes(run, {"x": SEQUENCES[:, 0]}).inputs == {"x": 0}


def test_a_file_whose_names_do_not_say_where_samples_lie_is_not_profiled_as_if_they_did(
    tmp_path: Path, capsys
):
    onnx.save(recurrent_model(("T", "N")), tmp_path / "m.onnx")
    np.savez(tmp_path / "val.npz", x=SEQUENCES)
    arguments = [
        "profile",
        str(tmp_path / "m.onnx"),
        "--data",
        str(tmp_path / "val.npz"),
        "--seconds",
        "0.02",
    ]
    assert main(arguments) == 2
    assert "call axis 1 'batch' in the file" in capsys.readouterr().err


def test_an_open_output_of_another_size_than_the_only_sample(tmp_path: Path) -> None:
    """A published judge of echoes: any number of recordings by its names, in truth one, and four numbers of it."""
    weights = RANDOM.standard_normal((24, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "shape"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["row"]),
            helper.make_node("Squeeze", ["row", "zero"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch_size", 3, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch_size"])],
        [
            numpy_helper.from_array(np.array([1, 24]), "shape"),
            numpy_helper.from_array(np.array([0]), "zero"),
            numpy_helper.from_array(weights, "w"),
        ],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    x = RANDOM.standard_normal((40, 3, 8)).astype(np.float32)
    network, _ = load_bound(load_task({"x": x}), path)
    assert (network.inputs[0].shape, network.outputs[0].shape) == ((1, 3, 8), ("batch",))
    quantized = quantize(path, data={"x": x}, out=tmp_path / "int8.onnx")
    session = onnxruntime.InferenceSession(quantized.path)
    (found,) = session.run(None, {"x": x[:1]})
    wanted = x[0].reshape(24) @ weights
    assert np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()
