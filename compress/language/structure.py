"""A decoder without some of its layers, neurons, groups of heads, and values of a token: what is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.errors import InternalError, RecipeError
from compress.language.matrices import HEAD_TURN

if TYPE_CHECKING:
    from compress.language.config import DecoderConfig
    from compress.language.decoder_network import Parts

Indices = NDArray[np.int64]
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Structure:
    """Parts of a decoder that stay.

    Attributes:
        layers: Numbers of the layers, ascending.
        neurons: Numbers of the neurons in the feed-forward part of each of these layers, ascending.
        groups: Numbers of the key and value heads, each with the query heads that it serves, of each of these layers,
            ascending; equally many in all of them.
        hidden: Numbers of the values of a token between layers, ascending; None for all of them.
        norm_scales: Factor of the scales of norms, by the norm's name in the whole decoder; 1 where there is none.
    """

    layers: tuple[int, ...]
    neurons: tuple[Indices, ...]
    groups: tuple[Indices, ...]
    hidden: Indices | None = None
    norm_scales: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def whole(cls, config: DecoderConfig) -> Structure:
        """Return that of a decoder with all of its parts."""
        check_without_experts(config)
        layers = tuple(range(config.layers))
        neurons = tuple(np.arange(config.width(layer)) for layer in layers)
        return cls(layers, neurons, tuple(np.arange(config.kv_heads) for _ in layers))


def check_without_experts(config: DecoderConfig) -> None:
    """Refuse a decoder with experts.

    Raises:
        RecipeError: It has some.
    """
    if config.experts is not None:
        raise RecipeError(
            "a decoder without experts, to prune",
            f"one of family {config.family}",
            "leave prune out; drop_experts removes experts",
        )


def pruned_config(config: DecoderConfig, structure: Structure) -> DecoderConfig:
    """Return the config of a decoder with the parts that stay."""
    widths = tuple(len(neurons) for neurons in structure.neurons)
    counts = {len(group) for group in structure.groups}
    if len(counts) != 1 or not structure.layers:
        raise InternalError(
            "layers of one number of groups of heads", str(sorted(counts)), "report this as a defect"
        )
    (groups,) = counts
    widest = max(widths)
    return replace(
        config,
        hidden=config.hidden if structure.hidden is None else len(structure.hidden),
        layers=len(structure.layers),
        heads=groups * (config.heads // config.kv_heads),
        kv_heads=groups,
        intermediate=widest,
        widths=widths if set(widths) != {widest} else (),
        windows=tuple(config.windows[layer] for layer in structure.layers),
        rotary=tuple(config.rotary[layer] for layer in structure.layers),
    )


def pruned_arrays(
    config: DecoderConfig, arrays: Mapping[str, NDArray[np.float32]], structure: Structure
) -> Arrays:
    """Return the weights of the parts that stay, under their new names.

    Args:
        config: Config of the whole decoder.
        arrays: Its weights by name.
        structure: Parts that stay.
    """
    arrays = _of_hidden(config, arrays, structure)
    smaller = {name: array for name, array in arrays.items() if not name.startswith("model.layers.")}
    size, group = config.head_dim, config.heads // config.kv_heads
    for new, (old, neurons, groups) in enumerate(
        zip(structure.layers, structure.neurons, structure.groups, strict=True)
    ):
        keys = _spread(groups, size)
        queries = _spread(_spread(groups, group), size)
        rows = {"q_proj": queries, "k_proj": keys, "v_proj": keys, "gate_proj": neurons, "up_proj": neurons}
        columns = {"o_proj": queries, "down_proj": neurons}
        before, after = f"model.layers.{old}.", f"model.layers.{new}."
        for name, array in arrays.items():
            if not name.startswith(before):
                continue
            *_, owner, kind = name.split(".")
            if owner in rows:
                array = array[rows[owner]]
            elif owner in columns and kind == "weight":
                array = array[:, columns[owner]]
            smaller[after + name.removeprefix(before)] = np.ascontiguousarray(array)
    return smaller


def _of_hidden(
    config: DecoderConfig, arrays: Mapping[str, NDArray[np.float32]], structure: Structure
) -> Mapping[str, NDArray[np.float32]]:
    """Return the weights with the values of a token that stay."""
    kept = structure.hidden
    if kept is None:
        return arrays
    narrow: Arrays = {}
    for name, array in arrays.items():
        owner, _, kind = name.rpartition(".")
        if owner.endswith(("norm", "layernorm")) and not owner.endswith(("q_norm", "k_norm")):
            array = array[kept]
            if kind == "weight":
                factor = np.float32(structure.norm_scales.get(owner, 1.0))
                offset = np.float32(config.norm_offset)
                array = (array + offset) * factor - offset
        elif owner.endswith(("o_proj", "down_proj")):
            array = array[kept]
        elif array.ndim == 2:
            array = array[:, kept]
            if owner == HEAD_TURN:
                array = array[kept]
        narrow[name] = np.ascontiguousarray(array)
    return narrow


def pruned(parts: Parts, structure: Structure) -> Parts:
    """Return a decoder with the parts that stay."""
    config = pruned_config(parts.config, structure)
    what = (
        f"{config.layers} of {parts.config.layers} layers, {config.kv_heads} of {parts.config.kv_heads} key and value "
        f"heads, {_mean(structure.neurons):.0f} of {parts.config.intermediate} neurons a layer and {config.hidden} of "
        f"{parts.config.hidden} values of a token left"
    )
    return parts.changed(config, pruned_arrays(parts.config, parts.arrays(), structure), what)


def _mean(neurons: Sequence[Indices]) -> float:
    return sum(map(len, neurons)) / len(neurons)


def _spread(units: Indices, size: int) -> Indices:
    """Return the rows of units that have so many rows each."""
    indices: Indices = (units[:, np.newaxis] * size + np.arange(size)).reshape(-1)
    return indices
