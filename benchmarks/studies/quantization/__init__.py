"""Comparison of quantizers: compress beside ONNX Runtime and NNCF, measured by the same code."""
