"""The divergence over first choices and the rest is that of distributions with fewer entries, and a lower bound."""

from __future__ import annotations

import numpy as np
import pytest

from compress.language.likeliest import divergence, likeliest, log_probabilities

torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(0)
THEIRS = log_probabilities(RANDOM.normal(0, 3, (50, 200)).astype(np.float32))
OURS = log_probabilities((3 * RANDOM.standard_normal((50, 200)) + 0.5 * THEIRS).astype(np.float32))


def whole(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The divergence of torch, row by row."""
    found = torch.nn.functional.kl_div(
        torch.from_numpy(ours), torch.from_numpy(theirs), reduction="none", log_target=True
    )
    return np.asarray(found.sum(dim=1).numpy())


def test_log_probabilities_are_those_of_torch():
    logits = (300 * RANDOM.standard_normal((4, 100))).astype(np.float32)
    wanted = torch.log_softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    np.testing.assert_allclose(log_probabilities(logits), wanted, atol=1e-9)


def test_first_choices_are_in_order():
    first = likeliest(THEIRS, 10)
    np.testing.assert_array_equal(first.ids, np.argsort(-THEIRS, axis=1)[:, :10])
    np.testing.assert_allclose(first.logs, -np.sort(-THEIRS, axis=1)[:, :10], rtol=1e-6)


def test_with_every_token_it_is_the_whole_divergence():
    found = divergence(OURS, likeliest(THEIRS, 200))
    np.testing.assert_allclose(found, whole(OURS, THEIRS), rtol=1e-4, atol=1e-5)
    assert likeliest(THEIRS, 500).ids.shape == (50, 200)


@pytest.mark.parametrize("kept", [1, 16, 64])
def test_with_fewer_it_is_that_of_lumped_distributions_and_never_more(kept: int):
    first = likeliest(THEIRS, kept)
    found = divergence(OURS, first)

    def lumped(logs: np.ndarray) -> np.ndarray:
        known = np.take_along_axis(np.exp(logs), first.ids.astype(np.int64), axis=1)
        return np.log(np.concatenate([known, 1 - known.sum(axis=1, keepdims=True)], axis=1))

    np.testing.assert_allclose(found, whole(lumped(OURS), lumped(THEIRS)), rtol=1e-3, atol=1e-5)
    assert (found <= whole(OURS, THEIRS) + 1e-6).all()
    assert found.mean() > (0.5 if kept > 1 else 0.05) * whole(OURS, THEIRS).mean()


def test_a_decoder_does_not_diverge_from_itself():
    np.testing.assert_allclose(divergence(THEIRS, likeliest(THEIRS)), 0, atol=1e-6)
