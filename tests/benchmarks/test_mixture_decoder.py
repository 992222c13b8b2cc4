"""Builds of a mixture of experts that are compared."""

from __future__ import annotations

import argparse

from benchmarks.studies import mixture_decoder
from compress.techniques import load_technique


def test_recipes_of_the_mixture_name_known_techniques() -> None:
    recipes = mixture_decoder.recipes(argparse.Namespace(epochs=1, epoch_samples=8))
    steps = [load_technique(step) for recipe in recipes for step in recipe.steps]
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len(steps) > len(recipes)
