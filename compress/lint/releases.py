"""What the ONNX parser of each TensorRT release reads.

From docs/operators.md of onnx-tensorrt at its branches 8.5-GA, 8.6-GA and 10.1-GA, and the opset guide of TensorRT
11. Releases between are taken as the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from compress.onnx_graph.operators import names

#: Taken where a target does not say which release it has.
_ASSUMED = (10,)

_IN_NONE = names("""
    Bernoulli BitShift BlackmanWindow Compress ConcatFromSequence DFT Det HammingWindow HannWindow MaxRoiPool
    MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement
    STFT SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap
    SoftmaxCrossEntropyLoss SplitToSequence StringNormalizer TfIdfVectorizer Unique
""")
_FROM_OPSET_18 = names("""
    AffineGrid BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im ImageDecoder RegexFullMatch
    StringConcat StringSplit
""")


@dataclass(frozen=True)
class Release:
    """One parser.

    Attributes:
        version: Major and minor number, the first release it stands for.
        lowest_opset: Oldest opset it reads.
        highest_opset: Newest opset it reads.
        unsupported: Standard operators it does not know.
    """

    version: tuple[int, ...]
    lowest_opset: int
    highest_opset: int
    unsupported: frozenset[str]


_RELEASES = (
    Release((8, 5), 7, 17, _IN_NONE | names("Gelu Hardmax IsInf LayerNormalization")),
    Release((8, 6), 7, 17, _IN_NONE | names("Gelu Hardmax")),
    Release((10,), 9, 20, _IN_NONE | _FROM_OPSET_18),
    Release((11,), 9, 25, _IN_NONE | _FROM_OPSET_18),
)


def version_of(tensorrt: str | None) -> tuple[int, ...]:
    """Major and minor number of a release's name ("10.3"), as far as it has them."""
    parts = (tensorrt or "").split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else _ASSUMED


def release_of(tensorrt: str | None) -> Release:
    """The parser of a release; of 10.x where the release is not known."""
    version = version_of(tensorrt)
    return next((each for each in reversed(_RELEASES) if version >= each.version), _RELEASES[0])
