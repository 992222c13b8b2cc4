"""Another process answers one request after another, within limits; its end is an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress.core.child_process import EndedError, Limits, OtherProcess, kept

#: Does what a request names.
_CHILD = """
import os, signal, sys, time
sys.path.append(sys.argv[1])
from compress.core.child_process import serve

def answer(request):
    what = request["what"]
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while what == "loop":
        pass
    if what == "memory":
        try:
            return len(bytes(1 << 30))
        except MemoryError:
            return "no memory"
    print("libraries print what they like")
    return [what, os.getpid()]

serve(answer)
"""


def test_one_process_answers_one_request_after_another() -> None:
    first = kept(_CHILD)
    assert first.ask({"what": "a"}) == ["a", first.process.pid]
    assert kept(_CHILD) is first
    assert first.ask({"what": "é"}, Limits(5, 1 << 20)) == ["é", first.process.pid]
    assert first.process.pid != os.getpid()


def test_a_crash_is_told_and_the_next_one_answers() -> None:
    with pytest.raises(EndedError, match=signal.SIGSEGV.name):
        kept(_CHILD).ask({"what": "crash"})
    assert kept(_CHILD).ask({"what": "b"})[0] == "b"


def test_more_processor_time_than_allowed_ends_it() -> None:
    with pytest.raises(EndedError, match="more than 1 s"):
        OtherProcess(_CHILD).ask({"what": "loop"}, Limits(1, 1 << 30))


def test_more_memory_than_allowed_is_not_given_and_the_limit_is_of_one_request() -> None:
    child = kept(_CHILD)
    assert child.ask({"what": "memory"}, Limits(20, 1 << 28)) == "no memory"
    assert child.ask({"what": "memory"}) == 1 << 30


def test_it_ends_when_who_asks_is_killed_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from compress.core.child_process import OtherProcess
child = OtherProcess({_CHILD!r})
child.ask({{"what": "here"}})
Path(sys.argv[1]).write_text(str(child.process.pid))
child.ask({{"what": "loop"}})
"""
    asking = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pid")])
    until = time.monotonic() + 120
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert asking.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    os.kill(child, 0)  # it is there
    asking.kill()
    asking.wait()
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.05)
