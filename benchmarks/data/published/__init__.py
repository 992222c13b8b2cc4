"""Latencies that others published, and the networks they were measured on, as ONNX graphs without weight values."""
