"""The description of a board: asked for in one command, and parsed from its text.

A Jetson tells its model in the device tree, its release in ``/etc/nv_tegra_release``, its power mode by
``nvpmodel -q``, its clocks and temperatures in ``/sys``; a machine with a graphics card answers ``nvidia-smi``, of the
card that the tool will run on. What it does not tell is left out rather than guessed.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from compress.backends.tensorrt import TRTEXEC
from compress.errors import UnavailableError
from compress.hosts.nvidia_smi import POWER_FIELDS, number
from compress.hosts.shell import Shell

#: Prints a section a question. COMPRESS_BOARD_ROOT is where its tests keep a board's files.
_PROBE = r"""
r=${COMPRESS_BOARD_ROOT:-}
section() { echo "== $1"; }
section model; tr -d '\000' <"$r/proc/device-tree/model" 2>/dev/null
echo; section release; cat "$r/etc/nv_tegra_release" 2>/dev/null
section packages; dpkg-query -W -f='${Package} ${Version}\n' 'libnvinfer*' nvidia-jetpack 'cuda-cudart-*' 2>/dev/null
section nvpmodel; nvpmodel -q 2>/dev/null
section memory; cat "$r/proc/meminfo" 2>/dev/null
clock() { cat "$r"/sys/class/devfreq/*gpu*/"$1" "$r"/sys/class/devfreq/*.g*/"$1" 2>/dev/null | head -n 1; }
section gpu-clock; clock cur_freq
section gpu-clock-max; clock max_freq
section gpu-clock-min; clock min_freq
section dla; for d in "$r"/sys/devices/platform/*/*nvdla* "$r"/sys/devices/platform/*nvdla*; do
  [ -e "$d" ] && echo "$d"; done
section thermal; for z in "$r"/sys/class/thermal/thermal_zone*; do
  [ -r "$z/temp" ] && echo "$(cat "$z/type") $(cat "$z/temp" 2>/dev/null)"; done
section disk; df -Pk "$HOME" | tail -n 1
section tegrastats; command -v tegrastats
card=${CUDA_VISIBLE_DEVICES:-0}; card=${card%%,*}
smi() { nvidia-smi --id="$card" --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null; }
section nvidia-smi; smi name,compute_cap,driver_version
section card; echo "$card"; smi power.limit,clocks.max.sm,clocks.sm,temperature.gpu,memory.free
section power-field; for f in __POWER_FIELDS__; do case $(smi "$f") in *[0-9]) echo "$f"; break ;; esac; done
section trtexec
t=$(command -v "${TRTEXEC:-trtexec}" || { [ -x __TRTEXEC__ ] && echo __TRTEXEC__; }); echo "$t"
[ -n "$t" ] && "$t" --help 2>&1 | grep -m 1 '\[TensorRT v'
true
""".replace("__TRTEXEC__", TRTEXEC).replace("__POWER_FIELDS__", " ".join(POWER_FIELDS))

#: JetPack for a release of the board's Linux (L4T), by NVIDIA's archive of JetPack releases.
#: A release that is not listed here takes the longest beginning that is, so that a later patch is that of its branch.
_JETPACK = {
    "32.6": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7": "4.6.6",
    "35.1": "5.0.2",
    "35.2": "5.1",
    "35.3": "5.1.1",
    "35.4": "5.1.2",
    "35.5": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6": "5.1.5",
    "36.2": "6.0",
    "36.3": "6.0",
    "36.4.0": "6.1",
    "36.4": "6.2.1",
    "36.4.3": "6.2",
    "36.5.0": "6.2.2",
    "36.5": "6.2.3",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2.0": "7.2",
    "39.2": "7.2.1",
}
#: Compute capability by the name of the module.
_CAPABILITY = {"xavier": "7.2", "orin": "8.7", "thor": "11.0", "tx2": "6.2", "jetson nano": "5.3"}


@dataclass(frozen=True)
class Board:
    """Description of a board by itself; None for unknown values.

    Attributes:
        model: Name given by its maker.
        trtexec: Path of ``trtexec`` on the board.
        tensorrt: Release of TensorRT, such as ``10.3.0``.
        jetpack: Release of JetPack, from its package or from L4T's release.
        l4t: Release of the board's Linux, such as ``36.4.3``.
        cuda: Release of the CUDA runtime.
        driver: Version of the graphics card's driver; None on a Jetson, whose driver is L4T's.
        compute_capability: Compute capability of the GPU, such as ``8.7``.
        power_mode: Power mode by ``nvpmodel``, such as ``MAXN_SUPER`` or ``15W``; for a card its limit, such as ``300
            W``.
        gpu_mhz: Present clock of the GPU, in MHz.
        gpu_max_mhz: Highest clock that the power mode allows, in MHz.
        clocks_locked: Whether the lowest clock is the highest, as ``jetson_clocks`` sets it.
        memory_free_mb: Available memory in MiB; for a card, its own.
        disk_free_mb: Free space of the home directory, in MiB.
        dla_cores: Number of deep learning accelerators; 0 where none is found.
        temperature_c: Temperature of the hottest zone, in °C.
        tegrastats: Whether the board measures its power by ``tegrastats``.
        power_field: Field of ``nvidia-smi`` with the card's power; None where it has none.
        device: Number in ``nvidia-smi`` of the card that ``trtexec`` runs on.
    """

    model: str
    trtexec: str
    tensorrt: str
    jetpack: str | None = None
    l4t: str | None = None
    cuda: str | None = None
    driver: str | None = None
    compute_capability: str | None = None
    power_mode: str | None = None
    gpu_mhz: float | None = None
    gpu_max_mhz: float | None = None
    clocks_locked: bool | None = None
    memory_free_mb: int | None = None
    disk_free_mb: int | None = None
    dla_cores: int = 0
    temperature_c: float | None = None
    tegrastats: bool = False
    power_field: str | None = None
    device: str = "0"

    def fingerprint(self) -> dict[str, str | int | float]:
        """Return the board's fingerprint for measured figures, without values that change from minute to minute."""
        facts: dict[str, str | int | float | None] = {
            "board": self.model,
            "gpu": self.model,
            "sm": self.compute_capability,
            "power_mode": self.power_mode,
            "clocks_locked": None if self.clocks_locked is None else int(self.clocks_locked),
            "gpu_max_mhz": self.gpu_max_mhz,
            "tensorrt": self.tensorrt,
            "jetpack": self.jetpack,
            "l4t": self.l4t,
            "cuda": self.cuda,
            "gpu_driver": self.driver,
        }
        return {key: value for key, value in facts.items() if value is not None}


def probe(shell: Shell) -> Board:
    """Ask a board for its description.

    Raises:
        UnavailableError: The board has no ``trtexec``, or its release is unknown.
    """
    return board_of(shell.run(_PROBE).text, shell.name)


def free_memory_mb(shell: Shell, device: str) -> int | None:
    """Return the memory free for the builder in MiB: the card's own, else the system's; None where unknown.

    Args:
        shell: Shell of the board.
        device: Number of the card in ``nvidia-smi``.
    """
    card = f"nvidia-smi --id={shlex.quote(device)} --query-gpu=memory.free --format=csv,noheader,nounits 2>/dev/null"
    answer = shell.run(
        f'echo "== card"; {card}; echo "== memory"; cat "${{COMPRESS_BOARD_ROOT:-}}/proc/meminfo"'
    )
    parts = sections(answer.text)
    card_mb = number(parts.get("card", ""))
    return memory_free_mb(parts.get("memory", "")) if card_mb is None else int(card_mb)


def board_of(text: str, name: str) -> Board:
    """Make a board from the sections that the probe printed.

    Raises:
        UnavailableError: The board has no ``trtexec``, or its release is unknown.
    """
    parts = sections(text)
    tool, _, header = parts.get("trtexec", "").partition("\n")
    release = tool_release(header)
    if not tool or release is None:
        raise UnavailableError(
            f"TensorRT's trtexec on {name}",
            f"one that does not tell its release: {header or 'no output'}"
            if tool
            else "no such program there",
            "install JetPack's TensorRT there (apt install nvidia-jetpack), or set TRTEXEC to it in the login",
        )
    card, capability, driver = _fields(parts.get("nvidia-smi", ""), 3)
    device, _, figures = parts.get("card", "").partition("\n")
    limit_w, most_mhz, now_mhz, temperature_c, free_mb = (number(field) for field in _fields(figures, 5))
    model = parts.get("model", "") or card or "unknown"
    l4t = l4t_release(parts.get("release", ""))
    packages = dict(line.split(" ", 1) for line in parts.get("packages", "").splitlines() if " " in line)
    lowest, highest = megahertz(parts.get("gpu-clock-min", "")), megahertz(parts.get("gpu-clock-max", ""))
    return Board(
        model=model,
        trtexec=tool,
        tensorrt=release,
        jetpack=jetpack_release(packages.get("nvidia-jetpack"), l4t),
        l4t=l4t,
        cuda=cuda_release(packages),
        driver=driver or None,
        compute_capability=_capability(model, capability),
        power_mode=power_mode(parts.get("nvpmodel", "")) or (f"{limit_w:g} W" if limit_w else None),
        gpu_mhz=megahertz(parts.get("gpu-clock", "")) or now_mhz,
        gpu_max_mhz=highest or most_mhz,
        clocks_locked=None if lowest is None or highest is None else lowest == highest,
        memory_free_mb=memory_free_mb(parts.get("memory", "")) if free_mb is None else int(free_mb),
        disk_free_mb=disk_free_mb(parts.get("disk", "")),
        dla_cores=len({line.rsplit("nvdla", 1)[-1] for line in parts.get("dla", "").split()}),
        temperature_c=hottest_c(parts.get("thermal", "")) if temperature_c is None else temperature_c,
        tegrastats=bool(parts.get("tegrastats")),
        power_field=parts.get("power-field") or None,
        device=device or "0",
    )


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading ``== name``."""
    parts = re.split(r"^== (.+)$", text, flags=re.MULTILINE)
    return {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def tool_release(header: str) -> str | None:
    """Return the release in ``&&&& RUNNING TensorRT.trtexec [TensorRT v100300] …``; 8.x writes ``v8502`` for 8.5.2."""
    match = re.search(r"\[TensorRT v(\d+)\]", header)
    if match is None:
        return None
    number = int(match[1])
    if number >= 100_000:  # From 10.0 on two digits a part.
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"


def l4t_release(text: str) -> str | None:
    """Return the release in ``# R36 (release), REVISION: 4.3, GCID: …``, here ``36.4.3``."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{match[1]}.{match[2]}" if match else None


def jetpack_release(package: str | None, l4t: str | None) -> str | None:
    """Return JetPack's release: its package's version, or the one that ships with the board's Linux."""
    if package:
        return re.split(r"[+-]", package)[0]
    numbers = (l4t or "").split(".")
    if len(numbers) == 2:
        numbers.append("0")
    beginnings = (".".join(numbers[:count]) for count in (3, 2))
    return next((_JETPACK[beginning] for beginning in beginnings if beginning in _JETPACK), None)


def cuda_release(packages: dict[str, str]) -> str | None:
    """Return CUDA's release in a package's name: ``12.6`` for ``cuda-cudart-12-6``."""
    names = (re.fullmatch(r"cuda-cudart-(\d+)-(\d+)", name) for name in packages)
    return max((f"{match[1]}.{match[2]}" for match in names if match), default=None)


def power_mode(text: str) -> str | None:
    """Return the mode in ``NV Power Mode: MAXN_SUPER``."""
    match = re.search(r"NV Power Mode: *(\S+)", text)
    return match[1] if match else None


def megahertz(text: str) -> float | None:
    """Return the megahertz of a clock that the kernel states in hertz; None where it states none."""
    first = text.split()
    return round(int(first[0]) / 1e6, 1) if first and first[0].isdigit() else None


def memory_free_mb(text: str) -> int | None:
    """Return the available memory of ``/proc/meminfo``, in MiB."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) // 1024 if match else None


def disk_free_mb(text: str) -> int | None:
    """Return the free space in a line of ``df -Pk``, in MiB."""
    fields = text.split()
    return int(fields[3]) // 1024 if len(fields) >= 6 and fields[3].isdigit() else None


def hottest_c(text: str) -> float | None:
    """Return the hottest of lines ``type millidegrees``, in °C; implausible values of disabled zones are skipped."""
    readings = re.findall(r"^\S+ (-?\d+)$", text, re.MULTILINE)
    return max(
        (int(reading) / 1000 for reading in readings if -40_000 < int(reading) < 150_000), default=None
    )


def _fields(line: str, count: int) -> list[str]:
    """Return the first fields of a line with commas, padded with empty ones."""
    return [*(part.strip() for part in line.split(",")), *[""] * count][:count]


def _capability(model: str, capability_told: str) -> str | None:
    if capability_told:
        return capability_told
    return next((capability for name, capability in _CAPABILITY.items() if name in model.casefold()), None)
