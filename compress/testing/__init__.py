"""Suites that other distributions' tests inherit; they need pytest, which compress itself does not.

import pytest

from compress.testing.backends import Conformance


class TestMyBackend(Conformance):
    @pytest.fixture
    def backend(self):
        return MyBackend()
"""

import pytest

pytest.register_assert_rewrite("compress.testing.backends")
