"""The verb ``quantize``: quantize a network for a target, without search and without timing.

:func:`compress.optimize` tries several precisions and ships the fastest inside the accuracy margin; this verb writes
the one that was asked for, and reports its accuracy drop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import onnx
from onnx import TensorProto

from compress.api.decoder_weights import NOTE, quantize_weights_alone
from compress.api.inputs import open_inputs
from compress.api.keywords import QuantizeKeywords
from compress.api.options import QuantizeOptions
from compress.backends import load_backend
from compress.backends.first_opening import open_elsewhere
from compress.backends.onnxruntime import OnnxRuntime
from compress.core.files import written_safely
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.core.replacing import replaced_whole, scratch_beside
from compress.core.tensor_spec import fixed_batch
from compress.data.task import Task
from compress.errors import RecipeError, UsageError
from compress.language.documents import Documents
from compress.language.network import is_decoder
from compress.language.tokenizer import FILE as TOKENIZER
from compress.lint import refusals
from compress.lint.legalize import legalize
from compress.metrics.agreement import agreement
from compress.metrics.perplexity import token_agreement
from compress.metrics.selection import judging_notes, select
from compress.network.network import Network
from compress.network.preparation import prepared_faithfully
from compress.network.saving import check_writable
from compress.onnx_graph.files import move_to, save_model, sha256_of, size_of
from compress.onnx_graph.graph import attribute
from compress.onnx_graph.metadata import without_metadata
from compress.onnx_graph.reading import read_model
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.recipe import Recipe, Step
from compress.records.profile import Accuracy
from compress.target.target import load_target
from compress.techniques import apply_recipe, load_technique
from compress.techniques.base import Context

if TYPE_CHECKING:
    import torch

    from compress.backends.base import Artifact, Session
    from compress.records.coverage import Coverage

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
class QuantizeResult:
    """Result of :func:`quantize`.

    Attributes:
        path: The ONNX file that was written.
        sha256: sha256 of that file.
        bytes: Size of that file, in bytes.
        original_bytes: Size of the network as a folded ONNX graph, in bytes; without data, of the model's files of
            weights.
        recipe: The recipe that was applied.
        target: Name of the target it was quantized for.
        reports: Report of each technique, by the technique's name; see :class:`QuantizationReport` for ``quantize``.
        coverage: Share of the graph that ONNX Runtime fuses on this machine; see
            :class:`compress.records.coverage.Coverage`. None for other back ends.
        original: Accuracy of the original network on the evaluation data; None without data, and where ONNX Runtime
            cannot run the result.
        accuracy: Accuracy of the quantized file, with its drop; None where ONNX Runtime cannot run it.
        agreement: Agreement of the file's answers with the network's; None where ONNX Runtime cannot run the file.
        notes: Notes on how the file was read, how samples are fed and how outputs are judged, and doubts about the
            original on this data, a line each.
        refused: Reasons why the target's runtime will refuse the file, by the rules of ``compress lint``, one line
            each; empty where there are none, and for targets that are this machine.
    """

    path: Path
    sha256: str
    bytes: int
    original_bytes: int
    recipe: Recipe
    target: str
    reports: Mapping[str, Any]
    coverage: Coverage | None
    original: Accuracy | None
    accuracy: Accuracy | None
    agreement: Accuracy | None
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def weights_alone(self) -> bool:
        """Whether the weights alone were read, and neither network was run."""
        return NOTE in self.notes

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the dict that ``compress quantize --json`` prints."""
        coverage = None if self.coverage is None else self.coverage.to_dict()
        texts = {"path": str(self.path), "recipe": self.recipe.to_dict(), "coverage": coverage}
        return {**asdict(self), **texts}


@takes(QuantizeOptions)
def quantize(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[QuantizeKeywords],
) -> QuantizeResult:
    """Quantize a trained network for a target and write it as ONNX, whole or not at all.

    Args:
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, a Hugging Face directory, ``timm:NAME``,
            or a live module, which is not modified.
        reporter: Receives the progress; None reports to nobody.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
    """
    request = QuantizeOptions.of(options)
    reporter = reporter or Reporter()
    chosen = _recipe(request)
    path = Path(request.out) if request.out is not None else Path(f"{_stem(model)}.{chosen.name}.onnx")
    check_writable(path, model, endings=(".onnx",))
    if request.data is None:
        return _weights_alone(model, request, chosen, path, reporter)

    inputs = open_inputs(
        model,
        request,
        reporter,
        target=request.target,
        calibration_samples=request.calibration_samples,
        calibration_data=request.calibration_data,
    )
    network, task = inputs.network, inputs.task
    if network.trainable:  # an ONNX file was held against its graph on loading
        network = prepared_faithfully(network, task)

    reporter.stage("applying the recipe")
    context = Context(task.calls, inputs.target, request.seed, original=network)
    compressed = legalize(apply_recipe(chosen, network, context), context)
    reporter.stage("measuring accuracy")
    with scratch_beside(path) as scratch:
        return _written(network, compressed, context, task, chosen, path, scratch, inputs.notes)


def _weights_alone(
    model: str | Path | torch.nn.Module,
    request: QuantizeOptions,
    recipe: Recipe,
    path: Path,
    reporter: Reporter,
) -> QuantizeResult:
    if not is_decoder(model):
        raise UsageError("evaluation data", "none", "give --data; a language model's weights alone need none")
    target = load_target(request.target)
    report = quantize_weights_alone(model, recipe, target, request, path, reporter)
    return QuantizeResult(
        path=path,
        sha256=sha256_of(path),
        bytes=report.bytes_after,
        original_bytes=report.bytes_before,
        recipe=recipe,
        target=target.name,
        reports={"weight_only": report.to_dict()},
        coverage=None,
        original=None,
        accuracy=None,
        agreement=None,
        notes=(NOTE,),
    )


def _written(
    network: Network,
    compressed: Network,
    context: Context,
    task: Task,
    recipe: Recipe,
    path: Path,
    scratch: Path,
    noted: tuple[str, ...],
) -> QuantizeResult:
    """Write both networks beside the result, measure them, and move the result to its place."""
    backend = OnnxRuntime()
    options: dict[str, Any] = {"intra_op_threads": context.target.cores or 1, "spinning": False}
    if load_backend(context.target.backend).builds_engines:
        options["qdq_fusion"] = False  # engines are built of the graph as it is written
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
        coverage = backend.coverage(result) if context.target.backend == backend.name else None
        written = result.path
    else:
        written = save_model(without_metadata(model), directories[1] / "model.onnx")
    refused = () if context.target.here else refusals(read_model(written), context.target)
    with written_safely(path):
        move_to(written, path)
    return QuantizeResult(
        path=path,
        sha256=sha256_of(path),
        bytes=size_of(path),
        original_bytes=original.size_bytes,
        recipe=recipe,
        target=context.target.name,
        reports=context.reports,
        coverage=coverage,
        original=accuracies[0],
        accuracy=accuracies[1],
        agreement=accuracies[2],
        notes=(
            *noted,
            *judging_notes(task.metrics, task.kinds),
            *_tokenizer_beside(network, compressed, path),
        ),
        refused=refused,
    )


def _tokenizer_beside(network: Network, compressed: Network, path: Path) -> tuple[str, ...]:
    """Write the tokenizer of a language model with a trimmed vocabulary, and return a note; nothing for others."""
    tokenizer = compressed.companions.get(TOKENIZER)
    if tokenizer is None or tokenizer == network.companions.get(TOKENIZER):
        return ()
    beside = path.with_name(f"{path.stem}.{TOKENIZER}")
    with replaced_whole(beside) as written:
        written.write_text(tokenizer, encoding="utf-8")
    return (f"its vocabulary is trimmed: its own tokenizer is {beside}",)


def _runs_here(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime's CPU provider has kernels for the precision; for bfloat16 it has almost none."""
    return all(
        node.op_type != "Cast" or attribute(node, "to") != TensorProto.BFLOAT16 for node in model.graph.node
    )


def _accuracies(
    backend: OnnxRuntime, original: Artifact, result: Artifact, task: Task
) -> tuple[Accuracy, Accuracy, Accuracy]:
    """Return the accuracy of both networks, and how closely the second answers as the first does."""
    with backend.open(original) as reference, backend.open(result) as session:
        before = outcomes_of(reference, task)
        after = same = outcomes_of(session, task, reference)
        if task.metric.name != agreement().name:
            same = outcomes_of(session, _against_the_original(task, session), reference)
    sha256 = task.evaluation.sha256
    return (
        accuracy_of(before, None, sha256),
        accuracy_of(after, before, sha256),
        accuracy_of(same, None, sha256),
    )


def _against_the_original(task: Task, session: Session) -> Task:
    """Return the task with metrics of how closely a network answers as the original does."""
    if isinstance(task.whole, Documents):
        return replace(task, metric=token_agreement().fitted(task.whole.outputs), further=())
    named = {name: choice for name, choice in task.by_output.items() if isinstance(choice, str)}
    outputs = session.outputs if task.whole is None else task.whole.outputs
    metric, *further = select(agreement(), named, outputs, task.kinds, streams=task.of_frames)
    return replace(task, metric=metric, further=tuple(further))


def _recipe(options: QuantizeOptions) -> Recipe:
    """Return the recipe with all settings of the call, checked before any work is done."""
    settings = {"method": options.method, "percentile": options.percentile, "scope": options.scope}
    settings = {name: value for name, value in settings.items() if value is not None}
    if options.recipe is None:
        recipe = Recipe(options.precision, PRECISIONS[options.precision])
    else:
        recipe = (
            options.recipe if isinstance(options.recipe, Recipe) else Recipe.from_file(Path(options.recipe))
        )
    if settings and not any(step.technique == "quantize" for step in recipe.steps):
        raise RecipeError(
            f"the technique 'quantize', which has the setting {min(settings)}",
            f"the recipe '{recipe.name}' without it",
            "leave the setting out",
        )
    recipe = replace(
        recipe, steps=tuple(_completed(step, settings, options.exclude) for step in recipe.steps)
    )
    for step in recipe.steps:
        load_technique(step)
    return recipe


def _completed(step: Step, settings: Mapping[str, Any], exclude: Sequence[str]) -> Step:
    merged = dict(settings) if step.technique == "quantize" else {}
    if exclude and step.technique in _EXCLUDED:
        nodes, operators = _EXCLUDED[step.technique]
        for setting, names in (
            (nodes, [name for name in exclude if not onnx.defs.has(name)]),
            (operators, [name for name in exclude if onnx.defs.has(name)]),
        ):
            if names:
                merged[setting] = [*step.settings.get(setting, ()), *names]
    return Step(step.technique, {**step.settings, **merged})


def _stem(model: str | Path | torch.nn.Module) -> str:
    return Path(model).stem if isinstance(model, str | Path) else type(model).__name__
