"""``compress plugins``: the whole list, whatever is broken in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import compress
from compress.cli import main
from compress.cli.plugins import registries
from compress.target.target import list_targets
from compress.techniques import technique_names
from tests.distributions import installed


def listed(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], dict[str, object]]:
    found = json.loads(capsys.readouterr().out)["plugins"]
    return {(each["kind"], each["name"]): each for each in found}


def test_everything_of_ours_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    found = listed(capsys)
    assert {name for kind, name in found if kind == "technique"} == set(technique_names())
    assert {name for kind, name in found if kind == "target"} == {target.name for target in list_targets()}
    assert all(each["built_in"] and each["problem"] is None for each in found.values())
    assert all(each["distribution"] == "compress-toolkit" for each in found.values())


def test_every_registry_is_listed() -> None:
    made = {
        path.relative_to(Path(compress.__file__).parent).as_posix()
        for path in Path(compress.__file__).parent.rglob("*.py")
        if re.search(r"^[A-Z_]+: Registry\[.*= Registry\($", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(made) == len(registries())
    assert len({registry.group for registry in registries()}) == len(registries())


def test_what_others_bring_is_told_with_its_origin_and_its_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {
        "compress.metrics": {"words": "acme_plugins:words", "miou": "acme_plugins:words"},
        "compress.techniques": {"broken": "acme_plugins:gone"},
        "compress.targets": {"acme-board": "acme_plugins:BOARD"},
    }
    source = (
        "from pathlib import Path\nprint('noise of acme')\n"
        "BOARD = Path(__file__).with_name('acme-board.toml')\ndef words(outputs, targets): return targets\n"
    )
    with installed(tmp_path, "acme", points, acme_plugins=source):
        (tmp_path / "acme-board.toml").write_text("memory_mb = 1\n")
        assert main(["plugins", "--json"]) == 1
        found = listed(capsys)
        assert found["metric", "words"] == {
            "kind": "metric",
            "group": "compress.metrics",
            "name": "words",
            "built_in": False,
            "distribution": "acme",
            "version": "1.0",
            "reference": "acme_plugins:words",
            "problem": None,
        }
        assert "compress-toolkit" in str(found["metric", "miou"]["problem"])
        assert "no attribute 'gone'" in str(found["technique", "broken"]["problem"])
        assert "did you mean memory_gb" in str(found["target", "acme-board"]["problem"])
        assert {key for key, each in found.items() if each["problem"]} == {
            ("metric", "miou"),
            ("technique", "broken"),
            ("target", "acme-board"),
        }

        assert main(["plugins"]) == 1
        told = capsys.readouterr().out
        assert "  words, of acme 1.0 (acme_plugins:words)\n" in told
        assert "  broken, of acme 1.0: cannot be used: wanted the technique 'broken' of acme 1.0" in told
        assert "noise of acme" not in told
