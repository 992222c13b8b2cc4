"""Samples that a network does not answer in a single call: streams of frames, and documents of a language model.

A runner puts the calls of such a sample together, so that whoever judges a network sees samples go in and answers come
out, as of any other network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.data.split import Split
    from compress.data.task import Task
    from compress.network.states import Runs


class Whole(Protocol):
    """Way in which a network runs over whole samples."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of a whole sample."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs of a whole sample."""

    @property
    def of_frames(self) -> bool:
        """Whether the outputs hold the network's own outputs for every frame, ``(n, frames, …)``."""

    @property
    def pairs(self) -> Mapping[str, str]:
        """The output that is the next value of each input of a fixed size that is carried from call to call."""

    @property
    def one_by_one(self) -> bool:
        """Whether samples run one after another whatever the batch, so that none depends on its neighbours."""

    def calls_in(self, samples: Split) -> int:
        """Return about how many of the calls that are timed it takes to judge a network on all samples.

        Args:
            samples: Whole samples, bound to :attr:`inputs`.
        """

    def over(self, network: Runs) -> Runs:
        """Return a runner of whole samples over a network.

        Args:
            network: Runner of its calls; outputs may have other names, in the same order.
        """

    def notes(self, task: Task) -> tuple[str, ...]:
        """Return notes on how the network is fed and judged, one line each.

        Args:
            task: Task over whole samples.
        """
