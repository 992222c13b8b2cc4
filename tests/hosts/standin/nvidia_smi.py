"""A STAND-IN for ``nvidia-smi``: an H100 under load, with figures that were made up.

The first argument holds the fields of power that its driver knows; any other is refused as the real one does.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

FIGURES = {
    "name": "NVIDIA H100 80GB HBM3",
    "compute_cap": "9.0",
    "driver_version": "570.86.15",
    "memory.free": "80000",
    "power.limit": "700.00",
    "clocks.max.sm": "1980",
    "clocks.sm": "1755",
    "temperature.gpu": "45",
    "utilization.gpu": "97",
}


def main(power_fields: str, *arguments: str) -> int:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    figures = FIGURES | dict.fromkeys(power_fields.split(), "412.50")
    asked = given["--query-gpu"].split(",")
    for field in asked:
        if field not in figures:
            print(f'Field "{field}" is not a valid field to query.')
            return 2
    if given["--id"] != "0":
        print("No devices were found")
        return 6
    line = ", ".join(figures[field] for field in asked)
    if "--loop-ms" not in given:
        print(line)
        return 0
    while True:
        with Path(given["--filename"]).open("a") as file:
            file.write(f"{line}\n")
        time.sleep(int(given["--loop-ms"]) / 1000)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
