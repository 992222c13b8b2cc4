"""Responses between the two halves of a split layer on real data, and the basis that keeps most of them.

With z the responses between the halves and r features to keep, ``V·Vᵀ·(z − z̄) + z̄`` is nearest to z where V holds the
r eigenvectors of z's covariance with the largest eigenvalues (principal components; Zhang et al. 2015, arXiv
1505.06798, section 3.1). The mean passes into the bias. Between the halves of a spatial split the mean is not taken
off: at the padding, z is 0 and a bias would be wrong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from compress.low_rank.splits import Layer, Split

#: What directions that no sample has shown weigh, as a share of the others.
_UNSEEN = 1e-6


@dataclass(frozen=True)
class Basis:
    """Directions of the responses between the halves, the one with most energy first.

    Attributes:
        vectors: Orthonormal directions, ``[features, directions]``.
        energies: Mean square along each direction, ``[directions]``.
        mean: Mean of the responses between the two factors, ``[features]``; zeros where it is not subtracted.
    """

    vectors: Tensor
    energies: Tensor
    mean: Tensor

    def rank(self, energy: float) -> int:
        """Return the smallest number of directions that carry this share of the energy, in (0, 1]."""
        shares = self.energies.cumsum(0) / self.energies.sum().clamp(min=1e-300)
        return min(len(shares), int((shares < energy - 1e-12).sum()) + 1)

    def energy(self, rank: int) -> float:
        """Return the share of the energy that so many directions carry."""
        return float(self.energies[:rank].sum() / self.energies.sum().clamp(min=1e-300))


class Responses:
    """Sums over all responses between the halves of one split.

    Args:
        split: Split whose responses are summed.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        features = len(split.rows)
        self._listener = split.first(split.rows)
        self._squares = torch.zeros(features, features, dtype=torch.float64)
        self._sum = torch.zeros(features, dtype=torch.float64)
        self._count = 0

    def add(self, given: Tensor) -> None:
        """Add one batch of the layer's inputs."""
        with torch.no_grad():
            between = self._listener(given)
        axis = between.dim() - 1 if isinstance(self.split.layer, nn.Linear) else 1
        values = between.movedim(axis, -1).reshape(-1, between.shape[axis])
        self._squares += (values.T @ values).double()
        self._sum += values.sum(0, dtype=torch.float64)
        self._count += len(values)

    def basis(self) -> Basis:
        """Return the best basis for the responses; where all are zero, that of the weight itself (plain SVD)."""
        rows = self.split.rows
        gram = rows @ rows.T
        mean = torch.zeros(len(rows), dtype=torch.float64)
        spread = gram
        if self._count:
            if self.split.scheme == "channels":
                mean = self._sum / self._count
            covariance = self._squares / self._count - torch.outer(mean, mean)
            seen = covariance.trace()
            if seen > 0:
                # Directions that the samples happen not to have shown rank behind the others, by what they may carry.
                spread = covariance + _UNSEEN * seen / gram.trace() * gram
        # Where the weight makes fewer directions than there are features, no others: rounding has put some there.
        orthonormal = (
            torch.linalg.qr(rows).Q if self.split.full_rank < len(rows) else torch.eye(len(rows)).double()
        )
        within = orthonormal.T @ spread @ orthonormal
        energies, vectors = torch.linalg.eigh((within + within.T) / 2)
        return Basis(orthonormal @ vectors.flip(1), energies.flip(0).clamp(min=0), mean)


def pair(split: Split, basis: Basis, rank: int) -> tuple[Layer, Layer]:
    """Return the two layers at a rank; at full rank they compute the same as the layer.

    Each feature between them is scaled by the fourth root of its energy, so that neither half, nor the responses
    between, have channels of very different sizes: both train and quantize better.
    """
    vectors = basis.vectors[:, :rank]
    sizes = basis.energies[:rank].clamp(min=1e-12 * float(basis.energies.max().clamp(min=1e-300))) ** 0.25
    layer = split.layer
    bias = None if layer.bias is None else layer.bias.detach().double()
    if basis.mean.any():
        shift = basis.mean - vectors @ (vectors.T @ basis.mean)
        bias = shift if bias is None else bias + shift
    return split.first(vectors.T @ split.rows / sizes[:, None]), split.second(vectors * sizes, bias)


def listen(
    graph: fx.GraphModule, listeners: Mapping[str, Sequence[Responses]], batches: Iterable[Sequence[Tensor]]
) -> None:
    """Run a graph in inference mode and pass each layer's inputs to its listeners.

    Args:
        graph: Graph in inference mode; hooks are removed afterwards.
        listeners: Listeners, by the layer's name.
        batches: Batches, one tensor of every input each.
    """

    def hook(name: str) -> object:
        def heard(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            for listener in listeners[name]:
                listener.add(inputs[0])

        return heard

    handles = [graph.get_submodule(name).register_forward_pre_hook(hook(name)) for name in listeners]  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            for batch in batches:
                graph(*batch)
    finally:
        for handle in handles:
            handle.remove()
