from __future__ import annotations

import getpass
import os
import platform
import socket
from pathlib import Path

import pytest

from compress.errors import UnavailableError
from compress.machine import machine
from compress.machine.machine import cpu, fingerprint, fingerprint_id, gpu

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) Gold 6230
cpu MHz\t\t: 2100.000
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni

processor\t: 1
model name\t: Another
"""
ARM = """processor\t: 0
Features\t: fp asimd asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""
needs_linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="reads Linux's files")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def topology(siblings: str) -> dict[str, str]:
    """Every CPU of this process's mask has the same siblings: one physical core."""
    cpus = os.sched_getaffinity(0)
    return {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": siblings for n in cpus}


def test_an_x86_processor_is_read(tmp_path: Path):
    found = cpu(write(tmp_path, {"proc/cpuinfo": X86, "proc/meminfo": "MemTotal:  1000000 kB\n"}))
    assert found.model == "Intel(R) Xeon(R) Gold 6230"
    assert found.isa == ("avx2", "avx512f", "avx512_vnni")
    assert found.frequency_ghz is None
    assert found.memory_gb == 1.0
    assert found.governor is None


@pytest.mark.parametrize(
    ("model", "ghz"),
    [
        ("Intel(R) Xeon(R) CPU @ 2.60GHz", 2.6),
        ("Intel(R) Core(TM) i7-3770 CPU @ 3 GHz", 3.0),
        ("AMD EPYC", None),
    ],
)
def test_the_speed_of_the_moment_is_no_part_of_a_machine(tmp_path: Path, model: str, ghz: float | None):
    for now in (800.0, 3100.0):
        text = f"processor\t: 0\nmodel name\t: {model}\ncpu MHz\t\t: {now}\nflags\t\t: avx2\n"
        assert cpu(write(tmp_path, {"proc/cpuinfo": text})).frequency_ghz == ghz


def test_an_arm_board_is_named_by_its_device_tree(tmp_path: Path):
    board = {"proc/cpuinfo": ARM, "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}
    found = cpu(write(tmp_path, board))
    assert found.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.isa == ("asimd", "asimdhp", "asimddp")


def test_the_highest_stated_frequency_counts(tmp_path: Path):
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq"
    root = write(tmp_path, {"proc/cpuinfo": X86, f"{cpufreq}/base_frequency": "2500000\n"})
    assert cpu(root).frequency_ghz == 2.5
    write(root, {f"{cpufreq}/cpuinfo_max_freq": "3900000\n", f"{cpufreq}/scaling_governor": "powersave\n"})
    assert cpu(root).frequency_ghz == 3.9
    assert cpu(root).governor == "powersave"
    write(root, {f"{cpufreq}/cpuinfo_max_freq": "0\n"})  # some virtual machines
    assert cpu(root).frequency_ghz == 2.5


@needs_linux
def test_threads_of_one_core_count_once(tmp_path: Path):
    assert cpu(write(tmp_path, topology("0-1"))).cores == 1


@needs_linux
def test_without_topology_each_cpu_of_the_mask_is_a_core(tmp_path: Path):
    assert cpu(tmp_path).cores == len(os.sched_getaffinity(0))


@needs_linux
@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"},
        # A limit of a cgroup around this one holds as well.
        {"proc/self/cgroup": "0::/job/part\n", "sys/fs/cgroup/job/cpu.max": "100000 100000\n"},
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "120000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        },
        # Less than one CPU is still one thread.
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
    ],
)
def test_a_quota_limits_the_cores(tmp_path: Path, files: dict[str, str]):
    assert cpu(write(tmp_path, files)).cores == 1


@needs_linux
@pytest.mark.parametrize("text", ["max 100000\n", "-1 100000\n", "nonsense\n", "9000000 100000\n", "1 0\n"])
def test_a_quota_that_does_not_bind_is_ignored(tmp_path: Path, text: str):
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text}
    assert cpu(write(tmp_path, files)).cores == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "files, memory_gb",
    [
        ({"sys/fs/cgroup/memory.max": "max\n"}, 8.0),
        ({"sys/fs/cgroup/memory.max": "3000000000\n"}, 3.0),
        ({"sys/fs/cgroup/job/memory.max": "2000000000\n", "sys/fs/cgroup/memory.max": "3000000000\n"}, 2.0),
        ({"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1000000000\n"}, 1.0),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8.0),
    ],
)
def test_memory_is_limited_by_the_cgroups(tmp_path: Path, files: dict[str, str], memory_gb: float):
    group = {"proc/self/cgroup": "0::/job\n9:memory:/job\n", "proc/meminfo": "MemTotal: 7812500 kB\n"}
    assert cpu(write(tmp_path, group | files)).memory_gb == memory_gb


def test_a_system_that_tells_nothing_gives_defaults_and_no_error(tmp_path: Path):
    found = cpu(tmp_path)
    assert found.cores >= 1
    assert found.model
    assert found.frequency_ghz is None


def test_an_apple_processor_has_the_dot_product_though_no_file_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    found = cpu(tmp_path)
    assert (found.architecture, found.cores) == ("aarch64", os.cpu_count())
    assert "asimddp" in found.isa


def test_a_system_without_sysconf_does_not_tell_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert cpu(tmp_path).memory_gb is None


def fake_nvidia_smi(directory: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int = 0) -> Path:
    """A program of that name, first on the path; it notes how it was called."""
    program = directory / "nvidia-smi"
    called = directory / "arguments"
    program.write_text(f"#!/bin/sh\necho \"$@\" > {called}\ncat <<'END'\n{output}\nEND\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return called


needs_shell = pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")


@needs_shell
def test_the_gpu_is_asked_of_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    called = fake_nvidia_smi(tmp_path, monkeypatch, "NVIDIA L4, 8.9, 23034, 550.54.15")
    found = gpu()
    assert (found.name, found.compute_capability, found.driver) == ("NVIDIA L4", "8.9", "550.54.15")
    assert found.memory_gb == pytest.approx(24.2)
    assert "--query-gpu=name,compute_cap,memory.total,driver_version --id=0" in called.read_text()


@needs_shell
def test_the_first_visible_gpu_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    called = fake_nvidia_smi(tmp_path, monkeypatch, "NVIDIA L4, 8.9, 23034, 550.54.15")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    gpu()
    assert "--id=3" in called.read_text()


@needs_shell
def test_an_integrated_gpu_has_no_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_nvidia_smi(tmp_path, monkeypatch, "Orin (nvgpu), 8.7, [N/A], 540.4.0")
    assert gpu().memory_gb is None


@needs_shell
@pytest.mark.parametrize(
    "output, code",
    [("couldn't communicate with the NVIDIA driver", 9), ("", 0), ("one, two", 0), ("a, b, 1, c", 9)],
)
def test_a_driver_that_does_not_answer_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int
):
    fake_nvidia_smi(tmp_path, monkeypatch, output, code)
    with pytest.raises(UnavailableError) as caught:
        gpu()
    assert (output or "no output") in str(caught.value)


def test_no_nvidia_smi_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(
        UnavailableError,
        match=r"install the NVIDIA driver, then pip uninstall -y onnxruntime.*onnxruntime-gpu",
    ) as caught:
        gpu()
    assert caught.value.exit_code == 4


LISTED = """GPU 0: NVIDIA L4 (UUID: GPU-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)
  MIG 1g.10gb     Device  0: (UUID: MIG-aa)
  MIG 3g.40gb     Device  1: (UUID: MIG-bb)"""


@needs_shell
def test_a_slice_of_a_gpu_is_no_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f"#!/bin/sh\n[ \"$1\" = -L ] && {{ cat <<'END'\n{LISTED}\nEND\nexit; }}\n"
        'case "$*" in *--id=1*) echo "NVIDIA H100 80GB HBM3, 9.0, 81559, 570";; *) echo other; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-bb")
    found = gpu()
    assert (found.name, found.compute_capability) == ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "9.0")
    assert found.memory_gb == pytest.approx(42.9)


@needs_shell
def test_the_card_that_is_named_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """nvidia-smi numbers cards by their slots, CUDA by their speed unless it is told otherwise."""
    fake_nvidia_smi(tmp_path, monkeypatch, "NVIDIA L4, 8.9, 23034, 550.54.15")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    gpu()
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    with pytest.raises(UnavailableError, match="by its UUID"):
        gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert gpu().name == "NVIDIA L4"


@needs_shell
@pytest.mark.parametrize("devices", ["", "-1"])
def test_a_hidden_gpu_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: str):
    fake_nvidia_smi(tmp_path, monkeypatch, "NVIDIA L4, 8.9, 23034, 550.54.15")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    with pytest.raises(UnavailableError, match="CUDA_VISIBLE_DEVICES"):
        gpu()


@needs_shell
def test_the_fingerprint_names_the_hardware_and_the_software(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_nvidia_smi(tmp_path, monkeypatch, "NVIDIA L4, 8.9, 23034, 550.54.15")
    found = fingerprint()
    assert found["cpu"] == cpu().model
    assert found["cores"] == cpu().cores
    assert found["python"] == platform.python_version()
    assert found["gpu"] == "NVIDIA L4"
    assert found["gpu_driver"] == "550.54.15"
    assert "onnxruntime" in found


def test_the_fingerprint_tells_neither_host_nor_user():
    words = " ".join(str(value) for value in fingerprint().values()).split()
    assert socket.gethostname() not in words
    assert getpass.getuser() not in words


def test_the_fingerprint_leaves_out_what_is_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    found = fingerprint()
    assert "gpu" not in found
    assert None not in found.values()


@pytest.mark.parametrize("key", ["cpu", "cores", "isa", "governor", "gpu"])
def test_other_hardware_is_another_machine(key: str):
    found = fingerprint()
    assert fingerprint_id(found | {key: "other"}) != fingerprint_id(found)


@pytest.mark.parametrize("key", ["os", "python", "onnxruntime", "gpu_driver", "memory_gb"])
def test_other_software_is_the_same_machine(key: str):
    found = fingerprint()
    assert fingerprint_id(found | {key: "other"}) == fingerprint_id(found)


def test_the_fingerprint_does_not_change_from_call_to_call():
    assert fingerprint() == fingerprint()
    assert len(fingerprint_id(fingerprint())) == 12


def test_the_flags_are_this_machines(tmp_path: Path):
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    for flag in cpu().isa:
        assert f" {flag} " in text.replace("\n", " ") or platform.system() == "Darwin"
    assert set(cpu().isa) <= set(machine.INFERENCE_ISA)
