"""Raw outputs of trtexec, by the log and the files that it writes."""

from __future__ import annotations

import numpy as np
import pytest

from compress.backends.trtexec_raw import RawOutput, raw_outputs, writes_raw
from compress.errors import UnavailableError


def line(name: str, kind: str, sizes: str, file: str, direction: str = "output") -> str:
    told = f"(with datatype {kind} and dimensions {sizes}) to {file}"
    return f"[11/30/2026-17:00:00] [I] Writing file for {direction} binding {name} {told}\n"


@pytest.mark.parametrize(
    "release, has", [("8.2", False), ("8.5.2", False), ("8.6.1", True), ("10.3.0", True), ("11.1", True)]
)
def test_releases_that_have_them(release: str, has: bool) -> None:
    assert writes_raw(release) is has


def test_files_are_those_of_the_log() -> None:
    log = (
        line("x", "fp32", "2.3", "x.input.2.3.fp32.raw", "input")
        + line("a (with b) to c", "fp16", "2.5", "a__with_b__to_c.output.2.5.fp16.raw")
        + line("scalar", "int64", "", "scalar.output..int64.raw")
        + "&&&& PASSED TensorRT.trtexec\n"
    )
    assert raw_outputs(log) == {
        "a (with b) to c": RawOutput("a__with_b__to_c.output.2.5.fp16.raw", "fp16", (2, 5)),
        "scalar": RawOutput("scalar.output..int64.raw", "int64", ()),
    }


def test_two_names_that_became_one_file_are_no_output() -> None:
    file = "a_b.output.2.fp32.raw"
    log = line("a/b", "fp32", "2", file) + line("a b", "fp32", "2", file) + line("c", "fp32", "2", "c.raw")
    assert set(raw_outputs(log)) == {"c"}


def test_a_type_that_numpy_lacks_is_no_output() -> None:
    assert raw_outputs(line("y", "fp8", "2", "y.raw")) == {}


def test_values() -> None:
    values = np.array([[1.5, -2.0], [np.inf, 0.1]], np.float32)
    np.testing.assert_array_equal(RawOutput("y", "fp32", (2, 2)).values(values.tobytes()), values)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    found = RawOutput("y", "bf16", (2, 2)).values(halves.tobytes())
    np.testing.assert_allclose(found, values, rtol=0.01)
    assert RawOutput("n", "int64", ()).values(np.int64(7).tobytes()) == 7


def test_a_file_that_was_cut_is_told() -> None:
    with pytest.raises(UnavailableError, match=r"4 values of fp32 in y\.raw.*found 12 bytes"):
        RawOutput("y.raw", "fp32", (2, 2)).values(bytes(12))
