"""How a network that cannot be loaded is refused."""

from __future__ import annotations

from typing import Any

import pytest

from compress.errors import CompressError
from compress.network.network import load_network


def refusal(kind: type[CompressError], source: Any, **options: Any) -> CompressError:
    with pytest.raises(kind) as caught:
        load_network(source, **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return caught.value
