"""Targets: each is the path of a TOML file with the target's name."""

from pathlib import Path

EXAMPLE_BOARD = Path(__file__).with_name("example-board.toml")
