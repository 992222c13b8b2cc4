"""Rules that ask the runtimes installed here, which read the graph without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compress.lint.findings import Finding, Subject
from compress.lint.openvino_reading import refusal
from compress.onnx_graph.sessions import open_session
from compress.onnx_graph.weights import exceeds_message, size_of_model

#: How the runtimes name a node in their messages.
_NODE = re.compile(r"name '([^']+)'|In Node, \(\"([^\"]+)\"")


def onnxruntime_opens(subject: Subject) -> Iterator[Finding]:
    """Rule: ONNX Runtime has a kernel for every operator and type; only the processor's provider is asked."""
    model = subject.graph.model
    if subject.target.provider != "CPUExecutionProvider":
        return
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
    )

    try:
        open_session(model, optimized=False)
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
    if exceeds_message(size_of_model(subject.graph.model)):
        message = "not checked: it is asked about networks of less than 2 GiB alone"
        yield Finding("runtime", "note", "", message, "run it there")
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
