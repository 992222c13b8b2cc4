"""``compress doctor``; the board is a real sshd with a STAND-IN for trtexec."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compress.cli import main
from compress.doctor import PACKAGES, Package, System, advice, look, outlook
from compress.doctor.packages import Wanted, within
from compress.hosts.board import Board
from compress.machine.machine import Cpu, Gpu
from compress.records.schemas import schema_text
from compress.target.target import list_targets, load_target
from tests.hosts.conftest import board, running_board  # noqa: F401 - fixtures
from tests.hosts.standin_board import StandInBoard

BOARD = Board("Jetson Orin Nano", "/usr/bin/trtexec", "10.3.0", compute_capability="8.7", tegrastats=True)
CPU = Cpu("a processor", "x86_64", 2, (), None, None, None)
MACHINE = System("3.11", "Linux", CPU, 2, None, "no nvidia-smi", None, None, "/usr/bin/ssh")


def packages(**versions: str | None) -> dict[str, Package]:
    """As if these were installed, underscores for hyphens; onnx and onnxruntime are unless said otherwise."""
    given = {
        "onnx": "1.19",
        "onnxruntime": "1.22",
        **{key.replace("_", "-"): versions[key] for key in versions},
    }
    return {
        each.name: Package(
            each.name,
            given.get(each.name),
            None,
            None,
            "",
            None if given.get(each.name) else f"get {each.name}",
        )
        for each in PACKAGES
    }


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["doctor", "--quick", "--json", *arguments]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads(schema_text("doctor"))).validate(found)
    return found


def test_every_target_has_a_verdict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = told(capsys)
    verdicts = {each["target"]: each["verdict"] for each in found["targets"]}
    assert set(verdicts) == {target.name for target in list_targets()}
    assert verdicts["cpu"] == "measured"
    assert verdicts["cuda"] == "unavailable"
    assert verdicts["jetson-orin-nano-super"] == "needs-host"
    assert verdicts["raspberry-pi-5"] == "estimate"
    assert found["machine"]["no_gpu"] == "CUDA_VISIBLE_DEVICES, which hides every GPU"


def test_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["cpu", "measured"] for line in lines)
    assert any(line.startswith("onnxruntime ") for line in lines)


@pytest.mark.parametrize(("target", "code"), [("jetson", 1), ("raspberry-pi-5", 1), ("cpu", 0), ("jetsn", 2)])
def test_exit_code_is_the_target_s(target: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick", "--target", target]) == code


def test_a_board_is_asked_and_advised(
    board: StandInBoard,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = told(capsys, "--host", "board", "--target", "jetson")
    assert found["board"]["model"].startswith("NVIDIA Jetson Orin Nano")
    assert found["board"]["jetpack"] == "6.2"
    assert found["targets"][0]["verdict"] == "measured"
    assert [sentence.split(":")[0] for sentence in found["advice"]] == [
        "power mode 15W",
        "clocks move with the load",
    ]
    told(capsys, "--host", "board", "--target", "h100", code=1)
    assert main(["doctor", "--quick", "--host", "board", "--target", "jetson"]) == 0
    text = capsys.readouterr().out
    assert "on the board: power mode 15W: `nvpmodel -p --verbose`" in text
    assert "306 of 1020 MHz, moving with the load" in text
    board.refuse()
    assert main(["doctor", "--quick", "--host", "board"]) == 4
    assert "make this work first: ssh board true" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tensorrt": "8.2.1"}, "JetPack 5.1"),
        ({"power_mode": "7W"}, "nvpmodel -m"),
        ({"clocks_locked": False}, "jetson_clocks"),
        ({"temperature_c": 91.0}, "cool down"),
        ({"memory_free_mb": 700}, "multi-user.target"),
        ({"disk_free_mb": 100}, "free disk"),
        ({"power_mode": "MAXN", "tegrastats": False}, "tegrastats"),
    ],
)
def test_each_thing_on_a_board_that_spoils_a_measurement(change: dict[str, Any], word: str) -> None:
    assert list(advice(BOARD)) == []
    (sentence,) = advice(dataclasses.replace(BOARD, **change))
    assert word in sentence


def test_what_is_missing_makes_less_of_a_target() -> None:
    jetson, cpu, pi = (load_target(name) for name in ("jetson", "cpu", "raspberry-pi-5"))
    assert outlook(cpu, MACHINE, packages()).verdict == "measured"
    without = outlook(cpu, MACHINE, packages(onnxruntime=None))
    assert (without.verdict, without.todo) == ("unavailable", "get onnxruntime")
    assert outlook(cpu, MACHINE, packages(onnxruntime=None, onnxruntime_gpu="1.22")).verdict == "measured"
    assert outlook(jetson, MACHINE, packages()).verdict == "needs-host"
    assert outlook(jetson, MACHINE, packages(onnx=None)).todo == "get onnx"
    assert outlook(pi, MACHINE, packages(onnx=None)).verdict == "unavailable"
    no_ssh = outlook(jetson, dataclasses.replace(MACHINE, ssh=None), packages())
    assert (no_ssh.verdict, no_ssh.todo) == (
        "estimate",
        "install OpenSSH's client (apt install openssh-client)",
    )


def test_a_gpu_with_trtexec_is_measured_where_it_is() -> None:
    card = Gpu("NVIDIA L4", "8.9", 24.0, "570")
    machine = dataclasses.replace(MACHINE, gpu=card, trtexec="/usr/bin/trtexec", tensorrt="10.3.0")
    assert outlook(load_target("l4"), machine, packages()).reason.startswith("--host local: NVIDIA L4")
    assert outlook(load_target("t4"), machine, packages()).verdict == "needs-host"
    cuda = dataclasses.replace(load_target("cpu"), name="cuda", provider="CUDAExecutionProvider")
    known = packages()
    known["onnxruntime"] = dataclasses.replace(known["onnxruntime"], providers=("CPUExecutionProvider",))
    found = outlook(cuda, machine, known)
    assert (found.verdict, found.todo) == ("unavailable", "get onnxruntime-gpu")


def test_a_board_of_another_kind_does_not_measure_the_target() -> None:
    found = outlook(load_target("h100"), MACHINE, packages(), ("board", BOARD))
    assert found.verdict == "estimate"
    assert "8.7, not 9.0" in found.reason


def test_ranges_are_those_that_are_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (torch,) = (each for each in project["dependencies"] if each.startswith("torch>"))
    lowest, limit = torch.removeprefix("torch").split(",")
    (found,) = look([Wanted("torch", "no_such_module", "")])
    assert found.imports is False
    assert found.install == f"pip install --force-reinstall 'torch{lowest},{limit}'"
    assert {each.extra for each in PACKAGES} - {""} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("release", "inside"),
    [("2.11.0", True), ("2.13.1+cpu", True), ("2.14.0", False), ("2.10", False), ("2.9.1", False)],
)
def test_release_in_a_range(release: str, inside: bool) -> None:
    assert within(release, "torch>=2.11,<2.14") is inside


def test_a_package_that_cannot_be_imported_is_told_and_not_fatal() -> None:
    """pytest's own distribution stands for one with a module that is broken, or not there."""
    broken, absent = look(
        [Wanted("pytest", "a_module_that_is_not", ""), Wanted("no-such-package", "nothing", "")]
    )
    assert (broken.imports, broken.usable) == (False, False)
    assert broken.problem is not None
    assert "a_module_that_is_not" in broken.problem
    assert absent.version is None
    assert absent.install == "pip install no-such-package"


def test_a_package_that_prints_is_none_the_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import atexit\natexit.register(print, 'bye')\nprint('hello')\nget_available_providers = lambda: ['CPU']\n"
    (tmp_path / "loud.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = look([Wanted("pytest", "loud", "")])
    assert (found.imports, found.problem, found.providers) == (True, None, ("CPU",))


def test_works_where_neither_torch_nor_onnx_nor_the_runtime_can_be_imported() -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'rich'): sys.modules[name] = None\n"
        "from compress.cli import main\n"
        "sys.exit(main(['doctor', '--quick', '--target', 'cpu']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "cpu  measured" in done.stdout
