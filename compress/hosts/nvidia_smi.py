"""Power, clocks and temperature of a graphics card while it works, by NVML as ``nvidia-smi`` prints it.

From Ampere on ``power.draw`` is a mean over a second and ``power.draw.instant`` is not, where the driver knows that
field (``nvidia-smi --help-query-gpu``); on a GA100 and before, ``power.draw`` is the power of the moment.
"""

from __future__ import annotations

from compress.hosts.telemetry import Sample

#: The fields of :func:`samples` after the one of power.
_FIELDS = "utilization.gpu,clocks.sm,temperature.gpu"
#: Fields of power, the better one first; which of them a driver knows is asked of it.
POWER_FIELDS = ("power.draw.instant", "power.draw")


def command(file: str, power_field: str, device: str = "0") -> tuple[str, ...]:
    """Return the command that writes a line every 100 ms to ``file`` until it is ended.

    Args:
        file: Path on the machine.
        power_field: Field with the power, one of :data:`POWER_FIELDS`.
        device: Index or UUID of the card.
    """
    query = f"--query-gpu={power_field},{_FIELDS}"
    return (
        "nvidia-smi",
        f"--id={device}",
        query,
        "--format=csv,noheader,nounits",
        "--loop-ms=100",
        f"--filename={file}",
    )


def samples(text: str) -> tuple[Sample, ...]:
    """Parse all lines with values; a field that the card lacks is ``[N/A]`` or ``[Not Supported]``."""
    return tuple(sample for line in text.splitlines() if not (sample := _sample(line)).empty)


def _sample(line: str) -> Sample:
    watts, percent, megahertz, celsius = ([number(field) for field in line.split(",")] + [None] * 4)[:4]
    return Sample(
        power_mw=None if watts is None else round(1e3 * watts),
        gpu_percent=None if percent is None else round(percent),
        gpu_mhz=None if megahertz is None else round(megahertz),
        temperature_c=celsius,
    )


def number(field: str) -> float | None:
    """Parse a field without its unit; None where the card has no value."""
    try:
        return float(field.strip().split(" ")[0])
    except ValueError:
        return None
