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
from compress.core.installation import GPU_RUNTIME
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
    assert lines[lines.index("measured: cpu") + 1] == "  this machine"
    assert any(line.startswith("onnxruntime ") for line in lines)


def test_targets_with_one_verdict_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--quick"])
    lines = capsys.readouterr().out.splitlines()
    (boards,) = (number for number, line in enumerate(lines) if line.startswith("needs --host: "))
    assert {"h100-sxm", "jetson-orin-nano-super", "l4"} <= set(
        lines[boards].removeprefix("needs --host: ").split(", ")
    )
    assert lines[boards + 1 : boards + 3] == [
        "  measured with --host user@board, estimated without",
        "  next: compress doctor --host user@board",
    ]


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
        ({"tensorrt": "7.1.3"}, "JetPack 4.6.1"),
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
    gpu = packages(onnxruntime=None, onnxruntime_gpu="1.32")
    untried = outlook(cuda, machine, gpu)
    assert (untried.verdict, "no session was tried" in untried.reason) == ("measured", True)
    gpu["onnxruntime-gpu"] = dataclasses.replace(
        gpu["onnxruntime-gpu"], providers=("CPUExecutionProvider",), problem="no session opens in it"
    )
    found = outlook(cuda, machine, gpu)
    assert (found.verdict, found.reason) == ("unavailable", "a GPU is here, and no session opens in it")


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
    (tmp_path / "onnxruntime.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = look([Wanted("pytest", "onnxruntime", "")])
    assert (found.imports, found.problem, found.providers) == (True, None, ("CPU",))


def test_works_where_neither_torch_nor_onnx_nor_the_runtime_can_be_imported() -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'rich'): sys.modules[name] = None\n"
        "from compress.cli import main\n"
        "sys.exit(main(['doctor', '--quick', '--target', 'cpu']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "measured: cpu" in done.stdout


FAKE_RUNTIME = """
listed = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
loaded = []
def get_available_providers(): return listed
def preload_dlls(): loaded.append(1)
class SessionOptions: pass
class InferenceSession:
    def __init__(self, graph, options, providers):
        assert loaded and graph.startswith(bytes.fromhex("08")) and options.log_severity_level == 4
        if providers == ["TensorrtExecutionProvider"]:
            WHAT
        self.got = [*(providers if OPENS else []), "CPUExecutionProvider"]
    def get_providers(self): return self.got
"""


@pytest.mark.parametrize("what", ["raise RuntimeError('no libnvinfer')", "providers = []"])
@pytest.mark.parametrize("cuda", [True, False])
def test_a_provider_is_there_where_a_session_opens_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, cuda: bool
) -> None:
    """It was called measured where the wheel lists it, and optimize then ended with exit code 4."""
    text = FAKE_RUNTIME.replace("WHAT", what).replace("OPENS", str(cuda))
    (tmp_path / "onnxruntime.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("compress.doctor.packages._version", lambda name: "1.32" if "gpu" in name else None)
    (found,) = look([Wanted("onnxruntime-gpu", "onnxruntime", "")])
    expected = ("CUDAExecutionProvider", "CPUExecutionProvider") if cuda else ("CPUExecutionProvider",)
    assert found.providers == expected
    assert (found.problem is None) is cuda


def test_two_runtimes_that_write_the_same_files_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.doctor.packages._version", lambda name: "1.32")
    wanted = [each for each in PACKAGES if each.module == "onnxruntime"]
    for found in look(wanted, importing=False):
        assert found.problem is not None
        assert "both installed" in found.problem
        assert found.install == GPU_RUNTIME


def test_the_two_runtimes_are_never_required_together() -> None:
    """An extra that requires one would bring the other back, which every installation requires."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    required = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    assert any(each.startswith("onnxruntime>") for each in required)
    assert not any(each.startswith("onnxruntime-gpu") for each in required)
    (package,) = look([each for each in PACKAGES if each.name == "onnxruntime-gpu"], importing=False)
    assert package.install == GPU_RUNTIME
    assert "compress" not in GPU_RUNTIME
