"""Quantization-aware training: the int8 network simulated in float, with gradients.

Post-training quantization decides where Q/DQ go and where every scale starts; training moves scales, weights and
biases from there; the same insertion writes them. Batch norms are folded before training begins, so their statistics
are frozen throughout: the network arrives trained, and what Krishnamoorthi 2018 (arXiv 1806.08342, section 3.2.2)
freezes late is never thawed. What a batch norm gave its training, every channel at its own size, the parameters keep:
see :class:`compress.quantization.aware.values.ChannelUnits`.
"""

from __future__ import annotations

from compress.quantization.aware.simulation import Learned, Simulation
from compress.quantization.aware.training import quantize_aware

__all__ = ["Learned", "Simulation", "quantize_aware"]
