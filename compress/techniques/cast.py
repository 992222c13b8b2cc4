"""Half precision: every float tensor inside the graph in fp16, inputs and outputs as they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.errors import RecipeError
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network import Network


@dataclass(frozen=True)
class Cast(Technique):
    """Cast weights and activations, by onnxruntime's own converter.

    Attributes:
        precision: "float16".
    """

    precision: str = "float16"

    def __post_init__(self) -> None:
        if self.precision != "float16":
            raise RecipeError("a precision to cast to: float16", repr(self.precision), "correct the recipe")

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form."""
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        model = onnx.ModelProto()
        model.CopyFrom(network.to_onnx())
        del model.graph.value_info[:]  # They tell the float types.
        cast = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
        cast.topological_sort()  # The converter appends its casts at the end.
        return network.with_onnx(onnx.shape_inference.infer_shapes(cast.model))
