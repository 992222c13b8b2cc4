from __future__ import annotations

from dataclasses import replace

import pytest

from compress.backends.base import OperatorTime, OperatorTimes
from compress.profiling.breakdown import UNACCOUNTED, by_operator, measured_layers
from compress.target.target import Peaks, Target, load_target

CONVOLUTION = OperatorTime("conv", "Conv", "convolution", ((1, 8, 8, 8),), "fp32", 10**6, 1000, 0.4)
CLIP = OperatorTime("clip", "Clip", "elementwise", ((1, 8),), "fp32", 0, 10_000, 0.1)
STRANGE = OperatorTime("strange", "Strange", "unknown", (), "fp32", None, 0, 0.3)


def target() -> Target:
    """Two cores: 0.1 TFLOPS and 10 GB/s each."""
    return replace(load_target("cpu"), cores=2, bandwidth_gb_s=20.0, peaks=Peaks(0.2))


def test_layers_have_their_share_of_the_call_and_of_the_roof() -> None:
    times = OperatorTimes(1.0, (CONVOLUTION, CLIP, STRANGE))
    convolution, clip, strange = measured_layers(times, target(), threads=1)
    assert {layer.source for layer in (convolution, clip, strange)} == {"measured"}
    assert [layer.share for layer in (convolution, clip, strange)] == pytest.approx([0.4, 0.1, 0.3])
    # 2·10⁶ operations at 0.1·10¹² per second take 0.02 ms of the 0.4 ms.
    assert (convolution.bound, convolution.roofline_share) == ("compute", pytest.approx(0.05))
    # 10⁴ bytes at 10¹⁰ per second take 0.001 ms of the 0.1 ms.
    assert (clip.bound, clip.roofline_share) == ("memory", pytest.approx(0.01))
    assert "roofline_share" not in strange.to_dict()


def test_the_roof_rises_with_the_threads_up_to_the_cores() -> None:
    times = OperatorTimes(1.0, (CONVOLUTION,))
    shares = [measured_layers(times, target(), threads)[0].roofline_share for threads in (1, 2, 8, None)]
    assert shares == pytest.approx([0.05, 0.025, 0.025, 0.025])


def test_what_beats_its_roof_has_no_share_of_it() -> None:
    times = OperatorTimes(1.0, (replace(CLIP, ms=0.0005), replace(CLIP, bytes=0)))
    assert [layer.roofline_share for layer in measured_layers(times, target(), 1)] == [None, None]


def test_by_operator_adds_up_to_the_whole_call() -> None:
    times = OperatorTimes(1.0, (CLIP, CONVOLUTION, CLIP))
    found = by_operator(measured_layers(times, target(), 1))
    assert [(entry.operator, entry.count) for entry in found] == [("Conv", 1), ("Clip", 2), (UNACCOUNTED, 0)]
    assert sum(entry.share for entry in found) == pytest.approx(1)
