"""The fixture, in test runs of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest_plugins = "pytester"

ROOT = Path(__file__).parents[2]


def outcome(pytester: pytest.Pytester, call: str, **counts: int) -> pytest.RunResult:
    pytester.makepyfile(f"def test_build(compress_gate):\n    {call}\n")
    result = pytester.runpytest_subprocess("-p", "compress.testing.pytest_plugin")
    result.assert_outcomes(**counts)
    return result


def policy(pytester: pytest.Pytester, **fields: float) -> str:
    text = 'checks = ["accuracy", "size"]\n' + "".join(f"{key} = {value}\n" for key, value in fields.items())
    return str(pytester.makefile(".toml", gate=text))


def test_build_alike_passes(pytester: pytest.Pytester, room: Path) -> None:
    main, data = str(room / "main.onnx"), str(room / "val.npz")
    outcome(pytester, f"assert compress_gate({main!r}, {main!r}, {data!r}, {policy(pytester)!r})", passed=1)


def test_build_that_is_worse_fails_with_every_check_in_the_message(
    pytester: pytest.Pytester, room: Path
) -> None:
    broken, main, data = (str(room / name) for name in ("broken.onnx", "main.json", "val.npz"))
    result = outcome(
        pytester, f"compress_gate({broken!r}, {main!r}, data={data!r}, policy={policy(pytester)!r})", failed=1
    )
    result.stdout.fnmatch_lines(["*compress gate: fail*", "*accuracy: fail: drop*", "*size: pass:*"])


@pytest.mark.parametrize(("answer", "counts"), [("fail", {"failed": 1}), ("pass", {"passed": 1})])
def test_undecided_build_does_as_asked(
    pytester: pytest.Pytester, room: Path, answer: str, counts: dict[str, int]
) -> None:
    main, data = str(room / "main.onnx"), str(room / "val.npz")
    exact = policy(pytester, max_drop_points=0)  # no number of samples proves a drop of nothing
    outcome(
        pytester,
        f"compress_gate({main!r}, {main!r}, {data!r}, {exact!r}, on_inconclusive={answer!r})",
        **counts,
    )


def test_undecided_build_fails_by_default(pytester: pytest.Pytester, room: Path) -> None:
    main, data = str(room / "main.onnx"), str(room / "val.npz")
    exact = policy(pytester, max_drop_points=0)
    result = outcome(pytester, f"compress_gate({main!r}, {main!r}, {data!r}, {exact!r})", failed=1)
    result.stdout.fnmatch_lines(["*compress gate: inconclusive*"])


def test_metric_and_groups_are_those_of_the_command(pytester: pytest.Pytester, room: Path) -> None:
    main, data = str(room / "main.onnx"), str(room / "val.npz")
    (samples,) = np.load(data)["y"].shape
    np.save(pytester.path / "groups.npy", np.arange(samples) % 2)
    sliced = str(pytester.makefile(".toml", slices='checks = ["slices"]\nmax_slice_drop_points = 50\n'))
    call = f"{main!r}, {main!r}, {data!r}, {sliced!r}, metric='agreement', groups='groups.npy'"
    outcome(pytester, f"assert 'of 2 slices' in compress_gate({call})[0].detail", passed=1)
    unknown = outcome(pytester, f"compress_gate({main!r}, {main!r}, {data!r}, metric='nonsense')", failed=1)
    unknown.stdout.fnmatch_lines(["*MetricError*nonsense*"])
    outcome(pytester, f"compress_gate({main!r}, {main!r}, metric='top-1')", failed=1)


def test_missing_baseline_is_told(pytester: pytest.Pytester, room: Path) -> None:
    result = outcome(pytester, f"compress_gate({str(room / 'main.onnx')!r}, 'nowhere')", failed=1)
    result.stdout.fnmatch_lines(["*BundleError: wanted a bundle*nothing at nowhere*"])


def test_plugin_costs_nothing_until_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\n"
        "def test_imports():\n"
        "    assert not {'numpy', 'torch', 'onnx', 'compress.gate'} & set(sys.modules)\n"
    )
    result = pytester.runpytest_subprocess(
        "-p", "compress.testing.pytest_plugin", "-p", "no:hypothesispytest"
    )
    result.assert_outcomes(passed=1)


def test_package_registers_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {
        "compress.testing.pytest_plugin": "compress.testing.pytest_plugin"
    }
