from __future__ import annotations

import pytest

from compress.hosts.tegrastats import samples
from compress.hosts.telemetry import Sample, power_w, throttled

NANO = (
    "01-08-2025 12:00:00 RAM 3012/7620MB (lfb 8x4MB) SWAP 0/3810MB (cached 0MB) CPU [12%@1510,3%@1510,off] "
    "EMC_FREQ 3%@2133 GR3D_FREQ {load}%@[{clock}] NVDEC off VIC_FREQ 0% APE 200 cpu@48.5C soc2@47C gpu@51.2C "
    "tj@52.1C soc0@-256C VDD_IN {power}mW/5987mW VDD_CPU_GPU_CV 1500mW/1400mW VDD_SOC 1400mW/1390mW"
)
XAVIER = (
    "RAM 1903/15692MB GR3D_FREQ 99% AO@35C GPU@36.5C GPU 1200/900 CPU 300/310 VDDRQ 700/650 SYS5V 2000/1990"
)
AGX = (
    "RAM 1/2MB GR3D_FREQ 99%@1300 VDD_GPU_SOC 3200mW/3100mW VDD_CPU_CV 800mW/790mW VIN_SYS_5V0 2900mW/2880mW"
)


def test_line_of_a_jetson() -> None:
    (found,) = samples(NANO.format(load=99, clock=918, power=6120) + "\nnothing here\n")
    assert found == Sample(power_mw=6120, gpu_percent=99, gpu_mhz=918, temperature_c=52.1)


def test_rails_are_added_where_the_module_has_none_of_its_own() -> None:
    assert power_w(samples(AGX)) == pytest.approx(6.9)
    assert power_w(samples(XAVIER)) == pytest.approx(4.2)


def test_mean_power() -> None:
    lines = [NANO.format(load=99, clock=918, power=power) for power in (6000, 8000)]
    resting = NANO.format(load=0, clock=306, power=2000)
    assert power_w(samples("\n".join([resting, *lines]))) == pytest.approx(7.0)
    assert power_w(samples("no power here@")) is None


def test_clock_that_falls_under_load_is_throttling() -> None:
    steady = samples("\n".join(NANO.format(load=99, clock=clock, power=1) for clock in (918, 900, 918)))
    falling = samples("\n".join(NANO.format(load=99, clock=clock, power=1) for clock in (918, 612)))
    idle = samples(
        "\n".join(NANO.format(load=load, clock=clock, power=1) for load, clock in ((99, 918), (0, 306)))
    )
    assert throttled(steady) is None
    assert throttled(idle) is None
    assert throttled(falling) == (
        "the GPU's clock fell from 918 to 612 MHz (median 765) at up to 52.1 °C: cool the board"
    )
