"""The networks of the table."""

from __future__ import annotations

from benchmarks.zoo.images import IMAGES
from benchmarks.zoo.network import Published
from benchmarks.zoo.sounds import SOUNDS
from benchmarks.zoo.texts import TEXTS

NETWORKS: dict[str, Published] = IMAGES | SOUNDS | TEXTS
