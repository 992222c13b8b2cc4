"""The declared inputs and outputs of an ONNX file, corrected by runs of it.

Files declare shapes that their networks do not give: an exporter wrote down what it was told. ONNX Runtime only warns,
and folding believes it. And nothing in a file says which axis counts samples; here it gets the name ``batch``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from compress.core.tensor_spec import BATCH, TensorSpec, fixed_batch
from compress.data.binding import held_values
from compress.errors import DataError, NetworkError
from compress.network.sample_axis import Run, SampleAxes, check_told, find_axes, possible_axes, told_axis
from compress.onnx_graph.sessions import open_session
from compress.onnx_graph.single_sample import with_sample_axis

Array = np.ndarray[Any, np.dtype[Any]]


def as_it_runs(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array],
    given_axes: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return the model with the axes and the output shapes that it has when it runs.

    Args:
        model: Model as the file holds it; it is not changed.
        inputs: Declared inputs of the model.
        samples: Samples of each input, ``(n, …)``, at least one.
        given_axes: Axis of each input that counts samples, as the user names it, by the input's name; ``""`` stands for
            all others. None finds them.

    Returns:
        The corrected model; the model itself where nothing is to correct, or it does not run on these samples.

    Raises:
        NetworkError: Samples depend on each other along every axis.
        UsageError: A named input or axis does not exist.
    """
    check_told(given_axes, {spec.name: len(spec.shape) for spec in inputs})
    held = held_values(samples, inputs)
    if len(held) == len(inputs):
        return _of_one_sample(model, inputs, samples)
    inputs = [spec for spec in inputs if spec.name not in held]
    samples = {spec.name: samples[spec.name] for spec in inputs}
    try:
        run = _runner(model, held)
    except Exception:  # noqa: BLE001 - what opens it for use tells why
        return model
    possible = {spec.name: possible_axes(spec, samples[spec.name].shape[1:]) for spec in inputs}
    axes = {name: told_axis(given_axes, name, fitting[0]) for name, fitting in possible.items()}
    sizes = {size for spec in inputs for size in spec.shape[axes[spec.name] : axes[spec.name] + 1]}
    fixed = {size for size in sizes if isinstance(size, int)}
    if fixed and any(axes.values()):
        return _opened(model, samples, axes, held)
    if not fixed:
        axes_found = find_axes(run, samples, possible, given_axes=given_axes)
        if axes_found is not None:
            model, axes = with_sample_axes(model, axes_found), axes_found.inputs
    try:
        outputs_by_rows = [
            run({name: _batch(samples[name], rows, axis) for name, axis in axes.items()})
            for rows in (fixed or {1, 2})
        ]
    except Exception:  # noqa: BLE001 - binding the data tells what does not fit
        return model if fixed else _for_one_sample(model, run, samples, axes)
    return with_given_shapes(model, outputs_by_rows)


def _of_one_sample(
    model: onnx.ModelProto, inputs: Sequence[TensorSpec], samples: Mapping[str, Array]
) -> onnx.ModelProto:
    """Return the model with an axis for samples, where each sample of the data fills all its axes."""
    if fixed_batch(inputs) == 1:
        return model  # the data brings that axis with each sample
    first = inputs[0]
    if first.dynamic_batch and all(array.ndim > 1 and array.shape[1] == 1 for array in samples.values()):
        raise DataError(
            f"data for input {first}, whose axis 0 counts samples",
            f"{first.dtype}[samples, {', '.join(map(str, samples[first.name].shape[1:]))}]",
            "leave the axis of size 1 out: x[:, 0]",
        )
    return with_sample_axis(model)


def _for_one_sample(
    model: onnx.ModelProto, run: Run, samples: Mapping[str, Array], axes: Mapping[str, int]
) -> onnx.ModelProto:
    """Return the model for one sample at a time, where the file leaves their number open but only one works.

    Exporters write the one number that they saw into a Reshape, and leave the axis open.
    """
    try:
        outputs_of_one = run({name: _batch(samples[name], 1, axis) for name, axis in axes.items()})
    except Exception:  # noqa: BLE001 - what opens it for use tells why
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]  # they may name the axis that is open no more
    counted = {
        value.name: value.type.tensor_type.shape.dim[axes[value.name]]
        for value in fixed.graph.input
        if value.name in axes
    }
    names = {dim.dim_param for dim in counted.values()} - {""}
    for dim in counted.values():
        dim.dim_value = 1
    for value, output in zip(fixed.graph.output, outputs_of_one, strict=True):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param not in names and (axis or dim.HasField("dim_value")):
                continue
            if output.shape[axis : axis + 1] == (1,):
                dim.dim_value = 1
            elif dim.dim_param in names:  # of that name, and of another size
                dim.dim_param = f"{value.name}_{axis}"
    return fixed


def _runner(model: onnx.ModelProto, held: Mapping[str, Array]) -> Run:
    """Return the model as a function of the inputs that are not held; opening and calling it may fail."""
    session = open_session(model, optimized=False)
    names = [value.name for value in model.graph.output]

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        outputs: list[Array] = session.run(
            names, {**held, **{name: np.asarray(array, order="C") for name, array in feeds.items()}}
        )
        return outputs

    return run


def _opened(
    model: onnx.ModelProto,
    samples: Mapping[str, Array],
    axes: Mapping[str, int],
    held: Mapping[str, Array],
) -> onnx.ModelProto:
    """Return the model for any number of samples, where the file fixes it along another axis than axis 0.

    Nothing else can be written of it: that an axis of a fixed size counts samples stands nowhere.
    """
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.value_info[:]  # they hold the one number
    for value in opened.graph.input:
        if value.name in axes:
            value.type.tensor_type.shape.dim[axes[value.name]].dim_param = BATCH
    for value in opened.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        run = _runner(opened, held)
        axes_found = find_axes(run, samples, {name: [axis] for name, axis in axes.items()})
        outputs_of_two = (
            []
            if axes_found is None
            else run({name: _batch(samples[name], 2, axis) for name, axis in axes.items()})
        )
    except Exception as error:
        raise _one_number(axes) from error
    if axes_found is None or None in axes_found.outputs:
        raise _one_number(axes)
    for value, axis, output in zip(opened.graph.output, axes_found.outputs, outputs_of_two, strict=True):
        shape = [BATCH if number == axis else f"{value.name}_{number}" for number in range(output.ndim)]
        kind = value.type.tensor_type
        kind.shape.CopyFrom(onnx.helper.make_tensor_type_proto(kind.elem_type, shape).tensor_type.shape)
    return opened


def _one_number(axes: Mapping[str, int]) -> NetworkError:
    name, axis = next((name, axis) for name, axis in axes.items() if axis)
    return NetworkError(
        f"samples along axis 0, or an open axis {axis} of input '{name}', which counts them",
        "a network for one number of samples alone",
        f"export it with that axis open, dynamic_axes={{'{name}': {{{axis}: 'batch'}}}}, or name another: --batch-axis",
    )


def _batch(samples: Array, rows: int, axis: int) -> Array:
    """Return so many samples along an axis, repeated where there are fewer."""
    return np.moveaxis(samples[np.arange(rows) % len(samples)], 0, axis)


def with_sample_axes(model: onnx.ModelProto, axes: SampleAxes) -> onnx.ModelProto:
    """Return the model with the name ``batch`` only for the axes that count samples.

    Args:
        model: Model, which is not changed.
        axes: Axes that :func:`compress.network.sample_axis.find_axes` found.

    Returns:
        The renamed model; the model itself where its names are already right.
    """
    outputs = {
        value.name: axis
        for value, axis in zip(model.graph.output, axes.outputs, strict=True)
        if axis is not None
    }
    axes_by_name = {**axes.inputs, **outputs}
    values = [value for value in (*model.graph.input, *model.graph.output) if value.name in axes_by_name]
    if not any(axes_by_name.values()) and not any(
        _named_elsewhere(value, axes_by_name[value.name]) for value in values
    ):
        return model  # axis 0 counts samples where no axis is named
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    values = [value for value in (*renamed.graph.input, *renamed.graph.output) if value.name in axes_by_name]
    names = {BATCH, *(_name(value, axes_by_name[value.name]) for value in values)} - {""}
    for value in (*renamed.graph.input, *renamed.graph.output, *renamed.graph.value_info):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis == axes_by_name.get(value.name) and not dim.HasField("dim_value"):
                dim.dim_param = BATCH
            elif dim.dim_param in names:  # the name says something else now
                dim.dim_param = f"{value.name}_{axis}"
    return renamed


def with_given_shapes(model: onnx.ModelProto, given: Sequence[Sequence[Array]]) -> onnx.ModelProto:
    """Return the model with output shapes that do not contradict its outputs.

    Args:
        model: Model, which is not changed.
        given: Outputs of one or more runs.

    Returns:
        The corrected model; the model itself where nothing contradicts it.
    """
    wrong = {
        value.name: shape
        for index, value in enumerate(model.graph.output)
        if (shape := _corrected(value, [run[index].shape for run in given])) is not None
    }
    if not wrong:
        return model
    corrected = onnx.ModelProto()
    corrected.CopyFrom(model)
    for value in (*corrected.graph.output, *corrected.graph.value_info):
        if value.name in wrong:
            kind = value.type.tensor_type
            shape = onnx.helper.make_tensor_type_proto(kind.elem_type, wrong[value.name]).tensor_type.shape
            kind.shape.CopyFrom(shape)
    return corrected


def _corrected(value: onnx.ValueInfoProto, shapes: Sequence[tuple[int, ...]]) -> list[int | str] | None:
    """Return the shape to declare; None where the declared one, if any, is not contradicted."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    dims = list(kind.shape.dim)
    if any(len(shape) != len(dims) for shape in shapes):
        return [f"{value.name}_{axis}" for axis in range(len(shapes[0]))]
    contradicted = [
        dim.HasField("dim_value") and any(shape[axis] != dim.dim_value for shape in shapes)
        for axis, dim in enumerate(dims)
    ]
    if not any(contradicted):
        return None
    return [
        f"{value.name}_{axis}"
        if wrong or (not dim.HasField("dim_value") and not dim.dim_param)
        else dim.dim_value
        if dim.HasField("dim_value")
        else dim.dim_param
        for axis, (dim, wrong) in enumerate(zip(dims, contradicted, strict=True))
    ]


def _name(value: onnx.ValueInfoProto, axis: int) -> str:
    dims = value.type.tensor_type.shape.dim
    return str(dims[axis].dim_param) if axis < len(dims) else ""


def _named_elsewhere(value: onnx.ValueInfoProto, axis: int) -> bool:
    """Whether another axis than that of the samples is called ``batch``."""
    dims = value.type.tensor_type.shape.dim
    return any(dim.dim_param == BATCH for number, dim in enumerate(dims) if number != axis)
