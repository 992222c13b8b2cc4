"""Back ends beside the target's own: who competes, and that their builds are measured, shipped and gated like any."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compress import load_bundle, optimize
from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.backends.providers import TENSORRT, XNNPACK, how_to_get
from compress.bundle.writing import write_bundle
from compress.errors import RecipeError, TargetError, UnavailableError
from compress.gate import GatePolicy, gate
from compress.measuring.standalone import profile_artifact
from compress.onnx_graph.files import save_model, sha256_of
from compress.recipe import Recipe, Step
from compress.records.coverage import Coverage
from compress.records.profile import Drop, Interval
from compress.search.backends import check_sessions, competing_backends, tuned_options
from compress.search.limits import Limits
from compress.search.run_directory import Candidate, RunDirectory
from compress.target.target import FurtherBackend, Target, list_targets, load_target
from tests.graphs import classifier, samples
from tests.records import profile, run_key
from tests.searches import most, propose

QUANTIZE = (Step("quantize", {"scope": "all"}),)


def build_of(backend: str) -> Artifact:
    return Artifact(Path("model.onnx"), "0" * 64, 1, backend, {})


@pytest.fixture(scope="module")
def cpu() -> Target:
    """An x86 processor with bf16, whatever runs the tests."""
    flavour = replace(load_target("cpu").quantization, quantize_bias=False)
    further = {"openvino": FurtherBackend(("fp32", "bf16", "int8"), flavour)}
    return replace(load_target("cpu"), further_backends=further)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is not installed."""
    monkeypatch.setattr("compress.search.backends.installed", lambda name: name != "openvino")


class TestWhoCompetes:
    def test_what_is_installed(self, cpu: Target) -> None:
        pytest.importorskip("openvino")
        assert competing_backends(cpu).names == ("onnxruntime", "openvino")
        assert competing_backends(cpu).notes == ()

    def test_what_is_not_installed_is_told_in_one_line(self, cpu: Target, without: None) -> None:
        found = competing_backends(cpu)
        assert found.names == ("onnxruntime",)
        (note,) = found.notes
        assert "pip install -e '.[openvino]'" in note

    def test_the_user_may_restrict_it(self, cpu: Target, without: None) -> None:
        assert competing_backends(cpu, ["onnxruntime"]).names == ("onnxruntime",)
        assert competing_backends(cpu, ["onnxruntime"]).notes == ()
        assert competing_backends(cpu, ["onnxruntime", "onnxruntime"]).names == ("onnxruntime",)
        with pytest.raises(UnavailableError, match=r"pip install -e"):
            competing_backends(cpu, ["openvino"])
        with pytest.raises(TargetError, match="openvino"):
            competing_backends(cpu, ["openvin"])

    def test_nothing_competes_on_a_machine_that_is_not_here(self, cpu: Target) -> None:
        assert competing_backends(replace(cpu, here=False)).names == ("onnxruntime",)
        assert competing_backends(load_target("jetson")).names == ("tensorrt",)

    def test_session_options_are_checked(self, cpu: Target) -> None:
        pytest.importorskip("openvino")
        check_sessions([Recipe("a", backend="openvino", session={"precision": "bf16"})], cpu)
        with pytest.raises(RecipeError, match="precision"):
            check_sessions([Recipe("a", backend="openvino", session={"precison": "bf16"})], cpu)
        with pytest.raises(TargetError, match="abacus"):
            check_sessions([Recipe("a", backend="abacus")], cpu)


class TestProposals:
    @staticmethod
    def names(target: Target, coverage: Coverage | None, place: Path) -> list[str]:
        with RunDirectory(place / "run", run_key()) as history:
            named = []
            for recipe in propose(target, Limits(), history, backends=("onnxruntime", "openvino")):
                named.append(recipe.name)
                measured = replace(profile(), recipe=recipe.name, coverage=coverage)
                history.candidates.append(Candidate(recipe, measured))
        assert len(named) <= most(target, (), ("onnxruntime", "openvino"))
        return named

    def test_each_back_end_gets_its_precisions(self, cpu: Target, tmp_path: Path) -> None:
        none_left = Coverage()
        names = self.names(cpu, none_left, tmp_path)
        assert names[:2] == ["fp32", "fp32-openvino"]
        assert names[-3:] == ["bf16-openvino", "int8-openvino", "int8-matmul-openvino"]

    def test_what_int8_leaves_in_float_is_tried_in_bf16(self, cpu: Target, tmp_path: Path) -> None:
        names = self.names(cpu, Coverage(float_compute={"Subgraph": 1}), tmp_path)
        assert "int8-bf16-openvino" in names
        without_bf16 = FurtherBackend(("fp32", "int8"), cpu.quantization)
        old = replace(cpu, further_backends={"openvino": without_bf16})
        names = self.names(old, Coverage(float_compute={"Subgraph": 1}), tmp_path / "old")
        assert not any("bf16" in name for name in names)

    def test_what_kept_accuracy_elsewhere_is_tried_where_plain_int8_does_not(
        self, cpu: Target, tmp_path: Path
    ) -> None:
        within = Drop(0.1, Interval(0.0, 0.2, 0.9), 0.0)
        beyond = Drop(30.0, Interval(29.0, 31.0, 0.9), 0.0)
        steps = (Step("quantize", {"scope": "all", "rounding": "reconstructed"}),)
        accuracy = profile().accuracy
        with RunDirectory(tmp_path / "run", run_key()) as history:
            recovered = replace(profile(), accuracy=replace(accuracy, drop=within))
            history.candidates.append(Candidate(Recipe("int8-recovered", steps), recovered))
            proposed = []
            for recipe in propose(cpu, Limits(), history, backends=("openvino",)):
                proposed.append(recipe)
                lost = replace(profile(), accuracy=replace(accuracy, drop=beyond), coverage=None)
                history.candidates.append(Candidate(recipe, lost))
        assert proposed[-1] == Recipe("int8-recovered-openvino", steps, "openvino")

    def test_options_that_a_recipe_insists_on_are_not_handed_to_others(self, tmp_path: Path) -> None:
        recipe = Recipe("bf16", backend="openvino", session={"precision": "bf16"})
        options = {"precision": "bf16", "intra_op_threads": 2}
        measured = replace(profile(), backend="openvino", options=options)
        with RunDirectory(tmp_path / "run", run_key()) as history:
            assert tuned_options(build_of("openvino"), history) is None
            history.candidates.append(Candidate(recipe, measured))
            assert tuned_options(build_of("openvino"), history) == {"intra_op_threads": 2}
            assert tuned_options(build_of("onnxruntime"), history) is None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino")
    place = tmp_path_factory.mktemp("competition")
    save_model(classifier(), place / "model.onnx")
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": samples(80)})
    np.savez(place / "val.npz", x=samples(80), y=scores.argmax(1).astype(np.int64))
    return place


@pytest.fixture(scope="module")
def result(files: Path) -> Any:
    """One run with both back ends, kept where it is by a limit that nothing meets."""
    own = [Recipe("fp32-openvino", backend="openvino"), Recipe("int8-openvino", QUANTIZE, "openvino")]
    settings = {"threads": 1, "seconds": 0.05, "max_latency": 1e-6, "recipes": own}
    return optimize(files / "model.onnx", data=files / "val.npz", out=files / "build", **settings)


@pytest.fixture(scope="module")
def bundle(files: Path, result: Any) -> Path:
    """The int8 build as a bundle."""
    entry = result.candidates[2]
    with load_backend_session(files, entry) as session:
        inputs = [spec.to_dict() for spec in session.inputs]
        outputs = [spec.to_dict() for spec in session.outputs]
    path = files / "build.partial" / entry.file
    artifact = {
        "file": path.name,
        "sha256": entry.profile.artifact_sha256,
        "bytes": entry.profile.artifact_bytes,
        "backend": entry.profile.backend,
        "options": entry.profile.options,
    }
    manifest = {"name": entry.recipe.name, "artifact": artifact, "inputs": inputs, "outputs": outputs}
    return write_bundle(files / "shipped", path, manifest, entry.profile, entry.recipe, {})


class TestWholeWay:
    def test_every_build_is_measured_in_its_own_back_end(self, files: Path, result: Any) -> None:
        profiles = [entry.profile for entry in result.candidates]
        assert [entry.backend for entry in profiles] == ["onnxruntime", "openvino", "openvino"]
        assert profiles[0].latency[0].ratio is None
        assert all(entry.latency[0].ratio is not None for entry in profiles[1:])
        # The same file is another build here, unless the user's own form of fp32 is faster than the folded one.
        same = (profiles[1].artifact_sha256, sha256_of(files / "model.onnx"))
        assert profiles[0].artifact_sha256 in same
        assert profiles[1].accuracy.drop.churn == 0
        assert profiles[2].coverage.int8_mac_share == 1.0
        assert all(entry.peak_memory_mb is not None for entry in profiles)

    def test_int8_is_in_the_flavour_of_its_back_end(self, result: Any) -> None:
        assert result.candidates[2].reports["quantize"]["flavour"]["quantize_bias"] is False

    def test_another_set_of_back_ends_is_another_run(self, files: Path, result: Any) -> None:
        settings = {"threads": 1, "seconds": 0.05, "max_latency": 1e-6}
        own = [Recipe("fp32-openvino", backend="openvino")]
        again = optimize(
            files / "model.onnx", data=files / "val.npz", out=files / "build2", recipes=own, **settings
        )
        restricted = optimize(
            files / "model.onnx",
            data=files / "val.npz",
            out=files / "build2",
            recipes=own,
            backends=["openvino"],
            **settings,
        )
        assert (again.resumed, restricted.resumed) == (0, 0)

    def test_bundle_runs_in_its_back_end(self, bundle: Path) -> None:
        with load_bundle(bundle) as shipped:
            assert shipped.artifact.backend == "openvino"
            assert shipped.recipe == Recipe("int8-openvino", QUANTIZE, "openvino")
            assert type(shipped.open()).__name__ == "OpenVinoSession"
            assert shipped.run(samples(3))[0].shape == (3, 4)

    def test_bundle_is_profiled_in_its_back_end(self, bundle: Path) -> None:
        found = profile_artifact(bundle, batches=[1])
        assert found.backend == "openvino"
        assert found.coverage is not None
        assert found.coverage.int8_mac_share == 1.0

    def test_gate_runs_an_onnx_file_as_the_bundle_is_run(self, bundle: Path, files: Path) -> None:
        from compress.data.task import load_task

        checks = gate(
            bundle,
            bundle,
            task=load_task(files / "val.npz"),
            policy=GatePolicy(checks=("accuracy", "size", "coverage")),
        )
        assert [check.verdict.value for check in checks[1:]] == ["pass", "pass"]
        assert checks[0].figures["drop_points"] == 0
        # In ONNX Runtime, whose flavour it is not in, less of the same file runs in int8.
        assert OnnxRuntime().coverage(load_bundle(bundle).artifact).int8_mac_share < 1
        same = gate(bundle / "model.onnx", bundle, policy=GatePolicy(checks=("coverage",)))
        assert [check.verdict.value for check in same] == ["pass"]


def load_backend_session(files: Path, entry: Candidate) -> Any:
    from compress.backends import load_backend
    from compress.backends.base import Artifact

    assert entry.profile is not None
    assert entry.file is not None
    path = files / "build.partial" / entry.file
    return load_backend("openvino").open(Artifact(path, "", 0, "openvino", entry.profile.options))


def test_recipes_round_trip_with_back_end_and_session(tmp_path: Path) -> None:
    recipe = Recipe("x", QUANTIZE, "openvino", {"precision": "bf16"})
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.from_file(path) == recipe
    plain = Recipe("x", QUANTIZE)
    assert len({recipe.identity, plain.identity, replace(recipe, session={}).identity}) == 3
    assert set(plain.to_dict()) == {"name", "technique"}
    assert replace(plain, origin="search") == plain  # who wrote it is no part of what it does
    assert {field.name for field in dataclasses.fields(Recipe) if field.compare} == {
        "name",
        "steps",
        "backend",
        "session",
    }


@pytest.mark.parametrize(
    ("line", "told"), [("backend = 3", "backend"), ('backend = ""', "backend"), ("session = 3", "session")]
)
def test_wrong_back_ends_and_sessions_are_told(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'name = "x"\n{line}\n')
    with pytest.raises(RecipeError, match=told):
        Recipe.from_file(path)


class TestExecutionProviders:
    """Azure's provider, which every wheel has and which leaves all operators to the processor, plays a further one."""

    AZURE = "AzureExecutionProvider"

    @pytest.fixture
    def here(self, cpu: Target) -> Target:
        further = {self.AZURE: ("fp32", "int8"), TENSORRT: ("fp32", "fp16", "int8"), XNNPACK: ("fp32",)}
        return replace(cpu, further_backends={}, further_providers=further)

    def test_those_that_are_there_compete_and_the_others_are_told(self, here: Target) -> None:
        found = competing_backends(here)
        assert found.providers == (self.AZURE,)
        assert found.notes == (
            f"this ONNX Runtime has no {TENSORRT}: it does not compete; {how_to_get(TENSORRT)}",
        )
        assert competing_backends(here, ["onnxruntime"]).providers == (self.AZURE,)
        assert competing_backends(replace(here, here=False)).providers == ()

    def test_gpu_and_processor_have_theirs(self) -> None:
        listed = {target.name: target.further_providers for target in list_targets()}
        assert listed["cuda"] == {TENSORRT: ("fp32", "fp16", "int8")}
        assert listed["cpu"] == {XNNPACK: ("fp32", "int8")}

    def test_each_precision_is_a_recipe_with_the_provider_in_its_session(
        self, here: Target, tmp_path: Path
    ) -> None:
        providers = (TENSORRT, XNNPACK)
        with RunDirectory(tmp_path / "history", run_key()) as history:
            proposed = list(propose(here, Limits(), history, providers=providers))
        of_provider = [each for each in proposed if each.session]
        assert [each.name for each in of_provider] == [
            "fp32-tensorrt",
            "fp16-tensorrt",
            "int8-tensorrt",
            "fp32-xnnpack",
        ]
        assert {each.session["provider"] for each in of_provider} == set(providers)
        assert most(here, providers=providers) == most(here) + 4

    def test_they_are_measured_and_chosen_like_any_build(
        self, here: Target, files: Path, tmp_path: Path
    ) -> None:
        target = replace(here, precisions=("fp32",), further_providers={self.AZURE: ("fp32",)})
        result = optimize(
            files / "model.onnx",
            data=files / "val.npz",
            target=target,
            out=tmp_path / "build",
            seconds=0.05,
            max_drop=100.0,
        )
        entry = next(each for each in result.candidates if each.recipe.name == "fp32-azure")
        assert entry.profile is not None
        assert entry.profile.options["provider"] == self.AZURE
        assert entry.profile.latency[0].ratio is not None
