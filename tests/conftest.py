"""What all tests share."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile

import pytest
from hypothesis import settings

# A test says what is right, never how fast: machines that run tests are busy. And it says the same of the same code
# each time; `pytest --hypothesis-profile=search` looks elsewhere, and at more.
settings.register_profile("compress", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=300)
settings.load_profile("compress")

# Tests run side by side (pytest -n), so no process takes all cores for its arithmetic.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How wide the terminal of whoever runs the tests is decides nothing: with pytest -n, workers are told its width.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)


# Tests count what is made, and take over nothing from each other or from whoever runs them.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="compress-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test a cache of its own."""
    monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / f"cache-{secrets.token_hex(8)}")
    )


#: Directories of few tests that take long. Side by side (pytest -n) they come first: what comes last should be short,
#: so that no process waits for the other's last file.
LONG = ("docs", "examples", "hosts", "cli", "api", "language")


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand out files in the order below; its own begins with those of many tests, which are short."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files come first. Slow tests are skipped, and say so, unless they are asked for."""
    if hasattr(config, "workerinput"):
        places = {config.rootpath / "tests" / name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: min(places.get(folder, len(LONG)) for folder in item.path.parents))
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with pytest -m slow"))
