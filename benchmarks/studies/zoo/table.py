"""The networks of the table."""

from __future__ import annotations

from benchmarks.studies.zoo.images import IMAGES
from benchmarks.studies.zoo.network import Published
from benchmarks.studies.zoo.sounds import SOUNDS
from benchmarks.studies.zoo.texts import TEXTS

NETWORKS: dict[str, Published] = IMAGES | SOUNDS | TEXTS
