"""Whether two functions are one and the same, as far as results depend on them."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.core.code_identity import code_sha256

LIMIT = 3


def scaled(factor: float):
    return lambda outputs, targets: factor * outputs


class Scorer:
    def __init__(self, weights) -> None:
        self.weights = weights

    def score(self, outputs, targets):
        return outputs @ self.weights


def test_what_a_function_holds_counts() -> None:
    assert code_sha256(scaled(2.0)) == code_sha256(scaled(2.0))
    assert code_sha256(scaled(2.0)) != code_sha256(scaled(3.0))
    assert code_sha256(functools.partial(max, 1)) != code_sha256(functools.partial(max, 2))
    assert code_sha256(Scorer(np.ones(3)).score) == code_sha256(Scorer(np.ones(3)).score)
    assert code_sha256(Scorer(np.ones(3)).score) != code_sha256(Scorer(np.zeros(3)).score)
    assert code_sha256(Scorer(1)) != code_sha256(Scorer(True))
    assert code_sha256({1, 2}) == code_sha256({2, 1})


def test_values_of_its_module_count(monkeypatch) -> None:
    def limited(outputs, targets):
        return outputs < LIMIT

    before = code_sha256(limited)
    monkeypatch.setitem(globals(), "LIMIT", 4)
    assert code_sha256(limited) != before


def test_a_function_without_a_file_is_known_by_its_code() -> None:
    def made(source: str):
        space: dict = {}
        exec(source, space)
        return space["f"]

    one = made("def f(a, b):\n    return a + 1")
    assert code_sha256(one) == code_sha256(made("def f(a, b):\n    return a + 1"))
    assert code_sha256(one) != code_sha256(made("def f(a, b):\n    return a + 2"))
    assert code_sha256(one) != code_sha256(made("def f(a, b):\n    return a - 1"))


def test_what_cannot_be_told_apart_is_never_the_same() -> None:
    opaque = type("Opaque", (), {"__slots__": ()})
    assert code_sha256(opaque()) != code_sha256(opaque())


MODULES = {
    "metric.py": "import near\nfrom package.inner import deep\n"
    "def score(outputs, targets):\n    from package import late\n    return near.f(deep(outputs))\n",
    "near.py": "def f(a):\n    return a\n",
    "package/__init__.py": "",
    "package/inner.py": "from . import below\ndef deep(a):\n    return below.d(a)\n",
    "package/below.py": "def d(a):\n    return a\n",
    "package/late.py": "def g(a):\n    from whole.bare import low\n    return low.h(a)\n",
    "whole/__init__.py": "",
    "whole/bare/low.py": "def h(a):\n    return a\n",  # a folder without __init__.py, in a package that is not loaded
    "unused.py": "x = 1\n",
}


def told(folder: Path) -> str:
    code = "import sys; sys.path.insert(0, '.'); import metric; from compress.core.code_identity import code_sha256\n"
    code += "print(code_sha256(metric.score))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("metric.py", True),
        ("near.py", True),
        ("package/inner.py", True),
        ("package/below.py", True),
        ("package/late.py", True),
        ("whole/bare/low.py", True),
        ("unused.py", False),
    ],
)
def test_the_source_of_what_is_imported_counts(tmp_path: Path, changed: str, counts: bool) -> None:
    for name, source in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(source)
    before = told(tmp_path)
    (tmp_path / changed).write_text(MODULES[changed].replace("return ", "return 0 or ") + "# changed\n")
    assert (told(tmp_path) != before) is counts


@pytest.mark.parametrize(
    ("folder", "counts"), [("lib/python3/site-packages", False), ("dist-packages", False), ("code", True)]
)
def test_packages_of_other_environments_are_installed_ones(
    folder: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of the system or of the user's own folder is no code that changes between two runs."""
    place = tmp_path / folder
    place.mkdir(parents=True)
    module = place / "scorer_of_another_place.py"
    module.write_text("def score(outputs, targets):\n    return outputs\n")
    monkeypatch.syspath_prepend(str(place))
    scorer = importlib.import_module(module.stem)
    before = code_sha256(scorer.score)
    module.write_text("def score(outputs, targets):\n    return outputs  # another\n")
    monkeypatch.delitem(sys.modules, module.stem)
    assert (code_sha256(scorer.score) != before) == counts
