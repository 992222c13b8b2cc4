"""Bundles of made-up runs, written as the pipeline writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.api.shipping import assemble_bundle
from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import load_task
from compress.hosts import connect
from compress.network.network import load_network
from compress.recipe import Recipe, Step
from compress.records.coverage import Coverage
from compress.records.layer_time import LayerTime
from compress.records.profile import Drop, Interval, Latency, Slice
from compress.search.decision import choose
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from compress.target.target import load_target
from tests.graphs import classifier, samples
from tests.records import candidate

COVERAGE = Coverage(
    int8={"QLinearConv": 21, "QGemm": 1},
    float_cheap={"Softmax": 1},
    quantize=1,
    dequantize=2,
    int8_mac_share=0.975,
)
QUANTIZE = {
    "flavour": {"activation": "uint8", "weight": "int8", "symmetric": False, "per_channel": True},
    "settings": {"scope": "all", "method": "mse", "exclude_nodes": []},
    "int8_nodes": ["conv1", "conv2"],
    "float_nodes": {"softmax": "has no int8 kernel", "erf": "has no int8 kernel"},
    "ranges": {"x": [-1.5, 2.25]},
    "samples": 64,
}
LAYER = LayerTime(
    name="conv1",
    operator="Conv+Relu",
    kind="convolution",
    outputs=((1, 8, 8, 8),),
    precision="int8",
    parameters=224,
    macs=13824,
    bytes=1000,
    ms=0.03,
    bound="launch",
    source="estimated",
)

SENSITIVITY = {
    "layers": [
        {"layer": "conv1", "operator": "Conv", "drop_points": 0.25, "kept": "int8"},
        {"layer": "softmax", "operator": "Softmax", "drop_points": 1.75, "kept": "float"},
    ],
    "samples": 256,
}

#: One class is worse beyond doubt, one may be anything, one is better.
SLICES = tuple(
    Slice(name, 50, mean, Drop(points, Interval(low, high, 0.975), 0.1))
    for name, mean, points, low, high in (
        ("cat", 0.92, 0.0, -4.0, 4.0),
        ("dog", 0.7, 22.0, 9.0, 36.0),
        ("bird", 0.98, -8.0, -19.0, -1.0),
        ("fish", 0.88, 4.0, -3.0, 13.0),
    )
)

#: As the pipeline records them.
OPTIONS = {"max-drop": 1.0, "max-latency": None, "objective": "latency", "threads": 1, "trust-pickle": False}


def candidates(name: str = "int8") -> list[Candidate]:
    """The original, a build that is shipped, one that lost accuracy, and one that could not be built."""
    shipped = candidate(name, ratio=0.5, drop=(-0.2, 0.1, 0.4), size=400)
    assert shipped.profile is not None
    original = candidate("fp32")
    assert original.profile is not None
    before = tuple(Slice(part.name, part.samples, 0.92) for part in SLICES)
    return [
        replace(original, profile=replace(original.profile, slices=before)),
        replace(
            shipped,
            profile=replace(shipped.profile, coverage=COVERAGE, slices=SLICES),
            reports={"quantize": QUANTIZE, "sensitivity": SENSITIVITY},
        ),
        candidate("int4", ratio=0.4, drop=(2.0, 3.0, 4.0), size=200),
        Candidate(Recipe("pruned", (Step("prune"),)), failure="an operator it cannot prune"),
    ]


def estimated(entries: list[Candidate]) -> list[Candidate]:
    """The same as a target that is not at hand has them: by a roofline, with layers."""
    return [entry if entry.profile is None else _estimated(entry) for entry in entries]


def _estimated(entry: Candidate) -> Candidate:
    assert entry.profile is not None
    latency = tuple(
        Latency("estimated", each.batch, 1.0, None, None, Interval(0.5, 2, 0.8), 1000.0, 0, each.ratio)
        for each in entry.profile.latency
    )
    return replace(entry, profile=replace(entry.profile, latency=latency, layers=(LAYER,)))


def written(tmp_path: Path, entries: list[Candidate] | None = None, target: str = "cpu") -> Path:
    """A bundle with a real artifact, real data and a real network, and the figures of ``entries``."""
    import onnx

    entries = candidates() if entries is None else entries
    source = tmp_path / "source"
    source.mkdir()
    onnx.save(classifier(), source / "network.onnx")
    np.savez(source / "val.npz", x=samples(32), y=np.arange(32) % 4)
    task = load_task(str(source / "val.npz"))
    network = load_network(source / "network.onnx", example=task.example())
    task = task.bind(network.inputs, network.outputs)
    artifact = OnnxRuntime().compile(classifier(), source, {})
    facts: dict[str, Any] = {"artifact_sha256": artifact.sha256}
    entries = [
        entry if entry.profile is None else replace(entry, profile=replace(entry.profile, **facts))
        for entry in entries
    ]
    chosen = choose(entries, Limits()).candidate
    entries = [  # the manifest's size is held against the file
        replace(entry, profile=replace(entry.profile, artifact_bytes=artifact.size_bytes))
        if chosen is not None and entry.profile is not None and entry.recipe == chosen.recipe
        else entry
        for entry in entries
    ]
    choice = choose(entries, Limits())
    deployment = load_target(target)
    with connect(deployment) as host:
        shipped = (artifact.path, choice, entries, network, task, deployment, host, OPTIONS)
        return assemble_bundle(tmp_path / "build", *shipped)
