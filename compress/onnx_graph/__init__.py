"""The ONNX graph itself: a view over it, its preparation for a compiler, and what a runtime made of it."""
