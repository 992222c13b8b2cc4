"""The verb ``prune``: prune a network, let it recover where there is data to train on, and report the outcome."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.decoder_files import check_amount, check_out, saved, timed_model
from compress.api.distill import Evaluated, evaluate
from compress.api.inputs import axis_notes, open_inputs
from compress.api.keywords import PruneKeywords
from compress.api.options import PruneOptions
from compress.core.options import flag_of, takes
from compress.core.own_directories import kept_until_done, remove_own
from compress.core.progress import Reporter
from compress.core.ranks import is_first
from compress.core.tensor_spec import fixed_batch
from compress.data.task import Task
from compress.errors import UsageError
from compress.hosts import connect
from compress.hosts.base import Build, Reference
from compress.network.network import DECODER, Network
from compress.pruning.probes import quantized
from compress.recipe import Recipe, Step
from compress.records.profile import Latency
from compress.target.target import Target
from compress.techniques import apply_recipe, load_technique
from compress.techniques.base import Context
from compress.techniques.distill import Distill
from compress.training.settings import DISTILLATION

if TYPE_CHECKING:
    import torch

    from compress.hosts.base import Host

#: Share of the latency to reach, where nothing says how much goes and there is data to train on.
DEFAULT_LATENCY = 0.5

#: Points that may be lost, where nothing says how much goes and there is none.
DEFAULT_DROP = 1.0


@dataclass(frozen=True)
class PruneResult:
    """Result of :func:`prune`.

    Attributes:
        path: File of the pruned network; for a language model, its directory.
        sha256: sha256 of that file; for a language model, of the file of its weights.
        recipe: The recipe that was applied.
        target: Name of the target that widths were chosen for and latencies refer to.
        networks: ``original`` and ``pruned``, measured on the same samples.
        latency: Latencies of the original and of the pruned network at the target's first batch size, both in the
            precision that widths were chosen for; the ratio is of calls that alternate, or of estimates where the
            target is not at hand.
        reports: Report of each step, by the step's name.
        warnings: Reasons against using the network as it is, a sentence each.
        notes: Notes on how the file was read and samples are fed, a sentence each.
    """

    path: Path
    sha256: str
    recipe: Recipe
    target: str
    networks: tuple[Evaluated, ...]
    latency: tuple[Latency, Latency]
    reports: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the dict that ``compress prune --json`` prints."""
        return {**asdict(self), "path": str(self.path), "recipe": self.recipe.to_dict()}


@takes(PruneOptions)
def prune(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[PruneKeywords],
) -> PruneResult:
    """Prune a trained network and write it, whole or not at all.

    Where there is training data, the network is trained after each round to answer as the original does. At most one of
    ``latency_share``, ``ratio`` and ``untrained_drop`` says how much is removed; where none is given, half of the
    latency with training data, else as much as costs at most one point of accuracy.

    Measured times and trained weights are kept in ``<out>.partial`` until ``out`` is written: after an interruption the
    same call takes them over, and a training goes on at its last checkpoint. Under ``torchrun`` the first process
    prunes and all train together; the first measures and writes, and all return the same.

    Args:
        model: A torch.export, TorchScript, state-dict or pickled file, a Hugging Face directory, ``timm:NAME``, or a
            live module, which is not modified.
        reporter: Receives the progress; None reports to nobody.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or another process has ended.
    """
    request = PruneOptions.of(options)
    reporter = reporter or Reporter()
    distillation = {name: getattr(request, name) for name in DISTILLATION if options.get(name) is not None}
    _check_fit(request, distillation)
    recovery = Step("distill", distillation) if request.train_data is not None else None
    recipe = _recipe(_settings(request), request.rounds, recovery)
    path = Path(request.out)
    check_out(path, model)
    amounts = (request.latency_share, request.ratio, request.untrained_drop)
    check_amount(model, any(amount is not None for amount in amounts), request.train_data is not None)

    from compress.training.devices import device_of

    device_of(request.device)  # told before anything is read

    inputs = open_inputs(
        model,
        request,
        reporter,
        target=request.target,
        train_data=request.train_data,
        calibration_data=request.calibration_data,
    )
    network, task, target = inputs.network, inputs.task, inputs.target
    decodes = network.origin.format == DECODER
    if network.graph is None and not decodes:
        raise network.untrainable("which cannot be pruned")

    if recovery is not None and not decodes:
        _check_training(recovery, network, task.calls)

    from compress.training.processes import joined

    with (
        kept_until_done(path.with_name(path.name + ".partial"), alone=is_first()) as directory,
        connect(target, request.seconds, on_note=reporter.stage) as host,
    ):
        context = Context(
            task.calls,
            target,
            request.seed,
            directory=directory,
            reporter=reporter,
            original=network,
            host=host,
            threads=request.threads,
            cache=directory / "latency",
            device=request.device,
        )
        reporter.stage("pruning")
        smaller = apply_recipe(recipe, network, context)
        processes = joined()
        done = None
        if processes.first:
            reporter.stage("measuring accuracy")
            networks = evaluate({"original": network, "pruned": smaller}, task)
            reporter.stage("measuring latency")
            times = _latency(network, smaller, request.timing_precision, host, target, task, request.threads)
            sha256 = saved(smaller, path)
            remove_own(directory)
            untrained = () if recovery is not None else _untrained(networks[-1])
            for warning in untrained:
                reporter.note(f"warning: {warning}")
            done = PruneResult(
                path,
                sha256,
                recipe,
                target.name,
                networks,
                times,
                context.reports,
                (*inputs.doubts, *untrained),
                axis_notes(network),
            )
    result: PruneResult = processes.broadcast(done)
    return result


def _untrained(pruned: Evaluated) -> tuple[str, ...]:
    """Return a warning for a network that lost accuracy and was not trained to regain it."""
    drop = pruned.accuracy.drop
    if drop is None or drop.points <= DEFAULT_DROP:
        return ()
    return (
        f"it drops {drop.points:.2f} {drop.unit} and was not trained: give --train-data to win accuracy back, "
        f"or --untrained-drop {DEFAULT_DROP:g} to remove only what costs no more",
    )


def _settings(options: PruneOptions) -> dict[str, Any]:
    """Return the settings of the technique ``prune``, without those left at their defaults."""
    share, drop = options.latency_share, options.untrained_drop
    if share is None and drop is None and options.ratio is None:
        share, drop = (DEFAULT_LATENCY, None) if options.train_data is not None else (None, DEFAULT_DROP)
    settings = {
        "latency_share": share,
        "ratio": options.ratio,
        "untrained_drop": drop,
        "importance": options.importance,
        "per_layer": options.per_layer,
        "keep_layers": tuple(options.keep),
        "timing_precision": options.timing_precision,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _check_fit(options: PruneOptions, training: Mapping[str, Any]) -> None:
    """Refuse options that have no effect beside the others; a step checks its own options itself."""
    if isinstance(options.rounds, bool) or not isinstance(options.rounds, int):
        raise UsageError("rounds, a whole number from 1", repr(options.rounds), "correct it")
    amounts = ("latency_share", "ratio", "untrained_drop")
    amount = next((name for name in amounts if getattr(options, name) is not None), None)
    flag = "none" if amount is None else flag_of(PruneOptions, amount)
    if options.per_layer and amount != "ratio":
        raise UsageError("--ratio with --per-layer", flag, "give --ratio, or leave --per-layer out")
    if options.rounds > 1 and amount == "untrained_drop":
        raise UsageError("--latency-share or --ratio with several rounds", flag, "leave --rounds out")
    if options.rounds > 1 and amount is None and options.train_data is None:
        raise UsageError(
            "--train-data, --latency-share or --ratio with several rounds",
            flag,
            "give one, or leave --rounds out",
        )
    unused = next(iter(training), None)
    if unused is not None and options.train_data is None:
        flag = flag_of(PruneOptions, unused)
        raise UsageError(f"--train-data with {flag}", "none", f"give it, or leave {flag} out")


def _recipe(settings: dict[str, Any], rounds: int, recovery: Step | None) -> Recipe:
    """Return the recipe of all rounds: pruning, then recovery where there is data; each removes an equal share."""
    load_technique(Step("prune", settings))  # as given, before it is divided among rounds
    round_settings = dict(settings)
    if rounds > 1 and "latency_share" in round_settings:
        round_settings["latency_share"] **= 1 / rounds
    if rounds > 1 and "ratio" in round_settings:
        round_settings["ratio"] = 1 - (1 - round_settings["ratio"]) ** (1 / rounds)
    steps = [Step("prune", round_settings), *([] if recovery is None else [recovery])]
    for step in steps:
        load_technique(step)
    return Recipe("pruned", tuple(steps * rounds))


def _check_training(recovery: Step, network: Network, task: Task) -> None:
    """Refuse training data that training would refuse, before any layer is timed.

    Raises:
        DataError: There are too few samples, or no labels where they have a weight.
    """
    from compress.training.context import training_data
    from compress.training.samples import TrainingSamples

    technique = load_technique(recovery)
    assert isinstance(technique, Distill)
    data = training_data(task, technique.label_weight, purpose="recovery", otherwise="")
    how = technique.with_batch(fixed_batch(network.inputs))
    names = [spec.name for spec in network.inputs]
    # As many are needed whatever the seed is.
    TrainingSamples(data, names, how.batch_size, how.held_out, seed=0)


def _latency(
    network: Network,
    smaller: Network,
    precision: str,
    host: Host,
    target: Target,
    task: Task,
    threads: int | None,
) -> tuple[Latency, Latency]:
    """Return the latencies of both at the first batch size in fp32 or int8, the second with its ratio to the first."""
    backend, builds = host.backend, []
    first = replace(target, batch_sizes=target.batch_sizes[:1])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compress-")))
        stack.enter_context(host.exclusive())
        for name, side in (("original", network), ("pruned", smaller)):
            place = directory / name
            place.mkdir()
            if side.origin.format == DECODER:
                model = timed_model(side, precision)
            else:
                model = side.to_onnx()
                if precision == "int8":
                    model = quantized(model, target.quantization)
            artifact = backend.compile(model, place, backend.default_options(target, threads))
            builds.append(Build(artifact, stack.enter_context(host.open(artifact, target))))
        original, pruned = builds
        return (
            host.latency(original, None, task, first)[0],
            host.latency(pruned, Reference(original), task, first)[0],
        )
