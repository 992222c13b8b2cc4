from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from compress.backends.base import Session
from compress.core.registry import Registry, function, subclass_of
from compress.core.versions import versions
from compress.errors import MetricError
from tests.distributions import installed

GROUP = "compress.tests"


def registry(built_in: dict[str, str] | None = None, **settings: Any) -> Registry[Any]:
    known = {"ours": "os.path:join", "second": "os.path:split"} if built_in is None else built_in
    given = {"wanted": "a function", "check": function, "error": MetricError, **settings}
    return Registry("thing", GROUP, known, **given)


def points(**names: str) -> dict[str, dict[str, str]]:
    return {GROUP: names}


def test_built_ins_come_first_and_nothing_is_imported_for_a_list(tmp_path: Path) -> None:
    built_in = {"z-ours": "never_imported:x", "a-ours": "never_imported:y"}
    with installed(tmp_path, "acme", points(extra="acme_things:gone"), acme_things="1 / 0"):
        found = registry(built_in).entries()
        assert [(entry.name, entry.origin, entry.built_in) for entry in found] == [
            ("z-ours", f"compress-toolkit {versions()['compress-toolkit']}", True),
            ("a-ours", f"compress-toolkit {versions()['compress-toolkit']}", True),
            ("extra", "acme 1.0", False),
        ]
        assert "extra" in registry()
        assert "acme_things" not in sys.modules


def test_what_is_installed_later_is_seen(tmp_path: Path) -> None:
    assert "extra" not in registry()
    with installed(tmp_path, "acme", points(extra="os.path:join")):
        assert registry().load("extra") is registry().load("ours")
    assert "extra" not in registry()


@pytest.mark.parametrize(
    "source, told",
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("other = 1", "no attribute 'thing'"),
        ("thing = 3", "found an object of the class int"),
        ("class thing: pass", "found the class thing"),
    ],
)
def test_what_cannot_be_used_names_its_distribution(tmp_path: Path, source: str, told: str) -> None:
    with installed(tmp_path, "acme", points(extra="acme_things:thing"), acme_things=source):
        with pytest.raises(MetricError) as caught:
            registry().load("extra")
        assert "the thing 'extra' of acme 1.0" in str(caught.value)
        assert told in str(caught.value)
        assert caught.value.todo == "update or uninstall acme"
        (entry,) = registry().added()
        assert registry().problem(entry) == str(caught.value)


def test_a_name_of_ours_is_not_replaced(tmp_path: Path) -> None:
    with installed(tmp_path, "acme", points(ours="os.path:split")):
        with pytest.raises(MetricError) as caught:
            registry().load("ours")
        assert (
            caught.value.found
            == f"one each in compress-toolkit {versions()['compress-toolkit']} and acme 1.0"
        )
        assert caught.value.todo == "uninstall one of them"
        assert registry().load("second")
        assert all(registry().problem(entry) for entry in registry().entries() if entry.name == "ours")


def test_two_distributions_with_one_name_are_refused(tmp_path: Path) -> None:
    with (
        installed(tmp_path / "a", "acme", points(extra="os.path:join")),
        installed(tmp_path / "b", "other", points(extra="os.path:join")),
        pytest.raises(MetricError, match=r"one each in acme 1.0 and other 1.0"),
    ):
        registry().load("extra")


def test_an_unknown_name_gets_the_nearest_else_the_list(tmp_path: Path) -> None:
    with installed(tmp_path, "acme", points(extra="os.path:join")):
        for name, told in (
            ("extr", "did you mean extra?"),
            ("zzz", "choose one of ours, second, extra, or not"),
        ):
            with pytest.raises(MetricError) as caught:
                registry(also=", or not").load(name)
            assert (caught.value.wanted, caught.value.todo) == ("a known thing", told)
    with pytest.raises(MetricError, match="look elsewhere"):
        registry(todo="look elsewhere").load("zzz")


def test_who_adds_something_is_among_the_versions_that_a_run_depends_on(tmp_path: Path) -> None:
    assert "acme" not in versions()
    with (
        installed(tmp_path / "a", "acme", points(extra="os.path:join")),
        installed(tmp_path / "b", "other", {"another.group": {"extra": "os.path:join"}}),
    ):
        assert versions()["acme"] == "1.0"
        assert "other" not in versions()


def test_a_defect_of_ours_is_no_fault_of_a_user_and_is_listed() -> None:
    broken = registry({"ours": "nothing_of_that_name:x"})
    with pytest.raises(ModuleNotFoundError):
        broken.load("ours")
    (entry,) = broken.entries()
    assert "ModuleNotFoundError" in str(broken.problem(entry))


def test_built_ins_may_be_files() -> None:
    files = registry({"mine": "a/b.toml"}, load_built_in=Path, check=lambda name, found: None)
    assert files.load("mine") == Path("a/b.toml")


class Open(Session):
    def run(self, feeds: Any) -> list[Any]:
        return []


class Closed(Open):
    name = "closed"

    def close(self) -> None:
        return


def test_classes_are_whole_and_know_their_name() -> None:
    check = subclass_of("compress.backends.base:Session", named=True)
    assert check("closed", Closed) is None
    assert check("other", Closed) == "Closed with the name 'closed'"
    assert check("open", Open) == "Open without close"
    assert check("closed", Closed()) == "an object of the class Closed"
    assert check("closed", int) == "the class int"
