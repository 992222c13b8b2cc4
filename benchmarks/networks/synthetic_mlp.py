"""An ONNX file of matrix products with random weights in a file beside it: for what happens beyond 2 GiB.

python -m benchmarks run synthetic_mlp big.onnx [--gb 2.8] [--width 8192] [--data big.npz]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, save_model

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--gb", type=float, default=2.8)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--data", type=Path, help="write 64 samples with labels, too")
    arguments = parser.parse_args()
    layers = write_mlp(arguments.path, arguments.gb * 1e9, arguments.width)
    print(f"{arguments.path}: {layers} products of {arguments.width} × {arguments.width} weights")
    if arguments.data is not None:
        random = np.random.default_rng(1)
        samples = random.standard_normal((64, arguments.width), np.float32)
        np.savez(arguments.data, x=samples, y=random.integers(0, CLASSES, 64))


def write_mlp(path: Path, size: float, width: int) -> int:
    """Write the network, and return the number of its wide layers.

    Args:
        path: File of the graph; the weights lie in ``<name>.data``.
        size: Size of the weights, in bytes.
        width: Number of inputs, and of units of each layer.
    """
    layers = max(1, round(size / (4 * width**2)))
    nodes, weights, at = [], [], "x"
    random = np.random.default_rng(0)
    location = path.name + ".data"
    with path.with_name(location).open("wb") as file:
        for layer in range(layers + 1):
            outputs = width if layer < layers else CLASSES
            values = random.standard_normal((width, outputs), np.float32) * np.float32((2 / width) ** 0.5)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=values.shape)
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": location, "offset": file.tell(), "length": values.nbytes}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            file.write(values.data)
            weights.append(tensor)
            nodes.append(
                helper.make_node("MatMul", [at, f"w{layer}"], [f"product{layer}"], f"product{layer}")
            )
            at = f"product{layer}"
            if layer < layers:
                nodes.append(helper.make_node("Relu", [at], [f"relu{layer}"], f"relu{layer}"))
                at = f"relu{layer}"
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save_model(model, path)
    return layers


if __name__ == "__main__":
    main()
