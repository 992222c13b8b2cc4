"""``compress.predict``: what a bundle answers for one sample, read from a file and prepared as the bundle says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.tensor_spec import TensorSpec, fixed_batch, take_samples, with_length
from compress.errors import DataError, UsageError

if TYPE_CHECKING:
    from compress.bundle.bundle import Bundle
    from compress.data.image_options import ImageOptions

Array = np.ndarray[Any, Any]

#: Kinds of outputs of which the largest values along an axis are the answer.
_SCORES = frozenset({"classes", "probabilities"})

#: Number of classes that are told.
TOP = 5

#: First bytes of image files of each format that is decoded.
_IMAGES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n",
    b"GIF8",
    b"BM",
    b"RIFF",
    b"II*\0",
    b"MM\0*",
    b"P2",
    b"P3",
    b"P5",
    b"P6",
)

_NOT_THE_ENGINE = (
    "ONNX Runtime ran the graph here; the engine that is built of it on the board rounds otherwise"
)

#: The type of inputs that are texts.
_TEXT = "object"

#: The most values of an output that are told as JSON.
_MOST_VALUES = 10_000

#: The arrays of an ``.npz`` of evaluation data that are no inputs.
_TARGETS = ("y", "labels", "groups")


@dataclass(frozen=True)
class Answer:
    """One output of a bundle for one sample.

    Attributes:
        name: Name of the output.
        value: Values of the output, with the axis that counts samples, of size 1 where there is one.
        scores: Score of each class; None where the output holds no class scores.
    """

    name: str
    value: Array
    scores: Array | None = None


@dataclass(frozen=True)
class PredictResult:
    """Outputs of a bundle for one sample.

    Attributes:
        bundle: Directory of the bundle.
        input: File of the sample; None where arrays were given.
        answers: Every output that is no state, in the network's order.
        classes: Names of the classes, by their number; None where the bundle has none.
        backend: Back end that computed them here: the bundle's own, or ``onnxruntime`` in place of an engine that only
            a board has.
        note: Sentence for a person about that; None where the bundle's own back end computed them.
    """

    bundle: str
    input: str | None
    answers: tuple[Answer, ...]
    classes: tuple[str, ...] | None = None
    backend: str = "onnxruntime"
    note: str | None = None

    @property
    def outputs(self) -> dict[str, Array]:
        """Values of each output, by its name."""
        return {answer.name: answer.value for answer in self.answers}

    def top(self, answer: Answer, count: int = TOP) -> list[tuple[str, float]]:
        """Return the classes with the largest scores, the largest first: name and score.

        Args:
            answer: Answer with class scores; any other gives an empty list.
            count: Most classes to return, from 1.

        Raises:
            UsageError: The count is below 1.
        """
        if count < 1:
            raise UsageError("a number of classes from 1", str(count), "correct it")
        if answer.scores is None:
            return []
        order = np.argsort(-answer.scores, kind="stable")[:count]
        return [(self._name(int(index)), float(answer.scores[index])) for index in order]

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, as ``compress predict --json`` prints it; no values of large outputs."""
        return {
            "schema": 1,
            "bundle": self.bundle,
            "input": self.input,
            "backend": self.backend,
            "note": self.note,
            "outputs": [
                {
                    "name": answer.name,
                    "dtype": answer.value.dtype.name,
                    "shape": list(answer.value.shape),
                    "top": [{"class": name, "score": score} for name, score in self.top(answer)],
                    "values": answer.value.tolist() if answer.value.size <= _MOST_VALUES else None,
                }
                for answer in self.answers
            ],
        }

    def _name(self, index: int) -> str:
        is_named = self.classes is not None and index < len(self.classes)
        return self.classes[index] if is_named and self.classes is not None else str(index)


def predict(
    bundle: str | os.PathLike[str] | Bundle,
    sample: str | os.PathLike[str] | Array | Mapping[str, Array],
    *,
    out: str | os.PathLike[str] | None = None,
) -> PredictResult:
    """Run one sample through a bundle, on this machine. Needs no torch.

        result = compress.predict("build", "cat.jpg")
        print(result.top(result.answers[0]))

    Args:
        bundle: Directory of a bundle, or one that is open.
        sample: A ``.npy`` or ``.npz`` file, an image, a text for a network that takes text, or the arrays themselves:
            one sample, with or without the axis that counts samples. An image is prepared as the bundle's data was.
        out: File (.npz) for the outputs, by their names; None writes none.

    Raises:
        BundleError: There is no bundle, or it is damaged.
        DataError: The sample cannot be read, does not fit, or the bundle does not say how to prepare it.
        UnavailableError: The bundle's back end is not installed here, or Pillow is not, for an image.
        UsageError: The bundle is of a language model, and the sample no arrays of a decoding step.
        OutputError: ``out`` cannot be written.
    """
    from compress.bundle.bundle import Bundle, load_bundle
    from compress.core.replacing import check_replaceable

    if out is not None:
        check_replaceable(Path(out))
    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    if opened.tokenizer is not None and isinstance(sample, str | os.PathLike) and not _is_zip(Path(sample)):
        raise UsageError(
            "arrays for a decoding step, as an .npz file",
            f"{sample}, for a language model",
            f'to write text: python {opened.path / "run.py"} "a prompt"',
        )
    here = _runnable_here(opened)
    if here is bundle:  # the caller closes it
        return _written(_answered(here, sample), out)
    with here:
        note = None if here is opened else _NOT_THE_ENGINE
        return _written(replace(_answered(here, sample), note=note), out)


def _runnable_here(bundle: Bundle) -> Bundle:
    """Return the bundle; where engines are built of its graph on a board, one whose graph ONNX Runtime runs here."""
    from compress.backends import load_backend

    if not load_backend(bundle.artifact.backend).builds_engines:
        return bundle
    here = copy(bundle)
    here.artifact = replace(bundle.artifact, backend="onnxruntime", options={"qdq_fusion": False})
    here._session = None
    return here


def _is_zip(path: Path) -> bool:
    """Whether a file begins as an ``.npz`` does."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False


def _answered(bundle: Bundle, sample: str | os.PathLike[str] | Array | Mapping[str, Array]) -> PredictResult:
    fed_specs = tuple(spec for spec in bundle.inputs if spec.name not in bundle.states)
    path = Path(sample) if isinstance(sample, str | os.PathLike) else None
    arrays = sample if path is None else _read(path, bundle, fed_specs)
    where = "the arrays given" if path is None else str(path)
    feeds = _fed(arrays, fed_specs, where)  # type: ignore[arg-type]  # a path was read
    if bundle.states:
        stream = bundle.stream()
        outputs, specs = stream(feeds), stream.outputs
    else:
        outputs, specs = bundle.run(feeds), bundle.outputs
    answers, rows = [], fixed_batch(fed_specs) or 1
    for spec, value in zip(specs, outputs, strict=True):
        first_answer = np.asarray(value)
        if rows > 1 and spec.shape and spec.shape[spec.batch_axis] == rows:
            first_answer = take_samples(
                first_answer, slice(0, 1), spec.batch_axis
            )  # the others are the same sample again
        answers.append(Answer(spec.name, first_answer, _scores(bundle, spec, first_answer)))
    classes = bundle.manifest.get("data", {}).get("classes")
    return PredictResult(
        str(bundle.path),
        None if path is None else str(path),
        tuple(answers),
        None if classes is None else tuple(map(str, classes)),
        bundle.artifact.backend,
    )


def _read(path: Path, bundle: Bundle, inputs: Sequence[TensorSpec]) -> Array | dict[str, Array]:
    """Read a sample; the content of the file tells its kind, never its name."""
    from compress.data.arrays import read_npy, read_npz

    try:
        with path.open("rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError("a sample that can be read", f"{path}: {reason}", "check the path") from error
    if start.startswith(b"\x93NUMPY"):
        return read_npy(path, "a sample")
    if start.startswith(b"PK"):
        arrays = read_npz(path)
        names = {spec.name for spec in inputs}
        return {name: array for name, array in arrays.items() if name in names or name not in _TARGETS}
    takes_text = any(spec.dtype == _TEXT for spec in inputs)
    if start.startswith(_IMAGES) and not takes_text:  # a text may begin with these letters
        return _image(path, bundle)
    return _text(path, inputs)


def _image(path: Path, bundle: Bundle) -> Array:
    from compress.data.images import decode

    return decode(path, _image_options(path, bundle))[None]


def _image_options(path: Path, bundle: Bundle) -> ImageOptions:
    """Return how the images that the bundle was measured on were prepared."""
    from compress.data.image_options import ImageOptions

    measured = bundle.manifest.get("data", {}).get("evaluation") or {}  # null: no evaluation data was given
    options = measured.get("options")
    if not isinstance(options, Mapping):
        problem = f"{path}, an image, and a bundle measured on {measured.get('kind', 'data that it does not tell of')}"
        raise DataError(
            "arrays, since the bundle does not say how images become its input",
            problem,
            "prepare it as for training and save it with np.save",
        )
    return ImageOptions.recorded(options, f"{bundle.path}/manifest.json")


def _text(path: Path, inputs: Sequence[TensorSpec]) -> Array:
    """Return the text of a file for a network that takes texts themselves."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        wanted = "one sample: a .npy or .npz file, an image, or a text"
        raise DataError(wanted, f"{path}, of another kind", "give one of these") from error
    if len(inputs) != 1 or inputs[0].dtype != _TEXT:
        wanted = "; ".join(map(str, inputs))
        raise DataError(
            f"arrays for {wanted}, since the bundle does not say how text becomes its input",
            f"{path}, a text or a file of another kind",
            f"prepare it as for training and {_save(inputs)}",
        )
    return np.full([1] * max(1, len(inputs[0].shape)), text.removesuffix("\n"), dtype=object)


def _save(inputs: Sequence[TensorSpec]) -> str:
    """Say how to save arrays for these inputs."""
    if len(inputs) == 1:
        return "save it with np.save(path, x)"
    return f"save them with np.savez(path, {', '.join(f'{spec.name}=…' for spec in inputs)})"


def _fed(arrays: Array | Mapping[str, Array], inputs: Sequence[TensorSpec], where: str) -> dict[str, Array]:
    """Return one sample as the network takes it: under its names, in its types, with the axis of the samples."""
    from compress.data.binding import matched

    if not isinstance(arrays, Mapping):
        if len(inputs) != 1:
            wanted = "; ".join(map(str, inputs))
            raise DataError(f"an array for each of {wanted}", f"one array in {where}", _save(inputs))
        arrays = {inputs[0].name: arrays}
    named = {name: np.asarray(array) for name, array in arrays.items()}
    cast, rows = matched(named, inputs), fixed_batch(inputs) or 1
    return {spec.name: _with_samples(cast[spec.name], spec, rows, where) for spec in inputs}


def _with_samples(array: Array, spec: TensorSpec, rows: int, where: str) -> Array:
    """Return one sample of an input with the axis that counts samples.

    Args:
        array: One sample, with or without that axis, at its place or in front.
        spec: The input.
        rows: Number of samples that the network takes at once; the sample is repeated.
        where: Source of the array, for messages.
    """
    axis = spec.batch_axis
    counted = spec.dynamic_batch or (len(spec.shape) > 1 and spec.shape[axis] == rows)
    if _fits(array.shape, spec.shape) and (not counted or array.shape[axis] == 1):
        return array  # as the network takes it, or an input without an axis for samples
    if _fits(array.shape, (1, *spec.sample_shape)):
        array = array[0]
    if not counted or not _fits(array.shape, spec.sample_shape):
        raise DataError(
            f"one sample for input {spec}",
            f"{array.dtype}{list(array.shape)} in {where}",
            "give one sample of that shape, with or without the axis that counts samples",
        )
    return np.ascontiguousarray(with_length(np.expand_dims(array, axis), axis, rows))


def _fits(shape: Sequence[int], spec_shape: Sequence[int | str]) -> bool:
    return len(shape) == len(spec_shape) and all(
        isinstance(size, str) or size == length for length, size in zip(shape, spec_shape, strict=True)
    )


def _scores(bundle: Bundle, spec: TensorSpec, value: Array) -> Array | None:
    """Return the score of each class; None for an output that is not known to hold class scores."""
    if value.ndim != 2 or value.shape[0] != 1 or value.shape[1] < 2 or value.dtype.kind != "f":
        return None
    kinds = {kind.name: kind.kind for kind in bundle.kinds}
    metric = str(bundle.manifest.get("data", {}).get("metric", ""))
    alone = sum(len(output.shape) == 2 for output in bundle.outputs) == 1
    judged = metric.startswith("top-") and alone  # its labels are class numbers
    scores: Array = value[0]
    return scores if kinds.get(spec.name) in _SCORES or judged else None


def _written(result: PredictResult, out: str | os.PathLike[str] | None) -> PredictResult:
    """Write the outputs, and return the result."""
    import zipfile

    from compress.core.replacing import replaced_whole

    if out is not None:
        # Not by np.savez: an output may be called as an argument of it is.
        with replaced_whole(Path(out)) as scratch, zipfile.ZipFile(scratch, "w") as archive:
            for name, value in result.outputs.items():
                plain = value.astype(str) if value.dtype == object else value
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, plain, allow_pickle=False)
    return result
