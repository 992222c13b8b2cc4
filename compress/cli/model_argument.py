"""The MODEL argument of commands that read a graph: a network's file, an ONNX file, or a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnx

_FORM = "[NAME=]1x3x32x32[:DTYPE]"


@dataclass(frozen=True)
class OpenedModel:
    """A graph and where it came from.

    Attributes:
        path: Path, as the user wrote it.
        format: Format of the file: ``onnx``, ``pt2``, ``torchscript``, ``state_dict``, ``pickle``, or ``bundle``.
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
    """The shape of one input, as ``--shape`` names it.

    Attributes:
        name: Name of the input; empty where shapes are given in the order of the inputs.
        shape: Size of each axis, the batch included.
        dtype: NumPy's name of the data type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class InputShapeType(click.ParamType[InputShape]):
    """Type of a flag's value ``[NAME=]1x3x32x32[:DTYPE]``."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> InputShape:
        """See :meth:`click.ParamType.convert`."""
        import numpy as np

        if isinstance(value, InputShape):
            return value
        name, _, rest = str(value).rpartition("=")
        sizes, _, dtype = rest.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.lower().split("x"))
            if min(shape) < 1:
                raise ValueError
            return InputShape(name, shape, np.dtype(dtype or "float32").name)
        except (ValueError, TypeError):
            self.fail(f"wanted {_FORM}; found '{value}'; write one size for each axis", param, ctx)


def input_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--shape``, once for each input of the network; ``--input`` is its older name."""
    return click.option(
        "--shape",
        "--input",
        "inputs",
        type=InputShapeType(),
        metavar=_FORM,
        multiple=True,
        help="Shape of an input, where the file does not state it or leaves axes open; may be given again. DTYPE is "
        "NumPy's name. [default: float32]",
    )(command)


def open_model(
    path: Path,
    inputs: Sequence[InputShape],
    *,
    factory: str | None,
    trust_pickle: bool,
    weights: str | None = None,
    batch_axis: Mapping[str, int] | None = None,
) -> OpenedModel:
    """Read a graph; only networks other than ONNX and bundles need torch.

    Raises:
        NetworkError: The file cannot be used.
        BundleError: The directory is no bundle, or a damaged one.
    """
    if path.is_dir():
        from compress.bundle.bundle import load_bundle

        artifact = load_bundle(path).artifact
        return OpenedModel(str(path), "bundle", artifact.sha256, _read_onnx(artifact.path))

    from compress.network.formats.detection import sniff

    if sniff(path).format == "onnx":
        from compress.onnx_graph.files import sha256_of

        return OpenedModel(str(path), "onnx", sha256_of(path), _read_onnx(path))

    from compress.network.formats.weight_sets import told
    from compress.network.network import load_network

    axes = batch_axis or {"": 0}
    network = load_network(
        path,
        example=_example(inputs, axes),
        factory=factory,
        trust_pickle=trust_pickle,
        weights=weights,
        batch_axis=axes,
    )
    origin = network.origin
    return OpenedModel(str(path), origin.format, origin.sha256, network.to_onnx(), told(origin.weights))


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
    from compress.onnx_graph.shapes import input_specs

    specs = input_specs(model)
    if len(inputs) > len(specs):
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"shapes for {names}", str(len(inputs)), "give --shape once for each")
    ordered = zip(inputs, specs, strict=False)
    shapes = {given.name or spec.name: given.shape for given, spec in ordered}
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
    for each in inputs:
        counts = axes.get(each.name or "", axes.get("", 0))
        if counts >= len(each.shape):
            raise UsageError(
                f"--batch-axis inside {'x'.join(map(str, each.shape))}", str(counts), "correct it"
            )
        samples = each.shape[counts : counts + 1]
        shape = (max(2, *samples), *each.shape[:counts], *each.shape[counts + 1 :])
        noise = random.standard_normal(shape) if np.dtype(each.dtype).kind == "f" else np.zeros(shape)
        arrays.append(noise.astype(each.dtype))
    if all(each.name for each in inputs):
        return {each.name: array for each, array in zip(inputs, arrays, strict=True)}
    return arrays


def _read_onnx(path: Path) -> onnx.ModelProto:
    from compress.network.formats.first_reading import read_elsewhere
    from compress.onnx_graph.reading import read_model

    read_elsewhere(path, "onnx graph")
    return read_model(path)
