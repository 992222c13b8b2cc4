from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compress.bundle.profile_file import load_recorded
from compress.cli import main
from compress.gate import Check, Verdict, load_subject
from compress.gate.origin import other_network
from compress.onnx_graph.files import sha256_of
from compress.reports.gate_markdown import gate_markdown
from compress.reports.junit import gate_junit

CHECKS = [
    Check("accuracy", Verdict.PASS, "drop 0"),
    Check("slices", Verdict.FAIL, "worst: <b>cats|dogs</b> & \x00 [link](https://example.org)"),
    Check("latency", Verdict.INCONCLUSIVE, "median ratio 1"),
    Check("energy", Verdict.SKIPPED, "not measured"),
]


def test_junit_has_a_case_for_every_check() -> None:
    suite = ElementTree.fromstring(gate_junit(CHECKS, "new", "old")).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    found = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert found == {
        "accuracy": [],
        "slices": ["failure"],
        "latency": ["error"],
        "energy": ["skipped"],
    }
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "<b>cats|dogs</b> & \\x00" in str(failure.get("message"))


def test_junit_has_what_the_schemas_of_ant_and_of_jenkins_ask_for() -> None:
    suite = ElementTree.fromstring(gate_junit(CHECKS, "new", "old")).find("testsuite")
    assert suite is not None
    # Ant's wants all of these, in this order; Jenkins' wants a subset.
    wanted = {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time"}
    assert wanted <= set(suite.keys())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(suite.get("timestamp")))
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 4, "system-out", "system-err"]
    assert all(set(case.keys()) == {"classname", "name", "time"} for case in suite.iter("testcase"))
    assert [sorted(each.keys()) for each in suite.iterfind("testcase/*")] == [
        ["message", "type"],
        ["message", "type"],
        ["message"],
    ]
    assert "accuracy: pass: drop 0\n" in str(suite.findtext("system-out"))


def test_junit_follows_what_inconclusive_means() -> None:
    suite = ElementTree.fromstring(gate_junit(CHECKS, "new", "old", "pass")).find("testsuite")
    assert suite is not None
    assert (suite.get("errors"), suite.get("skipped")) == ("0", "2")


def test_markdown_shows_names_as_text() -> None:
    text = gate_markdown(CHECKS, "build/", "main|old")
    assert text.startswith("### compress gate: fail\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(CHECKS)
    assert "\\<b\\>cats\\|dogs\\</b\\>" in text
    assert "\\[link\\]" in text
    assert "main\\|old" in text


@pytest.fixture
def arguments(room: Path, tmp_path: Path) -> list[str]:
    policy = tmp_path / "gate.toml"
    policy.write_text('checks = ["accuracy", "size"]')
    main_onnx = str(room / "main.onnx")
    return [
        "gate",
        main_onnx,
        "--baseline",
        main_onnx,
        "--data",
        str(room / "val.npz"),
        "--policy",
        str(policy),
    ]


def test_command_writes_all_forms(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("an earlier step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    forms = ["--junit", str(tmp_path / "out.xml"), "--markdown", str(tmp_path / "out.md"), "--json"]
    assert main([*arguments, *forms]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["verdict"]) == (1, "pass")
    assert told["policy"]["checks"] == ["accuracy", "size"]
    assert told["candidate_sha256"] == told["baseline_sha256"] == sha256_of(Path(arguments[1]))
    assert [check["name"] for check in told["checks"]] == ["accuracy", "size"]
    assert told["checks"][0]["figures"]["samples"] == 800
    assert ElementTree.parse(tmp_path / "out.xml").getroot().tag == "testsuites"
    table = (tmp_path / "out.md").read_text()
    assert summary.read_text() == "an earlier step\n" + table
    assert {path.name for path in tmp_path.iterdir()} == {"gate.toml", "summary.md", "out.xml", "out.md"}


def test_margin_of_the_command_wins_over_the_policy(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--max-drop", "0", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["policy"]["max_drop_points"] == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--max-drop", "-1"], "'--max-drop': -1 is not from 0"),
        (["--junit", "/nowhere/out.xml"], "/nowhere/out.xml"),
        (["--groups", "nowhere.npy"], "nowhere.npy"),
        (["--policy", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main([*arguments, *more]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_groups_without_data_are_usage(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(room / "main.onnx")
    assert main(["gate", path, "--baseline", path, "--groups", "groups.npy"]) == 2
    assert "give --data" in capsys.readouterr().err


def test_reports_of_an_earlier_gate_never_outlive_an_error(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    junit, markdown = tmp_path / "out.xml", tmp_path / "out.md"
    forms = ["--junit", str(junit), "--markdown", str(markdown)]
    assert main([*arguments, *forms]) == 0
    assert main([*arguments, *forms, "--policy", "nowhere.toml"]) == 2
    told = capsys.readouterr().err.strip().removeprefix("error: ")
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    assert [case.get("message") for case in suite.iter("error")] == [told]
    assert markdown.read_text().startswith("### compress gate: error\n")
    assert "nowhere.toml" in markdown.read_text()
    assert summary.read_text().endswith(markdown.read_text())


def test_a_report_that_cannot_be_removed_stops_the_gate(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*arguments, "--junit", str(tmp_path / "file" / "out.xml")]) == 2
    assert "a place to write to" in capsys.readouterr().err


def test_builds_of_different_files_are_compared_and_it_is_said(room: Path, tmp_path: Path) -> None:
    subject = load_subject(room / "main.onnx")
    profile = replace(load_recorded(room / "main.json"), network="net", network_sha256="a" * 64)
    ours, again = replace(subject, profile=profile), replace(profile, network_sha256="b" * 64)
    note = other_network(ours, replace(subject, profile=again))
    assert note is not None
    assert f"net ({'a' * 12}…)" in note
    assert f"net ({'b' * 12}…)" in note
    assert other_network(ours, ours) is None
    untold = replace(subject, artifact=None, profile=replace(again, inputs=()))
    assert "may be of another network" in str(other_network(ours, untold))
    assert other_network(ours, subject) is None
    assert "Note: the candidate was built from net" in gate_markdown(CHECKS, "new", "old", note)
