"""Exact rotations of a language model's weights, so that rounding them to few bits loses less."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from compress.errors import RecipeError
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.records.technique_reports import RotateReport

#: Tokens of the text on which outputs are compared.
_TOKENS = 128


@dataclass(frozen=True)
class Rotate(Technique):
    """Turn a language model by orthogonal matrices that its weights take up; its outputs stay the same in float.

    Outliers in the columns of the weights are spread over all of them: put it before ``weight_only``. Where the head
    shares the embedding, a matrix of the size of a token's values squared is added before the head, so that they go on
    sharing.

    Attributes:
        residual: Whether the values of a token between layers are turned; only where norms take no mean away.
        heads: Whether the values of each attention head are turned.
    """

    residual: bool = True
    heads: bool = True

    def __post_init__(self) -> None:
        for name in ("residual", "heads"):
            if not isinstance(getattr(self, name), bool):
                raise RecipeError(f"{name}, true or false", repr(getattr(self, name)), "correct the recipe")
        if not self.residual and not self.heads:
            raise RecipeError("residual or heads, to rotate", "neither", "leave rotate out of the recipe")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("texts to calibrate on",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`.

        Raises:
            RecipeError: The network is no language model, its graph was changed before, or its norms take a mean away
                and the residual is to be turned.
        """
        import numpy as np

        from compress.language.decoder_network import changeable
        from compress.language.documents import empty_cache, fed
        from compress.language.rotation import rotated
        from compress.language.task_documents import calibration_documents
        from compress.onnx_graph.sessions import open_session

        decoder = changeable(network, "rotate")
        done = decoder.with_parts(
            rotated(decoder.parts, residual=self.residual, heads=self.heads, seed=context.seed)
        )
        text = calibration_documents(context.task)[0][None, : min(_TOKENS, decoder.parts.config.context)]
        before, after = (
            open_session(turned.to_onnx()).run(["logits"], fed(text, empty_cache(turned)))[0]  # type: ignore[arg-type]
            for turned in (decoder, done)
        )
        report: RotateReport = {
            "settings": asdict(self),
            "parameters": [decoder.parts.config.parameters, done.parts.config.parameters],
            "largest_logit": float(np.abs(before).max()),
            "largest_change": float(np.abs(after - before).max()),
        }
        context.reports["rotate"] = report
        return done
