"""Channel pruning: channels, heads and hidden units that matter least are cut out of the graph.

The tensors really shrink. The amount is set by a plain ratio, by a latency on the target, or by the accuracy drop that
is allowed. Nothing is trained here: beyond a small ratio accuracy falls until the network is trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from compress.errors import RecipeError
from compress.network.network import DECODER
from compress.records.technique_reports import (
    MarginTrial,
    PruneLatency,
    PruneMargin,
    PruneReport,
)
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    import torch
    from torch import fx

    from compress.network.network import Network
    from compress.pruning import Bench, Channels, NetworkLatency, Scores, Units
    from compress.pruning.decision import Chosen
    from compress.pruning.judging import CalibrationJudge

IMPORTANCES = ("magnitude", "batch_norm_scale", "taylor", "hessian_diagonal")
PRECISIONS = ("fp32", "int8")

#: Largest predicted share of the unpruned latency: above it a network may not be faster, as predictions err by about 5
#: %.
_FASTER = 0.95

#: Share of all units that is removed where nothing says how much.
DEFAULT_RATIO = 0.3

#: Shares of the latency are told apart down to 1/2^6 of it.
_HALVINGS = 6


@dataclass(frozen=True)
class Prune(Technique):
    """Remove channels, heads and hidden units; at most one setting sets how many.

    That setting is ``ratio``, ``latency_share`` or ``untrained_drop``.

    Layers are timed in the back end of the context's host, with its default session options: a recipe that names
    another back end, and options that are tuned for the pruned network later, may be fastest at other widths.

    Attributes:
        ratio: Share of all removable units to remove, in [0, 1); 0.3 where no other setting is given.
        importance: Criterion for ranking units, one of ``magnitude``, ``batch_norm_scale``, ``taylor`` and
            ``hessian_diagonal``; see :mod:`compress.pruning.importance`. None takes ``hessian_diagonal``, or
            ``magnitude`` where no calibration samples fill the network's fixed batch.
        per_layer: Whether each layer loses this ratio; if not, all units compete. Only with a ratio.
        keep_layers: Names of layers, or of blocks of layers, whose outputs are kept whole.
        multiple: Number of units of which widths stay multiples, where they were. Only with a ratio.
        samples: Number of calibration samples for ``taylor`` and ``hessian_diagonal``, ≥ 1.
        latency_share: Share of the unpruned latency to reach on the target, in (0, 1): widths are chosen among those at
            which its runtime gets faster, see :mod:`compress.pruning.widths`.
        timing_precision: Precision in which layers are timed, ``fp32`` or ``int8``, for a language model also ``int4``:
            the one that the recipe ends with. Not with a ratio.
        untrained_drop: Accuracy drop allowed before training, in points, > 0: the smallest latency is chosen that loses
            at most half of it on the calibration data; the other half allows for other samples. For networks without
            training data.
        seconds: Approximate time budget for layer timing, in seconds, > 0.
        hidden_width: Number of values of a token between layers of a language model to keep, a multiple of 32; None
            lets the loss on calibration texts decide.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "latency": "latency_share",
        "precision": "timing_precision",
        "max_drop": "untrained_drop",
    }

    ratio: float | None = None
    importance: str | None = None
    per_layer: bool = False
    keep_layers: tuple[str, ...] = ()
    multiple: int = 1
    samples: int = 256
    latency_share: float | None = None
    timing_precision: str = "fp32"
    untrained_drop: float | None = None
    seconds: float = 30.0
    hidden_width: int | None = None

    def __post_init__(self) -> None:
        _check("a ratio in [0, 1)", self.ratio, lambda value: 0 <= value < 1)
        _check("a latency_share in (0, 1)", self.latency_share, lambda value: 0 < value < 1)
        _check("an untrained_drop above 0 points", self.untrained_drop, lambda value: value > 0)
        _check("seconds above 0", self.seconds, lambda value: value > 0)
        goals = [
            name for name in ("ratio", "latency_share", "untrained_drop") if getattr(self, name) is not None
        ]
        if len(goals) > 1:
            raise RecipeError(
                "one of ratio, latency_share and untrained_drop", " and ".join(goals), "remove the others"
            )
        by_latency = bool(goals) and goals[0] != "ratio"
        for name, fits in (
            ("per_layer", not by_latency),
            ("multiple", not by_latency),
            ("timing_precision", by_latency),
        ):
            if not fits and getattr(self, name) != getattr(Prune, name):
                how = goals[0] if goals else "neither latency_share nor untrained_drop"
                needed = "latency_share or untrained_drop" if name == "timing_precision" else "ratio"
                raise RecipeError(f"{needed} with {name}", how, f"remove {name}, or say {needed} instead")
        for name, allowed in (
            ("importance", (*IMPORTANCES, None)),
            ("timing_precision", (*PRECISIONS, "int4")),
        ):
            if getattr(self, name) not in allowed:
                raise RecipeError(
                    f"the setting {name}: {', '.join(filter(None, allowed))}",
                    repr(getattr(self, name)),
                    "choose one of these",
                )
        if isinstance(self.keep_layers, str):
            raise RecipeError("a list of keep_layers", repr(self.keep_layers), "write it in brackets")
        for name in ("multiple", "samples", "hidden_width"):
            value = getattr(self, name)
            if name == "hidden_width" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RecipeError(f"{name} ≥ 1, a whole number", repr(value), "correct the recipe")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples", "times of layers")

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return True

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is a graph in inference mode.

        Raises:
            RecipeError: The network is already an ONNX model, nothing of it can be removed, it has no batch norm to
                judge by, nothing that multiplies to time, a layer to keep is not in it, or the latency or the drop is
                out of reach.
            DataError: There are no calibration samples to judge a drop on.
            UnavailableError: The target's back end is not on this machine, or another process has ended.
            InternalError: The sliced network does not compute what the masked one does.
        """
        import torch

        from compress.pruning import find_channels, random_batch, remove
        from compress.pruning.decision import decided_together
        from compress.pruning.selection import removable

        if network.origin.format == DECODER:
            return self._of_decoder(network, context)
        if self.timing_precision not in PRECISIONS:
            raise RecipeError(
                f"a timing_precision of {', '.join(PRECISIONS)}, for a network that is no language model",
                self.timing_precision,
                "choose one of these",
            )
        if self.hidden_width is not None:
            raise RecipeError("a language model, for hidden_width", "another network", "leave it out")
        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to prune",
                "an ONNX model",
                "give the torch network, and prune before quantizing",
            )
        example = [torch.from_numpy(array) for array in network.sample]
        specs = network.inputs
        by_samples = ((at, spec.batch_axis) for at, spec in enumerate(specs) if spec.dynamic_batch)
        channels = find_channels(network.graph, example, next(by_samples, (0, 0)))
        if not channels.groups:
            raise RecipeError(
                "channels that can be removed",
                "; ".join(channels.notes) or "none between inputs and outputs",
                "leave prune out of the recipe",
            )
        removable(channels, {}, self.keep_layers)  # A wrong name is told before anything is judged or timed.
        batch = random_batch(
            example,
            [spec.dynamic_batch for spec in specs],
            context.seed,
            [spec.batch_axis for spec in specs],
        )

        def without(units: Units) -> fx.GraphModule:
            return remove(channels, units, batch)

        importance = self.importance or self._default_importance(network, context)
        units, choice = decided_together(
            lambda: self._decided(importance, channels, network, context, without)
        )
        pruned = network.with_graph(without(units))
        report: PruneReport = {
            "settings": {**asdict(self), "importance": importance},
            "macs": [channels.macs(), channels.macs(units)],
            "parameters": [channels.parameters(), channels.parameters(units)],
            "groups": {
                group.name: [len(group), len(group) - len(units.get(group.name, ()))]
                for group in channels.groups
            },
            "notes": list(channels.notes),
            **choice,
        }
        context.reports["prune"] = report
        return pruned

    def _of_decoder(self, network: Network, context: Context) -> Network:
        """Prune a language model: layers, neurons, groups of heads, and values of a token."""
        from compress.language.decoder_network import changeable
        from compress.pruning.decoder import prune_decoder

        decoder = changeable(network, "prune")
        for name in ("importance", "per_layer", "multiple", "untrained_drop"):
            if getattr(self, name) != getattr(Prune, name):
                raise RecipeError(
                    "latency_share or ratio, keep_layers, hidden_width and timing_precision, for a language model",
                    f"{name} = {getattr(self, name)!r}",
                    f"leave {name} out",
                )
        done, context.task, report = prune_decoder(
            decoder,
            context.task,
            latency_share=self.latency_share,
            ratio=DEFAULT_RATIO if self.ratio is None else self.ratio,
            keep=self.keep_layers,
            hidden=self.hidden_width,
            precision=self.timing_precision,
            host=context.host,
            threads=context.threads,
            reporter=context.reporter,
            settings=asdict(self),
        )
        context.reports["prune"] = report
        return done

    def _decided(
        self,
        importance: str,
        channels: Channels,
        network: Network,
        context: Context,
        without: Callable[[Units], fx.GraphModule],
    ) -> Chosen:
        from compress.pruning import choose
        from compress.pruning.decision import kept, key_of

        if self.latency_share is None and self.untrained_drop is None:
            scores = self._scores(importance, channels, network, context)
            ratio = DEFAULT_RATIO if self.ratio is None else self.ratio
            keep, multiple = self.keep_layers, self.multiple
            return choose(channels, scores, ratio, per_layer=self.per_layer, keep=keep, multiple=multiple), {}
        task, graph = context.task, channels.propagation.graph
        data = task.calibration.sha256, task.metrics_sha256, context.seed
        with self._bench(context) as bench:
            key = key_of(graph, settings=replace(self, importance=importance), data=data, bench=bench.key())
            # Each target's own choice: in the cache, several share a directory.
            path = None if context.directory is None else context.directory / f"prune-{key[:12]}.json"
            timed = partial(self._timed, importance, bench, channels, network, context, without)
            return kept(path, key, timed)

    def _timed(
        self,
        importance: str,
        bench: Bench,
        channels: Channels,
        network: Network,
        context: Context,
        without: Callable[[Units], fx.GraphModule],
    ) -> Chosen:
        from compress.pruning import network_latency
        from compress.pruning.judging import CalibrationJudge

        # What can be refused without timing anything is refused first.
        judge = None if self.untrained_drop is None else CalibrationJudge(network, context)
        scores = self._scores(importance, channels, network, context)
        model = network.to_onnx()
        context.reporter.step("timing layers")
        with bench.host.exclusive():
            latency = network_latency(channels, model, bench)

        def timed(units: Units) -> float | None:
            context.reporter.step("timing whole calls")
            with bench.host.exclusive():
                return bench.whole_share(network.with_graph(without(units)).to_onnx(), model)

        if judge is not None:
            return self._inside_margin(judge, channels, scores, latency, without, timed)
        assert self.latency_share is not None
        return self._at(self.latency_share, channels, scores, latency, timed)

    def _at(
        self,
        share: float,
        channels: Channels,
        scores: Scores,
        latency: NetworkLatency,
        timed: Callable[[Units], float | None] = lambda _: None,
    ) -> Chosen:
        from compress.pruning import choose_widths
        from compress.pruning.whole_calls import widths_by_whole_calls

        widths, latency, measured = widths_by_whole_calls(
            lambda by: choose_widths(channels, scores, by, share, keep=self.keep_layers),
            latency,
            share,
            timed,
        )
        chosen_for: PruneLatency = {
            "wanted": share,
            "predicted": widths.share,
            "measured": measured,
            "source": latency.table.source,
            "steps": {name: list(steps) for name, steps in widths.steps.items()},
            **latency.to_dict(),
        }
        return widths.units, {"latency": chosen_for}

    def _inside_margin(
        self,
        judge: CalibrationJudge,
        channels: Channels,
        scores: Scores,
        latency: NetworkLatency,
        without: Callable[[Units], fx.GraphModule],
        timed: Callable[[Units], float | None],
    ) -> Chosen:
        """Return the smallest latency inside the margin, by bisection; the drop is assumed to grow with removal."""
        from compress.pruning import choose_widths
        from compress.pruning.whole_calls import calibrated
        from compress.pruning.widths import OutOfReachError

        latency = calibrated(
            lambda by: choose_widths(channels, scores, by, 0.5, keep=self.keep_layers), latency, timed
        )
        untrained_drop = self.untrained_drop or 0.0
        limit = untrained_drop / 2
        best: Chosen | None = None
        reached = ""
        trials: list[MarginTrial] = []
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            try:
                attempt = self._at(share, channels, scores, latency)
            except OutOfReachError as error:
                low, reached = share, error.found
                continue
            drop = judge.drop(without(attempt[0]))
            trials.append({"latency": share, "drop": drop})
            if drop <= limit:
                best, high = attempt, share
            else:
                low = share
        if not trials:
            raise RecipeError(
                f"channels whose removal leaves {_FASTER:g} of the latency or less",
                reached,
                "keep fewer layers, or say by --ratio how much goes",
            )
        if best is None or best[1]["latency"]["predicted"] > _FASTER:
            lost = [trial["drop"] for trial in trials if trial["latency"] <= _FASTER]
            fastest = 1.0 if best is None else best[1]["latency"]["predicted"]
            least = f"{min(lost):.2f} points or more" if lost else f"{fastest:.2f} of it at the fastest"
            raise RecipeError(
                f"channels whose removal costs at most {limit:g} points, half of untrained_drop, "
                f"and leaves {_FASTER:g} of the latency or less",
                f"{least}, on {judge.samples} calibration samples",
                "give --train-data: pruned networks regain accuracy by training",
            )
        margin: PruneMargin = {
            "untrained_drop": untrained_drop,
            "judged_on": judge.samples,
            "trials": trials,
            "note": "limited to what the accuracy allows without training; "
            "give --train-data: pruned networks regain accuracy by training",
        }
        return best[0], {**best[1], "margin": margin}

    @contextmanager
    def _bench(self, context: Context) -> Iterator[Bench]:
        """Return the place and settings for timing layers."""
        from compress.hosts import connect
        from compress.pruning import Bench

        # The caller's own host is left open.
        opened = connect(context.target) if context.host is None else nullcontext(context.host)
        with opened as host:
            options = host.backend.default_options(context.target, context.threads)
            samples = replace(context.task, evaluation=context.task.calibration)
            yield Bench(
                host, context.target, options, self.timing_precision, self.seconds, context.cache, samples
            )

    def _default_importance(self, network: Network, context: Context) -> str:
        return "magnitude" if next(self._batches(network, context), None) is None else "hessian_diagonal"

    def _scores(self, importance: str, channels: Channels, network: Network, context: Context) -> Scores:
        from compress.pruning import batch_norm_scale, hessian_diagonal, magnitude, sampled_loss, taylor

        if importance == "magnitude":
            return magnitude(channels)
        if importance == "batch_norm_scale":
            return batch_norm_scale(channels)
        metric = context.task.metric
        loss = sampled_loss(context.seed, bool(metric.class_labels or metric.right_or_wrong))
        by_loss = taylor if importance == "taylor" else hessian_diagonal
        return by_loss(channels, loss, self._batches(network, context))

    def _batches(self, network: Network, context: Context) -> Iterator[list[torch.Tensor]]:
        import torch

        seen = 0
        for batch in calibration_batches(network, context):
            if seen >= self.samples:
                return
            arrays: list[Any] = [batch[spec.name] for spec in network.inputs]
            seen += len(arrays[0])
            yield [torch.from_numpy(array) for array in arrays]


def _check(wanted: str, value: Any, allowed: Callable[[float], bool]) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not allowed(value):
        raise RecipeError(wanted, repr(value), "correct the recipe")
