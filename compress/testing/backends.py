"""Conformance suite of back ends: a test class inherits :class:`Conformance` and gives the fixture ``backend``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend
from compress.errors import BundleError, DataError, NetworkError
from compress.onnx_graph.files import sha256_of, size_of
from compress.target.target import load_target
from compress.testing.graphs import classifier, samples, steps_first, two_inputs


class Conformance:
    """The tests; names say what must hold.

    Attributes:
        target: Name of a target on which the back end runs here.
    """

    target: ClassVar[str] = "cpu"

    @pytest.fixture
    def backend(self) -> Backend:
        """The back end, of the subclass."""
        raise NotImplementedError

    @pytest.fixture
    def artifact(self, backend: Backend, tmp_path: Path) -> Artifact:
        """A small classifier, compiled."""
        return backend.compile(
            classifier(), tmp_path, backend.default_options(load_target(self.target), threads=1)
        )

    def test_it_is_registered_under_its_name(self, backend: Backend) -> None:
        assert type(load_backend(backend.name)) is type(backend)

    def test_what_it_offers_to_a_target_it_computes_in(self, backend: Backend) -> None:
        offered = backend.precisions(load_target(self.target))
        assert set(offered) <= set(backend.computes)
        assert offered[:1] in ((), ("fp32",))

    def test_it_has_nothing_against_a_graph_that_it_runs(self, backend: Backend) -> None:
        assert backend.not_supported_reasons(classifier(), load_target(self.target)) == ()

    def test_its_default_options_are_those_that_it_declares(self, backend: Backend) -> None:
        defaults = backend.default_options(load_target(self.target))
        assert backend.session_options.read(defaults).to_dict() == defaults

    def test_names_itself_in_its_artifacts(self, backend: Backend, artifact: Artifact) -> None:
        assert artifact.backend == backend.name

    def test_artifact_is_the_file_it_names(self, artifact: Artifact) -> None:
        assert artifact.sha256 == sha256_of(artifact.path)
        assert artifact.size_bytes == size_of(artifact.path)

    def test_same_graph_gives_the_same_file(
        self, backend: Backend, artifact: Artifact, tmp_path: Path
    ) -> None:
        again = tmp_path / "again"
        again.mkdir()
        assert backend.compile(classifier(), again, artifact.options).sha256 == artifact.sha256

    def test_what_the_exporter_noted_is_not_shipped(self, backend: Backend, tmp_path: Path) -> None:
        model = classifier()
        model.graph.node[0].doc_string = "File /home/somebody/secret.py"
        model.graph.node[0].metadata_props.add(key="trace", value="secret.py")
        assert b"secret" not in backend.compile(model, tmp_path, {}).path.read_bytes()

    def test_outputs_equal_the_reference(self, backend: Backend, artifact: Artifact) -> None:
        x = samples(5)
        (expected,) = ReferenceEvaluator(classifier()).run(None, {"x": x})
        with backend.open(artifact) as session:
            (actual,) = session.run({"x": x})
        np.testing.assert_allclose(actual, expected, atol=1e-4)

    @pytest.mark.parametrize("batch", [1, 2, 33])
    def test_takes_any_batch(self, backend: Backend, artifact: Artifact, batch: int) -> None:
        with backend.open(artifact) as session:
            assert session.run({"x": samples(batch)})[0].shape == (batch, 4)

    def test_tells_inputs_and_outputs(self, backend: Backend, artifact: Artifact) -> None:
        with backend.open(artifact) as session:
            assert [str(spec) for spec in session.inputs] == ["x: float32[batch, 3, 8, 8]"]
            assert [str(spec) for spec in session.outputs] == ["scores: float32[batch, 4]"]

    def test_a_number_is_given_as_one(self, backend: Backend, tmp_path: Path) -> None:
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", ["batch", 4]), ("gain", []))
        ]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
        graph = helper.make_graph([helper.make_node("Mul", ["x", "gain"], ["y"])], "scaled", inputs, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        with backend.open(backend.compile(model, tmp_path, {})) as session:
            for size in (1, 300_000):  # small inputs are copied, large ones are not
                x = np.ones((size, 4), np.float32)
                (product,) = session.run({"x": x, "gain": np.array(2.5, np.float32)})
                np.testing.assert_array_equal(product, 2.5 * x)

    @pytest.mark.parametrize("steps", [5, "steps"], ids=["fixed", "open"])
    def test_the_axis_of_the_samples_keeps_its_place(
        self, backend: Backend, tmp_path: Path, steps: int | str
    ) -> None:
        artifact = backend.compile(steps_first(steps), tmp_path, {})
        with backend.open(artifact) as session:
            assert [spec.batch_axis for spec in (*session.inputs, *session.outputs)] == [0, 1]
            assert session.run({"x": np.ones((3, 5, 4), np.float32)})[0].shape == (5, 3, 4)

    @pytest.mark.parametrize(
        "feeds",
        [
            {"x": np.zeros((1, 3, 8, 9), np.float32)},
            {"x": np.zeros((1, 3, 8, 8), np.float64)},
            {"x": np.zeros((3, 8, 8), np.float32)},
            {"y": np.zeros((1, 3, 8, 8), np.float32)},
            {},
        ],
        ids=["shape", "dtype", "rank", "name", "missing"],
    )
    def test_refuses_feeds_that_do_not_fit(
        self, backend: Backend, artifact: Artifact, feeds: dict[str, NDArray[Any]]
    ) -> None:
        with backend.open(artifact) as session, pytest.raises(DataError, match="wanted"):
            session.run(feeds)

    def test_a_prepared_call_runs_feeds_that_were_checked(self, backend: Backend, artifact: Artifact) -> None:
        with backend.open(artifact) as session:
            call = session.prepared({"x": samples(3)})
            call()
            call()
            with pytest.raises(DataError, match="wanted"):
                session.prepared({"x": samples(3).astype(np.float64)})

    def test_times_of_operators_add_up_to_less_than_the_call(
        self, backend: Backend, artifact: Artifact
    ) -> None:
        times = backend.operator_times(artifact, {"x": samples(2)}, 0.01)
        if times is not None:  # where the runtime tells
            assert 0 <= sum(operator.ms for operator in times.operators) <= times.call_ms

    def test_several_inputs_by_name(self, backend: Backend, tmp_path: Path) -> None:
        artifact = backend.compile(two_inputs(), tmp_path, backend.default_options(load_target(self.target)))
        with backend.open(artifact) as session:
            left, right = np.full((2, 4), 3, np.float32), np.full((2, 4), 5, np.float32)
            assert (session.run({"right": right, "left": left})[0] == 15).all()

    def test_close_may_be_called_twice(self, backend: Backend, artifact: Artifact) -> None:
        session = backend.open(artifact)
        session.close()
        session.close()
        with pytest.raises(RuntimeError, match="closed"):
            session.run({"x": samples(1)})

    def test_damaged_artifact_is_told(self, backend: Backend, artifact: Artifact) -> None:
        artifact.path.write_bytes(artifact.path.read_bytes()[:100])
        with pytest.raises(BundleError, match="build it again"):
            backend.open(artifact)

    def test_unknown_operator_is_named_and_leaves_nothing(self, backend: Backend, tmp_path: Path) -> None:
        graph = helper.make_graph(
            [helper.make_node("Frobnicate", ["x"], ["y"], "strange", domain="acme")],
            "unknown",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("acme", 1)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        with pytest.raises(NetworkError, match="Frobnicate"):
            backend.compile(model, tmp_path, {})
        assert list(tmp_path.iterdir()) == []
