"""The machine that measures, as seen from another one that only makes builds: described, and never asked for a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never

from compress.backends import load_backend
from compress.errors import UnavailableError
from compress.hosts.base import Build, Host, Reference

if TYPE_CHECKING:
    from compress.backends.base import Artifact, Session
    from compress.data.task import Task
    from compress.records.layer_time import LayerTime
    from compress.records.profile import Latency
    from compress.target.target import Target


class AwayHost(Host):
    """A host elsewhere; every question for a time is refused, since the answer would be this machine's.

    Args:
        host: The host that measures. Nothing of it is kept but its description, so that this object can be sent.
    """

    def __init__(self, host: Host) -> None:
        self.source = host.source  # type: ignore[misc]  # it is the other host's, and no class's
        self.builds_take_seconds = host.builds_take_seconds
        self._backend = host.backend.name
        self._fingerprint = host.fingerprint()

    def __getattr__(self, name: str) -> Any:
        if name == "backend":  # loaded where it is asked for: a back end may hold what cannot be sent
            return load_backend(self._backend)
        raise AttributeError(name)

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Host.fingerprint`: of the host that measures."""
        return dict(self._fingerprint)

    def open(self, artifact: Artifact, target: Target) -> Session:
        """Refuse; see :class:`AwayHost`."""
        _refuse()

    def latency(
        self,
        build: Build,
        reference: Reference | None,
        task: Task | None,
        target: Target,
        rival: float | None = None,
    ) -> tuple[Latency, ...]:
        """Refuse; see :class:`AwayHost`."""
        _refuse()

    def first_ratio(self, artifact: Artifact, fp32: Artifact, task: Task, target: Target) -> float | None:
        """Refuse; see :class:`AwayHost`."""
        _refuse()

    def try_out(self, build: Build, target: Target, task: Task | None = None) -> None:
        """Refuse; see :class:`AwayHost`."""
        _refuse()

    def layers(self, build: Build, target: Target, task: Task | None = None) -> tuple[LayerTime, ...]:
        """Refuse; see :class:`AwayHost`."""
        _refuse()

    def peak_memory_mb(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Refuse; see :class:`AwayHost`."""
        _refuse()

    def __getstate__(self) -> Mapping[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)


def _refuse() -> Never:
    raise UnavailableError(
        "a time of the target",
        "a machine that only makes builds",
        "make this build where builds are measured",
    )
