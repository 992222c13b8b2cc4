from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compress.backends import load_backend
from compress.backends.base import Backend
from compress.backends.onnxruntime import OnnxRuntime, optimized_graph
from compress.errors import UnavailableError
from compress.target.target import load_target
from compress.testing.backends import Conformance
from tests.graphs import classifier


class TestOnnxRuntime(Conformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OnnxRuntime()


def test_options_follow_the_target_and_the_user() -> None:
    cpu = load_target("cpu")
    assert OnnxRuntime().default_options(cpu)["intra_op_threads"] == 0  # the runtime chooses
    assert OnnxRuntime().default_options(cpu, threads=3)["intra_op_threads"] == 3


def test_sets_of_options_are_the_runtimes_default_first() -> None:
    four = replace(load_target("cpu"), cores=4)
    default = OnnxRuntime().default_options(four)
    assert default["spinning"]
    sets = OnnxRuntime().variants(default, four)
    assert [(each["intra_op_threads"], each["spinning"]) for each in sets] == [(4, False), (1, True)]
    fixed = OnnxRuntime().default_options(four, 3)
    assert [each["intra_op_threads"] for each in OnnxRuntime().variants(fixed, four, 3)] == [3]
    assert OnnxRuntime().variants(default, replace(four, cores=1)) == []
    assert OnnxRuntime().variants(OnnxRuntime().default_options(four, 1), four, 1) == []


def test_provider_that_is_not_installed_is_told(tmp_path: Path) -> None:
    backend = OnnxRuntime()
    artifact = backend.compile(classifier(), tmp_path, {})
    with pytest.raises(UnavailableError, match="NoSuchProvider") as caught:
        backend.open(replace(artifact, options={"provider": "NoSuchProvider"}))
    assert caught.value.exit_code == 4


def test_optimized_graph_is_what_really_runs(tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    operators = {node.op_type for node in optimized_graph(artifact).graph.node}
    assert "Relu" not in operators  # fused into the convolutions


def test_coverage_of_a_float_graph_has_no_int8(tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    assert OnnxRuntime().coverage(artifact).int8 == {}


def test_unknown_back_end_is_told() -> None:
    with pytest.raises(UnavailableError, match="abacus"):
        load_backend("abacus")
