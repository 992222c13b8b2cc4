"""Runtimes that are installed are asked whether they open a graph."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import onnx
import pytest

from compress.lint import lint, openvino_reading
from compress.target.target import load_target
from tests.rewriting import graph

PI = load_target("raspberry-pi-5")


def test_an_operator_without_a_kernel() -> None:
    # ONNX lets Sqrt be of bfloat16, and ONNX Runtime's processor provider has no kernel for it.
    model = graph("[root] y = Sqrt(x)", 17, "bfloat16[N,4] x", "bfloat16[] y")
    (finding,) = lint(model, PI)
    assert (finding.rule, finding.severity, finding.node) == ("runtime", "error", "root")
    assert "Sqrt" in finding.message
    assert finding.source.startswith("ONNX Runtime")
    assert "\n" not in finding.message


def test_other_providers_are_not_asked() -> None:
    model = graph("y = Sqrt(x)", 17, "bfloat16[N,4] x", "bfloat16[] y")
    assert lint(model, replace(PI, provider="CUDAExecutionProvider")) == []


def test_openvino_is_asked_where_it_is_installed() -> None:
    target = load_target("cpu").for_backend("openvino")
    model = graph("y = Multinomial(x)", 17, outputs="int32[] y")
    if importlib.util.find_spec("openvino") is None:
        (finding,) = lint(model, target)
        assert (finding.severity, "not installed" in finding.message) == ("note", True)
        pytest.skip("OpenVINO is not installed")
    assert lint(graph("y = Relu(x)", 17), target) == []
    model.graph.node[0].domain, model.graph.node[0].op_type = "own", "Unknown"
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    (finding,) = lint(model, target)
    assert (finding.rule, finding.severity) == ("runtime", "error")
    assert finding.source.startswith("OpenVINO")


@pytest.mark.parametrize(
    ("runtime", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "it crashed with SIGSEGV"),
        ("exec('while True: pass')", "it took more than 1 s of processor time"),
    ],
)
def test_openvino_that_crashes_or_goes_on_for_ever_is_a_finding(
    runtime: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    stand_in = (
        "import os, signal, sys; sys.path.append(sys.argv[1]); from compress.core.child_process import serve; "
        f"serve(lambda request: {runtime} if request else None)"
    )
    monkeypatch.setattr(openvino_reading, "_CHILD", stand_in)
    monkeypatch.setattr(openvino_reading, "_SECONDS", 0.5)
    (finding,) = lint(graph("y = Relu(x)", 17), load_target("cpu").for_backend("openvino"))
    assert (finding.rule, finding.severity) == ("runtime", "error")
    assert told in finding.message
