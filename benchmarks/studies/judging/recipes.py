"""Builds as compress makes them: every technique that runs on a processor, with settings from careful to careless."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.studies.judging.data import Array, Data, as_input
from benchmarks.studies.judging.subjects import Subject
from compress.backends import load_backend
from compress.data.task import Task, load_task
from compress.low_rank import Ranks, factor
from compress.measuring.layer_pair import LayerPair
from compress.metrics import Metric, load_metric
from compress.network.layer_shapes import timed_batch
from compress.network.network import Network, load_network
from compress.recipe import Recipe, Step
from compress.target.arithmetic import TENSORRT_FLAVOUR
from compress.target.target import Target, load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context, calibration_batches

if TYPE_CHECKING:
    import onnx

_THREADS, _BATCH = 1, 250
_TRAINED_ON = 8192


@dataclass(frozen=True)
class Build:
    """A recipe and what it is made for.

    Attributes:
        recipe: Recipe that compress applies.
        flavour: Differences in the form of int8: fields of the target's flavour, or ``symmetric`` for TensorRT's.
        calibrated_on: Samples.
        energy: Share of the signal that low rank keeps; None where layers stay whole.
    """

    recipe: Recipe
    flavour: Mapping[str, Any] = field(default_factory=dict)
    calibrated_on: int = 512
    energy: float | None = None


def builds(thorough: bool) -> list[Build]:
    """All that are tried.

    Args:
        thorough: Also those that take longer.
    """
    careless: dict[str, Any] = {"method": "min-max", "equalize": False, "smooth": False}
    found = [
        _build("fp16", "cast", precision="float16"),
        Build(Recipe("bf16-openvino", backend="openvino", session={"precision": "bf16"})),
        _build("int8", "quantize"),
        _build("int8-matmul", "quantize", scope="weights-ops"),
        _build("int8-min-max", "quantize", method="min-max"),
        _build("int8-moving-average", "quantize", method="moving-average"),
        _build("int8-percentile", "quantize", method="percentile"),
        *(
            _build(f"int8-percentile-{share:g}", "quantize", method="percentile", percentile=share)
            for share in (99.7, 99.0, 98.0, 95.0)
        ),
        _build("int8-entropy", "quantize", method="entropy"),
        _build("int8-careless", "quantize", **careless),
        replace(_build("int8-per-tensor", "quantize", **careless), flavour={"per_channel": False}),
        replace(_build("int8-per-tensor-mse", "quantize"), flavour={"per_channel": False}),
        replace(_build("int8-seven-bits", "quantize"), flavour={"per_channel": False, "reduce_range": True}),
        replace(_build("int8-symmetric", "quantize"), flavour={"symmetric": True}),
        replace(_build("int8-two-samples", "quantize", method="min-max"), calibrated_on=2),
        _build("dynamic-int8", "quantize_dynamic"),
        Build(Recipe("int8-openvino", (Step("quantize"),), backend="openvino")),
        Build(
            Recipe(
                "int8-matmul-bf16-openvino",
                (Step("quantize", {"scope": "weights-ops"}),),
                backend="openvino",
                session={"precision": "bf16"},
            )
        ),
        _build("fp8", "float8"),
        _build("int4-rtn", "weight_only", algorithm="rtn"),
        _build("int4-gptq", "weight_only", algorithm="gptq", compute="int8"),
        _build("int4-hqq", "weight_only", algorithm="hqq", group_size=64),
        *(Build(Recipe(f"low-rank-{energy:g}"), energy=energy) for energy in (0.99, 0.97)),
        *(_build(f"pruned-{ratio:g}", "prune", ratio=ratio) for ratio in (0.02, 0.05, 0.1)),
        *(_distilled(ratio) for ratio in (0.1,)),
    ]
    if thorough:
        training = {"epochs": 2, "epoch_samples": 2048}
        found += [
            _build("int8-reconstructed", "quantize", rounding="reconstructed"),
            _build("int8-qat", "qat", **training),
            Build(Recipe("pruned-0.3-distilled-int8", (*_distilled(0.3).recipe.steps, Step("quantize")))),
        ]
    return found


class Maker:
    """Makes and runs the builds of one network."""

    def __init__(self, subject: Subject, module: torch.nn.Module, data: Data) -> None:
        self._subject, self._data = subject, data
        self._task = self._task_of(512)
        self.network = load_network(module, example=self._task.example())

    def outputs(self, build: Build) -> Array:
        """Return a build's answers to the evaluation samples, float32.

        Raises:
            CompressError: It cannot be made.
        """
        task = self._task if build.calibrated_on == 512 else self._task_of(build.calibrated_on)
        target = _target().for_backend(build.recipe.backend or "onnxruntime")
        context = Context(
            task.bind(self.network.inputs, self.network.outputs),
            _adapted(target, build.flavour),
            original=self.network,
            threads=_THREADS,
        )
        network = self.network if build.energy is None else self._factored(build.energy, context)
        made = apply_recipe(build.recipe, network, context)
        with tempfile.TemporaryDirectory() as directory:
            return self._run(made.to_onnx(), build.recipe, Path(directory))

    def _run(self, model: onnx.ModelProto, recipe: Recipe, directory: Path) -> Array:
        backend = load_backend(recipe.backend or "onnxruntime")
        options = {"intra_op_threads": _THREADS, **recipe.session}
        artifact = backend.compile(model, directory, options)
        x = self._data.evaluation.x
        with backend.open(artifact) as session:
            name = session.inputs[0].name
            found = [
                session.run({name: as_input(x[at : at + _BATCH]).numpy()})[0]
                for at in range(0, len(x), _BATCH)
            ]
        return np.concatenate(found).astype(np.float32)

    def _task_of(self, calibrated_on: int) -> Task:
        """Training and calibration data without labels; what is evaluated on is not needed here, but for a little."""
        x = as_input(self._data.training.x[:_TRAINED_ON]).numpy()
        few = as_input(self._data.evaluation.x[:64]).numpy()
        metric = load_metric("agreement") if self._subject.kind in ("classes", "tokens") else _CLOSENESS
        return load_task(few, metric=metric, train_data=x, calibration_samples=calibrated_on)

    def _factored(self, energy: float, context: Context) -> Network:
        """Every layer that has less arithmetic as two, whatever its time: which are faster differs from day to day."""
        assert self.network.graph is not None
        name = self.network.inputs[0].name
        batches = [[torch.from_numpy(batch[name])] for batch in calibration_batches(self.network, context)][
            :8
        ]
        ranks = Ranks(energy=energy)
        done = factor(self.network.graph, batches, timed_batch(self.network, 1), ranks, _always_faster)
        return self.network if done.graph is None else self.network.with_graph(done.graph)


def agreement(kind: str, y: Array, original: Array) -> float:
    """Return the agreement with the original as compress computes it, in percent."""
    from compress.core.tensor_spec import TensorSpec

    spec = TensorSpec("y", "float32", ("batch", *y.shape[1:]))
    metric = load_metric("agreement").fitted([spec])
    return float(100 * metric.values(list(metric.per_sample([y], None, [original]))).mean())


def _build(name: str, technique: str, **settings: Any) -> Build:
    return Build(Recipe(name, (Step(technique, settings),)))


def _distilled(ratio: float) -> Build:
    taught = Step("distill", {"epochs": 2, "epoch_samples": 2048})
    return Build(Recipe(f"pruned-{ratio:g}-distilled", (Step("prune", {"ratio": ratio}), taught)))


def _always_faster(layer: onnx.ModelProto, other: onnx.ModelProto) -> LayerPair:
    return LayerPair("measured", 1, 1.0, 0.5, (0.4, 0.6))


def _adapted(target: Target, flavour: Mapping[str, Any]) -> Target:
    precisions = (*target.precisions, "fp8")
    if "symmetric" in flavour:
        return replace(target, precisions=precisions, quantization=TENSORRT_FLAVOUR)
    return replace(target, precisions=precisions, quantization=replace(target.quantization, **flavour))


@cache
def _target() -> Target:
    return load_target("cpu")


def _no_distance(outputs: Sequence[Array], targets: Array | None, reference: Iterable[Array] | None) -> Array:
    return np.zeros(len(outputs[0]))


#: For outputs that are no class scores: techniques that train then bring numbers near to numbers.
_CLOSENESS = Metric("closeness", _no_distance, "reference", False, True, "%")
