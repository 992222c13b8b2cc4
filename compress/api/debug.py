"""The verb ``debug``: the layer where a quantized network departs from the float one, and the smallest faulty part."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from compress.api.build_options import DebugOptions
from compress.api.keywords import DebugKeywords
from compress.api.opened_model import InputShape, input_shapes, open_model
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.errors import DataError, NetworkError, UsageError

if TYPE_CHECKING:
    import onnx

    from compress.core.tensor_spec import TensorSpec
    from compress.data.split import Batch as Samples
    from compress.onnx_graph.reduction import Reduced
    from compress.quantization.batches import Batch
    from compress.quantization.difference import TensorDifference

#: Samples of one run.
_BATCH_SIZE = 32


@dataclass(frozen=True)
class DebugResult:
    """Result of :func:`debug`.

    Attributes:
        tensors: Every tensor that both networks make, in the float network's order.
        threshold_db: Signal-to-noise ratio below which a tensor counts as diverged, in dB.
        samples: Number of samples that were run.
        reduced: The smallest part that shows the fault; None where no command was given, or the whole does not show it.
        part: File of that part; None where there is none.
    """

    tensors: tuple[TensorDifference, ...]
    threshold_db: float
    samples: int
    reduced: Reduced | None = None
    part: Path | None = None

    @property
    def worst(self) -> TensorDifference | None:
        """The tensor whose own layers add the most noise; None where none adds any."""
        worst = min(self.tensors, key=lambda tensor: tensor.own_db)
        return None if worst.own_db == math.inf else worst

    @property
    def first_divergence(self) -> TensorDifference | None:
        """The first tensor whose ratio in the running network is below the threshold; None where none is."""
        return next((tensor for tensor in self.tensors if tensor.all_db < self.threshold_db), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that ``compress debug --json`` prints.

        A ratio is null where nothing differs, and the text "-inf" where there are values that are not finite.
        """
        worst, first = self.worst, self.first_divergence
        return {
            "schema": 1,
            "samples": self.samples,
            "threshold_db": self.threshold_db,
            "worst": None if worst is None else worst.tensor,
            "first_divergence": None if first is None else first.tensor,
            "tensors": [_in_json(asdict(tensor)) for tensor in self.tensors],
            "part": None if self.part is None else str(self.part),
            "part_nodes": [] if self.reduced is None else list(self.reduced.nodes),
        }


@takes(DebugOptions)
def debug(
    model: str | os.PathLike[str],
    other: str | os.PathLike[str],
    *,
    reporter: Reporter | None = None,
    **options: Unpack[DebugKeywords],
) -> DebugResult:
    """Compare every tensor of a float network with that of a quantized form of it, on data.

        found = compress.debug("model.onnx", "model.int8.onnx", data="val.npz")
        print(found.worst)

    Args:
        model: The float network: a network's file, an ONNX file or a bundle.
        other: A form of it in which tensors kept their names, such as `compress quantize` writes; the same kinds.
        reporter: Receives the progress; None reports to nobody.

    Returns:
        The differences, the layer with the most noise of its own, and the smallest part that shows a fault.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        NetworkError: A network cannot be read or run, the inputs differ, tensors of one name have different shapes, or
            both have no tensors of the same names.
        DataError: The data cannot be read, or has too few samples for one run.
        OutputError: The file for the smallest part cannot be written.
    """
    from compress.api.debug_texts import reads_texts, shapes_like, text_batches
    from compress.core.replacing import check_replaceable
    from compress.language.network import is_decoder
    from compress.onnx_graph.shapes import input_specs
    from compress.quantization.difference import differences, shared_inputs

    request = DebugOptions.of(options)
    reporter = reporter or Reporter()
    command = None if request.check is None else _command(request.check)
    if command is not None:
        check_replaceable(Path(request.out))
    of_texts = reads_texts(Path(model), request.data)
    reporter.stage("reading both networks")
    shapes = input_shapes(request.shape)
    quantized = _read(Path(other), shapes, request)
    if of_texts and not shapes and not is_decoder(model):
        shapes = shapes_like(input_specs(quantized))
    exact = _read(Path(model), shapes, request)
    inputs = shared_inputs(exact, quantized)
    batches: Sequence[Batch]
    if of_texts:
        batches = text_batches(Path(model), request.data, inputs, request.samples)
        count = len(batches)
    else:
        samples = _samples(exact, inputs, request)
        batches = [sample.inputs for sample in samples]
        count = sum(map(len, samples))
    reporter.stage("comparing tensors")
    tensors = differences(exact, quantized, batches)
    if not tensors:
        raise NetworkError(
            "two networks with tensors of the same names",
            f"none in {model} and {other}",
            "give a form of the first network that kept its names, such as `compress quantize` writes",
        )
    if command is None:
        return DebugResult(tuple(tensors), request.threshold, count)
    reporter.stage("looking for the smallest part that shows the fault")
    reduced, written = _smallest(quantized, batches, command, request)
    return DebugResult(tuple(tensors), request.threshold, count, reduced, written)


def _in_json(values: dict[str, Any]) -> dict[str, Any]:
    infinite = {math.inf: None, -math.inf: "-inf"}
    return {key: infinite.get(value, value) for key, value in values.items()}


def _read(path: Path, shapes: Sequence[InputShape], options: DebugOptions) -> onnx.ModelProto:
    from compress.onnx_graph.fold import infer_shapes, name_nodes
    from compress.onnx_graph.foreign import type_foreign

    opened = open_model(path, shapes, options)
    type_foreign(opened.model)
    infer_shapes(opened.model)
    name_nodes(opened.model)
    return opened.model


def _samples(model: onnx.ModelProto, inputs: Sequence[TensorSpec], options: DebugOptions) -> list[Samples]:
    """Return the first samples of the data, as many as asked for, in batches as both networks take them.

    A network of a fixed batch runs whole batches alone: as many as hold no more samples than asked for, at least one.

    Raises:
        DataError: The data has too few samples for one batch.
    """
    from compress.core.tensor_spec import fixed_batch
    from compress.data.evaluation import load_evaluation
    from compress.onnx_graph.shapes import output_specs

    task, _ = load_evaluation(options.data, image_options=options.image_options)
    evaluation = task.bind(inputs, output_specs(model)).evaluation
    fixed = fixed_batch(inputs)
    size = fixed or min(_BATCH_SIZE, options.samples)
    count = min(max(options.samples, fixed or 1), len(evaluation))
    count -= count % (fixed or 1)
    if not count:
        raise DataError(
            f"at least {fixed or 1} samples, one batch of the network", f"{len(evaluation)}", "give more data"
        )
    return list(evaluation.take(np.arange(count)).batches(size))


def _command(check: str) -> list[str]:
    """Split the command as a shell would.

    Raises:
        UsageError: It does not name ``{model}``, or a quotation is not closed.
    """
    try:
        words = shlex.split(check)
    except ValueError as error:
        raise UsageError("a command for --check", f"'{check}': {error}", "close the quotation") from error
    if not any("{model}" in word for word in words):
        raise UsageError(
            "a command for --check with {model} in it",
            f"'{check}'",
            "write {model} where the command takes the file",
        )
    return words


def _smallest(
    model: onnx.ModelProto, batches: Sequence[Batch], command: Sequence[str], options: DebugOptions
) -> tuple[Reduced | None, Path | None]:
    """Find and write the smallest part of a network for which the command ends with another code than 0.

    The command gets the first samples, as many as the tensors of all layers fit in memory for.
    """
    from compress.onnx_graph.files import save_model
    from compress.onnx_graph.graph import Graph
    from compress.onnx_graph.reduction import reduced
    from compress.quantization.batches import bounded

    graph = Graph(model)
    feeds = next(bounded(batches, graph, [name for name in graph.positions if graph.is_float32(name)]))
    with tempfile.TemporaryDirectory(prefix="compress-debug-") as directory:
        smallest = reduced(model, feeds, _shows(command, Path(directory), options.check_seconds))
    if smallest is None:
        return None, None
    return smallest, save_model(smallest.model, Path(options.out))


def _shows(
    command: Sequence[str], directory: Path, seconds: float
) -> Callable[[onnx.ModelProto, Batch], bool]:
    from compress.onnx_graph.files import save_model

    def shows(model: onnx.ModelProto, inputs: Batch) -> bool:
        path, arrays = directory / "part.onnx", directory / "inputs.npz"
        save_model(model, path)
        np.savez(arrays, **inputs)  # type: ignore[arg-type]
        words = [word.replace("{model}", str(path)).replace("{inputs}", str(arrays)) for word in command]
        try:
            return _exit_code(words, seconds) != 0
        except OSError as error:
            raise UsageError(
                "a command for --check that can be run", f"{words[0]}: {error.strerror}", "correct it"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"a command for --check that ends within {seconds:g} s for each part",
                f"{words[0]} still runs",
                "let it end sooner, or give it more time with --check-seconds",
            ) from error

    return shows


def _exit_code(words: Sequence[str], seconds: float) -> int:
    """Run a command and return its exit code.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It ran for longer than ``seconds``; it and what it started are ended.
    """
    silent = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=silent, stdout=silent, stderr=silent, start_new_session=True) as run:
        try:
            return run.wait(seconds)
        except BaseException:  # also an interrupt, which does not reach another session
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            raise
