"""Forms of the reports that the built-in techniques leave in a candidate's record, by the technique's name.

A report is a mapping, as JSON holds it: it is the same in the record on disk, in ``--json`` and in Python. These forms
say which keys a built-in technique's report has, to those who write it and to those who read it. A technique of another
package may leave any mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict


class CastReport(TypedDict):
    """Report of ``cast``.

    Attributes:
        precision: Precision that it casts to: "float16" or "bfloat16".
        kept_in_float32: Reason why each node that stays in float32 does, by its name.
    """

    precision: str
    kept_in_float32: dict[str, str]


class DistillReport(TypedDict):
    """Report of ``distill``.

    Attributes:
        settings: Settings of the technique.
        training: The training, as :meth:`compress.training.loop.TrainingReport.to_dict` returns it.
        matched_features: Names of the features of the teacher that the student was held to.
        tuning: Search of the settings: its seed, space and trials, and how the given settings were judged; absent
            where they were not searched.
    """

    settings: dict[str, Any]
    training: dict[str, Any]
    matched_features: list[str]
    tuning: NotRequired[dict[str, Any]]


class Float8Report(TypedDict):
    """Report of ``float8``.

    Attributes:
        float8_nodes: Names of the nodes that compute in float8.
        float_nodes: Reason why each other node that computes floats stays so, by its name.
        accuracy: Sentence on how the accuracy of this build is found.
    """

    float8_nodes: list[str]
    float_nodes: dict[str, str]
    accuracy: str


class Int4BlocksReport(TypedDict):
    """Report of ``int4_blocks``.

    Attributes:
        block: Number of weights that share a scale.
        float_nodes: Reason why each matrix product that stays in float does, by its name.
    """

    block: int
    float_nodes: dict[str, str]


class KvCacheReport(TypedDict):
    """Report of ``kv_cache``.

    Attributes:
        settings: Settings of the technique.
        bytes_per_token: Bytes that keys and values of one token take, before and after.
        texts: Number of texts that scales were found on; 0 where there are none.
    """

    settings: dict[str, Any]
    bytes_per_token: list[int]
    texts: int


class MixedWeightsReport(TypedDict):
    """Report of ``weight_only_mixed``, beside that of ``weight_only``.

    Attributes:
        loss: Name of the loss: "divergence" from the original's probabilities, in nats, or "relative squared error".
        average_bits: Bits of a weight on average, scales and zero points included.
        sum_of_losses: Sum of the losses of the chosen forms, which the choice rests on.
        measured_together: Loss measured with all chosen forms at once on the same samples, products in float.
        matrices: The nodes, shape, chosen form, bytes and loss of each matrix, and whether this loss was measured or
            follows from another form's.
    """

    loss: str
    average_bits: float
    sum_of_losses: float
    measured_together: float
    matrices: list[dict[str, Any]]


class LowRankReport(TypedDict):
    """Report of ``low_rank``.

    Attributes:
        settings: Settings of the technique.
        layers: Every trial, as :meth:`compress.low_rank.factoring.Trial.to_dict` returns it.
        whole: Timing of the whole network, factored against given, as
            :meth:`compress.measuring.layer_pair.LayerPair.to_dict` returns it; None where no layer was factored.
        notes: Layers that could not be split, and the reasons.
    """

    settings: dict[str, Any]
    layers: list[dict[str, Any]]
    whole: dict[str, Any] | None
    notes: list[str]


class NetworkTimes(TypedDict):
    """Times of a network and its layers, which widths are chosen by.

    Attributes:
        whole_ms: Time of the whole network before, in milliseconds.
        slope: Share of its time that a whole call saves with narrower layers, over the share that the layers save; 1
            where no whole call was timed at other widths.
        table: Times of layers, as :meth:`compress.pruning.latency_table.LatencyTable.to_dict` returns them.
        layers: Number of layers that were timed.
        counted_by_macs: Number of layers whose share follows their multiply-accumulates.
    """

    whole_ms: float
    slope: float
    table: dict[str, Any]
    layers: int
    counted_by_macs: int


class PruneLatency(NetworkTimes):
    """Latency that ``prune`` chose widths for.

    Attributes:
        wanted: Share of the latency that was asked for, in (0, 1).
        predicted: Share that is predicted from the times of layers and the slope, in (0, 1].
        measured: Share that whole calls take at these widths; None where they were not timed.
        source: Origin of these times: "measured" or "estimated".
        steps: Widths of each group at which the target gets faster, by the group's name.
    """

    wanted: float
    predicted: float
    measured: float | None
    source: str
    steps: dict[str, list[int]]


class MarginTrial(TypedDict):
    """A width that ``prune`` judged.

    Attributes:
        latency: Share of the latency, in (0, 1).
        drop: Accuracy drop on calibration samples, in points.
    """

    latency: float
    drop: float


class PruneMargin(TypedDict):
    """Search of ``prune`` for the smallest latency inside a margin.

    Attributes:
        untrained_drop: The margin, in points.
        judged_on: Number of calibration samples.
        trials: Widths that were judged, in order.
        note: A sentence about what limits the result.
    """

    untrained_drop: float
    judged_on: int
    trials: list[MarginTrial]
    note: str


class PruneChoice(TypedDict):
    """Part of the report of ``prune`` that tells how the widths were chosen.

    Attributes:
        latency: Latency that widths were chosen for; missing where a share of the channels was asked for.
        margin: Search for the smallest latency inside a margin; missing where a share was asked for.
    """

    latency: NotRequired[PruneLatency]
    margin: NotRequired[PruneMargin]


class PruneReport(PruneChoice):
    """Report of ``prune``.

    Attributes:
        settings: Settings of the technique, with the importance that was taken.
        macs: Multiply-accumulates at one sample, before and after.
        parameters: Number of parameters, before and after.
        groups: Number of units of each group, before and after, by the group's name.
        notes: Layers whose channels cannot be removed, and the reasons.
    """

    settings: dict[str, Any]
    macs: list[float]
    parameters: list[int]
    groups: dict[str, list[int]]
    notes: list[str]


class DecoderPruneReport(TypedDict):
    """Report of ``prune`` for a language model.

    Attributes:
        settings: Settings of the technique.
        parameters: Number of weights in matrices, before and after.
        layers: Numbers of the layers that stay, from 0.
        neurons: Number of neurons in the feed-forward part of each of them.
        heads: Number of key and value heads, before and after.
        hidden: Number of values of a token between layers, before and after.
        wanted: Share of a decoding step's time, or of the weights of layers, to reach.
        predicted: Share that is predicted of the times, or the weights, of layers.
        source: Origin of these times: "measured"; "weights" where weights were counted.
        step_ms: Time of a decoding step before, in milliseconds; None where none was measured.
        losses: Mean negative log-likelihood of calibration texts in nats a token, before and after, untrained.
    """

    settings: dict[str, Any]
    parameters: list[int]
    layers: list[int]
    neurons: list[int]
    heads: list[int]
    hidden: list[int]
    wanted: float
    predicted: float
    source: str
    step_ms: float | None
    losses: list[float]


class QuantizeReport(TypedDict):
    """Report of ``quantize``, ``quantize_mixed`` and ``qat``; see :class:`compress.quantization.QuantizationReport`.

    Attributes:
        flavour: Form of Q/DQ.
        settings: Settings that were asked for.
        int8_nodes: Names of nodes that run in int8, or vanish in one that does.
        float_nodes: Reason why each other node that computes floats stays so, by its name.
        ranges: Ends of the range of each quantized activation, by its name.
        samples: Number of calibration samples.
        recovery: Steps against the loss of accuracy, by the setting's name, and their outcomes.
    """

    flavour: dict[str, Any]
    settings: dict[str, Any]
    int8_nodes: list[str]
    float_nodes: dict[str, str]
    ranges: dict[str, list[float]]
    samples: int
    recovery: dict[str, Any]


class QatReport(QuantizeReport):
    """Report of ``qat``; its settings are the technique's.

    Attributes:
        training: The training, as :meth:`compress.training.loop.TrainingReport.to_dict` returns it.
    """

    training: dict[str, Any]


class QuantizeDynamicReport(TypedDict):
    """Report of ``quantize_dynamic``.

    Attributes:
        int8_nodes: Names of the nodes that compute in int8.
    """

    int8_nodes: list[str]


class LayerSensitivity(TypedDict):
    """Sensitivity of one layer to int8; see :class:`compress.quantization.sensitivity.Sensitivity`.

    Attributes:
        layer: Name of the weighted node.
        operator: Type of the node.
        error: Squared error of the outputs with this layer alone in int8, over their squared deviation from the mean.
        cost: Share of the network's time in float, in [0, 1].
        together: Number of layers that were tried together with it, itself included.
        kept: Precision that it was left in: "int8" or "float".
    """

    layer: str
    operator: str
    error: float
    cost: float
    together: int
    kept: Literal["int8", "float"]


class SensitivityReport(TypedDict):
    """Report ``sensitivity``, which ``quantize_mixed`` leaves beside ``quantize``.

    Attributes:
        layers: Sensitivity of each layer that was tried.
    """

    layers: list[LayerSensitivity]


class SparseLayer(TypedDict):
    """One layer in the report of ``sparse_2_4``.

    Attributes:
        masked: Whether its weights are masked.
        reason: Reason why they are not; empty where they are.
        timing: Timing of its sparse form against the dense one, as
            :meth:`compress.measuring.layer_pair.LayerPair.to_dict` returns it; None where it was not timed.
    """

    masked: bool
    reason: str
    timing: dict[str, Any] | None


class SparseReport(TypedDict):
    """Report of ``sparse_2_4``.

    Attributes:
        settings: Settings of the technique.
        layers: Every layer with weights, by its name.
        gain: Whether the gain was measured, in words.
    """

    settings: dict[str, Any]
    layers: dict[str, SparseLayer]
    gain: str


class RotateReport(TypedDict):
    """Report of ``rotate``.

    Attributes:
        settings: Settings of the technique.
        parameters: Number of weights in matrices, before and after.
        largest_logit: Largest absolute logit of the decoder before, on one calibration text.
        largest_change: Largest absolute change of a logit there.
    """

    settings: dict[str, Any]
    parameters: list[int]
    largest_logit: float
    largest_change: float


class TrimVocabularyReport(TypedDict):
    """Report of ``trim_vocabulary``.

    Attributes:
        settings: Settings of the technique.
        tokens: Number of tokens of the vocabulary, before and after.
        parameters: Number of weights in matrices, before and after.
        texts: Number of texts whose tokens were kept.
    """

    settings: dict[str, Any]
    tokens: list[int]
    parameters: list[int]
    texts: int


class DropExpertsReport(TypedDict):
    """Report of ``drop_experts``.

    Attributes:
        settings: Settings of the technique.
        experts: Number of experts of a layer, before and after.
        parameters: Number of weights in matrices, before and after.
        shares: Share of each expert in what its layer's experts gave on the texts, by the layer's name.
        texts: Number of texts that the shares were taken on.
    """

    settings: dict[str, Any]
    experts: list[int]
    parameters: list[int]
    shares: dict[str, list[float]]
    texts: int


#: Report ``rewrites``: names of the rewritten nodes, by the rewrite's name.
Rewrites = Mapping[str, list[str]]
