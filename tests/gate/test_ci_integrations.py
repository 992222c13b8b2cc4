"""The GitHub Action and the GitLab job: their own steps, run by the shell that runs them there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
JOB: dict[str, Any] = yaml.safe_load((ROOT / "integrations/gitlab/compress-gate.yml").read_text())[
    ".compress-gate"
]
REQUIREMENTS = [
    line for line in (ROOT / "integrations/gate-requirements.txt").read_text().splitlines() if line[0] != "#"
]

#: What the gate is installed without.
LEFT_OUT = ("torch", "onnxscript", "neural-compressor", "accelerate", "tqdm")

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "--help",
    "x\nverdict=pass",
]


@pytest.fixture
def job(tmp_path: Path, room: Path) -> Path:
    """Where a job runs; what the gate is installed without cannot be imported there."""
    blocked = [name.replace("-", "_") for name in LEFT_OUT]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\n")
    (tmp_path / "gate.toml").write_text('checks = ["accuracy", "size"]\n')
    for name in ("main.onnx", "broken.onnx", "val.npz"):
        (tmp_path / name).symlink_to(room / name)
    return tmp_path


def environment(job: Path) -> dict[str, str]:
    installed = Path(sys.executable).parent  # where the commands compress and python3 are
    return {"PATH": f"{installed}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(job), "HOME": str(job)}


def run_action(job: Path, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Exit code, outputs and summary of the step, with the environment that GitHub gives it."""
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    values = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
    values |= {name.replace("_", "-"): value for name, value in inputs.items()}
    given = {
        key: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: values[found[1]], text)
        for key, text in step["env"].items()
    }
    (job / "step.sh").write_text(step["run"])
    output, summary = job / "output", job / "summary.md"
    github = {
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_ACTION_PATH": str(ROOT),
        "RUNNER_TEMP": str(job),
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"],
        cwd=job,
        env={**environment(job), **github, **given},
        check=False,
    )
    lines = [line.partition("=") for line in output.read_text().splitlines()]
    return done.returncode, {name: value for name, _, value in lines}, summary.read_text()


def run_gitlab(job: Path, **variables: str) -> int:
    """Exit code of the job's script, by the plainest shell that an image may have."""
    given = {**JOB["variables"], **{f"COMPRESS_{name.upper()}": value for name, value in variables.items()}}
    script = "\n".join(JOB["script"])
    return subprocess.run(
        ["sh", "-e", "-c", script], cwd=job, env={**environment(job), **given}, check=False
    ).returncode


@pytest.mark.parametrize(
    ("candidate", "more", "code", "verdict"),
    [
        ("main.onnx", {}, 0, "pass"),
        ("broken.onnx", {}, 1, "fail"),
        ("main.onnx", {"max_drop": "0"}, 3, "inconclusive"),
        ("main.onnx", {"max_drop": "0", "on_inconclusive": "pass"}, 0, "inconclusive"),
        ("nowhere.onnx", {}, 2, "error"),
    ],
)
def test_steps_of_both_give_the_verdict(
    job: Path, candidate: str, more: dict[str, str], code: int, verdict: str
) -> None:
    given = {
        "candidate": candidate,
        "baseline": "main.onnx",
        "data": "val.npz",
        "policy": "gate.toml",
        **more,
    }
    exit_code, outputs, summary = run_action(job, **given)
    assert (exit_code, outputs["exit-code"], outputs["verdict"]) == (code, str(code), verdict)
    assert set(outputs) == set(ACTION["outputs"])
    assert summary.startswith(f"### compress gate: {verdict}\n")
    assert Path(outputs["markdown"]).read_text() == summary
    told = Path(outputs["json"]).read_text()
    assert json.loads(told)["verdict"] == verdict if verdict != "error" else told == ""
    action_suite = ElementTree.parse(outputs["junit"]).getroot()

    assert run_gitlab(job, **given) == code
    gitlab_suite = ElementTree.parse(job / JOB["artifacts"]["reports"]["junit"]).getroot()
    names = [[case.get("name") for case in suite.iter("testcase")] for suite in (action_suite, gitlab_suite)]
    assert names[0] == names[1] == (["gate"] if verdict == "error" else ["accuracy", "size"])
    assert (job / "gate.md").read_text() == summary
    assert set(JOB["artifacts"]["paths"]) <= {path.name for path in job.iterdir()}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_in_an_input_is_run_or_becomes_an_option(job: Path, hostile: str) -> None:
    given = dict.fromkeys(("candidate", "baseline", "data", "groups", "metric", "policy"), hostile)
    exit_code, outputs, _ = run_action(job, **given)
    assert (exit_code, outputs["verdict"]) == (2, "error")
    assert run_gitlab(job, **given) == 2
    assert not (job / "pwned").exists()


def test_no_script_holds_an_expression() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_every_input_reaches_the_gate_and_every_output_is_its_own() -> None:
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    assert {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]} - {"${{ inputs.install }}"} == set(
        step["env"].values()
    )
    assert all(name in step["run"] for name in step["env"])
    assert all(
        entry["value"] == f"${{{{ steps.gate.outputs.{name} }}}}" for name, entry in ACTION["outputs"].items()
    )


def test_both_install_what_the_package_declares_but_for_training() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [each.partition(";")[0] for each in declared["dependencies"]]  # both run on Linux
    kept = [each for each in wanted if re.split(r"[\[<>=]", each)[0] not in LEFT_OUT]
    assert sorted(REQUIREMENTS) == sorted(kept)
    assert sorted(JOB["variables"]["COMPRESS_REQUIREMENTS"].split()) == sorted(kept)


@pytest.mark.skipif("CI_INSTALL" not in os.environ, reason="downloads packages; CI_INSTALL=1 runs it")
def test_the_install_step_installs_a_gate(job: Path) -> None:
    step = ACTION["runs"]["steps"][0]
    given = {**os.environ, "RUNNER_TEMP": str(job), "GITHUB_ACTION_PATH": str(ROOT)}
    subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], cwd=job, env=given, check=True)
    command = [str(job / "compress-gate-venv/bin/compress"), "gate", "main.onnx", "--baseline", "main.onnx"]
    subprocess.run([*command, "--data", "val.npz", "--policy", "gate.toml"], cwd=job, check=True)


#: What stands in for a program of the tail of ``.ci/run`` or of a step: it writes down where and how it was called.
LOGGED = """#!/bin/sh
echo "$(basename "$0") in $PWD with ${PYTHONPATH:-nothing}: $*" >> "$LOG"
"""


def run_script(place: Path, script: str, programs: dict[str, str], **more: str) -> tuple[int, list[str]]:
    """Exit code of a script with other programs, and what they were called with."""
    (place / "bin").mkdir()
    for name, text in programs.items():
        (place / "bin" / name).write_text(text)
        (place / "bin" / name).chmod(0o755)
    log = place / "log"
    log.touch()
    given = {
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "LOG": str(log),
        "scratch": str(place),
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=place, env={**given, **more}, check=False)
    return done.returncode, log.read_text().splitlines()


def gates_of_this_repository() -> str:
    """The end of ``.ci/run``: it builds the committed network and makes both gates."""
    script = (ROOT / ".ci/run").read_text()
    return script[script.index("built=$(") :]


def test_this_repository_takes_what_decides_from_the_protected_branch(tmp_path: Path) -> None:
    (tmp_path / "protected").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base/digits.onnx").touch()
    programs = {"python": LOGGED, "compress": LOGGED}
    more = {"PROTECTED": "protected", "KEEP_BUILD": "digits.onnx", "BASE_BUILD": "base/digits.onnx"}
    code, calls = run_script(tmp_path, gates_of_this_repository(), programs, **more)
    assert code == 0
    built, *gates = calls
    assert built.startswith(
        f"python in {tmp_path} with nothing: -m benchmarks run digits --build {tmp_path}/digits"
    )
    judged = f"compress in {tmp_path}/protected with {tmp_path}/protected: gate {tmp_path}/digits.onnx --data"
    assert [each.removeprefix(f"{judged} benchmarks.networks.digits:task ") for each in gates] == [
        "--baseline profiles/digits.cpu.json --policy profiles/gate.toml",
        f"--baseline {tmp_path}/base/digits.onnx --policy profiles/latency.toml",
    ]


def test_without_a_build_of_the_base_branch_this_repository_judges_all_but_latency(tmp_path: Path) -> None:
    more = {"BASE_BUILD": "base/digits.onnx"}
    code, calls = run_script(
        tmp_path, gates_of_this_repository(), {"python": LOGGED, "compress": LOGGED}, **more
    )
    assert code == 0
    assert [each.startswith(f"compress in {tmp_path} ") for each in calls] == [False, True]


@pytest.mark.parametrize(("newest", "downloads"), [("", "exit 0"), ("17", "exit 1"), ("17", "exit 0")])
def test_no_kept_build_is_no_failure(tmp_path: Path, newest: str, downloads: str) -> None:
    """There was no run of the branch yet; its artifact has expired; it is there."""
    gh = f"""{LOGGED}case $2 in list) echo "{newest}";; download) {downloads};; esac"""
    step = next(step for step in workflow_steps() if step.get("name") == "Fetch the build of the base branch")
    code, calls = run_script(tmp_path, step["run"], {"gh": gh}, BASE="main", NAME="build-3.11")
    assert code == 0
    assert len(calls) == (2 if newest else 1)


def test_the_protected_branch_is_fetched_before_the_checks_of_a_change(tmp_path: Path) -> None:
    names = [step.get("name") or step.get("run") for step in workflow_steps()]
    assert names.index("Take baseline, policy and data from the protected branch") < names.index(".ci/run")
    step = next(step for step in workflow_steps() if "protected branch" in step.get("name", ""))
    assert step["env"] == {"BASE": "${{ github.base_ref }}"}
    passed = {"BASE": "main", "RUNNER_TEMP": "/runner", "GITHUB_ENV": str(tmp_path / "passed")}
    code, calls = run_script(tmp_path, step["run"], {"git": LOGGED}, **passed)
    assert code == 0
    assert calls[0].endswith("fetch --quiet --depth 1 origin main")
    assert calls[1].endswith("worktree add --quiet --detach /runner/protected FETCH_HEAD")
    assert (tmp_path / "passed").read_text() == "PROTECTED=/runner/protected\n"


def workflow_steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps: list[dict[str, Any]] = workflow["jobs"]["check"]["steps"]
    return steps


def test_the_examples_take_what_decides_from_the_protected_branch() -> None:
    page = (ROOT / "docs/howto/gate-ci.md").read_text()
    example = page[page.index("```yaml\n") :].removeprefix("```yaml\n").partition("```")[0]
    steps = yaml.safe_load(example)
    gates = [step["with"] for step in steps if step.get("uses", "").startswith("OWNER/")]
    assert len(gates) == 2
    for gate in gates:
        assert gate["candidate"] == "build"
        assert {gate[key].partition("/")[0] for key in ("baseline", "data", "policy")} <= {
            "protected",
            "main",
        }
    header = (ROOT / "integrations/gitlab/compress-gate.yml").read_text()
    for name in ("BASELINE", "DATA", "POLICY"):
        assert f"#       COMPRESS_{name}: main/" in header
