"""Two users of one machine, with two numbers of their own: neither takes, deletes or waits in vain for the other's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import compress

ALICE, BOB = 61001, 61002
ROOT = Path(compress.__file__).parents[1]


def _command(user: int, code: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        user=user,
        group=user,
        extra_groups=[],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={
            "HOME": str(home / str(user)),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LOGNAME": f"user{user}",
        },
    )


def _reachable() -> bool:
    """Whether another user may run this interpreter and read this package."""
    if os.geteuid() != 0:
        return False
    try:
        return _command(ALICE, "import compress, numpy", Path("/tmp")).wait(60) == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(
    not _reachable(), reason="needs root, and an interpreter that other users may run (not under /root)"
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may write in and nobody may delete from but what is theirs, as /tmp is."""
    # Not under pytest's own directory: every pytest that begins on this machine takes that from other users again.
    place = Path(tempfile.mkdtemp(prefix="shared-"))
    place.chmod(0o1777)
    for user in (ALICE, BOB):
        (place / str(user)).mkdir()
        os.chown(place / str(user), user, user)
    yield place
    shutil.rmtree(place)


def as_user(user: int, shared: Path, code: str) -> str:
    """What a user's process prints."""
    process = _command(user, code, shared)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output.strip()


def directory(shared: Path, then: str) -> str:
    return f"""
from pathlib import Path
from compress.core.own_directories import is_own, kept_until_done, locked, own_directory, remove_own
from compress.errors import CompressError
place = Path({str(shared / "build.partial")!r})
try:
    {then}
except CompressError as error:
    print(error)
"""


def test_a_run_directory_of_another_user_is_neither_taken_nor_deleted(shared: Path):
    make = "own_directory(place); (place / 'kept').write_text('x'); print(is_own(place))"
    assert as_user(ALICE, shared, directory(shared, make)) == "True"
    told = as_user(BOB, shared, directory(shared, "locked(place)"))
    assert "which it did not make; move it away, or choose another --out" in told
    assert as_user(BOB, shared, directory(shared, "remove_own(place); print(place.exists())")) == "True"
    assert (
        as_user(ALICE, shared, directory(shared, "print(is_own(place), (place / 'kept').read_text())"))
        == "True x"
    )


def test_each_has_a_key_of_their_own(shared: Path):
    for user in (ALICE, BOB):
        place = shared / f"{user}.partial"
        code = directory(shared, "print(own_directory(place))").replace("build.partial", place.name)
        assert as_user(user, shared, code) == str(place)
    keys = {(shared / str(user) / ".local/state/compress/key").read_bytes() for user in (ALICE, BOB)}
    assert len(keys) == 2
    for user in (ALICE, BOB):
        assert (shared / str(user) / ".local/state/compress/key").stat().st_mode & 0o077 == 0


LOCK = """
import sys
from compress.errors import CompressError
from compress.hosts.lock import Lock
from compress.hosts.shell import LocalShell
try:
    tell = lambda who: print("waits for", who, flush=True)
    with Lock(LocalShell(), {path!r}, wait_seconds={wait}, on_wait=tell).held():
        print("held", flush=True)
        {then}
except CompressError as error:
    print(error, flush=True)
"""


def test_a_board_in_use_by_another_user_is_waited_for_by_name(shared: Path):
    path = str(shared / "board.lock")
    holding = _command(ALICE, LOCK.format(path=path, wait=5, then="sys.stdin.read()"), shared)
    assert holding.stdout is not None
    assert holding.stdout.readline().strip() == "held"
    refused = as_user(BOB, shared, LOCK.format(path=path, wait=0.1, then="pass"))
    assert f"it is in use by user{ALICE}" in refused
    waiting = _command(BOB, LOCK.format(path=path, wait=60, then="pass"), shared)
    assert waiting.stdout is not None
    assert waiting.stdout.readline().strip() == f"waits for user{ALICE}"
    holding.communicate("", timeout=60)
    output, _ = waiting.communicate(timeout=60)
    assert output.strip() == "held"


def test_a_stale_lock_that_is_not_ours_to_remove_is_told_with_the_way_out(shared: Path):
    path = shared / "board.lock"
    path.mkdir()
    (path / "beat").write_text(f"{int(time.time()) - 10_000}\n")
    (path / "token").write_text("gone\n")
    (path / "owner").write_text("alice\n")
    for each in (path, *path.iterdir()):
        os.chown(each, ALICE, ALICE)
    told = as_user(BOB, shared, LOCK.format(path=str(path), wait=0.1, then="pass"))
    assert f"if nobody uses it, remove {path} there" in told
    assert as_user(ALICE, shared, LOCK.format(path=str(path), wait=5, then="pass")) == "held"


def test_two_runs_of_two_users_into_one_directory(shared: Path):
    """The second one is refused before anything is measured, and the first one's bundle stays."""
    code = """
import json, sys
import numpy as np, onnx
from onnx import TensorProto, helper
import compress
from compress.errors import CompressError
weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], np.ones(8, np.float32))
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])], [weight],
)
path = f"{sys.argv[1]}/net-{sys.argv[2]}.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
data = (np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2)
try:
    result = compress.optimize(path, data=data, out=f"{sys.argv[1]}/build", seconds=0.01, time_budget=0.01, threads=1)
    print(json.dumps(str(result.bundle.path)))
except CompressError as error:
    print(json.dumps(str(error)))
"""
    argued = code.replace("sys.argv[1]", repr(str(shared))).replace(
        "sys.argv[2]", "__import__('os').getuid()"
    )
    assert json.loads(as_user(ALICE, shared, argued).splitlines()[-1]) == str(shared / "build")
    kept = sorted((path.name, path.stat().st_mtime_ns) for path in (shared / "build").iterdir())
    told = json.loads(as_user(BOB, shared, argued).splitlines()[-1])
    assert str(shared / "build") in told
    assert kept == sorted((path.name, path.stat().st_mtime_ns) for path in (shared / "build").iterdir())
