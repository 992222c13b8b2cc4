"""Rules that ask the runtimes installed here, which read the graph without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compress.lint.findings import Finding, Subject
from compress.lint.openvino_reading import refusal

#: How the runtimes name a node in their messages.
_NODE = re.compile(r"name '([^']+)'|In Node, \(\"([^\"]+)\"")

_LARGEST_BYTES = 2**31 - 1  # protocol buffers end there, and so does what can be handed over in memory


def onnxruntime_opens(subject: Subject) -> Iterator[Finding]:
    """Rule: ONNX Runtime has a kernel for every operator and type; only the processor's provider is asked."""
    model = subject.graph.model
    if subject.target.provider != "CPUExecutionProvider" or model.ByteSize() > _LARGEST_BYTES:
        return
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
    )

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, NotImplemented) as error:
        yield _refused(f"ONNX Runtime {onnxruntime.__version__}", " ".join(str(error).split()))


def openvino_reads(subject: Subject) -> Iterator[Finding]:
    """Rule: OpenVINO's front end reads every operator."""
    try:
        import openvino
    except ImportError:
        message = "not checked: OpenVINO is not installed here"
        yield Finding("runtime", "note", "", message, "pip install openvino, and lint again")
        return
    if subject.graph.model.ByteSize() > _LARGEST_BYTES:
        return
    reason = refusal(subject.graph.model)
    if reason is not None:
        yield _refused(f"OpenVINO {openvino.__version__.partition('-')[0]}", reason)


def _refused(runtime: str, reason: str) -> Finding:
    node = _NODE.search(reason)
    return Finding(
        "runtime",
        "error",
        (node[1] or node[2]) if node else "",
        f"{runtime} does not open it: {reason}",
        "write the network without this operator or type",
        f"{runtime}, asked here",
    )
