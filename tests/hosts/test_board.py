"""What boards print, read: texts in the form that JetPack's tools and the kernel give them."""

from __future__ import annotations

import pytest

from compress.errors import UnavailableError
from compress.hosts import board
from compress.machine.machine import fingerprint_id

ORIN = """\
== model
NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super
== release
# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025
# KERNEL_VARIANT: oot
== packages
cuda-cudart-12-6 12.6.68-1
libnvinfer-bin 10.3.0.30-1+cuda12.5
libnvinfer10 10.3.0.30-1+cuda12.5
nvidia-jetpack 6.2+b77
== nvpmodel
NV Power Mode: MAXN_SUPER
2
== memory
MemTotal:        7802880 kB
MemFree:          301000 kB
MemAvailable:    5242880 kB
== gpu-clock
306000000
== gpu-clock-max
1020000000
== gpu-clock-min
306000000
== dla
== thermal
cpu-thermal 48500
cv0-thermal
tj-thermal 52125
soc-thermal -256000
== disk
/dev/nvme0n1p1 238737052 65429812 161106508      29% /
== tegrastats
/usr/bin/tegrastats
== nvidia-smi
== trtexec
/usr/src/tensorrt/bin/trtexec
&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b30] # /usr/src/tensorrt/bin/trtexec --help
"""

XAVIER = """\
== model
Jetson-AGX
== release
# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64
== dla
/sys/devices/platform/host1x/15880000.nvdla0
/sys/devices/platform/host1x/158c0000.nvdla1
== trtexec
/usr/src/tensorrt/bin/trtexec
&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help
"""

SERVER = """\
== model

== nvidia-smi
NVIDIA H100 80GB HBM3, 9.0, 570.86.15
== trtexec
/usr/bin/trtexec
&&&& RUNNING TensorRT.trtexec [TensorRT v101600] [b1] # trtexec --help
"""


def test_jetson_tells_all_of_itself() -> None:
    found = board.board_of(ORIN, "board")
    assert found == board.Board(
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        trtexec="/usr/src/tensorrt/bin/trtexec",
        tensorrt="10.3.0",
        jetpack="6.2",
        l4t="36.4.3",
        cuda="12.6",
        driver=None,
        compute_capability="8.7",
        power_mode="MAXN_SUPER",
        gpu_mhz=306.0,
        gpu_max_mhz=1020.0,
        clocks_locked=False,
        memory_free_mb=5120,
        disk_free_mb=157330,
        dla_cores=0,
        temperature_c=52.125,
        tegrastats=True,
    )


def test_board_that_tells_little_leaves_the_rest_open() -> None:
    found = board.board_of(XAVIER, "board")
    assert (found.tensorrt, found.jetpack, found.l4t) == ("8.5.2", "5.1", "35.4.1")
    assert found.dla_cores == 2
    assert found.power_mode is found.memory_free_mb is found.cuda is None
    assert "power_mode" not in found.fingerprint()


def test_card_is_known_by_its_driver() -> None:
    found = board.board_of(SERVER, "server")
    assert (found.model, found.compute_capability) == ("NVIDIA H100 80GB HBM3", "9.0")
    assert (found.driver, found.tensorrt) == ("570.86.15", "10.16.0")


@pytest.mark.parametrize("text", ["", "== trtexec\n", "== trtexec\n/usr/bin/trtexec\nSegmentation fault\n"])
def test_board_without_the_tool_is_told_what_to_install(text: str) -> None:
    with pytest.raises(UnavailableError, match="trtexec on myboard"):
        board.board_of(text, "myboard")


def test_figures_of_two_power_modes_do_not_compare() -> None:
    full = board.board_of(ORIN, "board").fingerprint()
    other = board.board_of(ORIN.replace("MAXN_SUPER", "15W"), "board").fingerprint()
    again = board.board_of(ORIN.replace("5242880", "1000000"), "board").fingerprint()
    assert fingerprint_id(full) != fingerprint_id(other)
    assert fingerprint_id(full) == fingerprint_id(again)


@pytest.mark.parametrize(
    "number, release", [("8502", "8.5.2"), ("8601", "8.6.1"), ("100300", "10.3.0"), ("110103", "11.1.3")]
)
def test_release_of_the_tool(number: str, release: str) -> None:
    assert board.tool_release(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec") == release
    assert board.tool_release("trtexec: not found") is None
