"""Outputs of an engine on a board: read as raw bytes, in as few processes as the board allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.errors import ConnectionLostError, UnavailableError
from compress.hosts.engine_session import EngineSession
from compress.hosts.engines import Engine, Engines
from compress.hosts.jobs import Ended
from compress.target.shape_ranges import ShapeRange

SPEC = TensorSpec("x", "float32", ("batch", 3, 4))
OUTPUT = TensorSpec("y", "float32", ("batch", 3, 4))
DEPLOYED = Engine("deployed", (), cast(Any, None), ())


class Tool:
    """An engine that returns its input, in memory, and counts its processes. It is no TensorRT."""

    def __init__(self, release: str = "10.3.0", most: int = 1000, kind: str = "fp32") -> None:
        self.board = SimpleNamespace(tensorrt=release)
        self.most, self.kind = most, kind
        self.files: dict[str, bytes] = {}
        self.runs: list[tuple[str, int]] = []
        self.builds: list[int] = []

    def put(self, engine: Engine, name: str, content: bytes) -> None:
        self.files[name] = content

    def run(
        self, engine: Engine, arguments: list[str], doing: str, *, writes: list[str], beside: object = ()
    ) -> Ended:
        x = np.frombuffer(self.files["input-0.bin"], np.float32).reshape(-1, 3, 4)
        self.runs.append((engine.directory, len(x)))
        if len(x) > self.most:
            raise UnavailableError("trtexec to run", "too little memory", "close what else runs there")
        if "--dumpRawBindingsToFile" not in arguments:
            values = ", ".join(f"{value:.6g}" for value in x.ravel())
            text = f'[{{"name": "y", "dimensions": "{len(x)}x3x4", "values": [{values}]}}]'
            self.files["outputs.json"] = text.encode()
            return Ended(0, "", "", False)
        self.files["y.raw"] = x.tobytes()
        log = f"[I] Writing file for output binding y (with datatype {self.kind} and dimensions {len(x)}.3.4) to y.raw"
        return Ended(0, f"[I] Dumping I/O Bindings to RAW Files:\n{log}\n", "", False)

    def content(self, engine: Engine, name: str) -> bytes:
        return self.files[name]

    def take(self, engine: Engine, name: str) -> str:
        return self.files[name].decode()

    def discard(self, engine: Engine, pattern: str) -> None:
        assert pattern == "*.raw"
        self.files = {name: content for name, content in self.files.items() if not name.endswith(".raw")}

    def widened(self, size: int) -> Engine:
        self.builds.append(size)
        if size > 4 * self.most:
            raise UnavailableError("trtexec to build", "too little memory", "close what else runs there")
        return Engine(f"wide-{size}", (), cast(Any, None), ())


def session_of(tool: Tool, largest: int = 8) -> EngineSession:
    range_ = ShapeRange((1, 3, 4), (1, 3, 4), (largest, 3, 4), 0)
    return EngineSession(cast(Engines, tool), DEPLOYED, (SPEC,), (OUTPUT,), {"x": range_}, tool.widened)


def evaluate(session: EngineSession, samples: int) -> None:
    """Run them as the evaluation does, and hold each answer against the input."""
    x = np.random.default_rng(0).standard_normal((samples, 3, 4)).astype(np.float32)
    size = session.at_once(2 * x[0].nbytes)
    assert size is not None
    for start in range(0, samples, size):
        (found,) = session.run({"x": x[start : start + size]})
        np.testing.assert_array_equal(found, x[start : start + size])  # exact: raw bytes, no digits lost


@pytest.mark.parametrize("largest", [1, 8])
def test_five_thousand_samples_take_tens_of_processes(largest: int) -> None:
    tool = Tool()
    evaluate(session_of(tool, largest), 5000)
    assert tool.builds == [128]
    assert len(tool.runs) <= 16 + 40
    assert not [name for name in tool.files if name.endswith(".raw")]


def test_few_samples_are_not_worth_an_engine() -> None:
    tool = Tool()
    evaluate(session_of(tool), 100)
    assert not tool.builds
    assert tool.runs == [("deployed", 8)] * 12 + [("deployed", 4)]


def test_the_batch_that_fits_is_found() -> None:
    """128 cannot be built, 32 is built and cannot be run, 8 is what the deployed engine takes anyway."""
    tool = Tool(most=8)
    evaluate(session_of(tool), 400)
    assert tool.builds == [128, 32]
    assert {run for run in tool.runs if run[1] > 8} == {("wide-32", 32)}


def test_a_lost_board_is_no_question_of_size() -> None:
    tool = Tool()

    def lost(size: int) -> Engine:
        raise ConnectionLostError("an answer", "none", "try again")

    session = session_of(tool, largest=1)
    session._widened = lost
    with pytest.raises(ConnectionLostError):
        evaluate(session, 200)


def test_large_samples_are_fewer_at_once() -> None:
    session = session_of(Tool())
    assert session.at_once(2 << 20) == 32
    assert session.at_once(1 << 30) == 1


@pytest.mark.parametrize("release, kind", [("8.5.2", "fp32"), ("10.3.0", "fp8")], ids=["8.5", "no such type"])
def test_text_where_there_are_no_raw_bytes(release: str, kind: str) -> None:
    tool = Tool(release, kind=kind)
    session = session_of(tool)
    for _ in range(2):
        (found,) = session.run({"x": np.ones((2, 3, 4), np.float32)})
        np.testing.assert_array_equal(found, np.ones((2, 3, 4)))
    assert len(tool.runs) == (2 if release == "8.5.2" else 3)
