"""The ONNX parsers of TensorRT releases: opsets, operators and types that each reads.

From docs/operators.md of onnx-tensorrt at its branches 8.4-GA, 8.5-GA, 8.6-GA and 10.1-GA, from the importers that
those branches hold, and from the opset guide of TensorRT 11. Releases between are taken as the one before, and 8.2 as
8.4, which reads the same opsets.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from compress.onnx_graph.operators import names
from compress.target.target import Target

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
#: Up to 8.6 no importer knows these. Those that are newer than opset 17 can be met in newer graphs only.
_NOT_IN_8 = _IN_NONE | _FROM_OPSET_18 | names("CastLike DeformConv Gelu Hardmax Mish")

_TYPES_OF_8 = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL}
    | {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64}
)
_TYPES_OF_10 = _TYPES_OF_8 | {TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4}


@dataclass(frozen=True)
class Release:
    """ONNX parser of a TensorRT release.

    Attributes:
        version: Major and minor number, the first release it stands for.
        lowest_opset: Oldest opset it reads.
        highest_opset: Newest opset it reads.
        unsupported: Standard operators it does not know.
        types: Element types of ``onnx.TensorProto`` that it reads; None where the documents do not say.
        source: Document of these limits.
    """

    version: tuple[int, ...]
    lowest_opset: int
    highest_opset: int
    unsupported: frozenset[str]
    types: frozenset[int] | None
    source: str


_OPERATORS = "onnx-tensorrt {} docs/operators.md"
_RELEASES = (
    Release(
        (8, 2),
        7,
        13,
        _NOT_IN_8
        | names("""
            GridSample GroupNormalization HardSwish IsInf LayerNormalization MeanVarianceNormalization Mod NonZero
            OneHot RandomNormal RandomNormalLike RoiAlign Shrink Trilu
        """),
        _TYPES_OF_8,
        _OPERATORS.format("8.4-GA"),
    ),
    Release(
        (8, 5),
        7,
        17,
        _NOT_IN_8 | names("GroupNormalization IsInf LayerNormalization"),
        _TYPES_OF_8,
        _OPERATORS.format("8.5-GA"),
    ),
    Release((8, 6), 7, 17, _NOT_IN_8, _TYPES_OF_8, _OPERATORS.format("8.6-GA")),
    Release((10,), 9, 20, _IN_NONE | _FROM_OPSET_18, _TYPES_OF_10, _OPERATORS.format("10.1-GA")),
    # What became of single operators after 10.1 is not known here; the opsets are the guide's.
    Release((11,), 9, 25, _IN_NONE | _FROM_OPSET_18, None, "TensorRT 11 ONNX Opset Guide"),
)


def version_of(tensorrt: str | None) -> tuple[int, ...]:
    """Return the major and minor number of a release's name ("10.3"), as far as it has them."""
    parts = (tensorrt or "").split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else _ASSUMED


def release_of(tensorrt: str | None) -> Release:
    """Return the parser of a release; of 10.x where the release is unknown."""
    version = version_of(tensorrt)
    return next((release for release in reversed(_RELEASES) if version >= release.version), _RELEASES[0])


def opsets_of(target: Target) -> tuple[int | None, int | None]:
    """Return the oldest and the newest opset that the target's runtime reads; None for no limit."""
    if target.backend != "tensorrt":
        return None, target.opset_max
    release = release_of(target.tensorrt)
    return release.lowest_opset, min(release.highest_opset, target.opset_max or release.highest_opset)
