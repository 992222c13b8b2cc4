from __future__ import annotations

import pytest

from compress.backends.base import Backend
from compress.backends.openvino import OpenVino
from tests.backends.conformance import Conformance

pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")


class TestOpenVino(Conformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OpenVino()
