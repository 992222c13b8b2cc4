"""One step alone: prune a network, let it recover where there is data to train on, and say what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.distill import Evaluated, evaluate
from compress.api.inputs import open_inputs
from compress.core.own_directories import kept_until_done, remove_own
from compress.core.progress import Reporter
from compress.core.tensor_spec import fixed_batch
from compress.data.task import MetricChoice, Task, load_task
from compress.errors import NetworkError, UsageError
from compress.hosts import connect
from compress.hosts.base import Build, Reference
from compress.network.network import Network
from compress.network.saving import check_writable, save_network
from compress.onnx_graph.files import sha256_of
from compress.pruning.probes import quantized
from compress.recipe import Recipe, Step
from compress.records.profile import Latency
from compress.target.target import Target, load_target
from compress.techniques import apply_recipe, load_technique
from compress.techniques.base import Context
from compress.techniques.distill import Distill

if TYPE_CHECKING:
    import torch

    from compress.hosts.base import Host

#: Share of the latency to reach, where nothing says how much goes and there is data to train on.
DEFAULT_LATENCY = 0.5

#: Points that may be lost, where nothing says how much goes and there is none.
DEFAULT_DROP = 1.0


@dataclass(frozen=True)
class PruneResult:
    """What :func:`prune` wrote.

    Attributes:
        path: The file.
        sha256: Of that file.
        recipe: What was applied.
        target: Name of the target that widths were chosen and latencies told for.
        networks: ``original`` and ``pruned``, measured on the same samples.
        latency: Of the original and of the pruned network at the target's first batch size, both in the precision
            that widths were chosen for; the ratio is of calls that alternate, or of estimates where the target is not
            at hand.
        reports: What each step has to tell, by its name.
        warnings: What speaks against using it as it is, a sentence each.
    """

    path: Path
    sha256: str
    recipe: Recipe
    target: str
    networks: tuple[Evaluated, ...]
    latency: tuple[Latency, Latency]
    reports: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As ``compress prune --json`` prints it."""
        return {**asdict(self), "path": str(self.path), "recipe": self.recipe.to_dict()}


def prune(
    model: str | Path | torch.nn.Module,
    *,
    data: Any,
    target: str | Path | Target = "cpu",
    out: str | Path = "pruned.pt2",
    latency: float | None = None,
    ratio: float | None = None,
    max_drop: float | None = None,
    importance: str | None = None,
    per_layer: bool = False,
    keep: Sequence[str] = (),
    precision: str = "fp32",
    rounds: int = 1,
    train_data: Any = None,
    epochs: int | None = None,
    epoch_samples: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    temperature: float | None = None,
    label_weight: float | None = None,
    features: float | None = None,
    metric: MetricChoice = None,
    calibration_data: Any = None,
    threads: int | None = None,
    seconds: float = 2.0,
    factory: str | None = None,
    trust_pickle: bool = False,
    batch_axis: Mapping[str, int] | None = None,
    state: Mapping[str, str] | None = None,
    image_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> PruneResult:
    """Prune a trained network and write it, whole or not at all.

    Where there is training data, the network is trained after each round to do what the original does. At most one of
    ``latency``, ``ratio`` and ``max_drop`` says how much goes; where none does, half of the latency with training
    data, and without it what costs at most one point.

    What was measured and trained is kept in ``<out>.partial`` until ``out`` is written: after an interruption the same
    call goes on. Under ``torchrun`` the first process prunes and all train together; the first measures and writes,
    and all return the same.

    Args:
        model: A torch.export, TorchScript, state-dict or pickled file, or a live module, which is not modified.
        data: Evaluation data, of any kind that :func:`compress.optimize` takes; nothing is chosen by it.
        target: Where latency counts.
        out: The file to write: ``.pt2``, which every command reads and trains on, or ``.onnx``.
        latency: Share of the unpruned latency to reach, in (0, 1).
        ratio: Share of all channels, heads and hidden units to remove, in [0, 1).
        max_drop: Points that may be lost without training, > 0, judged on the calibration data.
        importance: One of :data:`compress.techniques.prune.IMPORTANCES`; None takes
            ``hessian_diagonal`` where there are calibration samples.
        per_layer: Whether each layer loses ``ratio``; else all units compete. With ``ratio`` alone.
        keep: Layers whose outputs stay as they are, and blocks of them, by name.
        precision: ``fp32`` or ``int8``: what the network will run in; widths are fastest at other steps in each. Not
            with ``ratio``.
        rounds: Steps in which as much goes, each followed by training, ≥ 1.
        train_data: Data to train on, labelled or not.
        epochs: Of training after each round; None for the default of :class:`compress.techniques.distill.Distill`,
            like the next six. With ``train_data`` alone.
        epoch_samples: Samples an epoch.
        batch_size: Samples a step, of all processes together.
        learning_rate: At the peak of the schedule.
        temperature: Of class scores.
        label_weight: From 0, the original's outputs alone, to 1, the labels alone.
        features: Weight of activations inside that both have in equal shape under the same name.
        metric: See :func:`compress.optimize`.
        calibration_data: Data to judge importance on.
        threads: Of the runtime; None for the back end's own choice.
        seconds: Of timing the result against the original.
        factory: See :func:`compress.optimize`.
        trust_pickle: Unpickle a module; this runs whatever code the file holds.
        batch_axis: See :func:`compress.optimize`.
        state: See :func:`compress.optimize`.
        image_options: How images are resized and normalised.
        seed: Of every random choice.
        reporter: Receives the progress.

    Raises:
        UsageError: Something given cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or another process has ended.
    """
    reporter = reporter or Reporter()
    training = {
        "epochs": epochs,
        "epoch_samples": epoch_samples,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "temperature": temperature,
        "label_weight": label_weight,
        "features": features,
    }
    amounts = {"latency": latency, "ratio": ratio, "max_drop": max_drop}
    _check_fit(amounts, per_layer, rounds, training, trains=train_data is not None)
    if all(each is None for each in amounts.values()):
        latency, max_drop = (DEFAULT_LATENCY, None) if train_data is not None else (None, DEFAULT_DROP)
    settings = {
        "latency": latency,
        "ratio": ratio,
        "max_drop": max_drop,
        "importance": importance,
        "per_layer": per_layer,
        "keep_layers": tuple(keep),
        "precision": precision,
    }
    recovery = Step("distill", _given(training)) if train_data is not None else None
    recipe = _recipe(_given(settings), rounds, recovery)
    path = Path(out)
    check_writable(path, model)

    reporter.stage("reading the target and the data")
    deployment = load_target(target)
    task = load_task(
        data,
        metric=metric,
        train_data=train_data,
        calibration_data=calibration_data,
        image_options=image_options,
        seed=seed,
        streams=bool(state),
    )
    network, task = open_inputs(
        task,
        model,
        factory=factory,
        trust_pickle=trust_pickle,
        batch_axis=batch_axis,
        state=state,
        reporter=reporter,
    )
    if network.graph is None:
        raise NetworkError("a torch network", "an ONNX model, which cannot be pruned", "give the torch file")

    if recovery is not None:
        _check_training(recovery, network, task.calls)

    from compress.training.processes import joined

    with (
        kept_until_done(path.with_name(path.name + ".partial")) as kept,
        connect(deployment, seconds, on_note=reporter.stage) as host,
    ):
        context = Context(
            task.calls,
            deployment,
            seed,
            directory=kept,
            reporter=reporter,
            original=network,
            host=host,
            threads=threads,
            cache=kept / "latency",
        )
        reporter.stage("pruning")
        smaller = apply_recipe(recipe, network, context)
        processes = joined()
        done = None
        if processes.first:
            reporter.stage("measuring accuracy")
            networks = evaluate({"original": network, "pruned": smaller}, task)
            reporter.stage("measuring latency")
            times = _latency(network, smaller, precision, host, deployment, task, threads)
            save_network(smaller, path)
            remove_own(kept)
            warnings = () if recovery is not None else _untrained(networks[-1])
            done = PruneResult(
                path, sha256_of(path), recipe, deployment.name, networks, times, context.reports, warnings
            )
    result: PruneResult = processes.told(done)
    return result


def _untrained(pruned: Evaluated) -> tuple[str, ...]:
    """What is to be said of a network that lost accuracy and was not trained to win it back."""
    drop = pruned.accuracy.drop
    if drop is None or drop.points <= DEFAULT_DROP:
        return ()
    return (
        f"it drops {drop.points:.2f} points and was not trained: give --train-data to win accuracy back, or --max-drop "
        f"{DEFAULT_DROP:g} to remove only what costs no more",
    )


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _check_fit(
    amounts: Mapping[str, float | None],
    per_layer: bool,
    rounds: int,
    training: Mapping[str, Any],
    *,
    trains: bool,
) -> None:
    """Refuse what would be given in vain beside the rest; what one step refuses by itself is left to it."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise UsageError("rounds, a whole number from 1", repr(rounds), "correct it")
    amount = next(iter(_given(amounts)), None)
    flag = "none" if amount is None else _flag(amount)
    if per_layer and amount != "ratio":
        raise UsageError("--ratio with --per-layer", flag, "give --ratio, or leave --per-layer out")
    if rounds > 1 and amount == "max_drop":
        raise UsageError("--latency or --ratio with several rounds", flag, "leave --rounds out")
    if rounds > 1 and amount is None and not trains:
        raise UsageError(
            "--train-data, --latency or --ratio with several rounds", flag, "give one, or leave --rounds out"
        )
    unused = next(iter(_given(training)), None)
    if unused is not None and not trains:
        raise UsageError(
            f"--train-data with {_flag(unused)}", "none", f"give it, or leave {_flag(unused)} out"
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _recipe(settings: dict[str, Any], rounds: int, recovery: Step | None) -> Recipe:
    """As many rounds of pruning and, where there is data, of recovery; each removes the same share of what is left."""
    load_technique(Step("prune", settings))  # as given, before it is divided among rounds
    each = dict(settings)
    if rounds > 1 and "latency" in each:
        each["latency"] **= 1 / rounds
    if rounds > 1 and "ratio" in each:
        each["ratio"] = 1 - (1 - each["ratio"]) ** (1 / rounds)
    steps = [Step("prune", each), *([] if recovery is None else [recovery])]
    for step in steps:
        load_technique(step)
    return Recipe("pruned", tuple(steps * rounds))


def _check_training(recovery: Step, network: Network, task: Task) -> None:
    """Whatever training would refuse of its data is told before any layer is timed.

    Raises:
        DataError: There are too few samples, or no labels where they have a weight.
    """
    from compress.training.context import training_data
    from compress.training.samples import TrainingSamples

    technique = load_technique(recovery)
    assert isinstance(technique, Distill)
    data = training_data(task, technique.label_weight, purpose="recovery", otherwise="")
    how = technique.training(fixed_batch(network.inputs))
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
    """Of both at the first batch size in fp32 or int8, the second with its ratio to the first."""
    backend, builds = host.backend, []
    first = replace(target, batch_sizes=target.batch_sizes[:1])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compress-")))
        stack.enter_context(host.exclusive())
        for name, each in (("original", network), ("pruned", smaller)):
            place = directory / name
            place.mkdir()
            model = each.to_onnx()
            if precision == "int8":
                model = quantized(model, target.quantization)
            artifact = backend.compile(model, place, backend.default_options(target, threads))
            builds.append(Build(artifact, stack.enter_context(host.open(artifact, target))))
        original, pruned = builds
        return (
            host.latency(original, None, task, first)[0],
            host.latency(pruned, Reference(original), task, first)[0],
        )
