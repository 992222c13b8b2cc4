"""A container as a host, through a stand-in for ``docker`` that refuses with Docker's own words and exit statuses."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compress.backends.trtexec import DEFAULTS, Trtexec
from compress.errors import ConnectionLostError, UnavailableError, UsageError
from compress.hosts import connect, shell_of
from compress.hosts.base import Build
from compress.hosts.docker import DockerShell
from compress.hosts.jobs import run_job
from compress.hosts.tensorrt import TensorRtHost
from compress.hosts.transfer import receive, send
from compress.target.target import load_target
from tests.graphs import classifier
from tests.hosts.standin_board import OPTIONS, _tools

#: The fault, Docker's words on standard error, its exit status, and what a user is told to do.
FAULTS = {
    "absent": ("Error response from daemon: No such container: trt", 1, "docker ps -a"),
    "stopped": ("Error response from daemon: container 3f1c0a is not running", 1, "docker start trt"),
    "paused": (
        "Error response from daemon: Container trt is paused, unpause the container before exec",
        1,
        "unpause trt",
    ),
    "socket": (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
        "dial unix /var/run/docker.sock: connect: permission denied",
        1,
        "group docker",
    ),
    "daemon": (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        1,
        "start Docker",
    ),
    "no sh": (
        'OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": executable file not '
        "found in $PATH: unknown",
        127,
        "POSIX shell",
    ),
}


class Container:
    """The stand-in: a program ``docker`` on the path, and the home of its only container."""

    def __init__(self, directory: Path) -> None:
        self.home, self.play = directory / "home", directory / "play"
        self.fault_file = directory / "fault"
        self.home.mkdir()
        self.play.mkdir()
        _tools(self.play)
        (self.play / "release").write_text("10.3")
        (self.play / "options").write_text((OPTIONS / "10.3.txt").read_text())
        (self.play / "fault").write_text("")
        variables = {
            "HOME": self.home,
            "PATH": f"{self.play / 'bin'}:/usr/bin:/bin",
            "COMPRESS_STANDIN": self.play,
            "COMPRESS_BOARD_ROOT": self.play / "root",
        }
        within = " ".join(f"{name}='{value}'" for name, value in variables.items())
        program = directory / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(
            f"#!/bin/sh\nif [ -s '{self.fault_file}' ]; then sed 1d '{self.fault_file}' >&2; "
            f"exit \"$(head -n 1 '{self.fault_file}')\"; fi\n"
            '[ "$1 $2 $3" = "exec -i trt" ] || { echo "unknown: $*" >&2; exit 125; }\n'
            f'shift 3\ncd / && exec env -i {within} "$@"\n'
        )
        program.chmod(0o755)

    def fault(self, name: str) -> None:
        words, code, _ = FAULTS[name]
        tip = "\nWhat's next:\n    Try Docker Debug for seamless, persistent debugging tools in any container"
        self.fault_file.write_text(f"{code}\n{words}\n{tip}\n")


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("COMPRESS_DOCKER", raising=False)
    return made


def test_commands_files_and_jobs(container: Container, tmp_path: Path) -> None:
    content = bytes(range(256)) * 200
    (tmp_path / "file").write_bytes(content)
    with shell_of("docker://trt") as shell:
        assert isinstance(shell, DockerShell)
        done = shell.run('printf %s "$HOME!"; cat; echo "it\'s ödd" >&2; exit 3', b" input")
        assert (done.code, done.text, done.errors) == (3, f"{container.home}! input", "it's ödd\n")
        send(shell, tmp_path / "file", f"{container.home}/it's there!")
        assert receive(shell, f"{container.home}/it's there!") == content
        ended = run_job(shell, str(container.home), "job", ["sh", "-c", "echo out!; exit 7"], 30)
        assert (ended.code, ended.output) == (7, "out!\n")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_docker_refuses_is_told_with_its_words_and_the_next_step(
    container: Container, fault: str
) -> None:
    words, _, step = FAULTS[fault]
    container.fault(fault)
    with pytest.raises(UnavailableError) as refused:
        DockerShell("docker://trt")
    assert refused.value.found == words[:200]
    assert step in refused.value.todo
    assert "\n" not in str(refused.value)


def test_a_container_that_ends_meanwhile_loses_the_connection_and_its_own_faults_are_no_loss(
    container: Container,
) -> None:
    with DockerShell("docker://trt") as shell:
        assert shell.run("exit 126").code == 126
        assert shell.run("echo 'is not running' >&2; exit 1").errors == "is not running\n"
        container.fault("stopped")
        with pytest.raises(
            ConnectionLostError, match=r"is not running.*docker start trt.*same command again"
        ):
            shell.run("true")


@pytest.mark.parametrize("address", ["docker://", "docker://-i", "docker://a b", "docker://a/b"])
def test_what_is_no_name_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="docker://NAME"):
        shell_of(address)


def test_docker_that_is_not_installed_and_a_replacement(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_DOCKER", "no-such-docker --context far")
    with pytest.raises(UnavailableError, match="no-such-docker"):
        DockerShell("docker://trt")
    monkeypatch.setenv("COMPRESS_DOCKER", str(tmp_path / "bin" / "docker"))
    DockerShell("docker://trt").close()


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for trtexec plays a Linux board")
def test_engines_are_built_and_timed_in_it(container: Container, tmp_path: Path) -> None:
    target = replace(load_target("jetson"), batch_sizes=(2,))
    build = tmp_path / "build"
    build.mkdir()
    artifact = Trtexec().compile(classifier(), build, {**DEFAULTS, "builds": 1})
    with connect(target, 0.05, "docker://trt") as host:
        assert isinstance(host, TensorRtHost)
        assert host.board.tensorrt == "10.3.0"
        with host.open(artifact, target) as session:
            (latency,) = host.latency(Build(artifact, session), None, None, target)
    assert (latency.source, latency.batch) == ("measured", 2)
    assert not list((container.home / ".cache" / "compress").glob("engine*"))
