"""``compress.profile``: accuracy and latency of an existing build."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from compress.api.build_options import ProfileOptions
from compress.api.keywords import ProfileKeywords
from compress.api.opened_model import input_shapes
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.errors import UsageError

if TYPE_CHECKING:
    from compress.data.evaluation import MeasuredSamples
    from compress.measuring.power_modes import PowerModeSweep
    from compress.measuring.standalone import GivenBuild
    from compress.profiling.scenarios import Name
    from compress.records.profile import Profile


def _warn(note: str) -> None:
    warnings.warn(note, stacklevel=3)


@takes(ProfileOptions)
def profile(
    artifact: str | os.PathLike[str] = "build",
    *,
    reporter: Reporter | None = None,
    on_note: Callable[[str], None] = _warn,
    **options: Unpack[ProfileKeywords],
) -> Profile:
    """Measure accuracy and latency of a build on this machine, or on a host with TensorRT. Needs no torch.

        measured = compress.profile("build", data="val.npz")
        print(measured.latency[0].p50_ms)

    Args:
        artifact: A bundle's directory, or an ONNX file.
        reporter: Receives the progress; None reports to nobody.
        on_note: Receives a sentence about samples that were left out; by default it is a Python warning.

    Raises:
        BundleError: There is no artifact, or it is damaged.
        UnavailableError: The target is not this machine, its back end is not installed, or the host does not answer.
        UsageError: An option is out of its range, or options do not go together.
        DataError: The data does not fit, or the network takes none of the batch sizes.
        OutputError: ``out`` cannot be written.
    """
    from compress.bundle.profile_file import with_digest
    from compress.core.json_text import json_text
    from compress.core.replacing import check_replaceable
    from compress.data.evaluation import left_out_note
    from compress.measuring.standalone import profile_artifact
    from compress.reports.writing import write_text

    request = ProfileOptions.of(options)
    if request.out is not None:
        check_replaceable(Path(request.out))
    build = _given(request, Path(artifact))
    measured = profile_artifact(
        build.path,
        target=request.target,
        host=request.host,
        keep_on_host=request.keep_on_host,
        task=build.task,
        state=build.state,
        threads=request.threads,
        batches=request.batches,
        scenarios=_scenarios(request.scenarios),
        seconds=request.seconds,
        shapes=build.shapes,
        contexts=request.contexts,
        reporter=reporter,
    )
    if build.task is not None and (note := left_out_note(build.task)) is not None:
        on_note(note)
    if request.out is not None:
        write_text(Path(request.out), json_text(with_digest(measured), indent=1))
    return measured


@takes(ProfileOptions)
def profile_power_modes(
    artifact: str | os.PathLike[str] = "build",
    *,
    reporter: Reporter | None = None,
    on_note: Callable[[str], None] = _warn,
    **options: Unpack[ProfileKeywords],
) -> PowerModeSweep:
    """Measure accuracy, latency and energy of a build in every power mode of a Jetson, which ends in its own again.

    Args:
        artifact: A bundle's directory, or an ONNX file.
        reporter: Receives the progress; None reports to nobody.
        on_note: Receives a sentence about samples that were left out; by default it is a Python warning.

    Raises:
        UsageError: No host is named, or an option does not go with one.
        UnavailableError: The board does not answer, or none of its modes can be set.
        OutputError: ``out`` cannot be written.
    """
    from compress.core.json_text import json_text
    from compress.core.replacing import check_replaceable
    from compress.data.evaluation import left_out_note
    from compress.measuring.power_modes import sweep_power_modes
    from compress.reports.writing import write_text
    from compress.target.target import load_target

    request = ProfileOptions.of(options)
    if request.host is None or request.scenarios or request.threads is not None or request.contexts:
        raise UsageError(
            "--power-modes with --host, and without --scenario, --threads and --context",
            "no --host" if request.host is None else "one of these",
            "name the board: --host user@board",
        )
    if request.out is not None:
        check_replaceable(Path(request.out))
    build = _given(request, Path(artifact))
    swept = sweep_power_modes(
        build,
        load_target(request.target),
        request.host,
        keep_on_host=request.keep_on_host,
        batches=request.batches,
        seconds=request.seconds,
        reporter=reporter,
    )
    if build.task is not None and (note := left_out_note(build.task)) is not None:
        on_note(note)
    if request.out is not None:
        write_text(Path(request.out), json_text(swept.to_dict(), indent=1))
    return swept


def _given(request: ProfileOptions, artifact: Path) -> GivenBuild:
    """Return the build with its data, its states and its shapes."""
    from compress.data.class_order import with_classes
    from compress.data.evaluation import load_evaluation
    from compress.language.bundled import texts_for
    from compress.measuring.standalone import GivenBuild
    from compress.network.formats.onnx_size import check_room_to_run

    shapes = input_shapes(request.shape)
    judging = (request.metric, request.image_options, request.classes, request.state)
    if request.data is None and any(option_value is not None for option_value in judging):
        raise UsageError("--data with --metric, --state, --classes and --image-…", "none", "give --data")
    if shapes and request.data is not None:
        raise UsageError("--shape or --data", "both", "leave --shape out: the data has the shapes")
    if request.host is None and artifact.exists():
        check_room_to_run(_size_of(artifact), str(artifact))
    task, state = None, request.state
    if request.data is not None:
        measured_on, carried, tokenizer = _of_bundle(artifact)
        state = state or dict(carried)
        like = measured_on[0] if measured_on else None
        task, _ = load_evaluation(
            texts_for(request.data, tokenizer, like),
            measured_on,
            like=like,
            metric=request.metric,
            image_options=with_classes(request.image_options, request.classes),
            streams=bool(state),
        )
    return GivenBuild(artifact, task, state, [(shape.name, shape.shape) for shape in shapes])


def _scenarios(named: Sequence[str]) -> tuple[Name, ...]:
    """Return the scenarios in the order of the rules; ``all`` stands for every one."""
    from compress.profiling.scenarios import NAMES

    return tuple(name for name in NAMES if name in named or "all" in named)


def _size_of(artifact: Path) -> int:
    """Return the size of a build, or of a file, in bytes."""
    from compress.bundle.bundle import load_bundle
    from compress.onnx_graph.files import size_of

    return load_bundle(artifact).artifact.size_bytes if artifact.is_dir() else size_of(artifact)


def _of_bundle(artifact: Path) -> tuple[list[MeasuredSamples], Mapping[str, str], Path | None]:
    """Return the samples that a bundle was measured on, its states, and its tokenizer; nothing of these for a file."""
    from compress.bundle.bundle import load_bundle
    from compress.data.evaluation import MeasuredSamples

    if not artifact.is_dir():
        return [], {}, None
    bundle = load_bundle(artifact)
    accuracy = bundle.profile.accuracy
    samples = [] if accuracy is None else [MeasuredSamples.of_bundle(accuracy.data_sha256, bundle.manifest)]
    return samples, bundle.states, bundle.tokenizer
