"""A prepared ONNX graph as a PyTorch module that trains.

The graph that is quantized is the graph that is trained: the same nodes, the same names, batch norms folded. So
placement, ranges and weights mean the same on both sides, whatever format the network came in.
"""

from __future__ import annotations

from compress.onnx_module.module import OPERATORS, OnnxModule, Step, step_of

__all__ = ["OPERATORS", "OnnxModule", "Step", "step_of"]
