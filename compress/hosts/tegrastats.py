"""Power, clocks and temperatures of a Jetson while it works, from the lines of ``tegrastats``.

A line: ``… RAM 3012/7620MB … GR3D_FREQ 99%@[918] … gpu@51.2C tj@52.1C … VDD_IN 6120mW/5987mW …``. Each rail tells its
power now and its mean since the tool started, on Thor also its peak; the first is taken. ``VDD_IN`` is the whole
module; older boards call it ``POM_5V_IN``, Thor with a later JetPack 7 ``VIN``, and the larger ones tell only its
parts, which are added. JetPack 7.0 on Thor tells a clock of the GPU and no load.
"""

from __future__ import annotations

import re

from compress.hosts.telemetry import Sample

#: The unit came with JetPack 5; before, a rail is told from memory by what does not follow.
_RAIL = re.compile(r"\b(\w+) (\d+)(?:mW(?:/\d+mW)+|/\d+(?= |$))")
_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
#: Rails that another rail feeds, on AGX Orin.
_PART_OF = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?(\d+))?")
#: Zones with a temperature; the power management's is a constant.
_ZONE = re.compile(r"\b(?!PMIC@)\w+@(-?[\d.]+)C")


def command(file: str) -> tuple[str, ...]:
    """Return the command that writes a line every 100 ms to ``file`` until it is ended."""
    return ("tegrastats", "--interval", "100", "--logfile", file)


def samples(text: str) -> tuple[Sample, ...]:
    """Parse all lines with values."""
    return tuple(sample for line in text.splitlines() if not (sample := _sample(line)).empty)


def _sample(line: str) -> Sample:
    rails = {name: int(now) for name, now in _RAIL.findall(line)}
    whole_mw = next((rails[name] for name in _WHOLE if name in rails), None)
    parts = sum(power for name, power in rails.items() if _PART_OF.get(name) not in rails)
    gpu = _GPU.search(line)
    zones = [float(zone) for zone in _ZONE.findall(line)]
    return Sample(
        power_mw=whole_mw if whole_mw is not None else (parts or None),
        gpu_percent=int(gpu[1]) if gpu and gpu[1] else None,
        gpu_mhz=int(gpu[2]) if gpu and gpu[2] else None,
        temperature_c=max((zone for zone in zones if -40 < zone < 150), default=None),
    )
