"""Published latencies on NVIDIA GPUs, as points that an estimate can be fitted on and compared with.

``published_latencies.csv`` holds what result logs, makers and projects have published, each row with its source. A
row is used when the network's layers are written down here, the device's rates are known, and the setting is one that
a target describes; every other row is left out with a reason (:func:`left_out`).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import onnx

from benchmarks.data.published.convolutional import CONVOLUTIONAL
from benchmarks.data.published.detectors import DETECTORS
from benchmarks.data.published.transformers import TRANSFORMERS
from compress.onnx_graph.layers import Layer, layers
from compress.onnx_graph.operators import MATRIX_KINDS, OPERATORS
from compress.target.target import Peaks, Target, load_target

PUBLISHED = Path(__file__).with_name("latencies.csv")

NETWORKS: Mapping[str, Callable[[], onnx.ModelProto]] = CONVOLUTIONAL | DETECTORS | TRANSFORMERS

#: Networks that are near relatives: held out together, so that none is estimated from its sister.
ARCHITECTURES = {
    "ResNet": ("ResNet", "SE-ResNet", "FCN", "PSPNet"),
    "SSD-MobileNet": ("SSD-MobileNet",),
    "MobileNet V3": ("MobileNet V3",),
    "EfficientNet": ("EfficientNet",),
    "RegNet": ("RegNet",),
    "ShuffleNet": ("ShuffleNet",),
    "YOLO (Ultralytics)": ("YOLOv8", "YOLO11", "YOLO26"),
    "YOLOX": ("YOLOX",),
    "BERT": ("BERT",),
    "ViT": ("ViT",),
    "Swin": ("Swin",),
}

#: One network under several names or with inputs of several sizes: held out together in any case.
_SAME = {
    **dict.fromkeys(("ResNet-50 v1.5", "ResNet 50"), "ResNet-50"),
    **dict.fromkeys(("BERT-large 1x128", "BERT-large 1x384", "BERT-large SQuAD"), "BERT-large"),
    **dict.fromkeys(("ViT-B/16 224", "ViT-B/16 384", "ViT base"), "ViT-B/16"),
    "YOLOX-S-Leaky": "YOLOX small",
}

#: The target whose rates a device has.
_TARGETS = {
    "T4": "t4",
    "A10": "a10",
    "A100": "a100-80gb",
    "A100-PCIe-80GB": "a100-80gb",
    "A100-SXM-80GB": "a100-80gb",
    "L40S": "l40s",
    "H100-SXM-80GB": "h100-sxm",
    "Jetson Xavier NX 8GB": "jetson-xavier-nx",
    "Jetson AGX Xavier 32GB": "jetson-agx-xavier",
    "Jetson AGX Orin": "jetson-agx-orin-64gb",
    "Jetson AGX Orin 64GB": "jetson-agx-orin-64gb",
    "Jetson AGX Orin 32GB": "jetson-agx-orin-64gb",  # the developer kit at 1.3 GHz, not the 0.93 GHz module
    "Jetson Orin Nano Super 8GB": "jetson-orin-nano-super",
    "Jetson Orin Nano 8GB": "jetson-orin-nano-8gb",
    "Jetson AGX Thor": "jetson-thor-t5000",
}

#: Devices that are no target: the one they resemble, their peak rates (NVIDIA's data sheets), memory in GB/s.
_LIKE = {
    "A100-40GB": ("a100-80gb", Peaks(19.5, 312, 312, 624), 1555.0),
    "A100-PCIe-40GB": ("a100-80gb", Peaks(19.5, 312, 312, 624), 1555.0),
    "A100-SXM-40GB": ("a100-80gb", Peaks(19.5, 312, 312, 624), 1555.0),
    "A30": ("a10", Peaks(10.3, 165, 165, 330), 933.0),
    "A2": ("a10", Peaks(4.5, 18, 18, 36), 200.0),
    "H100-PCIe-80GB": ("h100-sxm", Peaks(51, 756, 756, 1513), 2000.0),
}


@dataclass(frozen=True)
class Point:
    """A published latency.

    Attributes:
        device: Name of the device, as published.
        target: Target with the device's rates.
        network: Name of the network, as published; a key of :data:`NETWORKS` together with the input's
            shape where sizes differ.
        architecture: A key of :data:`ARCHITECTURES`.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: Samples that run together.
        ms: Time of one batch, in milliseconds; the median where it was published.
        source: Publication that it comes from.
    """

    device: str
    target: Target
    network: str
    architecture: str
    precision: str
    batch: int
    ms: float
    source: str

    @property
    def same_network(self) -> str:
        """One name for the network, whatever the source calls it and whatever its input's size."""
        return _SAME.get(self.network, self.network)


def points() -> list[Point]:
    """Every row that is used."""
    return [found for found in _read() if isinstance(found, Point)]


def left_out() -> dict[str, int]:
    """Return the reasons why rows are not used, and the number of rows for each."""
    return dict(Counter(found for found in _read() if isinstance(found, str)))


@cache
def network_layers(network: str) -> tuple[Layer, ...]:
    """Return the layers of a network at batch 1, in fp32."""
    return tuple(layers(NETWORKS[network](), 1))


def layers_of(point: Point) -> list[Layer]:
    """The layers that ran: in int8, matrices and what only moves values are narrow and the rest is fp16."""
    return [_as_run(layer, point) for layer in network_layers(point.network)]


def _as_run(layer: Layer, point: Point) -> Layer:
    precision = point.precision
    if precision == "int8" and layer.kind not in (*MATRIX_KINDS, "data movement"):
        precision = "int8" if layer.op in OPERATORS and OPERATORS[layer.op].keeps_precision else "fp16"
    narrower = {"fp32": 1, "fp16": 2, "int8": 4}[precision]
    return replace(
        layer,
        precision=precision,
        weight_bytes=layer.weight_bytes // narrower,
        activation_bytes=layer.activation_bytes * point.batch // narrower,
        macs=layer.macs * point.batch,
    )


def _read() -> list[Point | str]:
    """Each row as a point, or why it is none."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    slowest: dict[tuple[str, ...], float] = {}
    for row in rows:
        setting = _setting(row)
        slowest[setting] = max(float(row["value_ms_or_sps"]), slowest.get(setting, 0.0))
    # Of the rows of one setting the faster are BERT-base's: up to twice as fast as BERT-large at the peak rate.
    return [
        _point(row)
        if float(row["value_ms_or_sps"]) == slowest[_setting(row)]
        else "of a smaller network than stated"
        for row in rows
    ]


def _setting(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(text for column, text in row.items() if column not in ("value_ms_or_sps", "notes"))


def _point(row: Mapping[str, str]) -> Point | str:
    """The row as a point, or why it is none."""
    network = _network(row)
    if "sparse" in row["precision"] or "sparse" in row["network"]:
        return "2:4 sparse weights, which the roofline does not know"
    if network is None:
        return "a network whose layers are not written down here"
    if "MIG" in row["device"]:
        return "a slice of a GPU"
    target = _target(row["device"])
    if target is None:
        return "a device that is no target and resembles none"
    if "MaxQ" in row["power_mode"]:
        return "clocks held below the target's"
    if row["device"] == "Jetson Orin Nano 8GB" and row["power_mode"] == "MAXN_SUPER":
        target = load_target("jetson-orin-nano-super")
    if "FasterTransformer" in row["runtime"] and row["precision"] == "fp32" and row["device"] != "T4":
        return "fp32 without TF32, which TensorRT would use"
    precision = {"tf32": "fp32"}.get(row["precision"], row["precision"])
    batch, value = int(row["batch"]), float(row["value_ms_or_sps"])
    match row["unit"]:
        case "samples/s":
            value = 1e3 * batch / value
        case "ms per 8 samples":
            value *= batch / 8
    architecture = next(
        name for name, prefixes in ARCHITECTURES.items() if row["network"].startswith(prefixes)
    )
    return Point(row["device"], target, network, architecture, precision, batch, value, row["source"])


def _network(row: Mapping[str, str]) -> str | None:
    size = row["input_shape"].removeprefix("1x3x").split("x")[0]
    for name in (row["network"], f"{row['network']} {row['input_shape']}", f"{row['network']} {size}"):
        if name in NETWORKS:
            return name
    return None


@cache
def _target(device: str) -> Target | None:
    if device in _TARGETS:
        return load_target(_TARGETS[device])
    if device in _LIKE:
        name, peaks, bandwidth = _LIKE[device]
        return replace(load_target(name), name=device, peaks=peaks, bandwidth_gb_s=bandwidth)
    return None
