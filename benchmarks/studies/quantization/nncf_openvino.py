"""NNCF's post-training quantization of an ONNX file, written as OpenVINO's own two files.

    /path/to/venv/bin/python benchmarks/studies/quantization/nncf_openvino.py < request.json

Runs in an environment of its own with ``pip install nncf openvino onnx``; nothing of compress is imported. The request
is ``{"model": ONNX file, "out": .xml file, "calibration": .npz with an array (n, …) for each input, "transformer":
bool}``; the answer is one line of JSON with ``seconds``, ``peak_mib``, ``above_mib`` and ``version``. The settings are
NNCF's defaults: the preset for performance, 300 samples, fast bias correction; ``model_type`` for transformers.
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


def quantize(model: str, out: str, calibration: str, transformer: bool) -> dict[str, Any]:
    import nncf  # type: ignore[import-not-found, unused-ignore]
    import numpy as np
    import openvino

    with np.load(calibration) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    count = len(next(iter(inputs.values())))
    samples = [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(count)]
    before, started = _status("VmRSS"), time.perf_counter()
    quantized = nncf.quantize(
        openvino.Core().read_model(model),
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    openvino.save_model(quantized, out)
    seconds, peak = time.perf_counter() - started, _status("VmHWM")
    version = f"nncf {nncf.__version__}, openvino {openvino.__version__.split('-')[0]}"
    return {"seconds": seconds, "peak_mib": peak, "above_mib": max(0.0, peak - before), "version": version}


def _status(field: str) -> float:
    """MiB, from Linux."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
