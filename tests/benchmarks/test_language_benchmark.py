from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data import docstrings
from benchmarks.studies.language.ours import FLOAT, RECIPES
from benchmarks.studies.language.worker import judged, log_probabilities
from compress.techniques import load_technique


def test_a_build_is_judged_by_what_it_expects_next():
    random = np.random.default_rng(0)
    logits = random.standard_normal((100, 17)).astype(np.float32)
    ids = random.integers(0, 17, 100).tolist()
    reference = log_probabilities(random.standard_normal((99, 17)))
    p = np.exp(log_probabilities(logits[:-1]))
    found = judged(logits, ids, reference)
    assert found["tokens"] == 99
    assert found["nll"] == pytest.approx(-np.log(p[np.arange(99), ids[1:]]).sum())
    assert found["divergence"] == pytest.approx((np.exp(reference) * (reference - np.log(p))).sum())
    assert found["same"] == (p.argmax(1) == reference.argmax(1)).sum()


def test_a_build_does_not_diverge_from_itself():
    logits = np.random.default_rng(0).standard_normal((70, 9)).astype(np.float32)
    found = judged(logits, [0] * 70, log_probabilities(logits))
    assert found["divergence"] == pytest.approx(0, abs=1e-9)
    assert found["same"] == found["tokens"]


def test_documents_are_of_distinct_files_and_repeat(monkeypatch):
    monkeypatch.setattr(docstrings, "PACKAGES", ("numpy",))
    found = docstrings.documents(12)
    assert len(set(found)) == 12
    assert min(map(len, found)) >= docstrings.LEAST
    assert docstrings.documents(5) == found[:5]
    assert docstrings.documents(5, seed=1) != found[:5]


def test_every_build_of_ours_has_a_recipe_that_can_be_applied():
    assert RECIPES[FLOAT] == ()
    for steps in RECIPES.values():
        for step in steps:
            load_technique(step)
