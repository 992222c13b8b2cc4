"""The progress of a run, on a real pseudo-terminal and where there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from compress.cli.plain_rich import PlainConsole
from compress.cli.terminal import TerminalReporter
from compress.recipe import Recipe
from compress.search.run_directory import Candidate
from tests.records import candidate


def run(reporter: TerminalReporter) -> None:
    """What a run tells of two candidates, the second of which is slow."""
    with reporter:
        reporter.stage("loading the network")
        reporter.plan(14)
        reporter.begin(Recipe("fp32", ()))
        reporter.step("compiling")
        reporter.step("accuracy", 750)
        reporter.tick(300)
        reporter.end(candidate("fp32"), resumed=False)
        reporter.begin(Recipe("int8-percentile-matmul-openvino", ()))
        reporter.step("a first look at the latency")
        reporter.end(in_turns(), resumed=False)


def in_turns() -> Candidate:
    """A build that was timed in turns with fp32 when the machine was slow."""
    entry = candidate("int8-percentile-matmul-openvino", ratio=0.5)
    assert entry.profile is not None
    latency = (replace(entry.profile.latency[0], reference_ms=8.0), *entry.profile.latency[1:])
    return replace(entry, profile=replace(entry.profile, latency=latency))


def lines() -> list[str]:
    written = StringIO()
    run(TerminalReporter(PlainConsole(file=written)))
    return written.getvalue().splitlines()


def test_without_a_terminal_each_candidate_is_a_line_with_the_time() -> None:
    first, second = lines()
    assert re.match(r"\d+ s  fp32 \(1 of at most 14\): ", first)
    assert re.match(r"\d+ s  int8-percentile-matmul-openvino \(2 of at most 14\): ", second)
    assert "; at most " in second
    assert second.endswith(" left")


def test_a_ratio_is_told_with_the_time_of_fp32_that_it_refers_to() -> None:
    assert "0.50× fp32's time of 8 ms in turns with it at batch 1" in lines()[1]


def test_without_a_terminal_a_candidate_that_takes_long_tells_its_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.cli.terminal._QUIET_SECONDS", -1)
    told = [line.split("  ", 1)[1] for line in lines()]
    assert told[:4] == [
        "loading the network",
        "fp32 (1 of at most 14): compiling",
        "fp32 (1 of at most 14): accuracy",
        "fp32 (1 of at most 14): accuracy, 300 of 750",
    ]
    assert told[5].startswith(
        "int8-percentile-matmul-openvino (2 of at most 14): a first look at the latency; at most"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_on_a_terminal_nothing_is_cut_however_narrow_it_is(width: int) -> None:
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with (
        os.fdopen(theirs, "w") as terminal,
        TerminalReporter(Console(file=terminal, force_terminal=True, width=width)) as reporter,
    ):
        reporter.plan(14)
        reporter.begin(Recipe("int8-percentile-matmul-openvino", ()))
        reporter.step("accuracy", 750)
        reporter.tick(300)
        drawn = ""
        while "750" not in drawn:  # it is drawn ten times a second
            drawn += os.read(own, 1 << 16).decode()
    os.close(own)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    assert "…" not in text
    assert max(map(len, re.split("[\r\n]+", text))) <= width
    for word in ("int8-percentile-", "(1 of", "at most 14)", "accuracy,", "300 of 750"):
        assert word in " ".join(text.split())
