from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.hosts import connect
from compress.network.network import load_network
from compress.pruning import find_channels
from compress.pruning.latency_table import Bench, Wanted, label, measure_table
from compress.pruning.probes import Shape, milliseconds, probe, quantized
from compress.pruning.timed_layers import CountedOperator, TimedLayer, timed_layers
from compress.target.target import load_target

CONV = Shape("Conv", 32, 48, (7, 7), (("kernel_shape", (3, 3)), ("pads", (1,) * 4), ("strides", (2, 2))))
DEPTHWISE = Shape("Conv", 32, 32, (7, 7), (("kernel_shape", (3, 3)), ("pads", (1,) * 4)), tied=True)
TRANSPOSED = Shape("ConvTranspose", 8, 12, (5,), (("kernel_shape", (2,)), ("strides", (2,))))
LINEAR = Shape("MatMul", 24, 40, (6,))
FLAT = Shape("MatMul", 24, 40, ())
LSTM = Shape("LSTM", 12, 16, (5,), (("direction", "bidirectional"), ("layers", 2)))
GRU = Shape("GRU", 12, 16, (5,), (("direction", "forward"), ("layers", 1), ("linear_before_reset", 1)))
SHAPES = [CONV, DEPTHWISE, TRANSPOSED, LINEAR, FLAT, LSTM, GRU]


def bench(target: str = "cpu", **settings) -> Bench:
    found = load_target(target)
    host = connect(found, 0.05)
    return Bench(host, found, host.backend.default_options(found, 1), **settings)


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_branch_of_every_layer_is_timed(shape, precision) -> None:
    if precision == "int8" and shape.operator in ("LSTM", "GRU"):
        pytest.skip("recurrent layers stay float")
    points = [(16, 16), (8, 8), (shape.inputs, shape.inputs if shape.tied else shape.outputs)]
    runs, source = bench(precision=precision).layers(probe(shape, points))
    assert source == "measured"
    assert len(runs) > 1
    for layers in runs:
        times = milliseconds(layers, 3)
        assert all(times)
        # The entrances and exits are not the layer's.
        assert sum(times) < sum(layer.ms for layer in layers)
    if precision == "int8":
        assert any(layer.precision == "int8" for layer in runs[0])


@pytest.mark.parametrize("shape", SHAPES, ids=label)
def test_weights_are_counted_as_the_probe_has_them(shape) -> None:
    points = [(8, 8), (16, 16)]
    for number, point in enumerate(points):
        held = [
            int(np.prod(each.dims))
            for each in probe(shape, points).graph.initializer
            if each.name.startswith(f"branch/{number}/") and each.name[-1] in "wr"
        ]
        assert shape.weights(*point) == sum(held)


def test_a_probe_takes_any_batch(tmp_path) -> None:
    path = tmp_path / "probe.onnx"
    onnx.save(probe(CONV, [(16, 16)]), path)
    backend = OnnxRuntime()
    with backend.open(Artifact(path, "", 0, "onnxruntime", {})) as session:
        assert session.run({"x": np.zeros((5, 16, 7, 7), np.float32)})[0].shape == (5, 16, 1, 1)


def test_int8_probes_are_as_the_target_wants_them() -> None:
    flavour = load_target("jetson-orin-nano-super").quantization
    found = {node.op_type for node in quantized(probe(CONV, [(16, 16)]), flavour).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= found


def test_conversions_around_an_int8_layer_are_not_the_layer() -> None:
    runs, _ = bench(precision="int8").layers(probe(CONV, [(16, 16), (32, 48)]))
    for layers in runs:
        own = [layer for layer in layers if layer.name.startswith("branch/")]
        assert {layer.operator for layer in own} == {"QLinearConv", "DequantizeLinear"}
        convolutions = [layer.ms for layer in own if layer.operator == "QLinearConv"]
        assert sum(milliseconds(layers, 2)) == pytest.approx(sum(convolutions))


def test_an_absent_target_is_estimated() -> None:
    table = measure_table([Wanted(CONV, 1.0)], bench("jetson-orin-nano-super"), whole_ms=0.1)
    assert table.source == "estimated"
    assert table.to_dict()["source"] == "estimated"
    assert table.staircases[CONV].full_ms > 0


def test_what_is_cached_is_not_timed_again(tmp_path) -> None:
    wanted = [Wanted(FLAT, 0.3, writes=False)]
    first = measure_table(wanted, bench(cache=tmp_path), whole_ms=0.1)
    assert first.staircases[FLAT].outputs == (40,)
    again = measure_table(wanted, bench(cache=tmp_path), whole_ms=0.1)
    assert again.staircases == first.staircases  # to the last digit, as no second measurement is
    assert len(list(tmp_path.iterdir())) == 1
    assert bench(precision="int8").key() != bench().key()
    for file in tmp_path.iterdir():
        file.write_text(file.read_text()[:50])  # cut short
    assert measure_table(wanted, bench(cache=tmp_path), whole_ms=0.1).staircases.keys() == {FLAT}


def test_what_there_is_no_time_or_memory_for_is_left_out() -> None:
    huge = Shape("MatMul", 25088, 4096, ())
    table = measure_table([Wanted(huge, 0.9), Wanted(CONV, 0.1)], bench(), whole_ms=0.1)
    assert table.staircases.keys() == {CONV}
    assert not measure_table([Wanted(CONV, 1.0)], bench(seconds=0.0), whole_ms=0.1).staircases
    slow = measure_table([Wanted(CONV, 1.0)], bench(seconds=2.0), whole_ms=30.0)
    assert len(slow.staircases[CONV].inputs) < 16


class Zoo(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 32, 3, padding=1)
        self.depthwise = torch.nn.Conv2d(32, 32, 3, padding="same", groups=32)
        self.grouped = torch.nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.rows = torch.nn.LSTM(32, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.grouped(self.depthwise(self.stem(x)).relu()).mean(2).transpose(1, 2)
        x, _ = self.rows(x)
        return self.head(x.mean(1))


def test_the_layers_of_a_network_are_known_by_their_shapes() -> None:
    torch.manual_seed(0)
    example = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    network = load_network(Zoo().eval(), example={"x": example})
    channels = find_channels(network.graph, [torch.from_numpy(example)])
    found = timed_layers(channels)
    timed = {each.name: each for each in found if isinstance(each, TimedLayer)}
    assert set(timed) == {"stem", "depthwise", "rows", "head"}
    assert sum(isinstance(each, CountedOperator) for each in found) == 1
    assert sum(each.macs({}) for each in found) == pytest.approx(channels.macs())
    assert timed["depthwise"].shape.tied
    assert label(timed["stem"].shape) == "Conv 3x3 3→32 @8x8"
    assert timed["rows"].shape == Shape("LSTM", 32, 16, (8,), (("direction", "bidirectional"), ("layers", 2)))
    cells = next(group for group in channels.groups if group.name == "rows")
    assert timed["rows"].widths({cells.name: 0.5}) == (32, 8)
    assert timed["head"].widths({cells.name: 0.5}) == (16, 5)
