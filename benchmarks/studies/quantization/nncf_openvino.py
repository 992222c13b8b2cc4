"""NNCF's post-training quantization of an ONNX file, written as OpenVINO's own two files.

    /path/to/venv/bin/python benchmarks/studies/quantization/nncf_openvino.py < request.json

Runs in an environment of its own with ``pip install nncf openvino onnx``; nothing of compress is imported. The request
is ``{"model": ONNX file, "out": .xml file, "calibration": .npz with an array (n, …) for each input, "transformer":
bool}``; the answer is one line of JSON with ``seconds``, ``peak_mib``, ``above_mib`` and ``version``. The settings are
NNCF's defaults: the preset for performance, 300 samples, fast bias correction; ``model_type`` for transformers. With
``"validation"``, an .npz file with the same arrays and labels ``y``, its accuracy control takes layers back to float
until no more than ``"max_drop"`` points of top-1 are lost on these.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def main() -> None:
    request = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        found = quantize(**request)
    print(json.dumps(found))


def quantize(
    model: str,
    out: str,
    calibration: str,
    transformer: bool,
    validation: str | None = None,
    max_drop: float = 1.0,
) -> dict[str, Any]:
    import nncf  # type: ignore[import-not-found, unused-ignore]
    import numpy as np
    import openvino

    with np.load(calibration) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    count = len(next(iter(inputs.values())))
    samples = [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(count)]
    before, started = _status("VmRSS"), time.perf_counter()
    network, samples_read = openvino.Core().read_model(model), nncf.Dataset(samples)
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    if validation is None:
        quantized = nncf.quantize(network, samples_read, model_type=kind)
    else:
        with np.load(validation) as arrays:
            labels = arrays["y"].tolist()
            rows = [
                {name: arrays[name][row : row + 1] for name in inputs} | {"y": label}
                for row, label in enumerate(labels)
            ]
        quantized = nncf.quantize_with_accuracy_control(
            network,
            samples_read,
            nncf.Dataset(rows, lambda row: {name: row[name] for name in inputs}),
            _top_1,
            max_drop=max_drop / 100,
            model_type=kind,
        )
    openvino.save_model(quantized, out)
    seconds, peak = time.perf_counter() - started, _status("VmHWM")
    version = f"nncf {nncf.__version__}, openvino {openvino.__version__.split('-')[0]}"
    return {"seconds": seconds, "peak_mib": peak, "above_mib": max(0.0, peak - before), "version": version}


def _top_1(compiled: Any, rows: Any) -> tuple[float, list[float]]:
    """Return the share of rows whose largest score is at their label, and 1 or 0 for each row."""
    right = [
        float(
            next(iter(compiled({name: row[name] for name in row if name != "y"}).values())).argmax()
            == row["y"]
        )
        for row in rows
    ]
    return sum(right) / len(right), right


def _status(field: str) -> float:
    """MiB, from Linux."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
