"""Costs of a decoder's layers in a decoding step: times that are measured here, or weights that are counted.

A few decoders with one layer, and with a few layers of other widths and fewer heads, take steps in turns; their
differences are what a layer costs, a neuron more or less, and a group of heads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from compress.language.decoder_network import Arrays
from compress.language.generation import open_decoder
from compress.language.graph import write_decoder
from compress.language.matrices import EMBEDDING, HEAD, Form, keep_float, round_to_nearest
from compress.language.structure import Structure, pruned_arrays, pruned_config
from compress.language.weights import Weights

if TYPE_CHECKING:
    from compress.language.config import DecoderConfig
    from compress.language.decoder_network import Parts

#: Layers of the decoders that are timed, and tokens of their vocabulary.
_LAYERS, _TOKENS = 4, 64

#: Tokens in the cache of a step.
_CONTEXT = 256

#: Bursts of calls of each decoder, and how long each takes at the least, in seconds.
_ROUNDS, _BURST_S = 24, 0.01

#: Precisions in which steps are timed, and the form of the matrices in each.
FORMS: Mapping[str, Callable[[], Form]] = {
    "fp32": lambda: keep_float,
    "int8": lambda: round_to_nearest(8),
    "int4": lambda: round_to_nearest(4),
}


@dataclass(frozen=True)
class LayerCosts:
    """Costs of a decoder and its layers.

    Attributes:
        whole: Cost of the whole decoder.
        layer: Cost of a layer with all of its parts.
        widths: Saving in a layer by the number of neurons that stay.
        groups: Saving in a layer by the number of key and value heads that stay.
        source: Origin of the costs: ``measured``, in milliseconds, or ``weights``, a number of them.
        narrower: Costs of the decoder with fewer values of a token between layers, by their number.
    """

    whole: float
    layer: float
    widths: Mapping[int, float]
    groups: Mapping[int, float]
    source: str
    narrower: Mapping[int, LayerCosts] = field(default_factory=dict)


def counted_costs(
    config: DecoderConfig, widths: Sequence[int], groups: Sequence[int], hidden: Sequence[int] = ()
) -> LayerCosts:
    """Return the numbers of weights of a decoder's layers; embedding and head are left out.

    Args:
        config: Config of the decoder.
        widths: Numbers of neurons that a layer may keep.
        groups: Numbers of key and value heads that layers may keep.
        hidden: Numbers of values of a token that may stay, below the whole number.
    """
    neuron = (3 if config.gated else 2) * config.hidden
    group = 2 * config.hidden * config.head_dim * (config.heads // config.kv_heads + 1)
    layer = neuron * config.intermediate + group * config.kv_heads
    return LayerCosts(
        whole=float(config.layers * layer),
        layer=float(layer),
        widths={width: float(neuron * (config.intermediate - width)) for width in widths},
        groups={count: float(group * (config.kv_heads - count)) for count in groups},
        source="weights",
        narrower={count: counted_costs(replace(config, hidden=count), widths, groups) for count in hidden},
    )


def measured_costs(
    parts: Parts,
    widths: Sequence[int],
    groups: Sequence[int],
    precision: str,
    threads: int | None,
    hidden: Sequence[int] = (),
) -> LayerCosts:
    """Measure the times of a decoder's layers in a decoding step, in ONNX Runtime on this machine.

    Args:
        parts: The decoder.
        widths: Numbers of neurons that a layer may keep, the whole number among them.
        groups: Numbers of key and value heads that layers may keep, the whole number among them.
        precision: Precision of the weights, one of :data:`FORMS`.
        threads: Threads of an operator; None leaves the number to the runtime.
        hidden: Numbers of values of a token that may stay, below the whole number. What fewer neurons and heads save
            there is taken to be that share of it that the layer costs.
    """
    config = parts.config
    few = min(config.layers, _LAYERS)
    small = _of_few_tokens(parts)
    wide, many = max(widths), max(groups)
    shapes_timed = {(few, width, many) for width in widths} | {(few, wide, count) for count in groups}
    shapes_timed |= {(1, wide, many)}
    variants = {key: _uniform(config, *key) for key in sorted(shapes_timed)}
    form = FORMS[precision]()
    with TemporaryDirectory(prefix="compress-") as directory:
        paths = [write_decoder(config, parts.weights, Path(directory) / "whole.onnx", form)]
        decoders = [(small, structure) for structure in variants.values()]
        per_hidden = 2 if few == 1 else 3
        for count in hidden:
            kept = np.arange(count)
            decoders.append((parts, replace(Structure.whole(config), hidden=kept)))
            decoders += [
                (small, replace(_uniform(config, layers, wide, many), hidden=kept))
                for layers in sorted({1, few})
            ]
        for number, (given, structure) in enumerate(decoders):
            narrow = pruned_config(given.config, structure)
            weights = Weights(narrow, Arrays(pruned_arrays(given.config, given.arrays(), structure)))
            paths.append(write_decoder(narrow, weights, Path(directory) / f"{number}.onnx", form))
        whole_ms, *times = _in_turns(paths, threads or 0)
    ms_of_variant = dict(zip(variants, times[: len(variants)], strict=True))
    full = ms_of_variant[few, wide, many]
    layer = _layer_ms([ms_of_variant[1, wide, many], full], few)
    costs = LayerCosts(
        whole=whole_ms,
        layer=layer,
        widths={width: max(0.0, full - ms_of_variant[few, width, many]) / few for width in widths},
        groups={count: max(0.0, full - ms_of_variant[few, wide, count]) / few for count in groups},
        source="measured",
    )
    narrower = {}
    for position, count in enumerate(hidden):
        start = len(variants) + position * per_hidden
        whole, *layers_ms = times[start : start + per_hidden]
        narrower[count] = _at_share(costs, whole, _layer_ms(layers_ms, few))
    return replace(costs, narrower=narrower)


def _layer_ms(times: Sequence[float], layers: int) -> float:
    """Return the time of a layer, from those of decoders with one layer and with more, where there are more."""
    return (times[1] - times[0]) / (layers - 1) if layers > 1 else times[0]


def _at_share(costs: LayerCosts, whole: float, layer: float) -> LayerCosts:
    """Return the costs of a decoder whose layers take another time, and so much less is saved in them."""
    share = min(1.0, max(layer, 0.0) / costs.layer) if costs.layer > 0 else 1.0
    return LayerCosts(
        whole=min(whole, costs.whole),
        layer=share * costs.layer,
        widths={width: share * saving for width, saving in costs.widths.items()},
        groups={count: share * saving for count, saving in costs.groups.items()},
        source=costs.source,
    )


def _uniform(config: DecoderConfig, layers: int, width: int, groups: int) -> Structure:
    """Return the first parts of the first layers."""
    return Structure(
        tuple(range(layers)),
        tuple(np.arange(min(width, config.width(layer))) for layer in range(layers)),
        (np.arange(groups),) * layers,
    )


def _of_few_tokens(parts: Parts) -> Parts:
    """Return the decoder with a vocabulary that takes no time."""
    count = min(_TOKENS, parts.config.vocabulary)
    arrays = parts.arrays()
    for name in (f"{EMBEDDING}.weight", f"{HEAD}.weight"):
        if name in arrays:
            arrays[name] = arrays[name][:count]
    config = replace(parts.config, vocabulary=count, bos=None, eos=())
    return parts.changed(config, arrays, "a few tokens, to time layers")


def _in_turns(paths: Sequence[Path], threads: int) -> list[float]:
    """Return the median time of a decoding step of each decoder, in milliseconds; all take bursts of calls in turns."""
    steps = []
    for path in paths:
        decoder = open_decoder(path, threads=threads, spinning=False)
        context = min(_CONTEXT, decoder.context - 1)
        cache = decoder.begin(context + 1)
        cache.step(np.zeros((1, context), np.int64))
        steps.append((cache, context))
    times: list[list[float]] = [[] for _ in steps]
    one = np.zeros((1, 1), np.int64)
    for _ in range(_ROUNDS):
        for (cache, context), step_times in zip(steps, times, strict=True):
            burst: list[float] = []
            end = time.perf_counter() + _BURST_S
            while len(burst) < 3 or time.perf_counter() < end:
                cache.length = context
                start = time.perf_counter()
                cache.step(one)
                burst.append(time.perf_counter() - start)
            step_times.append(1e3 * float(np.median(burst[1:])))
    return [float(np.median(steps_ms)) for steps_ms in times]
