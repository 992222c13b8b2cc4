"""This machine: its processor, memory and GPU, and the fingerprint that makes measurements comparable.

Everything is read from the operating system's own files and ``nvidia-smi``; what a system does not tell is
left out rather than guessed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compress.core.installation import GPU_RUNTIME
from compress.errors import UnavailableError

#: The instruction set extensions that decide how fast a network runs, as ``/proc/cpuinfo`` spells them.
INFERENCE_ISA = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)

#: What must be equal for two latencies to be comparable. Versions of software are recorded but not part of
#: it: whether a newer driver or runtime is slower is a question that a comparison should be able to answer.
_COMPARABLE = ("cpu", "cores", "isa", "governor", "gpu")
#: Fields that must agree on a board too: figures from different power modes do not compare.
_COMPARABLE_ON_BOARD = ("board", "sm", "power_mode", "clocks_locked", "gpu_max_mhz")


@dataclass(frozen=True)
class Cpu:
    """The processor, as far as this process may use it.

    Attributes:
        model: Name of the processor or of the board.
        architecture: Name of the architecture: ``x86_64``, ``aarch64``, …
        cores: Number of physical cores that the affinity mask and the cgroup's quota leave to this process, ≥ 1.
        isa: Its extensions among :data:`INFERENCE_ISA`, in that order; empty where unknown.
        memory_gb: Memory in 10⁹ bytes, limited by the cgroup; None where unknown.
        frequency_ghz: Maximum frequency in GHz, else the base frequency, else the one in its name; None where unknown.
        governor: Frequency governor of the first core (``performance``, ``schedutil``); None where unknown.
    """

    model: str
    architecture: str
    cores: int
    isa: tuple[str, ...]
    memory_gb: float | None
    frequency_ghz: float | None
    governor: str | None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: Name that the driver reports ("NVIDIA L4").
        compute_capability: Compute capability, such as ``8.9``.
        memory_gb: Memory in 10⁹ bytes; None where the GPU shares the machine's memory.
        driver: Version of the driver.
    """

    name: str
    compute_capability: str
    memory_gb: float | None
    driver: str


def cpu(root: Path = Path("/")) -> Cpu:
    """Return this machine's processor.

    Args:
        root: Directory that holds ``proc`` and ``sys``.
    """
    info = _cpuinfo(root)
    features = set(f"{info.get('flags', '')} {info.get('Features', '')}".split())
    if platform.system() == "Darwin" and _architecture() == "aarch64":
        features |= {"asimd", "asimdhp", "asimddp"}  # every Apple core since the M1
    governor = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Cpu(
        model=_model(root, info),
        architecture=_architecture(),
        cores=_cores(root),
        isa=tuple(extension for extension in INFERENCE_ISA if extension in features),
        memory_gb=_memory_gb(root),
        frequency_ghz=_frequency_ghz(root, info),
        governor=governor or None,
    )


def gpu() -> Gpu:
    """Return the first NVIDIA GPU that this process may use.

    Raises:
        UnavailableError: There is no GPU, or its driver does not answer; the error says what to install.
    """
    wanted = "an NVIDIA GPU that nvidia-smi lists"
    todo = f"install the NVIDIA driver, then {GPU_RUNTIME}, or choose --target cpu"
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not device or device.startswith("-"):
        raise UnavailableError(wanted, "CUDA_VISIBLE_DEVICES, which hides every GPU", "unset it")
    command = shutil.which("nvidia-smi")
    if command is None:
        raise UnavailableError(wanted, "no nvidia-smi on this machine", todo)
    if device.isdigit() and os.environ.get("CUDA_DEVICE_ORDER") == "FASTEST_FIRST":
        raise UnavailableError(
            wanted,
            f"CUDA_VISIBLE_DEVICES={device} in CUDA's own order, which nvidia-smi does not tell",
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPU by its UUID (nvidia-smi -L)",
        )
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # what is asked here is what is run in
    instance = _instance(command, device) if device.startswith("MIG-") else None
    if instance is not None:
        device = instance.gpu
    query = [command, "--query-gpu=name,compute_cap,memory.total,driver_version"]
    query += [f"--id={device}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise UnavailableError(wanted, f"nvidia-smi did not answer: {cause}", todo) from cause
    lines = done.stdout.strip().splitlines()
    parts = [part.strip() for part in lines[0].rsplit(",", 3)] if lines else []
    if done.returncode != 0 or len(parts) != 4:
        said = (done.stderr.strip() or done.stdout.strip())[:200]
        raise UnavailableError(wanted, f"nvidia-smi failed: {said or 'no output'}", todo)
    name, capability, mebibytes, driver = parts
    # An integrated GPU answers [N/A]: its memory is the machine's.
    memory_gb = round(int(mebibytes) * 2**20 / 1e9, 1) if mebibytes.isdigit() else None
    if instance is not None:
        name, memory_gb = f"{name} MIG {instance.profile}", instance.memory_gb
    return Gpu(name, capability, memory_gb, driver)


@dataclass(frozen=True)
class _Instance:
    """A slice of a GPU: the number of its GPU in ``nvidia-smi``, and its profile, such as ``3g.40gb``."""

    gpu: str
    profile: str

    @property
    def memory_gb(self) -> float | None:
        size = re.search(r"\.(\d+)gb", self.profile)
        return round(int(size[1]) * 2**30 / 1e9, 1) if size else None


def _instance(command: str, uuid: str) -> _Instance | None:
    """Find a slice by its UUID in what ``nvidia-smi -L`` lists: each GPU, and its slices below it."""
    try:
        listed = subprocess.run(
            [command, "-L"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    gpu = "0"
    for line in listed.splitlines():
        if number := re.match(r"GPU (\d+):", line):
            gpu = number[1]
        slice_of_it = re.match(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (\S+)\)", line)
        if slice_of_it and slice_of_it[2] == uuid:
            return _Instance(gpu, slice_of_it[1])
    return None


def fingerprint() -> dict[str, str | int | float]:
    """Return the fingerprint of this machine, for figures that are measured on it.

    Returns:
        ``cpu``, ``cores``, ``isa``, ``os``, ``python``, and where known ``memory_gb``, ``governor``,
        ``onnxruntime``, ``gpu`` and ``gpu_driver``. Neither the host's nor the user's name.
    """
    processor = cpu()
    facts: dict[str, str | int | float | None] = {
        "cpu": processor.model,
        "cores": processor.cores,
        "isa": " ".join(processor.isa),
        "memory_gb": processor.memory_gb,
        "governor": processor.governor,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "onnxruntime": _onnxruntime_version(),
    }
    try:
        card = gpu()
        facts |= {"gpu": card.name, "gpu_driver": card.driver}
    except UnavailableError:
        pass
    return {key: value for key, value in facts.items() if value is not None}


def fingerprint_id(fingerprint: dict[str, str | int | float]) -> str:
    """Return twelve hexadecimal digits, equal where latencies are comparable: same hardware, governor, power mode."""
    part = {key: fingerprint.get(key) for key in _COMPARABLE}
    part |= {key: fingerprint[key] for key in _COMPARABLE_ON_BOARD if key in fingerprint}
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:12]


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor of ``/proc/cpuinfo``."""
    first = _read(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _model(root: Path, info: dict[str, str]) -> str:
    """Return the processor's name; on Arm boards the board's name from the device tree."""
    board = _read(root / "proc/device-tree/model").strip("\x00")
    return info.get("model name") or board or platform.processor() or _architecture() or "unknown"


def _cores(root: Path) -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    available = affinity(0) if affinity else range(os.cpu_count() or 1)
    cpus = root / "sys/devices/system/cpu"
    physical = {_read(cpus / f"cpu{n}/topology/thread_siblings_list") or str(n) for n in available}
    return max(1, min([len(physical), *_cpu_quotas(root)]))


def _cpu_quotas(root: Path) -> Iterator[int]:
    """Whole CPUs that each cgroup around this process allows (version 2, then 1)."""
    texts = list(_cgroup(root, "cpu.max"))
    quotas = _cgroup(root, "cpu.cfs_quota_us")
    periods = _cgroup(root, "cpu.cfs_period_us")
    texts += [f"{quota} {period}" for quota, period in zip(quotas, periods, strict=False)]
    for text in texts:
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:  # unlimited is 'max', or -1
            yield int(quota) // int(period)


def _memory_gb(root: Path) -> float | None:
    limits = [int(text) for text in _cgroup(root, "memory.max") if text.isdigit()]
    limits += [int(text) for text in _cgroup(root, "memory.limit_in_bytes") if text.isdigit()]
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == "MemTotal":
            limits.append(int(value.split()[0]) * 1024)
            break
    else:
        try:
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, ValueError, OSError):
            return None
    return round(min(limits) / 1e9, 1)


def _cgroup(root: Path, name: str) -> Iterator[str]:
    """Return the content of the file ``name`` in this process's cgroup and in those around it."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup" / controllers  # version 2 has one tree for all of them
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            if (directory == base or base in directory.parents) and (text := _read(directory / name)):
                yield text


def _frequency_ghz(root: Path, info: dict[str, str]) -> float | None:
    cpufreq = root / "sys/devices/system/cpu/cpu0/cpufreq"
    for name in ("cpuinfo_max_freq", "base_frequency"):
        kilohertz = _read(cpufreq / name)
        if kilohertz.isdigit() and int(kilohertz) > 0:
            return round(int(kilohertz) / 1e6, 3)
    # "cpu MHz" is the speed of this moment, which would make another machine of this one at the next run.
    named = re.search(r"@\s*([\d.]+)\s*GHz", info.get("model name", ""))
    return float(named[1]) if named else None


def _onnxruntime_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for distribution in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _read(path: Path) -> str:
    """Return a file's text, empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
