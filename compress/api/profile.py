"""``compress.profile``: accuracy and latency of an existing build."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.opened_model import GivenInputs, input_shapes
from compress.core.progress import Reporter
from compress.errors import UsageError

if TYPE_CHECKING:
    from compress.data.class_order import ClassNames
    from compress.data.evaluation import MeasuredSamples
    from compress.data.task import MetricChoice
    from compress.profiling.scenarios import Name
    from compress.records.profile import Profile


def _warn(note: str) -> None:
    warnings.warn(note, stacklevel=3)


def profile(
    artifact: str | os.PathLike[str] = "build",
    *,
    data: Any = None,
    target: str = "cpu",
    host: str | None = None,
    keep_on_host: bool = False,
    threads: int | None = None,
    batches: Sequence[int] = (),
    scenarios: Sequence[Name] = (),
    seconds: float = 2.0,
    shape: GivenInputs = None,
    metric: MetricChoice = None,
    image_options: Mapping[str, Any] | None = None,
    classes: ClassNames | None = None,
    state: Mapping[str, str] | None = None,
    out: str | os.PathLike[str] | None = None,
    reporter: Reporter | None = None,
    on_note: Callable[[str], None] = _warn,
) -> Profile:
    """Measure accuracy and latency of a build on this machine, or on a host with TensorRT. Needs no torch.

        measured = compress.profile("build", data="val.npz")
        print(measured.latency[0].p50_ms)

    Args:
        artifact: A bundle's directory, or an ONNX file.
        data: Evaluation data, as for :func:`compress.optimize`; None measures latency alone, on seeded noise.
        target: Target by name or TOML file; sets session options and batch sizes.
        host: Machine where engines are built and measured: an address that ssh takes, or ``local``; None measures here.
        keep_on_host: Whether to leave the engines on the host.
        threads: Number of threads of the runtime, from 1; None takes the bundle's, or every core.
        batches: Batch sizes, in samples; empty takes the target's.
        scenarios: Scenarios of MLPerf Inference to measure too: ``single-stream``, ``multi-stream``, ``offline``.
        seconds: Time to measure each batch size, in seconds, above 0; also the longest warm-up.
        shape: Sizes of every axis of inputs that leave some open, by the input's name, or of the only input; not with
            ``data``.
        metric: Metric of the accuracy, see :func:`compress.load_task`; None chooses by the data.
        image_options: Preparation of images, see :func:`compress.load_task`.
        classes: Names of the classes in the network's order, or a file that holds them; None leaves it to the data.
        state: The output that is the next value of each input that is carried from call to call; None takes those that
            a bundle records.
        out: File for the profile as JSON; None writes none. ``compress.gate_build`` takes it as a baseline.
        reporter: Receives the progress.
        on_note: Receives a sentence about samples that were left out; by default it is a Python warning.

    Raises:
        BundleError: There is no artifact, or it is damaged.
        UnavailableError: The target is not this machine, its back end is not installed, or the host does not answer.
        UsageError: Arguments do not go together.
        DataError: The data does not fit, or the network takes none of the batch sizes.
        OutputError: ``out`` cannot be written.
    """
    from compress.bundle.profile_file import with_digest
    from compress.core.json_text import json_text
    from compress.data.class_order import with_classes
    from compress.data.evaluation import left_out_note, load_evaluation
    from compress.measuring.standalone import profile_artifact
    from compress.reports.writing import write_text

    shapes = input_shapes(shape)
    if data is None and any(each is not None for each in (metric, image_options, classes, state)):
        raise UsageError("--data with --metric, --state, --classes and --image-…", "none", "give --data")
    if shapes and data is not None:
        raise UsageError("--shape or --data", "both", "leave --shape out: the data has the shapes")
    task = None
    if data is not None:
        measured_on, carried = _of_bundle(Path(artifact))
        state = state or dict(carried)
        task, _ = load_evaluation(
            data,
            measured_on,
            metric=metric,
            image_options=with_classes(image_options, classes),
            streams=bool(state),
        )
    measured = profile_artifact(
        Path(artifact),
        target=target,
        host=host,
        keep_on_host=keep_on_host,
        task=task,
        state=state,
        threads=threads,
        batches=batches,
        scenarios=scenarios,
        seconds=seconds,
        shapes=[(each.name, each.shape) for each in shapes],
        reporter=reporter,
    )
    if task is not None and (note := left_out_note(task)) is not None:
        on_note(note)
    if out is not None:
        write_text(Path(out), json_text(with_digest(measured), indent=1))
    return measured


def _of_bundle(artifact: Path) -> tuple[list[MeasuredSamples], Mapping[str, str]]:
    """Return the samples that a bundle was measured on, and its states; nothing of both for a file."""
    from compress.bundle.bundle import load_bundle
    from compress.data.evaluation import MeasuredSamples

    if not artifact.is_dir():
        return [], {}
    bundle = load_bundle(artifact)
    accuracy = bundle.profile.accuracy
    known = [] if accuracy is None else [MeasuredSamples.of_bundle(accuracy.data_sha256, bundle.manifest)]
    return known, bundle.states
