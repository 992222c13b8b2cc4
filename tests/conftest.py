"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A test says what is right, never how fast: machines that run tests are busy.
settings.register_profile("compress", deadline=None)
settings.load_profile("compress")
