"""A network made fragile on purpose: what plain per-tensor int8 loses comes back without training or settings.

    python -m benchmarks run fragile [--model references/resnet20.onnx] [--data references/data] [--samples 2000]

Between consecutive layers every channel is multiplied by a factor between 1/√1000 and √1000 and divided by it behind,
so the function is the same and the ranges of channels spread over 10³.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization import quantize_static as plainly_quantized

from benchmarks import results
from compress.onnx_graph.fold import prepare
from compress.quantization import Settings, quantize_static
from compress.quantization.equalization import equalizable
from compress.quantization.matrices import as_matrices, from_matrices
from compress.target.target import load_target

SPREAD = 1e3
CALIBRATION = 512
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("references/resnet20.onnx"))
    parser.add_argument("--data", type=Path, default=Path("references/data"))
    parser.add_argument("--samples", type=int, default=2000)
    arguments = parser.parse_args()
    evaluation = np.load(arguments.data / "val.npz")
    x, y = evaluation["x"][: arguments.samples], evaluation["y"][: arguments.samples]
    calibration = np.load(arguments.data / "calibration.npz")["x"][:CALIBRATION]
    sound = prepare(onnx.load(arguments.model))
    model = fragile(sound)
    name = model.graph.input[0].name
    batches = [{name: calibration[start : start + BATCH]} for start in range(0, CALIBRATION, BATCH)]
    flavour = load_target("cpu").quantization
    unaided = Settings(equalize=False)
    builds = {
        "fp32, as trained": sound,
        "fp32, fragile": model,
        "onnxruntime.quantization, defaults": plain(model, batches),
        "compress, equalize = false": quantize_static(model, batches, flavour, unaided)[0],
        "compress, defaults": quantize_static(model, batches, flavour)[0],
    }
    rows = []
    for told, build in builds.items():
        rows.append({"build": told, "top1_percent": accuracy(build, x, y)})
        print(f"{told:36}{rows[-1]['top1_percent']:7.2f} %", flush=True)
    results.record("builds", rows)


def fragile(model: onnx.ModelProto, spread: float = SPREAD) -> onnx.ModelProto:
    """The same function with channels of very different range between consecutive layers."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    random = np.random.default_rng(0)
    nodes = {node.name: node for node in made.graph.node}
    stored = {tensor.name: tensor for tensor in made.graph.initializer}

    def change(node: onnx.NodeProto, index: int, factors: NDArray[Any], axis: int | None) -> None:
        tensor = stored[node.input[index]]
        values = numpy_helper.to_array(tensor).astype(np.float64)
        if axis is None:
            values = values * factors
        else:
            matrices = as_matrices(node, values)
            shape = [matrices.shape[0], 1, 1, 1]
            shape[axis] = matrices.shape[axis]
            each = np.repeat(factors, shape[0] * shape[axis] // len(factors))
            values = from_matrices(node, matrices * each.reshape(shape), values.shape)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))

    for pair in equalizable(model):
        first, second = nodes[pair.first], nodes[pair.second]
        channels = int(np.prod(as_matrices(first, numpy_helper.to_array(stored[first.input[1]])).shape[:2]))
        factors = np.exp(np.log(spread) * random.permutation(np.linspace(-0.5, 0.5, channels)))
        change(first, 1, factors, 1)
        if len(first.input) > 2 and first.input[2]:
            change(first, 2, factors, None)
        change(second, 1, 1 / factors, 2)
    return made


def plain(model: onnx.ModelProto, batches: list[dict[str, NDArray[Any]]]) -> onnx.ModelProto:
    """Quantize by ONNX Runtime's own quantizer: one scale a tensor, ranges from the smallest value to the largest."""

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self._batches: Iterator[dict[str, NDArray[Any]]] = iter(batches)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as directory:
        source, result = Path(directory, "float.onnx"), Path(directory, "int8.onnx")
        onnx.save(model, source)
        plainly_quantized(source, result, Reader(), per_channel=False)
        return onnx.load(result)


def accuracy(model: onnx.ModelProto, x: NDArray[Any], y: NDArray[Any]) -> float:
    """Share of right answers, in percent."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = model.graph.input[0].name
    found = [session.run(None, {name: x[at : at + 100]})[0].argmax(1) for at in range(0, len(x), 100)]
    return 100 * float((np.concatenate(found) == y).mean())


if __name__ == "__main__":
    main()
