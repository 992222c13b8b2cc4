"""A technique: a frozen dataclass whose fields are the settings that a recipe may give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from compress.network.network import Network
from compress.techniques.base import Context, Technique


@dataclass(frozen=True)
class RoundWeights(Technique):
    """Round every float weight.

    Attributes:
        decimals: Places that are kept behind the point.
    """

    decimals: int = 3

    def apply(self, network: Network, context: Context) -> Network:
        """Return the network with rounded weights, and report how many tensors there were."""
        model = network.to_onnx()
        rounded = 0
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.round(values, self.decimals), tensor.name))
                rounded += 1
        context.reports["round_weights"] = {"tensors": rounded, "decimals": self.decimals}
        return network.with_onnx(model)
