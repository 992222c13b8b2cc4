from __future__ import annotations

from compress.hosts import nvidia_smi
from compress.hosts.telemetry import Sample, power_w, throttled


def test_line_of_a_card() -> None:
    (found,) = nvidia_smi.samples("312.45, 98, 1755, 61\n")
    assert found == Sample(power_mw=312_450, gpu_percent=98, gpu_mhz=1755, temperature_c=61.0)


def test_what_a_card_does_not_tell_is_left_open() -> None:
    assert nvidia_smi.samples("[N/A], [N/A], [N/A], [N/A]\n\n") == ()
    (found,) = nvidia_smi.samples("[Not Supported], 98, 1755, 61\n")
    assert found.power_mw is None
    assert power_w([found]) is None


def test_mean_power_and_throttling_are_of_busy_lines_alone() -> None:
    lines = nvidia_smi.samples("60.0, 0, 345, 40\n300.0, 99, 1980, 70\n200.0, 99, 1200, 86\n")
    assert power_w(lines) == 250.0
    assert (
        throttled(lines)
        == "the GPU's clock fell from 1980 to 1200 MHz (median 1590) at up to 86 °C: cool the board"
    )


def test_command_asks_the_card_that_the_tool_runs_on() -> None:
    command = nvidia_smi.command("power.txt", "power.draw", "2")
    assert command[:3] == (
        "nvidia-smi",
        "--id=2",
        "--query-gpu=power.draw,utilization.gpu,clocks.sm,temperature.gpu",
    )
    assert "--filename=power.txt" in command
