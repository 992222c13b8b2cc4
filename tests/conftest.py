"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A test says what is right, never how fast: machines that run tests are busy.
settings.register_profile("compress", deadline=None)
settings.load_profile("compress")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are skipped, and say so, unless they are asked for."""
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with pytest -m slow"))
