"""Quantize an ONNX file, and see which operators run in int8."""

from collections import Counter
from pathlib import Path

import onnx
import torch
from digits import save_data, trained

from compress import quantize

training, evaluation = save_data(Path.cwd())
batch = torch.export.Dim("batch")
example = (torch.zeros(2, 1, 8, 8),)
torch.onnx.export(trained(training), example, "digits.onnx", dynamo=True, dynamic_shapes=({0: batch},))

result = quantize("digits.onnx", data=evaluation, target="cpu", out="digits.int8.onnx")
print(result.path, f"{result.bytes:,} bytes of {result.original_bytes:,}")

for name in ("digits.onnx", "digits.int8.onnx"):
    operators = Counter(node.op_type for node in onnx.load(name).graph.node)
    print(name, f"{Path(name).stat().st_size:,} bytes", dict(operators))
