"""A directory tree stands in for the kernel's: the machines that run tests seldom let a counter be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.profiling.energy import Zone, energy_mj, zones

RANGE = 262_143_328_850


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages, each with its cores inside, shown a second time by their memory-mapped registers."""
    for number in range(2):
        for name, label in (
            (f"intel-rapl:{number}", f"package-{number}"),
            (f"intel-rapl:{number}:0", "core"),
            (f"intel-rapl-mmio:{number}", f"package-{number}"),
        ):
            zone = tmp_path / name
            zone.mkdir()
            (zone / "name").write_text(f"{label}\n")
            (zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
            (zone / "energy_uj").write_text("1000\n")
    (tmp_path / "intel-rapl").mkdir()  # the control type itself
    return tmp_path


def burn(powercap: Path, name: str, microjoules: int) -> None:
    counter = powercap / name / "energy_uj"
    counter.write_text(f"{(int(counter.read_text()) + microjoules) % RANGE}\n")


def test_each_package_counts_once(powercap: Path) -> None:
    assert [zone.path.name for zone in zones(powercap)] == ["intel-rapl:0", "intel-rapl:1"]


def test_energy_is_that_of_one_call_over_all_packages(powercap: Path) -> None:
    def call() -> None:
        for name, microjoules in (("intel-rapl:0", 3000), ("intel-rapl:1", 1000), ("intel-rapl:0:0", 2000)):
            burn(powercap, name, microjoules)

    assert energy_mj(call, seconds=0.01, counted=zones(powercap)) == pytest.approx(4.0)


def test_a_counter_that_starts_again_is_followed(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").write_text(str(RANGE - 10))
    assert energy_mj(lambda: burn(powercap, "intel-rapl:0", 5000), 0.0, zones(powercap)) == pytest.approx(5.0)


@given(before=st.integers(0, RANGE - 1), spent=st.integers(0, RANGE - 1))
def test_what_was_spent_is_found_on_both_sides_of_a_turn(before: int, spent: int) -> None:
    assert Zone(Path(), RANGE).spent(before, (before + spent) % RANGE) == spent


def test_no_counter_no_figure(tmp_path: Path) -> None:
    calls = []
    assert energy_mj(lambda: calls.append(1), 0.0, zones(tmp_path / "absent")) is None
    assert calls == []  # nothing is run for nothing


def test_a_counter_that_may_not_be_read_is_left_out(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    (powercap / "intel-rapl:0" / "energy_uj").mkdir()  # reading it fails, as it does without permission
    assert [zone.path.name for zone in zones(powercap)] == ["intel-rapl:1"]


def test_a_counter_that_stops_being_readable_gives_no_figure(powercap: Path) -> None:
    assert (
        energy_mj(lambda: (powercap / "intel-rapl:1" / "energy_uj").write_text("?"), 0.0, zones(powercap))
        is None
    )


def test_a_counter_that_stands_still_gives_no_figure(powercap: Path) -> None:
    assert energy_mj(lambda: None, 0.0, zones(powercap)) is None
