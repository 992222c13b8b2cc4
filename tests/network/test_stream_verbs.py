"""Networks that carry a state: bundles, gates, profiles and the verbs run and train them as streams."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compress import distill, load_bundle, optimize, prune, quantize
from compress.api.inputs import load_bound
from compress.cli import main
from compress.data.task import load_task
from compress.errors import BundleError, DataError
from compress.gate import GatePolicy, Verdict, gate
from compress.recipe import Recipe, Step
from compress.records.profile import inside_margin
from compress.search.decision import Choice, choose
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from tests.streaming import (
    FEATURES,
    STATES,
    STREAMS,
    Spotter,
    by_hand,
    denoiser,
    far,
    file_of,
    streams,
)

DATA = streams()


def last_of(candidates: Sequence[Candidate], limits: Limits) -> Choice:
    """The last build that keeps its accuracy, whatever its time, which differs between processors."""
    choice = choose(candidates, limits)
    profile = candidates[-1].profile
    if (
        profile is None
        or profile.accuracy is None
        or not inside_margin(profile.accuracy.drop, limits.max_drop)
    ):
        return choice
    return dataclasses.replace(choice, candidate=candidates[-1])


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The denoiser in int8 and in fp16, as bundles."""
    folder = tmp_path_factory.mktemp("shipped")
    model = denoiser(hidden=96)
    path = file_of(folder, model)
    np.savez(folder / "data.npz", x=streams(60))
    found = {"model": model, "path": path, "data": folder / "data.npz"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("compress.api.shipping.choose", last_of)
        for name, recipe in (
            ("int8", Recipe("int8", (Step("quantize"),))),
            ("fp16", Recipe("fp16", (Step("cast"),))),
        ):
            result = optimize(
                path,
                data=folder / "data.npz",
                out=folder / name,
                state=STATES,
                max_drop=50,
                recipes=[recipe],
                threads=1,
                seconds=0.05,
            )
            found[name] = result
    return found


def test_a_bundle_carries_the_states_over_a_thousand_frames(shipped: dict[str, Any]):
    frames = streams(1, 1000, seed=5)[0]
    wanted = by_hand(shipped["model"], frames)["y"][:, 0]
    forgotten = far(by_hand(shipped["model"], frames, forget=True)["y"][:, 0], wanted)
    for name, allowed in (("int8", 0.1), ("fp16", 1e-2)):
        result = shipped[name]
        assert result.bundle.recipe.name == name
        assert result.bundle.states == STATES
        with load_bundle(result.bundle.path) as bundle:
            stream = bundle.stream()
            assert [spec.name for spec in stream.outputs] == ["y"]
            found = np.stack([stream(frame[None])[0][0] for frame in frames])
            assert set(stream.state) == set(STATES)
        assert far(found, wanted) < allowed < forgotten
        assert any("is the next 'h'" in note for note in result.notes)
        assert "a state is carried from call to call" in (result.bundle.path / "report.md").read_text()
        accuracy = bundle.profile.accuracy
        assert accuracy.drop.points < 100 * allowed


def test_the_program_of_a_bundle_runs_a_stream(shipped: dict[str, Any], tmp_path: Path):
    frames = streams(1, 50, seed=6)[0]
    np.savez(tmp_path / "frames.npz", x=frames[:, None])
    folder = shipped["int8"].bundle.path
    command = [sys.executable, str(folder / "run.py")]
    subprocess.run([*command, str(tmp_path / "frames.npz"), str(tmp_path / "answers.npz")], check=True)
    with load_bundle(folder) as bundle, np.load(tmp_path / "answers.npz") as answers:
        stream = bundle.stream()
        assert np.allclose(answers["y"], [stream(frame[None])[0] for frame in frames], atol=1e-5)
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run([sys.executable, str(folder / "selfcheck.py")], check=True, capture_output=True)


def test_a_gate_runs_both_sides_over_streams(
    shipped: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ours, theirs = shipped["int8"].bundle.path, shipped["fp16"].bundle.path
    (tmp_path / "gate.toml").write_text('checks = ["accuracy", "slices", "calibration", "corruptions"]\n')
    policy = ["--policy", str(tmp_path / "gate.toml"), "--max-drop", "50"]
    data = ["--data", str(shipped["data"]), "--json"]
    assert main(["gate", str(ours), "--baseline", str(theirs), *data, *policy]) == 0
    told = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert told["accuracy"]["verdict"] == "pass"
    assert {told[name]["verdict"] for name in ("slices", "calibration", "corruptions")} == {"skipped"}


def test_a_gate_sees_a_build_that_is_wrong_only_after_some_frames(shipped: dict[str, Any], tmp_path: Path):
    """Its first frame is right: a state that fades makes the later ones wrong."""
    fading = denoiser(hidden=96)
    weight = next(each for each in fading.graph.initializer if each.name == "u")
    values = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array((0.2 * values).astype(np.float32), "u"))
    assert np.allclose(by_hand(fading, DATA[0])["y"][0], by_hand(shipped["model"], DATA[0])["y"][0])
    onnx.save(fading, tmp_path / "fading.onnx")
    task = load_task({"x": DATA}, calibrates=False, streams=True)
    policy = GatePolicy(checks=("accuracy",))
    (check,) = gate(tmp_path / "fading.onnx", shipped["path"], task=task, policy=policy, state=STATES)
    assert check.verdict is Verdict.FAIL
    with pytest.raises(DataError):
        gate(tmp_path / "fading.onnx", shipped["path"], task=load_task({"x": DATA}, calibrates=False))


def test_a_profile_is_of_streams_and_of_single_calls(
    shipped: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    for given in (
        [str(shipped["int8"].bundle.path)],
        [str(shipped["path"]), "--state", "h=hn", "--state", "smooth=smoothed"],
    ):
        arguments = ["--data", str(shipped["data"]), "--seconds", "0.05", "--batch", "1", "--json"]
        assert main(["profile", *given, *arguments]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["accuracy"]["samples"] in (45, 60)
        assert told["latency"][0]["p50_ms"] < 50


def test_a_bundle_without_states_has_no_stream(shipped: dict[str, Any]):
    bundle = load_bundle(shipped["int8"].bundle.path)
    bundle.manifest.pop("states")
    with pytest.raises(BundleError, match="a network that carries a state"):
        bundle.stream()


def test_quantize_judges_streams(tmp_path: Path):
    result = quantize(file_of(tmp_path, denoiser()), data={"x": DATA}, out=tmp_path / "q.onnx", state=STATES)
    assert result.accuracy.samples == 30
    assert 0.8 < result.accuracy.mean < 1
    found = by_hand(onnx.load(result.path), DATA[0])["y"]
    assert far(found, by_hand(denoiser(), DATA[0])["y"]) < 0.2


def test_prune_and_distill_train_on_frames_and_keep_the_states(tmp_path: Path):
    torch.manual_seed(0)
    how: dict[str, Any] = {
        "data": {"x": DATA},
        "train_data": {"x": streams(seed=3)},
        "epochs": 1,
        "state": {"cache": "output_1"},
    }
    pruned = prune(Spotter(), out=tmp_path / "p.pt2", ratio=0.3, seconds=0.05, **how)
    assert [each.accuracy.samples for each in pruned.networks] == 2 * [STREAMS]
    assert pruned.networks[1].parameters < pruned.networks[0].parameters
    network, _ = load_bound(load_task({"x": DATA}, streams=True), tmp_path / "p.pt2", state=how["state"])
    assert [spec.sample_shape for spec in network.inputs] == [(FEATURES,), (FEATURES, 2)]
    further = {**how, "epochs": 30, "learning_rate": 0.01}
    done = distill(Spotter(), student=Spotter(), out=tmp_path / "d.pt2", **further)
    assert [each.accuracy.samples for each in done.networks] == 3 * [STREAMS]
    assert done.networks[2].accuracy.mean > done.networks[1].accuracy.mean
