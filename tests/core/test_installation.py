"""An extra is installed as the running copy was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.core import installation


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    for known in (installation._clone, installation._origin):
        known.cache_clear()
    yield
    for known in (installation._clone, installation._origin):
        known.cache_clear()


class Installed:
    """What pip left of a copy."""

    def __init__(self, directory: Path, origin: object) -> None:
        self.directory, self.origin = directory, origin

    def locate_file(self, name: str) -> Path:
        return self.directory / name

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


def installed(monkeypatch: pytest.MonkeyPatch, directory: Path, origin: object) -> None:
    package = directory / "compress"
    monkeypatch.setattr(installation, "__file__", str(package / "core" / "installation.py"))
    monkeypatch.setattr(installation, "distribution", lambda _: Installed(directory, origin))


def test_from_a_clone_it_is_the_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = Path(installation.__file__).resolve().parents[2]
    monkeypatch.chdir(clone)
    assert installation.install_command("demo") == "pip install -e '.[demo]'"
    monkeypatch.chdir(tmp_path)
    assert installation.install_command("demo").endswith("&& pip install -e '.[demo]'")


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (None, "pip install 'compress-toolkit[demo]'"),
        ({"url": "file:///src/compress", "dir_info": {}}, "'compress-toolkit[demo] @ file:///src/compress'"),
        (
            {"url": "https://host/it.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "'compress-toolkit[demo] @ git+https://host/it.git@abc'",
        ),
    ],
)
def test_what_was_installed_is_installed_again_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: object, told: str
) -> None:
    installed(monkeypatch, tmp_path, origin)
    assert told in installation.install_command("demo")


def test_the_name_is_not_told_where_another_copy_was_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch, tmp_path / "installed", None)
    monkeypatch.setattr(
        installation, "__file__", str(tmp_path / "copied" / "compress" / "core" / "installation.py")
    )
    assert "compress-toolkit" not in installation.install_command("demo")


def test_the_name_is_told_nowhere_else() -> None:
    package = Path(installation.__file__).parents[1]
    told = [path.name for path in package.rglob("*.py") if "compress-toolkit[" in path.read_text("utf-8")]
    assert told == []
