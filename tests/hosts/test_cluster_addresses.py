"""What is said of a cluster that cannot be used, before anything is measured."""

from __future__ import annotations

import socket

import pytest

from compress.core.versions import versions
from compress.errors import UnavailableError, UsageError
from compress.hosts.cluster import Cluster, description, differing

pytest.importorskip("ray")


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "ray://head:10001/x"])
def test_text_that_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="wanted --cluster auto, or HOST:PORT"):
        Cluster(address)


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            UnavailableError, match=f"wanted a Ray cluster at {address}; found no answer there"
        ):
            Cluster(address)


def test_the_first_package_that_differs_is_named() -> None:
    there = description()
    assert differing(there) is None
    assert differing({**there, "compress-toolkit": "0.0.1"}) == (
        f"compress-toolkit {versions()['compress-toolkit']}",
        "0.0.1",
    )
    assert differing({**there, "another-technique": "1"}) == ("another-technique absent", "1")
