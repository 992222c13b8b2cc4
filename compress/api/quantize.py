"""One step alone: quantize a network for a target, without searching and without timing it.

:func:`compress.optimize` tries several precisions and ships the fastest inside the accuracy margin; this writes the one
that was asked for, and says what it cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from compress.api.inputs import load_for
from compress.backends.first_opening import open_elsewhere
from compress.backends.onnxruntime import OnnxRuntime
from compress.core.files import written_safely
from compress.core.progress import Reporter
from compress.core.replacing import scratch_beside
from compress.core.tensor_spec import fixed_batch
from compress.data.task import MetricChoice, Task, load_task
from compress.errors import RecipeError
from compress.lint import refusals
from compress.lint.legalize import fitted
from compress.metrics.agreement import agreement
from compress.metrics.selection import judging_notes, select
from compress.network.network import Network
from compress.network.preparation import prepared_faithfully
from compress.network.saving import check_writable
from compress.onnx_graph.files import save_model, sha256_of, size_of
from compress.onnx_graph.graph import attribute
from compress.onnx_graph.metadata import without_metadata
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.recipe import Recipe, Step
from compress.records.profile import Accuracy
from compress.target.target import Target, load_target
from compress.techniques import apply_recipe, load_technique
from compress.techniques.base import Context

if TYPE_CHECKING:
    import torch

    from compress.backends.base import Artifact

#: What can be asked for, and the techniques that make it.
PRECISIONS: Mapping[str, tuple[Step, ...]] = {
    "int8": (Step("quantize"),),
    "int8+fp16": (Step("quantize"), Step("cast", {"precision": "float16"})),
    "fp16": (Step("cast", {"precision": "float16"}),),
    "bf16": (Step("cast", {"precision": "bfloat16"}),),
    "fp8": (Step("float8"), Step("cast", {"precision": "float16"})),
}

#: Which setting of a technique an excluded node or operator is.
_EXCLUDED = {
    "quantize": ("exclude_nodes", "exclude_ops"),
    "float8": ("exclude_nodes", "exclude_ops"),
    "cast": ("keep_nodes", "keep_ops"),
}


@dataclass(frozen=True)
class Quantized:
    """What :func:`quantize` wrote.

    Attributes:
        path: The ONNX file.
        sha256: Of that file.
        bytes: Of that file.
        original_bytes: Of the network as ONNX, folded.
        recipe: What was applied.
        target: Name of the target it was quantized for.
        reports: What each technique has to tell, by its name; see :class:`QuantizationReport` for ``quantize``.
        coverage: What ONNX Runtime fuses of it on this machine; see :class:`compress.onnx_graph.coverage.Coverage`.
            None for other back ends.
        original: The network's own metric on the evaluation data; None where ONNX Runtime cannot run the result.
        accuracy: The same of the file, with its drop; None likewise.
        agreement: How often, or how closely, the file answers as the network does; None likewise.
        notes: What a person should know of how outputs are judged, one line each.
        refused: Why the target's runtime will not take the file, by the rules of ``compress lint``, one line each; none
            where nothing speaks against it, and for targets that are this machine.
    """

    path: Path
    sha256: str
    bytes: int
    original_bytes: int
    recipe: Recipe
    target: str
    reports: Mapping[str, Any]
    coverage: Mapping[str, Any] | None
    original: Accuracy | None
    accuracy: Accuracy | None
    agreement: Accuracy | None
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As ``compress quantize --json`` prints it."""
        return {**asdict(self), "path": str(self.path), "recipe": self.recipe.to_dict()}


def quantize(
    model: str | Path | torch.nn.Module,
    *,
    data: Any,
    target: str | Path | Target = "cpu",
    out: str | Path | None = None,
    precision: str = "int8",
    recipe: Recipe | str | Path | None = None,
    method: str | None = None,
    percentile: float | None = None,
    scope: str | None = None,
    exclude: Sequence[str] = (),
    metric: MetricChoice = None,
    calibration_data: Any = None,
    calibration_samples: int = 512,
    factory: str | None = None,
    trust_pickle: bool = False,
    batch_axis: Mapping[str, int] | None = None,
    state: Mapping[str, str] | None = None,
    image_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Quantized:
    """Quantize a trained network for a target and write it as ONNX, whole or not at all.

    Args:
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, or a live module, which is not modified.
        data: Evaluation data, of any kind that :func:`compress.optimize` takes; a quarter at most is set apart for
            calibration where no other data is given for it.
        target: Decides how Q/DQ look, and what may be quantized.
        out: The ``.onnx`` file to write; None writes ``<model>.<precision>.onnx`` into the working directory.
        precision: One of :data:`PRECISIONS`.
        recipe: A recipe or its TOML file in place of a precision; the settings below then override its own.
        method: How ranges are found; one of :data:`compress.quantization.METHODS`.
        percentile: Share of values inside the range, in percent, for the method ``percentile``.
        scope: One of :data:`compress.quantization.SCOPES`.
        exclude: Nodes by name, and operators by type ("Gemm"), that stay float.
        metric: See :func:`compress.optimize`.
        calibration_data: Data to calibrate on.
        calibration_samples: How many samples to calibrate on, at most.
        factory: See :func:`compress.optimize`.
        trust_pickle: Unpickle a module; this runs whatever code the file holds.
        batch_axis: See :func:`compress.optimize`.
        state: See :func:`compress.optimize`.
        image_options: How images are resized and normalised.
        seed: Of every random choice.
        reporter: Receives the progress.

    Raises:
        UsageError: Something given cannot be used; the message says what to do.
    """
    reporter = reporter or Reporter()
    settings = {"method": method, "percentile": percentile, "scope": scope}
    chosen = _recipe(precision, recipe, {k: v for k, v in settings.items() if v is not None}, exclude)
    path = Path(out) if out is not None else Path(f"{_stem(model)}.{chosen.name}.onnx")
    check_writable(path, model, endings=(".onnx",))

    reporter.stage("reading the target and the data")
    deployment = load_target(target)
    task = load_task(
        data,
        metric=metric,
        calibration_data=calibration_data,
        calibration_samples=calibration_samples,
        image_options=image_options,
        seed=seed,
        streams=bool(state),
    )
    network, task = load_for(
        task,
        model,
        factory=factory,
        trust_pickle=trust_pickle,
        batch_axis=batch_axis,
        state=state,
        reporter=reporter,
    )

    if network.trainable:  # an ONNX file was held against its graph on loading
        network = prepared_faithfully(network, task)

    reporter.stage("applying the recipe")
    context = Context(task.calls, deployment, seed, original=network)
    compressed = fitted(apply_recipe(chosen, network, context), context)
    reporter.stage("measuring accuracy")
    with scratch_beside(path) as scratch:
        return _written(network, compressed, context, task, chosen, path, scratch)


def _written(
    network: Network,
    compressed: Network,
    context: Context,
    task: Task,
    recipe: Recipe,
    path: Path,
    scratch: Path,
) -> Quantized:
    """Write both networks beside the result, measure them, and move the result to its place."""
    backend = OnnxRuntime()
    options: dict[str, Any] = {"intra_op_threads": context.target.cores or 1, "spinning": False}
    if context.target.backend == "tensorrt":
        options["qdq_fusion"] = False  # TensorRT gets the graph as it is written
    directories = [scratch / "original", scratch / "result"]
    for directory in directories:
        directory.mkdir()
    sample = context.task.example(fixed_batch(network.inputs) or 1)
    original = backend.compile(network.to_onnx(), directories[0], options)
    open_elsewhere(original, sample)
    model = compressed.to_onnx()
    accuracies: tuple[Accuracy | None, ...] = (None, None, None)
    coverage = None
    if _runs_here(model):
        result = backend.compile(model, directories[1], options)
        open_elsewhere(result, sample)
        accuracies = _accuracies(backend, original, result, task)
        coverage = backend.coverage(result) if context.target.backend == "onnxruntime" else None
        written = result.path
    else:
        written = save_model(without_metadata(model), directories[1] / "model.onnx")
    sha256, size = sha256_of(written), size_of(written)
    done = Quantized(
        path=path,
        sha256=sha256,
        bytes=size,
        original_bytes=original.size_bytes,
        recipe=recipe,
        target=context.target.name,
        reports=context.reports,
        coverage=coverage,
        original=accuracies[0],
        accuracy=accuracies[1],
        agreement=accuracies[2],
        notes=judging_notes(task.metrics, task.kinds),
        refused=() if context.target.here else refusals(onnx.load(written), context.target),
    )
    with written_safely(path):
        written.replace(path)
    return done


def _runs_here(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime's CPU provider has the kernels: for bfloat16 it has next to none."""
    return all(
        node.op_type != "Cast" or attribute(node, "to") != TensorProto.BFLOAT16 for node in model.graph.node
    )


def _accuracies(
    backend: OnnxRuntime, original: Artifact, result: Artifact, task: Task
) -> tuple[Accuracy, Accuracy, Accuracy]:
    """The metric of both, and how far the second does what the first does."""
    with backend.open(original) as reference, backend.open(result) as session:
        before = outcomes_of(reference, task)
        after = same = outcomes_of(session, task, reference)
        if task.metric.name != agreement().name:
            named = {name: each for name, each in task.by_output.items() if isinstance(each, str)}
            streams = task.streams
            outputs = session.outputs if streams is None else streams.outputs
            metric, *further = select(agreement(), named, outputs, task.kinds, streams=streams is not None)
            against = replace(task, metric=metric, further=tuple(further))
            same = outcomes_of(session, against, reference)
    sha256 = task.evaluation.sha256
    return (
        accuracy_of(before, None, sha256),
        accuracy_of(after, before, sha256),
        accuracy_of(same, None, sha256),
    )


def _recipe(
    precision: str, given: Recipe | str | Path | None, settings: Mapping[str, Any], exclude: Sequence[str]
) -> Recipe:
    """The recipe with every setting of the call in it, checked before any work is done."""
    if given is not None:
        recipe = given if isinstance(given, Recipe) else Recipe.from_file(Path(given))
    elif precision in PRECISIONS:
        recipe = Recipe(precision, PRECISIONS[precision])
    else:
        raise RecipeError(f"a precision: {', '.join(PRECISIONS)}", repr(precision), "choose one of these")
    if settings and not any(step.technique == "quantize" for step in recipe.steps):
        raise RecipeError(
            f"the technique 'quantize', which has the setting {min(settings)}",
            f"the recipe '{recipe.name}' without it",
            "leave the setting out",
        )
    recipe = replace(recipe, steps=tuple(_completed(step, settings, exclude) for step in recipe.steps))
    for step in recipe.steps:
        load_technique(step)
    return recipe


def _completed(step: Step, settings: Mapping[str, Any], exclude: Sequence[str]) -> Step:
    own = dict(settings) if step.technique == "quantize" else {}
    if exclude and step.technique in _EXCLUDED:
        nodes, operators = _EXCLUDED[step.technique]
        for setting, names in (
            (nodes, [name for name in exclude if not onnx.defs.has(name)]),
            (operators, [name for name in exclude if onnx.defs.has(name)]),
        ):
            if names:
                own[setting] = [*step.settings.get(setting, ()), *names]
    return Step(step.technique, {**step.settings, **own})


def _stem(model: str | Path | torch.nn.Module) -> str:
    return Path(model).stem if isinstance(model, str | Path) else type(model).__name__
