"""Half precision: weights and activations in float16 or bfloat16, inputs and outputs as they were.

After ``quantize`` in a recipe it casts what stayed float between the int8 operators, scales included, as a strongly
typed TensorRT engine needs it to run those in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError
from compress.records.technique_reports import CastReport
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    import onnx

    from compress.network.network import Network
    from compress.target.target import Target

_PRECISIONS = ("float16", "bfloat16")

#: The TensorRT release from which on an engine computes in the types that the graph says, and in no others.
_STRONGLY_TYPED = 10


@dataclass(frozen=True)
class Cast(Technique):
    """Cast weights and activations.

    Nodes whose constants, or whose tensors on the calibration data, lie outside of float16's range stay in float32
    of themselves. bfloat16 has float32's range and needs no such check. ONNX lets Conv and pooling take it from
    opset 22 on, so in older graphs these stay in float32.

    Attributes:
        precision: Precision to cast to: "float16" or "bfloat16".
        keep_nodes: Names of nodes that stay in float32, as in the prepared graph.
        keep_ops: Operator types that stay in float32 ("Softmax").
    """

    precision: str = "float16"
    keep_nodes: tuple[str, ...] = ()
    keep_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise RecipeError(
                f"a precision to cast to: {', '.join(_PRECISIONS)}",
                repr(self.precision),
                "correct the recipe",
            )
        for name in ("keep_nodes", "keep_ops"):
            value: Any = getattr(self, name)
            if (
                isinstance(value, str)
                or not isinstance(value, Sequence)
                or not all(isinstance(item, str) for item in value)
            ):
                raise RecipeError(f"{name} as a list of names", repr(value), f'write {name} = ["name", …]')
            object.__setattr__(self, name, tuple(value))  # TOML's arrays arrive as lists

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            RecipeError: The target does not compute in this precision, or a node to keep is not in the network.
            DataError: Activations on the calibration data are NaN.
        """
        from compress.onnx_graph.fold import named, prepare
        from compress.onnx_graph.half import in_half_precision, kept_with
        from compress.onnx_graph.quantized import quantized_operator
        from compress.quantization.overflow import outside_float16

        if self.precision == "bfloat16":
            _check_has_bfloat16(context.target)
        model = network.to_onnx()
        # Folding would undo Q/DQ of constants; a quantized graph was folded before it was quantized.
        quantized = quantized_operator(model) is not None
        model = named(_with_half_scales(model, context.target)) if quantized else prepare(model)
        kept_nodes = self._kept_by_order(model)
        if self.precision == "float16":
            kept_nodes = outside_float16(model, calibration_batches(network, context)) | kept_nodes
        kept_nodes = kept_with(model, kept_nodes)
        report: CastReport = {"precision": self.precision, "kept_in_float32": kept_nodes}
        context.reports["cast"] = report
        return network.with_onnx(in_half_precision(model, self.precision, kept_nodes))

    def _kept_by_order(self, model: onnx.ModelProto) -> dict[str, str]:
        names = {node.name for node in model.graph.node}
        for name in self.keep_nodes:
            if name not in names:
                raise RecipeError(
                    "the name of a node to keep", f"'{name}'", did_you_mean(name, names) or "remove it"
                )
        return {
            node.name: "kept by the recipe"
            for node in model.graph.node
            if node.name in self.keep_nodes or node.op_type in self.keep_ops
        }


def _with_half_scales(model: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    """Return a quantized model in the first opset with half-precision scales for Q/DQ, where the target reads it.

    With others a cast would stand between Q/DQ and the layer, and a strongly typed engine could not run it in int8.
    """
    from compress.onnx_graph.graph import Graph
    from compress.onnx_graph.half import HALF_SCALES_OPSET
    from compress.onnx_graph.rewrites.later import raise_opset

    if Graph(model).opset >= HALF_SCALES_OPSET:
        return model
    if target.opset_max is None or target.opset_max >= HALF_SCALES_OPSET:
        return raise_opset(model, HALF_SCALES_OPSET)
    if target.backend == "tensorrt" and int((target.tensorrt or "10").split(".")[0]) >= _STRONGLY_TYPED:
        raise RecipeError(
            f"a target that reads ONNX opset {HALF_SCALES_OPSET}, in which Q/DQ take scales in half precision",
            f"{target.name} with opset {target.opset_max}",
            "quantize without the cast, or correct opset_max in the target's file",
        )
    return model  # an engine that is not strongly typed chooses the precision of what stays float itself


def _check_has_bfloat16(target: Target) -> None:
    runs = target.backend == "tensorrt" or target.provider == "CUDAExecutionProvider"
    if not runs or target.peaks.at("bf16") is None:
        raise RecipeError(
            "a precision that the target computes in", f"bfloat16 for {target.name}", "cast to float16"
        )
