"""Options of ONNX Runtime's sessions on an NVIDIA GPU: one engine for all shapes, CUDA graphs, and memory that is kept.

Names of the options: the provider libraries of onnxruntime-gpu 1.26.
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.backends.providers import CUDA, TENSORRT, on_nvidia_gpu, short_name
from compress.backends.tensorrt import has_open_axis, optimization_profile, shapes_text
from compress.errors import RecipeError
from compress.target.shape_ranges import ShapeRange

if TYPE_CHECKING:
    from compress.backends.onnxruntime import OnnxRuntimeOptions
    from compress.core.tensor_spec import TensorSpec
    from compress.target.target import Target

_GRAPH_OPTION = {CUDA: "enable_cuda_graph", TENSORRT: "trt_cuda_graph_enable"}
_OFF = "set it to false in the recipe's [session]"


def shapes_of_target(target: Target) -> dict[str, Any]:
    """Return the session options that hold the shapes a target names; empty where it has no such GPU."""
    if not any(map(on_nvidia_gpu, (target.provider, *target.further_providers))):
        return {}
    shapes: dict[str, Any] = {"batch_sizes": list(target.batch_sizes)}
    if target.input_shapes:
        shapes["input_shapes"] = {name: sizes.to_dict() for name, sizes in target.input_shapes.items()}
    return shapes


def gpu_variants(options: Mapping[str, Any], target: Target) -> list[dict[str, Any]]:
    """Return the sets of options worth trying on a GPU: memory that is kept, and CUDA graphs, which keep it too.

    Args:
        options: Options that are tried anyway.
        target: Target, whose shapes decide whether a CUDA graph can be recorded at all.
    """
    first: dict[str, Any] = {"shape_profile": True} if options["provider"] == TENSORRT else {}
    sets = [first] if first else []
    sets.append({**first, "io_binding": True})
    one_shape = len(target.batch_sizes) == 1 or options["provider"] == CUDA
    if one_shape and all(sizes.one_size for sizes in target.input_shapes.values()):
        sets.append({**first, "cuda_graph": True})
    return [{**options, **chosen} for chosen in sets]


def provider_options(settings: OnnxRuntimeOptions, inputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return the options of a GPU's provider that a session's options ask for; empty on other providers.

    Args:
        settings: Options of the session.
        inputs: Inputs of the graph.

    Raises:
        RecipeError: An option is not possible there; the reason is in the message.
        UsageError: The size of an open axis is unknown to whoever asks for a profile of shapes.
    """
    for name, reason in _faults(settings, inputs):
        raise RecipeError(f"a session in which {name} is possible", reason, _OFF)
    chosen = {}
    if settings.cuda_graph:
        chosen[_GRAPH_OPTION[settings.provider]] = "1"
    if settings.shape_profile:
        ranges = optimization_profile(inputs, _shapes_of(settings))
        if ranges:
            chosen |= {
                "trt_profile_min_shapes": shapes_text(
                    {name: sizes.smallest for name, sizes in ranges.items()}
                ),
                "trt_profile_opt_shapes": shapes_text({name: sizes.usual for name, sizes in ranges.items()}),
                "trt_profile_max_shapes": shapes_text(
                    {name: sizes.largest for name, sizes in ranges.items()}
                ),
            }
    return chosen


@dataclass(frozen=True)
class _Shapes:
    """The shapes that a session's options hold, as a target has them."""

    batch_sizes: tuple[int, ...]
    input_shapes: Mapping[str, ShapeRange]


def _shapes_of(settings: OnnxRuntimeOptions) -> _Shapes:
    ranges = (settings.input_shapes or {}).items()
    return _Shapes(
        tuple(settings.batch_sizes) or (1,), {name: ShapeRange.from_dict(sizes) for name, sizes in ranges}
    )


def _faults(settings: OnnxRuntimeOptions, inputs: Sequence[TensorSpec]) -> Iterator[tuple[str, str]]:
    """Yield each option that is not possible, and why."""
    if not on_nvidia_gpu(settings.provider):
        provider = short_name(settings.provider)
        for name in ("cuda_graph", "io_binding", "shape_profile"):
            if getattr(settings, name):
                yield name, f"the provider {provider}, which runs on no NVIDIA GPU"
        return
    if settings.shape_profile and settings.provider != TENSORRT:
        yield "shape_profile", "CUDA's own kernels, which take any shape: TensorRT alone builds engines"
    if settings.cuda_graph:
        yield from (("cuda_graph", reason) for reason in _varying(settings, inputs))


def _varying(settings: OnnxRuntimeOptions, inputs: Sequence[TensorSpec]) -> Iterator[str]:
    """Yield each reason why the shapes of calls are too many to record them."""
    shapes = _shapes_of(settings)
    for spec in inputs:
        if not has_open_axis(spec):
            continue
        sizes = shapes.input_shapes.get(spec.name)
        axes = [axis for axis, size in enumerate(spec.shape) if isinstance(size, str)]
        samples = spec.batch_axis if spec.dynamic_batch else None
        if sizes is not None and sizes.fits(spec):
            samples = sizes.samples
            if not sizes.one_size:
                yield f"input '{spec.name}', whose shapes vary: {sizes}"
                continue
        elif axes != [samples]:
            yield f"input '{spec.name}', whose shape is open: {spec}"
            continue
        if samples is not None and settings.provider == TENSORRT and len(shapes.batch_sizes) > 1:
            numbers = ", ".join(map(str, shapes.batch_sizes))
            yield f"batches of {numbers} samples, of which TensorRT's provider records one alone"
