"""The graph that ``inspect`` and ``lint`` look at: a network's file, an ONNX file, or a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from compress.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from compress.api.build_options import GraphOptions


@dataclass(frozen=True)
class OpenedModel:
    """A graph and where it came from.

    Attributes:
        path: Path, as the user wrote it.
        format: Format of the file: ``onnx``, ``pt2``, ``torchscript``, ``state_dict``, ``pickle``, ``hugging_face``,
            ``decoder``, or ``bundle``.
        sha256: sha256 of the file; for a bundle, of its artifact.
        model: The model as ONNX.
        note: Sentence on which of several sets of weights was taken; None where there is one.
    """

    path: str
    format: str
    sha256: str
    model: onnx.ModelProto
    note: str | None = None


@dataclass(frozen=True)
class InputShape:
    """The shape of one input.

    Attributes:
        name: Name of the input; empty where shapes are given in the order of the inputs.
        shape: Size of each axis, the batch included.
        dtype: NumPy's name of the data type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


#: Shapes as a caller in Python gives them: sizes by the input's name, the sizes of the only input, or shapes in order.
GivenInputs: TypeAlias = Mapping[str, Sequence[int]] | Sequence[int] | Sequence[InputShape] | None


def input_shapes(given: GivenInputs) -> tuple[InputShape, ...]:
    """Read shapes that a caller in Python gave; None stands for none.

    Raises:
        UsageError: A size is not a whole number from 1.
    """
    if not given:
        return ()
    if isinstance(given, Mapping):
        read = [InputShape(name, tuple(sizes)) for name, sizes in given.items()]
    elif isinstance(given[0], InputShape):
        read = list(cast("Sequence[InputShape]", given))
    else:
        read = [InputShape("", tuple(cast("Sequence[int]", given)))]
    for input_shape in read:
        if not all(isinstance(size, Integral) and size >= 1 for size in input_shape.shape):
            raise UsageError(
                "shapes of whole numbers from 1, such as (1, 3, 224, 224)",
                str(input_shape.shape),
                "correct it",
            )
    return tuple(read)


def open_model(path: Path, inputs: Sequence[InputShape], options: GraphOptions) -> OpenedModel:
    """Read a graph; only networks other than ONNX and bundles need torch.

    Args:
        path: File of a network, or directory of a bundle.
        inputs: Shapes of inputs that the file does not state, as far as they were given.
        options: Options by which the file is read.

    Raises:
        NetworkError: The file cannot be used, or has no use for one of the options.
        BundleError: The directory is no bundle, or a damaged one.
    """
    from compress.language.network import is_decoder, load_decoder
    from compress.network.formats.directory import directory_of
    from compress.network.formats.unused_options import refuse_unused

    refuse = partial(
        refuse_unused, factory=options.factory, weights=options.weights, batch_axis=options.batch_axis
    )
    if is_decoder(path):
        refuse(f"{path}, a language model")
        decoder = load_decoder(path).network
        return OpenedModel(str(path), decoder.origin.format, decoder.origin.sha256, decoder.to_onnx())

    if path.is_dir() and directory_of(path) is None:
        from compress.bundle.bundle import load_bundle

        refuse(f"{path}, a bundle")
        artifact = load_bundle(path).artifact
        if artifact.path.suffix == ".xml":
            raise UsageError(
                "a bundle of an ONNX graph",
                f"{path}: {artifact.path.name}, OpenVINO's own form",
                "inspect the model it was made of; its measurements are in compress report",
            )
        return OpenedModel(str(path), "bundle", artifact.sha256, _read_onnx(artifact.path))

    from compress.network.formats.detection import sniff

    if sniff(path).format == "onnx":
        from compress.onnx_graph.files import sha256_of

        refuse(f"{path}, an ONNX file")
        return OpenedModel(str(path), "onnx", sha256_of(path), _read_onnx(path))

    from compress.network.formats.weight_sets import choice_note
    from compress.network.network import load_network

    if options.batch_axis and not inputs:
        raise UsageError("--shape with --batch-axis", "none", "give --shape, or leave --batch-axis out")
    axes = {"": 0, **(options.batch_axis or {})}
    network = load_network(
        path,
        example=_example(inputs, axes),
        factory=options.factory,
        trust_pickle=options.trust_pickle,
        weights=options.weights,
        batch_axis=axes,
    )
    origin = network.origin
    return OpenedModel(
        str(path), origin.format, origin.sha256, network.to_onnx(), choice_note(origin.weights)
    )


def given_shapes(
    model: onnx.ModelProto, inputs: Sequence[InputShape], batch: int | None
) -> tuple[int, dict[str, tuple[int, ...]]]:
    """Return the batch size, and the shapes of the inputs that were given one.

    Args:
        model: Model with these inputs.
        inputs: Shapes, in the order of the inputs or by name.
        batch: Size for axis 0 of the inputs that leave it open; None where it was not given.

    Raises:
        UsageError: There are more shapes than inputs, or the batch size is fixed to another one.
    """
    from compress.language.documents import step_shapes
    from compress.language.pairs import call_shapes
    from compress.onnx_graph.shapes import input_specs

    specs = input_specs(model)
    if len(inputs) > len(specs):
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"shapes for {names}", str(len(inputs)), "give --shape once for each")
    ordered = zip(inputs, specs, strict=False)
    shapes = {input_shape.name or spec.name: input_shape.shape for input_shape, spec in ordered}
    if (
        not inputs
    ):  # a language model is looked at in a decoding step, an encoder–decoder as it reads and makes one
        shapes = step_shapes(specs) or call_shapes(specs)
    open_batch = {spec.name: spec.batch_axis for spec in specs if spec.dynamic_batch}
    if batch is not None:
        shapes = {
            name: (*shape[: open_batch[name]], batch, *shape[open_batch[name] + 1 :])
            if name in open_batch
            else shape
            for name, shape in shapes.items()
        }
    first = shapes[specs[0].name] if specs and specs[0].name in shapes else specs[0].shape if specs else ()
    counted = first[specs[0].batch_axis] if first else None
    fixed = counted if isinstance(counted, int) else None
    if batch is not None and fixed is not None and fixed != batch:
        raise UsageError(f"batch {batch}", f"a network of batch {fixed}", "leave --batch out")
    return batch or fixed or 1, shapes


def _example(
    inputs: Sequence[InputShape], axes: Mapping[str, int]
) -> Mapping[str, np.ndarray[Any, Any]] | list[np.ndarray[Any, Any]] | None:
    """Return at least two samples to trace a network with: seeded noise, zeros for integers, along axis 0."""
    import numpy as np

    if not inputs:
        return None
    random = np.random.default_rng(0)
    arrays = []
    for shape_given in inputs:
        counts = axes.get(shape_given.name or "", axes.get("", 0))
        if counts >= len(shape_given.shape):
            raise UsageError(
                f"--batch-axis inside {'x'.join(map(str, shape_given.shape))}", str(counts), "correct it"
            )
        samples = shape_given.shape[counts : counts + 1]
        shape = (max(2, *samples), *shape_given.shape[:counts], *shape_given.shape[counts + 1 :])
        noise = random.standard_normal(shape) if np.dtype(shape_given.dtype).kind == "f" else np.zeros(shape)
        arrays.append(noise.astype(shape_given.dtype))
    if all(shape_given.name for shape_given in inputs):
        return {shape_given.name: array for shape_given, array in zip(inputs, arrays, strict=True)}
    return arrays


def _read_onnx(path: Path) -> onnx.ModelProto:
    from compress.network.formats.first_reading import read_elsewhere
    from compress.onnx_graph.reading import read_model

    read_elsewhere(path, "onnx graph")
    return read_model(path)
