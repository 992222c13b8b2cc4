"""Pruning of a language model: its parts chosen on calibration texts, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress.errors import RecipeError
from compress.language.decoder_network import DecoderNetwork
from compress.language.distilling import IDS, windows
from compress.language.hidden_width import SMALL_MULTIPLE, widths_below
from compress.language.module import DecoderModule
from compress.language.structure import check_without_experts, pruned
from compress.language.task_documents import calibration_documents, refitted
from compress.pruning.decoder_structure import choose_structure, groups_of, widths_of
from compress.pruning.decoder_times import counted_costs, measured_costs

if TYPE_CHECKING:
    from torch import Tensor

    from compress.core.progress import Reporter
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.language.config import DecoderConfig
    from compress.records.technique_reports import DecoderPruneReport

#: Texts that parts are judged on at the most, and tokens of each.
_TEXTS, _TOKENS, _BATCH = 32, 128, 8


def prune_decoder(
    decoder: DecoderNetwork,
    task: Task,
    *,
    latency_share: float | None,
    ratio: float,
    keep: Sequence[str],
    hidden: int | None,
    precision: str,
    host: Host | None,
    threads: int | None,
    reporter: Reporter,
    settings: dict[str, Any],
) -> tuple[DecoderNetwork, Task, DecoderPruneReport]:
    """Prune a language model.

    Args:
        decoder: The decoder.
        task: The task of its single calls.
        latency_share: Share of a decoding step's time to reach, in (0, 1); None removes a share of the weights.
        ratio: Share of the layers' weights to remove, where ``latency_share`` is None.
        keep: Names of layers that stay as they are, such as ``model.layers.0``; all values of a token stay then.
        hidden: Number of values of a token between layers that stay; None lets the loss decide.
        precision: Precision of the weights in which steps are timed: ``fp32``, ``int8`` or ``int4``.
        host: Host of the run; its machine must be this one where steps are timed.
        threads: Threads of the runtime; None leaves the number open.
        reporter: Receives the progress.
        settings: Settings of the technique, for its report.

    Returns:
        The smaller decoder, the task with its calls, and the report.

    Raises:
        RecipeError: A layer to keep is not there, the share is out of reach, the decoder has experts, or steps cannot
            be timed here.
        DataError: There are no texts to calibrate on.
    """
    parts = decoder.parts
    check_without_experts(parts.config)
    module = DecoderModule(parts.config, parts.weights).eval().requires_grad_(False)
    kept = _kept(keep, parts.config.layers)
    batches = calibration_batches(task)
    widths, groups = widths_of(parts.config), groups_of(parts.config)
    narrow = _hidden_widths(parts.config, hidden, bool(kept))
    if latency_share is None:
        costs = counted_costs(parts.config, widths, groups, narrow)
    elif host is not None and host.source != "measured":
        raise RecipeError(
            "a target that is at hand, to time decoding steps on",
            "one whose times are estimated",
            "say by ratio how much of the weights goes",
        )
    else:
        reporter.step("timing layers")
        with nullcontext() if host is None else host.exclusive():
            costs = measured_costs(parts, widths, groups, precision, threads, narrow)
    wanted = 1 - ratio if latency_share is None else latency_share
    reporter.step("choosing layers, neurons, heads and values of a token")
    chosen = choose_structure(module, batches, costs, wanted, keep=kept, hidden=hidden)
    smaller = pruned(parts, chosen.structure)
    done = decoder.with_parts(smaller)
    report: DecoderPruneReport = {
        "settings": settings,
        "parameters": [parts.config.parameters, smaller.config.parameters],
        "layers": list(chosen.structure.layers),
        "neurons": [len(kept_neurons) for kept_neurons in chosen.structure.neurons],
        "heads": [parts.config.kv_heads, smaller.config.kv_heads],
        "hidden": [parts.config.hidden, smaller.config.hidden],
        "wanted": wanted,
        "predicted": chosen.predicted,
        "source": costs.source,
        "step_ms": costs.whole if costs.source == "measured" else None,
        "losses": [chosen.before, chosen.after],
    }
    return done, refitted(task, done), report


def calibration_batches(task: Task) -> list[Tensor]:
    """Return calibration texts as ids of tokens, negative behind the last one of a text, int64 [texts, tokens]."""
    token_windows = windows(
        [document[: _TOKENS + 1] for document in calibration_documents(task)[:_TEXTS]], _TOKENS
    )
    batches = []
    for batch in token_windows.batches(_BATCH):
        assert batch.targets is not None
        ids = np.concatenate([batch.inputs[IDS], batch.targets[:, -1:]], axis=1)
        batches.append(torch.from_numpy(ids))
    return batches


def _hidden_widths(config: DecoderConfig, hidden: int | None, keeps_layers: bool) -> list[int]:
    """Return the numbers of values of a token that may stay, below the whole number."""
    if hidden is None:
        return [] if keeps_layers else widths_below(config)
    possible = range(SMALL_MULTIPLE, config.hidden, SMALL_MULTIPLE)
    if keeps_layers:
        raise RecipeError("hidden_width or keep_layers", "both", "leave one of them out")
    if hidden not in possible or not widths_below(config):
        wanted = f"a hidden_width in multiples of {SMALL_MULTIPLE} below {config.hidden}"
        if not widths_below(config):
            wanted = (
                "no hidden_width for a model that scales its embedding by it, or has few values of a token"
            )
        raise RecipeError(wanted, str(hidden), "correct the recipe, or leave hidden_width out")
    return [hidden]


def _kept(names: Sequence[str], layers: int) -> frozenset[int]:
    layers_by_name = {f"model.layers.{layer}": layer for layer in range(layers)}
    unknown = next((name for name in names if name not in layers_by_name), None)
    if unknown is not None:
        raise RecipeError(
            f"layers to keep by their names, model.layers.0 to model.layers.{layers - 1}",
            unknown,
            "correct it",
        )
    return frozenset(layers_by_name[name] for name in names)
