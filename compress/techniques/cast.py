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

        model = onnx.ModelProto()
        model.CopyFrom(network.to_onnx())
        return network.with_onnx(convert_float_to_float16(model, keep_io_types=True))
