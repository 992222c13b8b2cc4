"""Distillation: the network at this point of the recipe, trained to answer as the user's network does.

It regains accuracy after pruning. Labels are not needed; where there are any, they can be mixed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

from compress.core.options import option
from compress.errors import RecipeError
from compress.network.network import DECODER, Network
from compress.records.technique_reports import DistillReport
from compress.techniques.base import Context, Technique
from compress.training.context import loss_for, only_batch, telling, training_data
from compress.training.settings import DistillationOptions


@dataclass(frozen=True, kw_only=True)
class Distill(Technique, DistillationOptions):
    """Train the network in its trainable form against the original network's outputs.

    A language model is trained on windows of the texts: a sample is a window.

    Attributes:
        window: Largest number of tokens of a text that a language model reads at once.
        weight_bits: Bits that a language model's weights are rounded to while they train, 4 or 8, in groups of 32, for
            a ``weight_only`` of algorithm ``rtn`` that follows. None trains floats.
    """

    window: int = option("Tokens of a text that a language model reads at once", 256, low=8, high=1 << 20)
    weight_bits: int | None = option(
        "Bits that a language model's weights are rounded to while they train", low=4, high=8
    )

    RENAMED: ClassVar[Mapping[str, str]] = {"precision": "training_precision"}

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("training data",)

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return True

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the teacher is ``context.original``, the network itself where there is none.

        Raises:
            DataError: There is no training data, or too little; or label_weight is set and there are no labels.
            RecipeError: The network is already an ONNX model, or batches are too small to train its batch norms on.
            NetworkError: The network's batch is fixed, and the teacher's at another size.
        """
        if network.origin.format == DECODER:
            return self._of_decoder(network, context)
        if self.weight_bits is not None:
            raise RecipeError("a language model, for weight_bits", "another network", "use the technique qat")
        data = training_data(context.task, self.label_weight, purpose="distillation", otherwise="")
        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to distil into",
                "an ONNX model",
                "give the torch network, and distil before quantizing; or use qat, which trains what it quantizes",
            )
        from compress.training.devices import device_of
        from compress.training.distillation import as_module, distilled

        teacher = context.original or network
        trained, done, matched = distilled(
            network.graph,
            as_module(teacher),
            data,
            self.with_batch(only_batch(network, teacher)),
            loss_for(network, context.task, self.temperature, self.label_weight),
            inputs=[spec.name for spec in network.inputs],
            features=self.features,
            seed=context.seed,
            save_to=None if context.directory is None else context.directory / "distill.pt",
            report=telling(context.reporter),
            device=device_of(context.device),
        )
        report: DistillReport = {
            "settings": asdict(self),
            "training": done.to_dict(),
            "matched_features": matched,
        }
        context.reports["distill"] = report
        return network.with_graph(trained)

    def _of_decoder(self, network: Network, context: Context) -> Network:
        from compress.language.decoder_network import DecoderNetwork, changeable
        from compress.language.distilling import ExpectationLoss, distilled_decoder
        from compress.language.task_documents import training_documents
        from compress.language.weight_rounding import Rounding
        from compress.training.devices import device_of

        training_data(context.task, 0.0, purpose="distillation", otherwise="")
        decoder = changeable(network, "distill")
        if self.features or self.weight_bits not in (None, 4, 8):
            setting_text = (
                f"features = {self.features:g}" if self.features else f"weight_bits = {self.weight_bits}"
            )
            raise RecipeError(
                "no features, and weight_bits of 4 or 8, for a language model",
                setting_text,
                "correct the recipe",
            )
        teacher = context.original if isinstance(context.original, DecoderNetwork) else decoder
        parts, done = distilled_decoder(
            decoder.parts,
            teacher.parts,
            training_documents(context.task),
            self,
            ExpectationLoss(self.temperature, self.label_weight),
            window=self.window,
            rounding=None if self.weight_bits is None else Rounding(self.weight_bits),
            seed=context.seed,
            save_to=None if context.directory is None else context.directory / "distill.pt",
            report=telling(context.reporter),
            device=device_of(context.device),
        )
        report: DistillReport = {"settings": asdict(self), "training": done.to_dict(), "matched_features": []}
        context.reports["distill"] = report
        return decoder.with_parts(parts)
