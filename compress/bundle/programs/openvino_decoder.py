"""Programs of a decoder in OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.backends.openvino_decoder import GRAPH
from compress.bundle.programs.filling import RUN_PROMPT, filled, python_literal, python_sample, template
from compress.bundle.programs.sample import Sample


def decoder_programs(sample: Sample, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the programs for a decoder with states; there is none in C++."""
    from compress.backends.openvino import OpenVinoOptions

    settings = OpenVinoOptions.read(options)
    fields = {
        "model": GRAPH,
        "threads": str(settings.intra_op_threads),
        "cache": python_literal(settings.cache),
        "precision": python_literal(settings.precision),
        "output_names": repr([value.name for value in sample.outputs]),
        "sample": python_sample(sample),
        "stream": template("generate.py"),
        "run_stream": RUN_PROMPT,
    }
    return {
        "run.py": filled("run.openvino_decoder.py", fields),
        "selfcheck.py": template("selfcheck.py"),
    }
