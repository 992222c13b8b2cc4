"""The whole way, on a small network whose labels are its own answers: real files, real sessions."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compress import explain, load_bundle, optimize
from compress.core.progress import Reporter
from compress.errors import DataError, NetworkError, OutputError, UsageError
from compress.hosts.base import Tuned
from compress.hosts.local import LocalHost
from compress.lint import lint
from compress.network.network import load_network
from compress.onnx_graph.files import save_model
from compress.profiling.accuracy import outcomes_of
from compress.recipe import Recipe, Step
from compress.search import first_look
from compress.search.plan import _prunable
from compress.search.proposals import proposals
from compress.search.run_directory import Candidate
from compress.search.time_budget import UNTRAINED_S, TimeBudget
from compress.target.target import load_target
from compress.timing.settings import compare
from tests.graphs import classifier, samples

SECONDS = 0.05


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network and data on which it is always right, so that a drop can only come from compression."""
    directory = tmp_path_factory.mktemp("files")
    save_model(classifier(channels=32), directory / "model.onnx")
    x = samples(900)
    from onnx.reference import ReferenceEvaluator

    (scores,) = ReferenceEvaluator(classifier(channels=32)).run(None, {"x": x})
    # Samples between two classes flip under any rounding; a trained network has few of them.
    top = np.sort(scores, axis=1)
    sure = np.argsort(top[:, -2] - top[:, -1])[:600]
    np.savez(directory / "val.npz", x=x[sure], y=scores.argmax(1)[sure].astype(np.int64))
    return directory


def run(files: Path, out: Path, **settings: Any) -> Any:
    """One back end unless said otherwise: every build costs time, and the competition has tests of its own."""
    target = settings.get("target", "cpu")
    alone = {"backends": ["onnxruntime"]} if target == "cpu" else {}
    settings = {"target": "cpu", "seconds": SECONDS, "threads": 1, **alone, **settings}
    return optimize(files / "model.onnx", data=files / "val.npz", out=out, **settings)


@pytest.fixture(scope="module")
def built(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that ships."""
    return run(files, tmp_path_factory.mktemp("built") / "build")


def test_ships_what_it_measured(built: Any) -> None:
    result = built
    assert result.bundle is not None
    chosen = result.choice.candidate.profile
    assert result.bundle.profile == chosen
    assert chosen is not None
    assert result.bundle.network == (chosen.network, chosen.network_sha256)
    assert result.bundle.artifact.sha256 == chosen.artifact_sha256
    original = result.candidates[0].profile
    assert original.recipe == "fp32"
    assert original.accuracy.mean == 1.0
    assert [latency.batch for latency in original.latency] == [1, 32]
    int8 = next(entry.profile for entry in result.candidates if entry.recipe.name == "int8")
    assert sum(int8.coverage.int8.values()) > 0
    assert int8.artifact_bytes < original.artifact_bytes
    assert int8.latency[0].source == "measured"
    assert int8.latency[0].ratio is not None
    assert int8.peak_memory_mb is not None
    check = [sys.executable, str(result.bundle.path / "selfcheck.py")]
    told = subprocess.run(check, capture_output=True, text=True, timeout=120).stdout
    assert told.startswith("pass: 11 files, scores within 0 of "), told


def test_bundle_says_where_it_comes_from(built: Any) -> None:
    bundle = built.bundle
    manifest = bundle.manifest
    assert manifest["network"]["format"] == "onnx"
    assert manifest["target"]["name"] == "cpu"
    assert manifest["artifact"]["options"]["intra_op_threads"] == 1
    assert manifest["data"]["metric"] == "top-1"
    assert {"onnxruntime", "python", "compress-toolkit"} <= set(manifest["versions"])
    tried = [json.loads(line) for line in (bundle.path / "candidates.jsonl").read_text().splitlines()]
    assert [entry["recipe"]["name"] for entry in tried][:2] == ["fp32", "int8"]
    assert len(bundle.profile.outcomes) == bundle.profile.accuracy.samples


def test_nothing_is_left_beside_the_bundle(built: Any) -> None:
    assert [path.name for path in built.bundle.path.parent.iterdir()] == ["build"]


def test_limits_that_nothing_meets_ship_nothing_and_keep_the_measurements(
    files: Path, tmp_path: Path
) -> None:
    # At a margin of 0 no other build can be chosen, however fast this moment finds it: none is timed again in full.
    result = run(files, tmp_path / "build", max_latency=1e-6, max_drop=0.0)
    assert result.bundle is None
    assert not (tmp_path / "build").exists()
    loosened = run(files, tmp_path / "build", max_drop=0.0)
    assert loosened.resumed == len(result.candidates)
    assert loosened.bundle is not None


def test_absent_target_gets_estimates_and_a_graph_its_runtime_accepts(files: Path, tmp_path: Path) -> None:
    result = run(files, tmp_path / "build", target="jetson")
    assert [entry.recipe.name for entry in result.candidates][:3] == ["fp32", "fp16", "int8"]
    for entry in result.candidates[:3]:
        assert entry.profile is not None, entry.rejected
        assert {latency.source for latency in entry.profile.latency} == {"estimated"}
        assert entry.profile.accuracy.samples > 0
        assert entry.profile.layers
    findings = lint(onnx.load(result.bundle.artifact.path), result.target)
    assert [finding for finding in findings if finding.severity == "error"] == []
    assert not any("will refuse" in note for note in result.notes)
    assert "trtexec" in (result.bundle.path / "build.sh").read_text()


def test_script_for_an_old_release_tells_what_the_graph_holds_whichever_technique_made_it(
    tmp_path: Path,
) -> None:
    # As large as a layer has to be for int8 to be faster there by more than an estimate can err.
    convolution = torch.nn.Conv2d(64, 64, 3, padding=1)
    module = torch.nn.Sequential(
        convolution, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64 * 1024, 2)
    )
    x = np.random.default_rng(0).standard_normal((40, 64, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "val.npz", x=x, y=np.arange(40) % 2)
    torch.onnx.export(
        module.eval(), (torch.from_numpy(x[:2]),), tmp_path / "model.onnx", input_names=["x"], dynamo=False,
        dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    mixed = Recipe("own", (Step("quantize_mixed", {"max_drop": 100.0}),))
    settings = {"target": "jetson-xavier-nx", "recipes": [mixed], "max_drop": 100.0, "objective": "size"}
    result = run(tmp_path, tmp_path / "build", **settings)
    assert result.bundle is not None
    assert result.choice.candidate.recipe == mixed
    assert "--int8" in (result.bundle.path / "build.sh").read_text()


@pytest.mark.parametrize("channels, prunable", [(8, False), (64, True)])
def test_only_what_is_large_enough_to_gain_is_pruned(channels: int, prunable: bool) -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, channels, 3, padding=1),  # 32·32·27 multiply-accumulates a channel
        torch.nn.Conv2d(channels, channels, 3, padding=1),
        torch.nn.Flatten(),
        torch.nn.Linear(1024 * channels, 2),
    )
    network = load_network(module, example={"x": np.zeros((2, 3, 32, 32), np.float32)})
    assert _prunable(network) is prunable


def test_an_onnx_model_is_not_pruned(files: Path) -> None:
    assert not _prunable(load_network(files / "model.onnx"))


def test_the_search_and_the_settings_are_told_what_limits_them(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the data can show that a build passes, and the fp32 that no build may be slower than."""
    provable: list[bool] = []
    held: list[tuple[set[int], bool]] = []

    def proposing(*arguments: Any, **settings: Any) -> Any:
        provable.append(settings["provable"])
        return proposals(*arguments, **settings)

    def tuning(self: LocalHost, *arguments: Any, fastest: Any, compared: bool, **settings: Any) -> Any:
        held.append((set(fastest), compared))
        return Tuned(arguments[0])

    monkeypatch.setattr("compress.search.plan.proposals", proposing)
    monkeypatch.setattr(LocalHost, "tune", tuning)
    recipes = [Recipe("int8", (Step("quantize"),))]
    run(files, tmp_path / "a", recipes=recipes)
    run(files, tmp_path / "b", recipes=recipes, max_drop=0.1)
    assert list(dict.fromkeys(provable)) == [True, False]
    assert held == [({1, 32}, True), ({1, 32}, False)]  # in the second run no build can pass


class KilledError(BaseException):
    """Stands for the process being gone."""


class KillAfter(Reporter):
    def __init__(self, candidates: int) -> None:
        self.left = candidates

    def begin(self, recipe: Recipe) -> None:
        if not self.left:
            raise KilledError
        self.left -= 1


def test_a_build_outside_the_margin_is_timed_as_one_that_lost(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals: list[float | None] = []

    def latency(self: Any, *arguments: Any) -> Any:
        rivals.append(arguments[-1])
        return timed(self, *arguments)

    def comparing(artifacts: Any, paths: Any) -> Any:
        compared.append(len(artifacts))
        return compare(artifacts, paths)

    compared: list[int] = []
    timed = LocalHost.latency
    monkeypatch.setattr(LocalHost, "latency", latency)
    monkeypatch.setattr("compress.hosts.local.compare", comparing)
    data = dict(np.load(files / "val.npz"))
    wrong = Recipe("wrong", (Step("prune", {"ratio": 0.9}),))
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(2304, 4)
    )
    with torch.no_grad():
        data["y"] = model.eval()(torch.from_numpy(data["x"])).argmax(1).numpy()
    result = optimize(
        model, data=(data["x"], data["y"]), out=tmp_path / "b", recipes=[wrong], seconds=SECONDS
    )
    assert rivals == [None, 0.0]
    original, lost = (entry.profile for entry in result.candidates)
    assert [len(original.latency), len(lost.latency)] == [2, 1]
    assert lost.options == original.options
    assert len(compared) == 1  # of the original alone
    assert result.candidates[1].reports["timed_outside_of_margin"] == 1.0
    assert original.layers
    assert not lost.layers


def test_a_build_runs_elsewhere_before_its_accuracy_is_judged_here(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the runtime at the first call takes the other process, and is that build's verdict."""

    def crashes(self: LocalHost, build: Any, *arguments: Any) -> None:
        tried.append(build)
        if len(tried) > 1:
            raise NetworkError("a build that runs in onnxruntime", "it crashed with SIGSEGV", "try another")

    def judging(session: Any, *arguments: Any, **settings: Any) -> Any:
        judged.append(session)
        return outcomes_of(session, *arguments, **settings)

    tried: list[Any] = []
    judged: list[Any] = []
    monkeypatch.setattr(LocalHost, "try_out", crashes)
    monkeypatch.setattr("compress.measuring.measure.outcomes_of", judging)
    result = run(files, tmp_path / "b", recipes=[Recipe("int8", (Step("quantize"),))])
    assert "SIGSEGV" in result.candidates[1].rejected
    assert len(judged) == 1  # the original


def test_what_is_slower_in_a_first_look_is_not_judged_until_other_limits_ask_for_it(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_look, "_WORTH_S", 0.0)
    monkeypatch.setattr(LocalHost, "first_ratio", lambda *arguments: 9.0)
    recipe = Recipe("other", (Step("quantize", {"method": "percentile"}),))
    reasons: list[str | None] = []

    class Stopping(Reporter):
        def end(self, candidate: Candidate, resumed: bool) -> None:
            reasons.append(candidate.rejected)
            if len(reasons) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "b", recipes=[recipe], reporter=Stopping())
    assert reasons[0] is None
    assert "slower than fp32 in a first look (9.00×" in (reasons[1] or "")
    again = run(files, tmp_path / "b", recipes=[recipe], objective="size")
    assert again.resumed == 1  # the original; the other was tried again
    assert again.candidates[1].profile is not None


def test_a_look_is_at_both_builds_in_processes_of_their_own(files: Path, tmp_path: Path) -> None:
    from compress.backends.onnxruntime import OnnxRuntime
    from compress.data.task import load_task

    model, target = load_network(files / "model.onnx").to_onnx(), load_target("cpu")
    build = OnnxRuntime().compile(model, tmp_path, {"intra_op_threads": 1})
    ratio = LocalHost(OnnxRuntime()).first_ratio(build, build, load_task(str(files / "val.npz")), target)
    assert ratio is not None
    assert ratio > 0


def test_no_build_is_begun_when_the_time_budget_is_over(files: Path, tmp_path: Path) -> None:
    notes: list[str] = []

    class Telling(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

    result = run(files, tmp_path / "b", time_budget=1e-3, reporter=Telling())
    assert [entry.recipe.name for entry in result.candidates] == ["fp32"]
    assert any("before int8" in note and "--time-budget" in note for note in result.notes)
    assert any("none is begun after 0.001 s" in note for note in notes)
    assert result.bundle is not None  # what there is ships
    assert result.bundle.manifest["complete"] is False
    assert result.bundle.manifest["untried"][0] == "int8"
    assert explain(result.bundle.path).untried == tuple(result.bundle.manifest["untried"])
    assert "--time-budget" in (result.bundle.path / "report.md").read_text()


@pytest.mark.parametrize(
    ("given", "open_ended", "seconds", "limit"),
    [
        (None, False, True, UNTRAINED_S),
        (None, True, True, math.inf),  # training takes what it takes
        (None, False, False, math.inf),  # as builds on a board do
        (30.0, True, False, 30.0),
    ],
)
def test_a_run_has_a_time_budget_where_nothing_in_it_takes_long(given, open_ended, seconds, limit) -> None:
    machine = SimpleNamespace(builds_take_seconds=seconds)
    assert TimeBudget.of(given, 0.0, machine, open_ended=open_ended).seconds == limit


def test_a_network_that_takes_long_gets_as_much_more_time_by_default(monkeypatch) -> None:
    machine = SimpleNamespace(builds_take_seconds=True)
    monkeypatch.setattr("compress.search.time_budget.time.perf_counter", lambda: 400.0)
    limit = TimeBudget.of(None, 0.0, machine, open_ended=False)
    assert limit.over
    assert limit.after_original(300).seconds == 400 + 5 * 300
    assert not limit.after_original(300).over
    given = TimeBudget.of(30.0, 0.0, machine, open_ended=False)
    assert given.after_original(300).seconds == 30


def test_interrupted_run_goes_on_where_it_was(files: Path, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(files, tmp_path / "build", reporter=KillAfter(2))
    again = run(files, tmp_path / "build")
    assert again.resumed == 2
    assert len({entry.recipe.identity for entry in again.candidates}) == len(again.candidates)


@pytest.mark.parametrize("retry", [False, True])
def test_a_build_that_failed_is_tried_again_where_that_is_asked(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: bool
) -> None:
    recipes = [Recipe("int8", (Step("quantize"),)), Recipe("fp16", (Step("cast"),))]
    with monkeypatch.context() as patched:
        patched.setattr("compress.techniques.quantize.Quantize.apply", _out_of_memory)
        with pytest.raises(KilledError):
            run(files, tmp_path / "build", recipes=recipes, reporter=KillAfter(2))
    again = run(files, tmp_path / "build", recipes=recipes, retry_failed=retry)
    int8 = next(entry for entry in again.candidates if entry.recipe.name == "int8")
    assert (int8.profile is not None) == retry
    assert retry or int8.rejected == "failed: MemoryError: no memory just now"


def _out_of_memory(*_: object) -> None:
    raise MemoryError("no memory just now")


def test_what_is_kept_of_a_run_without_a_bundle_is_told(files: Path, tmp_path: Path) -> None:
    result = run(files, tmp_path / "build", recipes=[Recipe("fp16", (Step("cast"),))], max_size=1e-6)
    assert result.bundle is None
    assert any(f"is kept in {tmp_path / 'build.partial'}" in note for note in result.notes)


def test_kill_9_loses_nothing(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    command = [sys.executable, "-m", "compress", "optimize", str(files / "model.onnx"), "--seconds", "0.5"]
    command += ["--data", str(files / "val.npz"), "--out", str(out), "--threads", "1", "--json"]
    command += ["--backend", "onnxruntime"]
    history = tmp_path / "build.partial" / "history.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") >= 1):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = history.read_text()
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert result["resumed"] == kept.count("\n")
    first = json.loads(kept.splitlines()[0])["profile"]["latency"]
    assert result["candidates"][0]["profile"]["latency"] == first  # not measured a second time
    assert load_bundle(out).recipe.name == result["shipped"]


def test_out_that_is_no_bundle_is_refused_before_any_work(files: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "mine.txt").write_text("")
    with pytest.raises(OutputError):
        run(files, tmp_path / "build")
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize(
    "settings",
    [{"max_drop": -1}, {"max_latency": float("nan")}, {"objective": "beauty"}, {"time_budget": float("nan")}],
    ids=str,
)
def test_wrong_limits_are_usage(files: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run(files, tmp_path / "build", **settings)


def test_data_that_does_not_fit_leaves_nothing(files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", x=samples(40)[..., :7], y=np.zeros(40, np.int64))
    with pytest.raises(DataError, match="x"):
        optimize(files / "model.onnx", data=tmp_path / "val.npz", out=tmp_path / "build")
    assert [path.name for path in tmp_path.iterdir()] == ["val.npz"]
