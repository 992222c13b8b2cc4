"""Keys and values of a language model in fewer bytes: the cache of a long text takes less memory and time to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.errors import RecipeError
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.records.technique_reports import KvCacheReport

PRECISIONS = ("float16", "int8")

#: Texts that scales are found on, at the most.
_TEXTS = 32


@dataclass(frozen=True)
class KvCache(Technique):
    """Keep a decoder's keys and values in float16 or int8; put it last in a recipe.

    Attributes:
        precision: Precision of keys and values, ``float16`` or ``int8``; int8 has a scale for each channel of a head,
            found on calibration texts.
    """

    precision: str = "int8"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise RecipeError(
                f"the precision of kv_cache: {', '.join(PRECISIONS)}",
                repr(self.precision),
                "choose one of these",
            )

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("texts to calibrate on",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form, for ONNX Runtime.

        Raises:
            RecipeError: The network is no decoder of text, its cache has another precision already, or the target's
                back end has no such operator.
            DataError: There are no texts to calibrate on.
        """
        from compress.language.kv_cache import cache_bytes, cache_ranges, check_cache, with_cache
        from compress.language.task_documents import calibration_documents, refitted

        if not load_backend(context.target.backend).contrib_operators:
            raise RecipeError(
                "a target that ONNX Runtime serves, for kv_cache",
                f"'{context.target.name}', which {context.target.backend} serves",
                "leave the technique out, or choose another target",
            )
        model = network.to_onnx()
        check_cache(model)
        documents = calibration_documents(context.task)[:_TEXTS]
        ranges = cache_ranges(model, documents) if self.precision == "int8" else {}
        changed = with_cache(model, self.precision, ranges)
        done = network.described_by(changed)
        context.task = refitted(context.task, done)
        report: KvCacheReport = {
            "settings": asdict(self),
            "bytes_per_token": [cache_bytes(model), cache_bytes(changed)],
            "texts": len(documents) if ranges else 0,
        }
        context.reports["kv_cache"] = report
        return done
