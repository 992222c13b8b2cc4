"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A test says what is right, never how fast: machines that run tests are busy. And it says the same of the same code
# each time; `pytest --hypothesis-profile=search` looks elsewhere, and at more.
settings.register_profile("compress", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=300)
settings.load_profile("compress")

# Tests run side by side (pytest -n), so no process takes all cores for its arithmetic.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are skipped, and say so, unless they are asked for."""
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with pytest -m slow"))
