"""Removal of the experts of a mixture to which few tokens of the user's texts are sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from compress.errors import RecipeError
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.records.technique_reports import DropExpertsReport


@dataclass(frozen=True)
class DropExperts(Technique):
    """Remove the experts of each layer that the texts to calibrate on use least.

    Attributes:
        remove: Share of each layer's experts to remove, in (0, 1); one at least is removed, and one stays.
    """

    remove: float = 0.5

    def __post_init__(self) -> None:
        value = self.remove
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise RecipeError("remove, a share in (0, 1)", repr(value), "correct the recipe")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("texts to calibrate on",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`.

        Raises:
            RecipeError: The network is no mixture of experts, has one expert a layer, or its graph was changed before.
        """
        from compress.language.decoder_network import changeable
        from compress.language.dropping import expert_shares, without_experts
        from compress.language.task_documents import calibration_documents, refitted

        decoder = changeable(network, "drop_experts")
        before = decoder.parts.config
        documents = calibration_documents(context.task)
        shares = expert_shares(decoder.parts, documents)
        count = shares.shape[1]
        if count < 2:
            raise RecipeError(
                "two experts a layer or more, for drop_experts", "one", "leave drop_experts out of the recipe"
            )
        experts_kept = min(count - 1, max(1, round(count * (1 - self.remove))))
        done = decoder.with_parts(without_experts(decoder.parts, shares, experts_kept))
        context.task = refitted(context.task, done)
        report: DropExpertsReport = {
            "settings": asdict(self),
            "experts": [count, experts_kept],
            "parameters": [before.parameters, done.parts.config.parameters],
            "shares": {
                f"model.layers.{layer}": [round(float(share), 6) for share in shares[layer]]
                for layer in range(before.layers)
                if before.has_experts(layer)
            },
            "texts": len(documents),
        }
        context.reports["drop_experts"] = report
        return done
