"""What boards print, read: texts in the form that JetPack's tools and the kernel give them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from compress.errors import UnavailableError
from compress.hosts import board
from compress.hosts.shell import LocalShell
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
    assert (found.tensorrt, found.jetpack, found.l4t) == ("8.5.2", "5.1.2", "35.4.1")
    assert found.dla_cores == 2
    assert found.power_mode is found.memory_free_mb is found.cuda is None
    assert "power_mode" not in found.fingerprint()


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("32.7.1", "4.6.1"),
        ("32.7.6", "4.6.6"),
        ("35.1.0", "5.0.2"),
        ("35.4.1", "5.1.2"),
        ("35.6.1", "5.1.5"),
        ("36.3.0", "6.0"),
        ("36.4", "6.1"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.4", "6.2.1"),
        ("36.4.7", "6.2.1"),
        ("36.5.0", "6.2.2"),
        ("36.5.2", "6.2.3"),
        ("38.2.1", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
        ("39.2.1", "7.2.1"),
        ("40.1.0", None),
        ("3", None),
        (None, None),
    ],
)
def test_jetpack_follows_from_the_board_s_linux(l4t: str | None, jetpack: str | None) -> None:
    assert board.jetpack_release(None, l4t) == jetpack
    assert board.jetpack_release("6.2.1+b38", l4t) == "6.2.1"


@pytest.mark.parametrize(
    ("model", "capability"),
    [
        ("NVIDIA Jetson Nano Developer Kit", "5.3"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "8.7"),
        ("NVIDIA Jetson TX2 NX Developer Kit", "6.2"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "11.0"),
    ],
)
def test_a_module_s_name_tells_its_capability(model: str, capability: str) -> None:
    text = ORIN.replace(re.search(r"== model\n(.+)", ORIN)[1], model)
    assert board.board_of(text, "board").compute_capability == capability


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


def test_the_tool_that_the_login_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release than that on the PATH, as in scripts of a bundle."""
    for name, number in (("trtexec", "100300"), ("other tool", "110100")):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec'\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("TRTEXEC", raising=False)
    assert board.probe(LocalShell()).tensorrt == "10.3.0"
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "other tool"))
    found = board.probe(LocalShell())
    assert (found.tensorrt, found.trtexec) == ("11.1.0", str(tmp_path / "other tool"))
