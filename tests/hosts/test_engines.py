"""Engines on a board: what each release takes, and what a user sees when something breaks. trtexec is a STAND-IN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.backends.trtexec import DEFAULTS, Trtexec
from compress.core.tensor_spec import TensorSpec
from compress.errors import (
    BundleError,
    CompressError,
    ConnectionLostError,
    InternalError,
    MachineChangedError,
    OutputError,
    TargetError,
    UnavailableError,
)
from compress.hosts import connect, watched
from compress.hosts.base import Build
from compress.hosts.board import probe
from compress.hosts.engines import Engine, Engines
from compress.hosts.ssh import SshShell
from compress.hosts.tensorrt import TensorRtHost
from compress.target.target import Target, load_target
from tests.graphs import classifier, samples
from tests.hosts.standin_board import StandInBoard


@pytest.fixture
def target() -> Target:
    return replace(load_target("jetson"), batch_sizes=(2, 2))


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    options = {**DEFAULTS, "builds": 1}
    return Trtexec().compile(classifier(), tmp_path, options)


@pytest.fixture
def host(board: StandInBoard, target: Target) -> Iterator[TensorRtHost]:
    with connect(target, 0.05, "board") as opened:
        assert isinstance(opened, TensorRtHost)
        yield opened


@pytest.mark.parametrize("release", ["8.2", "8.5", "8.6", "10.3", "10.16", "11.1"])
def test_every_release_builds_runs_and_times(
    board: StandInBoard, target: Target, artifact: Artifact, release: str
) -> None:
    """Outputs are the engine's own, the batch is larger than the engine takes, and no option is refused."""
    board.release(release)
    x = samples(3)
    with connect(target, 0.05, "board") as host, host.open(artifact, target) as session:
        (found,) = session.run({"x": x})
        (latency,) = host.latency(Build(artifact, session), None, None, target)
    with OnnxRuntime().open(replace(artifact, backend="onnxruntime", options={})) as here:
        (wanted,) = here.run({"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert latency.source == "measured"
    assert latency.iterations == 60
    assert not board.cache.exists()


def test_stand_in_refuses_an_option_of_another_release(board: StandInBoard) -> None:
    with SshShell("board") as shell:
        board.release("11.1")
        engines = Engines(shell, probe(shell))
        with pytest.raises(InternalError, match="--fp16"):
            engines.execute("/tmp", ["--onnx=model.onnx", "--fp16"], "build an engine")


INPUTS = (TensorSpec("x", "float32", ("batch", 3, 8, 8)),)

FAULTS: list[tuple[str, type[CompressError], str]] = [
    ("memory", UnavailableError, "too little memory"),
    ("hang-build", UnavailableError, "no end within"),
    ("corrupt", BundleError, "cannot read"),
]


@pytest.mark.parametrize("fault, kind, told", FAULTS)
def test_fault_is_told_to_a_person(
    board: StandInBoard, target: Target, artifact: Artifact, fault: str, kind: type[CompressError], told: str
) -> None:
    board.fault(fault)
    with SshShell("board") as shell:
        engines = Engines(shell, probe(shell), seconds=2 if fault == "hang-build" else 30)

        def build_and_run() -> None:
            engine = engines.engine(artifact, INPUTS, "fp32", target, 0)
            engines.run(engine, ["--loadEngine=model.engine"], "run an engine", writes=[])

        with pytest.raises(kind, match=told) as error:
            build_and_run()
        assert "board" in str(error.value)
        engines.remove()


def test_corrupt_engine_is_built_anew(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    board.fault("corrupt once")
    with host.open(artifact, target) as session:
        (found,) = session.run({"x": samples(1)})
    assert np.isfinite(found).all()


def test_dropped_connection_is_not_seen(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    board.fault("drop-build once", "drop-run once")
    with host.open(artifact, target) as session:
        assert session.run({"x": samples(1)})[0].shape == (1, 4)
    assert not (board.play / "fault").read_text()


def test_engine_is_built_once_of_a_graph(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    host.open(artifact, target).close()
    board.fault("memory")
    host.open(artifact, target).close()
    other = replace(artifact, sha256="0" * 64)
    with pytest.raises(UnavailableError, match="memory"):
        host.open(other, target)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        ConnectionLostError("an answer", "none", "try again"),
        MachineChangedError("one power mode", "two", "try again"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_interrupted_run_leaves_its_engines_for_the_next(
    board: StandInBoard, target: Target, artifact: Artifact, error: BaseException
) -> None:

    def interrupted() -> None:
        with connect(target, 0.05, "board") as host:
            host.open(artifact, target).close()
            raise error

    with pytest.raises(type(error)):
        interrupted()
    board.fault("memory")
    with connect(target, 0.05, "board") as host:
        host.open(artifact, target).close()
    assert not board.cache.exists()


@pytest.mark.parametrize(
    "kilobytes, told",
    [(400, "No space left on device"), (1000, "its disk is full")],
    ids=["while the graph is sent", "while the engine is saved"],
)
def test_full_disk_is_told_and_half_a_file_is_never_taken_for_a_whole(
    board: StandInBoard, target: Target, tmp_path: Path, kilobytes: int, told: str
) -> None:
    """A real one: the graph has 600 kB, and the engine as many."""
    large = Trtexec().compile(classifier(channels=128), tmp_path, {**DEFAULTS, "builds": 1})
    with board.small_disk(kilobytes):

        def full() -> None:
            with connect(target, 0.05, "board") as host:
                host.open(large, target)

        with pytest.raises(OutputError, match=told) as error:
            full()
        assert "board" in str(error.value)
        assert not list(board.cache.iterdir())
    with connect(target, 0.05, "board") as host, host.open(large, target) as session:
        assert np.isfinite(session.run({"x": samples(1)})[0]).all()


def test_board_without_memory_is_told_before_it_builds(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    board.free_memory(420)
    with pytest.raises(UnavailableError, match="420 MiB"):
        host.open(artifact, target)


def test_accelerator_that_was_not_used_is_told(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    board.fault("dla-fallback")
    asked = replace(artifact, options={**artifact.options, "dla_core": 0})
    with host.open(asked, target) as session:
        build = Build(asked, session)
        assert host.coverage(build).dla == 0
        (told,) = host.doubts(build)
    assert "fell back from the DLA to the GPU" in told


@pytest.mark.parametrize("release", ["8.5", "10.3"], ids=["as text", "as raw bytes"])
def test_outputs_that_are_not_finite_come_back_as_they_are(
    board: StandInBoard, target: Target, artifact: Artifact, release: str
) -> None:
    board.release(release)
    board.fault("not-finite")
    with connect(target, 0.05, "board") as host, host.open(artifact, target) as session:
        (found,) = session.run({"x": samples(2)})
    np.testing.assert_array_equal(found.ravel()[:3], [np.nan, np.inf, -np.inf])


def test_clock_that_fell_and_times_that_drifted_are_told(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    board.fault("throttle")
    with host.open(artifact, target) as session:
        build = Build(artifact, session)
        host.latency(build, None, None, target)
        assert any("clock fell from 918 to 306 MHz" in told for told in host.doubts(build))


def test_energy_is_of_the_mean_power_of_all_runs(
    board: StandInBoard,
    target: Target,
    artifact: Artifact,
    host: TensorRtHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board.fault("long")
    powers = iter([4.0, 9.0])
    monkeypatch.setattr(watched, "power_w", lambda _: next(powers))
    with host.open(artifact, target) as session:
        build = Build(artifact, session)
        (latency,) = host.latency(build, None, None, target)
        assert host.energy(build, target).call_mj == pytest.approx(6.5 * latency.p50_ms)


def test_energy_is_power_and_time_of_one_batch_size(
    board: StandInBoard, artifact: Artifact, host: TensorRtHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 W at batch 1, and 50 W at batch 8, which takes longer: a call of one sample takes none of that."""
    board.fault("long")
    target = replace(load_target("jetson"), batch_sizes=(1, 8))
    powers = iter([5.0, 5.0, 50.0, 50.0])
    monkeypatch.setattr(watched, "power_w", lambda _: next(powers))
    with host.open(artifact, target) as session:
        build = Build(artifact, session)
        first, second = host.latency(build, None, None, target)
        assert (first.batch, second.batch) == (1, 8)
        energy = host.energy(build, target)
        assert energy is not None
        assert energy.call_mj == pytest.approx(5.0 * first.p50_ms)
        assert host.energy_mj(build, target) == energy.call_mj


def test_connection_lost_over_power_and_clocks_is_told(
    target: Target, artifact: Artifact, host: TensorRtHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of power that is not there yet is none; a board that is gone is another thing."""
    take = host._engines.take

    def without(error: CompressError) -> Callable[[Engine, str], str]:
        def taken(engine: Engine, name: str) -> str:
            if name == "power.txt":
                raise error
            return take(engine, name)

        return taken

    with host.open(artifact, target) as session:
        build = Build(artifact, session)
        monkeypatch.setattr(host._engines, "take", without(UnavailableError("a file", "none", "try again")))
        assert host.latency(build, None, None, target)
        monkeypatch.setattr(
            host._engines, "take", without(ConnectionLostError("an answer", "none", "try again"))
        )
        with pytest.raises(ConnectionLostError):
            host.latency(build, None, None, target)


def test_several_builds_are_several_engines(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    twice = replace(artifact, options={**artifact.options, "builds": 2})
    with host.open(twice, target) as session:
        host.latency(Build(twice, session), None, None, target)
    assert sorted(path.parent.name for path in board.cache.glob("engines/*/*/model.engine")) == [
        "build-0",
        "build-1",
    ]


def test_layers_are_timed_and_their_precision_read_back(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    with host.open(artifact, target) as session:
        layers = host.layers(Build(artifact, session), target)
    assert {layer.precision for layer in layers} == {"fp32"}
    assert sum(layer.share for layer in layers) == pytest.approx(1)


def test_board_of_another_gpu_is_refused(board: StandInBoard, host: TensorRtHost) -> None:
    with pytest.raises(TargetError, match=r"7\.2.*8\.7"):
        host.adapt(load_target("jetson-agx-xavier"))
    assert host.adapt(load_target("jetson")).tensorrt == "10.3.0"


@pytest.mark.parametrize("fields", [("power.draw.instant", "power.draw"), ("power.draw",)])
def test_card_tells_its_power_while_it_is_timed(
    board: StandInBoard, artifact: Artifact, fields: tuple[str, ...]
) -> None:
    board.become_server(fields)
    board.fault("long")
    target = replace(load_target("h100-sxm"), batch_sizes=(2, 2))
    with connect(target, 0.05, "board") as host:
        assert isinstance(host, TensorRtHost)
        assert host.board.power_field == fields[0]
        with host.open(artifact, target) as session:
            build = Build(artifact, session)
            (latency,) = host.latency(build, None, None, target)
            energy = host.energy(build, target).call_mj
    assert energy == pytest.approx(412.5 * latency.p50_ms)
    assert host.fingerprint() == {
        "board": "NVIDIA H100 80GB HBM3",
        "gpu": "NVIDIA H100 80GB HBM3",
        "sm": "9.0",
        "power_mode": "700 W",
        "gpu_max_mhz": 1980.0,
        "tensorrt": "10.3.0",
        "gpu_driver": "570.86.15",
    }


def test_figures_taken_across_two_power_modes_are_not_given(
    board: StandInBoard, target: Target, artifact: Artifact, host: TensorRtHost
) -> None:
    board.fault("other-power once")
    with host.open(artifact, target) as session, pytest.raises(MachineChangedError, match="MAXN_SUPER"):
        host.latency(Build(artifact, session), None, None, target)
