"""What the text encoder is trained on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data import passages
from benchmarks.networks import topic_encoder


@pytest.fixture
def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "CLASSES", ("python", "numpy"))


def test_passages_of_two_parts_share_no_file(few_classes: None) -> None:
    for name in passages.CLASSES:
        files = [set(passages._files(name, part)) for part in passages._SHARES]
        assert all(files)
        assert sum(map(len, files)) == len(set.union(*files))


def test_passages_are_of_each_class_and_repeat(few_classes: None) -> None:
    texts, labels = passages.passages("given", 20)
    assert np.bincount(labels).tolist() == [20, 20]
    lengths = [len(text.split()) for text in texts]
    assert passages.LEAST_WORDS <= min(lengths) <= max(lengths) == passages.WORDS
    assert passages.passages("given", 20)[0] == texts
    assert passages.passages("given", 20, seed=1)[0] != texts


def test_the_tokenizer_cuts_and_fills(few_classes: None) -> None:
    texts, labels = passages.passages("given", 20)
    texts[0] = "array"
    arrays = topic_encoder._arrays(topic_encoder._tokenizer(texts), texts, labels)
    assert arrays["input_ids"].shape == (40, topic_encoder.LENGTH)
    mask = arrays["attention_mask"]
    assert mask[0].sum() == 3
    assert mask.sum(1).max() == topic_encoder.LENGTH
    assert (arrays["input_ids"][mask == 0] == 0).all()
