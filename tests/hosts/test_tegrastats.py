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
# Lines of later boards and releases, with values of our own.
AGX_ORIN = (
    "RAM 4000/62841MB CPU [0%@729] GR3D_FREQ 98%@[1300,1300] tj@47.3C VDD_GPU_SOC 18000mW/2400mW "
    "VDD_CPU_CV 1800mW/400mW VIN_SYS_5V0 5200mW/3000mW NC 0mW/0mW VDDQ_VDD2_1V8AO 2000mW/600mW NC 0mW/0mW"
)
THOR_7_0 = (
    "RAM 5000/125773MB CPU [1%@972,0%@972] EMC_FREQ 0%@665 GR3D_FREQ @[{clock},{clock},{clock}] NVENC0_FREQ @0 VIC off "
    "tj@44.5C VDD_GPU {power}mW/900mW VDD_CPU_SOC_MSS 8000mW/4000mW VIN_SYS_5V0 9000mW/4000mW"
)
THOR_7_2 = (
    "RAM 8000/125749MB CPU [0%,5%,off]@2601 GR3D_FREQ 87%@[1500,1500,1500] tj@66C/66C gpu@57C/66C "
    "VDD_GPU 40000mW/8000mW/40000mW VDD_CPU_SOC_MSS 30000mW/12000mW/30000mW VIN_SYS_5V0 15000mW/7000mW/15000mW "
    "VIN 120000mW/36000mW/120000mW"
)


def test_line_of_a_jetson() -> None:
    (found,) = samples(NANO.format(load=99, clock=918, power=6120) + "\nnothing here\n")
    assert found == Sample(power_mw=6120, gpu_percent=99, gpu_mhz=918, temperature_c=52.1)


def test_rails_are_added_where_the_module_has_none_of_its_own() -> None:
    assert power_w(samples(AGX)) == pytest.approx(6.9)
    assert power_w(samples(XAVIER)) == pytest.approx(4.2)


def test_rails_are_added_once() -> None:
    """A rail that another one feeds, and the parts beside the whole, are in it already."""
    assert power_w(samples(AGX_ORIN)) == pytest.approx(25)
    assert power_w(samples(THOR_7_2)) == pytest.approx(120)


def test_without_a_load_the_power_tells_when_the_gpu_worked() -> None:
    lines = [
        THOR_7_0.format(clock=clock, power=power)
        for clock, power in ((300, 1000), (1500, 29000), (1500, 31000), (300, 1000))
    ]
    assert power_w(samples("\n".join(lines))) == pytest.approx(47)
    assert throttled(samples("\n".join(lines))) is None
    assert samples(lines[1])[0].gpu_mhz == 1500


def test_constant_zones_are_not_hot() -> None:
    (found,) = samples("GR3D_FREQ 96%@[1109] AUX@32C CPU@34C GPU@33C PMIC@50C VDD_IN 7500mW/4000mW")
    assert found.temperature_c == 34


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
    rising = samples(
        "\n".join(NANO.format(load=99, clock=clock, power=1) for clock in (306, 612, 918, 1015, 1015))
    )
    assert throttled(steady) is None
    assert throttled(rising) is None
    assert throttled(idle) is None
    assert throttled(falling) == (
        "the GPU's clock fell from 918 to 612 MHz (median 765) at up to 52.1 °C: cool the board"
    )
