"""A model for NVIDIA's Triton Inference Server: a directory with ``config.pbtxt`` and the place of the engine.

The file is a ``ModelConfig`` of Triton's ``model_config.proto``, as text. An engine belongs to the machine that builds
it, so ``build.sh`` puts it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from compress.backends.tensorrt import optimization_profile, release_of

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.target.target import Target

#: Triton's name of each type that an engine's inputs and outputs can have, by NumPy's name.
_TYPES: Mapping[str, str] = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "int8": "TYPE_INT8",
    "uint8": "TYPE_UINT8",
    "bool": "TYPE_BOOL",
}


def model_config(
    target: Target, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, dla: bool = False
) -> str | None:
    """Return ``config.pbtxt`` of the engine that ``build.sh`` builds; None where Triton lacks a type of it.

    Args:
        target: Target, with the batch sizes and shapes that the engine takes.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        dla: Whether the engine is for a deep learning accelerator, which takes one shape.
    """
    if not {spec.dtype for spec in (*inputs, *outputs)} <= _TYPES.keys():
        return None
    narrow = release_of(target.tensorrt) < (10,)  # has no int64, and reads it as int32
    profile = optimization_profile(inputs, target, dla=dla)
    batched = not dla and all(spec.dynamic_batch and spec.batch_axis == 0 for spec in (*inputs, *outputs))
    most = max((shape_range.largest[0] for shape_range in profile.values()), default=1) if batched else 0
    lines = [
        "# A model for NVIDIA Triton Inference Server. Copy this directory into a model repository, under the model's",
        "# name, or serve it where it is, on the machine of the engine, from the bundle's directory:",
        "#   tritonserver --model-repository=. --model-control-mode=explicit --load-model=triton",
        "# It looks for 1/model.plan: build.sh puts the engine there; copy a model.engine that came with the bundle.",
        'platform: "tensorrt_plan"',
        f"max_batch_size: {most}",
    ]
    for kind, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            fixed = dla and spec.name in profile
            shape = profile[spec.name].usual if fixed else spec.shape
            if dla and kind == "output" and spec.dynamic_batch:
                size = target.batch_sizes[0]
                shape = (*shape[: spec.batch_axis], size, *shape[spec.batch_axis + 1 :])
            sizes = [str(size) if isinstance(size, int) else "-1" for size in shape[1 if batched else 0 :]]
            dtype = "int32" if narrow and spec.dtype == "int64" else spec.dtype
            lines += [
                f"{kind} {{",
                f"  name: {_text(spec.name)}",
                f"  data_type: {_TYPES[dtype]}",
                f"  dims: [ {', '.join(sizes) or '1'} ]",
                *([] if sizes else ["  reshape { shape: [ ] }"]),
                "}",
            ]
    return "\n".join([*lines, "instance_group { kind: KIND_GPU count: 1 }", ""])


def _text(name: str) -> str:
    """Return a string of protobuf's text format, with all but plain ASCII as octal bytes."""
    marks = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in name.encode()
    )
    return f'"{"".join(marks)}"'
