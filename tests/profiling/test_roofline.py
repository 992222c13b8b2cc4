"""The estimate is the roofline's, and says that it is one."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

from compress.errors import TargetError
from compress.onnx_graph.layers import Layer, layers
from compress.profiling.efficiency import PRIOR
from compress.profiling.roofline import Estimate, estimate
from compress.target.target import Peaks, Target, load_target

CONVOLUTION = Layer(
    name="conv",
    op="Conv",
    kind="convolution",
    fused=("Relu",),
    inputs=((1, 64, 56, 56),),
    outputs=((1, 64, 56, 56),),
    precision="fp16",
    parameters=36_864,
    weight_bytes=73_728,
    activation_bytes=802_816,
    macs=115_605_504,
)


@pytest.fixture
def target() -> Target:
    """A processor of the user's own in round numbers, of which no latencies are published."""
    peaks = Peaks(fp32_tflops=8, fp16_tflops=64, int8_tops=128)
    return replace(load_target("t4"), family="own", peaks=peaks, bandwidth_gb_s=320, launch_overhead_us=5)


def test_a_layer_takes_the_longer_of_arithmetic_and_memory_and_its_launch(target: Target) -> None:
    (share,) = estimate([CONVOLUTION], target, 1).layers
    assert share.compute_ms == pytest.approx(2 * 115_605_504 / (64e12 * PRIOR["convolution"]) * 1e3)
    assert share.memory_ms == pytest.approx((73_728 + 802_816) / (320e9 * PRIOR["bandwidth"]) * 1e3)
    assert share.launch_ms == pytest.approx(0.005)
    assert share.ms == pytest.approx(max(share.compute_ms, share.memory_ms) + 0.005)


@pytest.mark.parametrize(
    "change, bound",
    [
        ({"macs": 10**10}, "compute"),
        ({"activation_bytes": 10**8}, "memory"),
        ({"macs": 10, "activation_bytes": 10, "weight_bytes": 10}, "launch"),
    ],
)
def test_what_bounds_a_layer(target: Target, change: dict[str, int], bound: str) -> None:
    found = estimate([replace(CONVOLUTION, **change)], target, 1)
    assert found.layers[0].bound == bound
    assert found.ms_by_bound()[bound] == found.total_ms


@pytest.mark.parametrize(
    "precision, peaks, used, rate",
    [
        ("int8", Peaks(8, 64, None, 128), "int8", 128),
        ("int8", Peaks(8, 64), "fp16", 64),
        ("int8", Peaks(8), "fp32", 8),
        ("fp8", Peaks(8, 64, None, 128), "fp16", 64),
        ("fp8", Peaks(8, 64, None, 128, 256), "fp8", 256),
        ("int4", Peaks(8, 64, None, 128), "int8", 128),
        ("bf16", Peaks(8, 64), "fp32", 8),
        ("fp32", Peaks(8, 64), "fp32", 8),
        ("int64", Peaks(8, 64), "fp32", 8),
    ],
)
def test_a_missing_precision_runs_in_the_next_wider_one(
    target: Target, precision: str, peaks: Peaks, used: str, rate: float
) -> None:
    found = estimate([replace(CONVOLUTION, precision=precision)], replace(target, peaks=peaks), 1)
    assert found.layers[0].precision == used
    operations = 2 * CONVOLUTION.macs
    assert found.layers[0].compute_ms == pytest.approx(operations / (rate * 1e9 * PRIOR["convolution"]))


def test_tensorrt_multiplies_fp32_in_tf32_where_the_gpu_has_it(target: Target) -> None:
    ampere = replace(target, peaks=Peaks(8, 64, bf16_tflops=64))
    layer = replace(CONVOLUTION, precision="fp32")

    def compute(where: Target) -> float:
        return estimate([layer], where, 1).layers[0].compute_ms

    assert compute(ampere) == pytest.approx(compute(target) * 8 / 32)
    assert compute(replace(ampere, backend="onnxruntime")) == compute(target)


def test_time_steps_of_a_recurrence_are_launched_one_after_the_other(target: Target) -> None:
    (share,) = estimate([replace(CONVOLUTION, kind="recurrence", steps=28)], target, 1).layers
    assert share.launch_ms == pytest.approx(28 * 0.005)


def test_an_estimate_says_so_and_cannot_say_otherwise(target: Target) -> None:
    found = estimate([CONVOLUTION], target, 1)
    assert found.source == "estimated"
    assert found.to_dict()["source"] == "estimated"
    assert found.layers[0].record().source == "estimated"
    with pytest.raises(TypeError):
        Estimate("t4", 1, (), (0.5, 2.0), 0.9, "", source="measured")
    with pytest.raises(AttributeError):
        found.source = "measured"
    with pytest.raises((TypeError, ValueError)):
        replace(found, source="measured")


def test_the_interval_surrounds_the_estimate_and_is_wider_where_nothing_was_compared(target: Target) -> None:
    found = estimate([CONVOLUTION], target, 1)
    assert found.low_ms * 3 == pytest.approx(found.total_ms) == pytest.approx(found.high_ms / 3)
    assert "judgement" in found.basis
    never_measured, measured = (estimate([CONVOLUTION], load_target(name), 1) for name in ("h200", "t4"))
    widths = [high / low for low, high in (each.interval for each in (found, never_measured, measured))]
    assert widths == sorted(widths, reverse=True)
    assert measured.low_ms < measured.total_ms < measured.high_ms
    assert measured.to_dict()["interval_ms"] == [measured.low_ms, measured.high_ms]
    assert (measured.level, "published" in measured.basis) == (0.9, True)


def test_operators_of_unknown_cost_are_named(target: Target) -> None:
    found = estimate([CONVOLUTION, replace(CONVOLUTION, op="Magic", counted=False)], target, 1)
    assert found.uncounted == ("Magic",)
    assert found.interval_ms is None  # nobody knows what it adds
    assert found.to_dict()["interval_ms"] is None
    assert estimate([CONVOLUTION], target, 1).interval_ms is not None


def test_a_target_without_figures_is_an_error(target: Target) -> None:
    with pytest.raises(TargetError, match="bandwidth"):
        estimate([CONVOLUTION], replace(target, bandwidth_gb_s=0), 1)
    with pytest.raises(TargetError, match="peak"):
        estimate([CONVOLUTION], replace(target, peaks=Peaks(0)), 1)


def bottlenecks(blocks: tuple[int, int, int, int]) -> onnx.ModelProto:
    """ResNet of bottleneck blocks at 224×224 (He et al. 2015), batch normalisation folded; weights have no values."""
    lines = [
        "s = Conv<pads=[3,3,3,3], strides=[2,2]>(x, w)",
        "r = Relu(s)",
        "h0 = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(r)",
    ]
    weights: dict[str, tuple[int, ...]] = {"w": (64, 3, 7, 7)}
    channels, count = 64, 0
    for stage, depth in enumerate(blocks):
        width = 64 * 2**stage
        for index in range(depth):
            source, skip, stride = f"h{count}", f"h{count}", 2 if stage and not index else 1
            count += 1
            if not index:
                skip = f"p{count}"
                weights[f"wp{count}"] = (4 * width, channels, 1, 1)
                lines.append(f"{skip} = Conv<strides=[{stride},{stride}]>({source}, wp{count})")
            weights |= {f"wa{count}": (width, channels, 1, 1), f"wb{count}": (width, width, 3, 3)}
            weights[f"wc{count}"] = (4 * width, width, 1, 1)
            lines += [
                f"a{count} = Conv({source}, wa{count})",
                f"ar{count} = Relu(a{count})",
                f"b{count} = Conv<pads=[1,1,1,1], strides=[{stride},{stride}]>(ar{count}, wb{count})",
                f"br{count} = Relu(b{count})",
                f"c{count} = Conv(br{count}, wc{count})",
                f"t{count} = Add(c{count}, {skip})",
                f"h{count} = Relu(t{count})",
            ]
            channels = 4 * width
    lines += [f"g = GlobalAveragePool(h{count})", "f = Flatten(g)", "y = MatMul(f, head)"]
    weights["head"] = (channels, 1000)
    body = "\n".join(lines)
    network = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 20]> g (float[N,3,224,224] x) => (float y) {{ {body} }}'
    )
    for name, shape in weights.items():
        network.graph.initializer.append(
            onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT)
        )
    return network


@pytest.mark.parametrize(
    "name, precision, batch, published_ms",
    [
        ("t4", "int8", 1, 0.812),  # MLPerf Inference 3.0, SingleStream
        ("a100-80gb", "int8", 1, 0.453),  # MLPerf Inference 3.0, SingleStream
        ("a100-80gb", "int8", 2048, 48.3),  # MLPerf Inference 3.0, Offline
        ("h100-sxm", "int8", 2048, 22.3),  # MLPerf Inference 3.0, Offline
        ("jetson-agx-orin-64gb", "int8", 1, 0.636),  # MLPerf Inference 3.1, SingleStream
        ("jetson-xavier-nx", "int8", 1, 2.43),  # MLPerf Inference 2.0, SingleStream
        ("t4", "fp16", 1, 1.03),
        ("jetson-xavier-nx", "fp16", 1, 4.78),
    ],
)
def test_resnet50_is_inside_the_interval(name: str, precision: str, batch: int, published_ms: float) -> None:
    narrower = {"int8": 4, "fp16": 2}[precision]
    found = [
        replace(
            layer,
            precision=precision,
            weight_bytes=layer.weight_bytes // narrower,
            activation_bytes=layer.activation_bytes // narrower,
        )
        for layer in layers(bottlenecks((3, 4, 6, 3)), batch)
    ]
    assert round(sum(layer.macs for layer in found) / batch / 1e9, 2) == 4.09
    estimated = estimate(found, load_target(name), batch)
    assert estimated.low_ms < published_ms < estimated.high_ms
