"""The two sides of a gate: bundles, ONNX files, or recorded profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.bundle.bundle import covering, hash_of, load_bundle
from compress.bundle.profile_file import check_consistent, load_recorded
from compress.errors import BundleError
from compress.metrics.output_kinds import OutputKind
from compress.onnx_graph.files import sha256_of, size_of

if TYPE_CHECKING:
    from compress.backends.base import Artifact, Session
    from compress.bundle.bundle import Bundle
    from compress.data.evaluation import MeasuredSamples
    from compress.records.profile import Profile

_KINDS = "a bundle, an ONNX file, or a profile (JSON)"


@dataclass(frozen=True)
class Subject:
    """One side of the comparison.

    Attributes:
        name: Name as the user wrote it, for messages.
        artifact: The artifact to run; None for a recorded profile.
        profile: Recorded profile; None for an ONNX file.
        kinds: Kinds of its outputs, where a bundle records them; else empty.
        measured: Samples it was measured on; None where they are not recorded.
        states: The output that is the next value of each input that is carried from call to call, where a bundle
            records it.
        sample: A batch and the bundle's outputs for it, as in its manifest; None where there is none.
        sample_files: The files that the sample may name, by their names inside the bundle.
        sha256: Hash of everything that it was read from: for a bundle that of its SHA256SUMS, which covers each of its
            files, else that of the file, with external weights; None where it was read from no file.
        target: Facts of the target that it was built for, as its manifest records them; empty where there is none.
        tokenizer: File of a language model's tokenizer; None for other networks, and where there is no bundle.
    """

    name: str
    artifact: Artifact | None
    profile: Profile | None
    kinds: tuple[OutputKind, ...] = ()
    measured: MeasuredSamples | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    sample: Mapping[str, Any] | None = None
    sample_files: Mapping[str, Path] = field(default_factory=dict)
    sha256: str | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None

    @property
    def options(self) -> dict[str, Any] | None:
        """Session options of the deployment; None for an ONNX file, which does not state them."""
        return None if self.profile is None else self.profile.options

    @property
    def size_bytes(self) -> int:
        """Size of the artifact in bytes, with its external data."""
        if self.artifact is not None:
            return self.artifact.size_bytes
        return 0 if self.profile is None else self.profile.artifact_bytes

    def run_like(self, backend: str, options: dict[str, Any]) -> Subject:
        """Return the same subject for this back end and these session options."""
        if self.artifact is None:
            return self
        return replace(self, artifact=replace(self.artifact, backend=backend, options=options))

    def open(self, spinning: bool = True) -> Session:
        """Open a session over the artifact.

        Args:
            spinning: Whether threads spin where the options say so; not where nothing is timed and other sessions are
                open.

        Raises:
            BundleError: The subject is a recorded profile, or the file is damaged.
            UnavailableError: The back end is not installed here.
        """
        from compress.backends import load_backend, sleeping

        if self.artifact is None:
            raise BundleError(
                "a build that can be run", f"{self.name}: a profile", "give the bundle or ONNX file"
            )
        artifact = self.artifact if spinning else sleeping(self.artifact)
        return load_backend(artifact.backend).open(artifact)


def load_subject(source: Path | str | Bundle | Subject) -> Subject:
    """Read a bundle, ONNX file or profile, told apart by content.

    Raises:
        BundleError: Nothing is there, it is damaged, or it was changed after it was written.
    """
    from compress.bundle.bundle import Bundle

    if isinstance(source, Subject):
        return source
    if isinstance(source, Bundle):
        return _of_bundle(source)
    path = Path(source)
    if path.is_dir():
        return _of_bundle(load_bundle(path))
    if not path.is_file():
        raise BundleError(_KINDS, f"nothing at {path}", "correct the path")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise BundleError(
            _KINDS, f"{path}: {error.strerror}", "check the path and its permissions"
        ) from error
    if not start:
        raise BundleError(_KINDS, f"an empty file, {path}", "copy or build it again")
    if start.lstrip().startswith(b"{"):
        profile = load_recorded(path)
        return Subject(str(path), None, profile, measured=_measured(profile, {}), sha256=hash_of(path))
    from compress.backends.base import Artifact

    artifact = Artifact(path, sha256_of(path), size_of(path), "onnxruntime", {})
    return Subject(str(path), artifact, None, sha256=artifact.sha256)


def _of_bundle(bundle: Bundle) -> Subject:
    check_consistent(bundle.profile, str(bundle.path))
    if bundle.profile.artifact_sha256 != bundle.artifact.sha256:
        raise BundleError(
            f"measurements of the artifact {bundle.artifact.sha256[:12]}…",
            f"of {bundle.profile.artifact_sha256[:12]}… in {bundle.path}",
            "build it again",
        )
    measured = _measured(bundle.profile, bundle.manifest)
    return Subject(
        str(bundle.path),
        bundle.artifact,
        bundle.profile,
        bundle.kinds,
        measured,
        bundle.states,
        bundle.manifest.get("sample"),
        {name: bundle.path / name for name in bundle.manifest.get("files", ())},
        hash_of(bundle.path / covering(bundle.manifest)),
        bundle.manifest.get("target") or {},
        bundle.tokenizer,
    )


def _measured(profile: Profile, manifest: Mapping[str, Any]) -> MeasuredSamples | None:
    from compress.data.evaluation import MeasuredSamples

    return (
        None
        if profile.accuracy is None
        else MeasuredSamples.of_bundle(profile.accuracy.data_sha256, manifest)
    )


def states_of(ours: Subject, theirs: Subject, given: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the states that both sides carry from call to call; empty where they carry none.

    Args:
        ours: The candidate.
        theirs: The baseline.
        given: States that the user names; None takes those that a bundle records.

    Raises:
        BundleError: The two bundles record different states.
    """
    state_maps = [subject.states for subject in (ours, theirs) if subject.states]
    if given:
        return given
    if len(state_maps) == 2 and state_maps[0] != state_maps[1]:
        raise BundleError(
            f"a baseline that carries {_pairs(state_maps[0])}",
            _pairs(state_maps[1]),
            "compare builds of the same network",
        )
    return state_maps[0] if state_maps else {}


def _pairs(states: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={output}" for name, output in states.items())
