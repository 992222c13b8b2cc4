"""Error rates of words and characters in transcripts: ``wer`` and ``cer``.

The rate is that of the whole data set: the least number of substitutions, insertions and deletions (Levenshtein, 1966)
between each sample's output and target, summed, over the summed lengths of the targets; as ``jiwer`` and the
``WordErrorRate`` and ``CharErrorRate`` of torchmetrics count. It can be more than 1.

Outputs of connectionist temporal classification are decoded greedily: the best class of each step, repeats taken once,
then blanks left out (Graves et al., ICML 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.core.toml_schema import Field, Number, Text
from compress.errors import MetricError
from compress.metrics.jackknife import Shares
from compress.metrics.metric import Array, Metric, Values, of_first_output, required_targets
from compress.metrics.options import NamedMetric

#: Ends a sequence of class numbers: negative ones are padding.
PADDING = -1


@dataclass(frozen=True)
class Decoding:
    """Options for reading the first output and the targets as sequences.

    Outputs are scores ``(n, steps, classes)``, or class numbers ``(n, steps)`` as integers; targets class numbers
    ``(n, length)``, int64. Negative numbers are padding, and are left out.

    Attributes:
        blank: Class number of the blank, or ``last``; repeats are then taken once. ``none`` where every step is a class
            of its own. Scores require it; None leaves class numbers unchanged.
        end: Class number that ends an output or target; later ones are left out. None where only padding ends it.
        alphabet: Character of each class, by class number; the blank has one too, which is not used. None where
            each class is a word, or a character, by itself.
        space: Character between words.
    """

    blank: int | str | None = None
    end: int | None = None
    alphabet: str | None = None
    space: str = " "

    def predicted(self, name: str, output: Array) -> list[list[int]]:
        """Return the class numbers of each sample's output.

        Raises:
            MetricError: The output has another shape, or scores and no blank is set.
        """
        if output.ndim == 2 and output.dtype.kind in "iu":
            steps, classes = output, None
        elif output.ndim == 3 and output.dtype.kind == "f":
            if self.blank is None:
                todo = f"say {name}:blank=0 (or another class) for CTC, or {name}:blank=none for a class per step"
                raise MetricError("how scores become a sequence", f"no blank told for {name}", todo)
            if np.isnan(output).any():
                raise MetricError(
                    "scores that can be compared",
                    "NaN in the network's output",
                    "check its weights and inputs",
                )
            steps, classes = output.argmax(axis=2), output.shape[2]
        else:
            problem = f"a first output {output.dtype}{list(output.shape)}"
            raise MetricError(
                f"scores [samples, steps, classes] or class numbers for {name}",
                problem,
                "choose another metric",
            )
        blank = self._blank(name, classes)
        return [self._ended(row if blank is None else _collapsed(row, blank)) for row in steps]

    def wanted(self, name: str, targets: Array) -> list[list[int]]:
        """Return the class numbers of each sample's target.

        Raises:
            MetricError: The targets have another shape, or are no integers.
        """
        if targets.ndim != 2 or targets.dtype.kind not in "iu":
            raise MetricError(
                f"class numbers (samples, length), padded with {PADDING}, for {name}",
                f"y: {targets.dtype}{list(targets.shape[1:])} a sample",
                "save each transcript as class numbers",
            )
        return [self._ended(row) for row in targets]

    def characters(self, name: str, numbers: Sequence[int]) -> str:
        """Return class numbers as text.

        Raises:
            MetricError: The alphabet has no such class.
        """
        alphabet = self.alphabet or ""
        if numbers and max(numbers) >= len(alphabet):
            problem = f"class {max(numbers)}, and {len(alphabet)} characters"
            raise MetricError(f"a character for each class in the alphabet of {name}", problem, "complete it")
        return "".join(alphabet[number] for number in numbers)

    def words(self, name: str, numbers: Sequence[int]) -> Sequence[int | str]:
        """Return class numbers as words: with an alphabet split at spaces, else each number is one."""
        if self.alphabet is None:
            return numbers
        return [word for word in self.characters(name, numbers).split(self.space) if word]

    def _blank(self, name: str, classes: int | None) -> int | None:
        if not isinstance(self.blank, int):
            return classes - 1 if self.blank == "last" and classes is not None else None
        if classes is not None and self.blank >= classes:
            raise MetricError(
                f"a blank below {classes}, the classes of {name}", str(self.blank), "correct it"
            )
        return self.blank

    def _ended(self, row: Array) -> list[int]:
        if self.end is not None and (ends := np.flatnonzero(row == self.end)).size:
            row = row[: ends[0]]
        numbers: list[int] = row[row >= 0].tolist()
        return numbers


def wer(
    blank: int | str | None = None, end: int | None = None, alphabet: str | None = None, space: str = " "
) -> Metric:
    """Return the word error rate; lower is better. The settings are those of :class:`Decoding`."""
    decoding = Decoding(blank, end, alphabet, space)
    return _metric("wer", decoding, words=True)


def cer(blank: int | str | None = None, end: int | None = None, alphabet: str | None = None) -> Metric:
    """Return the character error rate; lower is better. The settings are those of :class:`Decoding`."""
    return _metric("cer", Decoding(blank, end, alphabet), words=False)


class _Blank:
    """A class number, ``last`` or ``none``."""

    required = False

    def describe(self) -> str:
        """See :meth:`compress.core.toml_schema.Field.describe`."""
        return "a class number, last or none"

    def read(self, value: object) -> int | str:
        """See :meth:`compress.core.toml_schema.Field.read`."""
        if isinstance(value, str) and not value.isdecimal():
            return Text(("last", "none")).read(value)
        return int(Number("", 0, 1e9, whole=True).read(int(value) if isinstance(value, str) else value))


_SETTINGS: dict[str, Field] = {"blank": _Blank(), "end": Number("", 0, 1e9, whole=True), "alphabet": Text()}

WER = NamedMetric(wer, {**_SETTINGS, "space": Text()})
CER = NamedMetric(cer, _SETTINGS)


def _metric(name: str, decoding: Decoding, words: bool) -> Metric:
    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[tuple[int, int]]:
        """Return the number of errors of each sample, and the length of its target."""
        true_numbers = decoding.wanted(name, required_targets(name, targets))
        pairs = zip(decoding.predicted(name, outputs[0]), true_numbers, strict=True)
        if words:
            read = [
                (decoding.words(name, predicted), decoding.words(name, true)) for predicted, true in pairs
            ]
        else:
            read = list(pairs)
        return [(edit_distance(predicted, true), len(true)) for predicted, true in read]

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=False,
        unit="%",
        over_data=lambda rows: _rate(name, rows),
        sequences=True,
    )
    return of_first_output(metric)


def edit_distance(found: Sequence[int | str], wanted: Sequence[int | str]) -> int:
    """Return the least number of substitutions, insertions and deletions that turn one sequence into the other."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*found, *wanted]))}
    true = np.array([numbers[token] for token in wanted], dtype=np.int64)
    positions = np.arange(len(true) + 1)
    row = positions
    for count, token in enumerate(found, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (true != numbers[token]))
        row = np.concatenate([[count], best])
        row = np.minimum.accumulate(row - positions) + positions  # what is missing, from the left
    return int(row[-1])


def _collapsed(row: Array, blank: int) -> Array:
    """Return class numbers with repeats taken once, then blanks left out."""
    changed = np.concatenate([[True], row[1:] != row[:-1]])
    collapsed: Array = row[changed & (row != blank)]
    return collapsed


def _rate(name: str, rows: Sequence[tuple[int, int]]) -> Values:
    errors, lengths = np.array(rows, dtype=np.float64).T
    samples = np.arange(len(rows))
    values = Shares(samples, np.zeros_like(samples), errors, lengths, lengths).mean_ratio(len(rows))
    if values is None:
        raise MetricError(f"transcripts for {name}", "targets that are all empty", "check y and the padding")
    return values
