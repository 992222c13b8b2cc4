"""The suite that every back end inherits."""

import pytest
from compress_example.backend import ExampleRuntime

from compress.testing.backends import Conformance


class TestExampleRuntime(Conformance):
    @pytest.fixture
    def backend(self) -> ExampleRuntime:
        return ExampleRuntime()
