"""Distillation: the network at this point of the recipe, trained to answer as the user's network does.

It regains accuracy after pruning. Labels are not needed; where there are any, they can be mixed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

from compress.errors import RecipeError
from compress.network.network import Network
from compress.techniques.base import Context, Technique
from compress.training.context import loss_for, only_batch, telling, training_data
from compress.training.settings import DistillationOptions


@dataclass(frozen=True, kw_only=True)
class Distill(Technique, DistillationOptions):
    """Train the network in its trainable form against the original network's outputs."""

    RENAMED: ClassVar[Mapping[str, str]] = {"precision": "training_precision"}

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the teacher is ``context.original``, the network itself where there is none.

        Raises:
            DataError: There is no training data, or too little; or label_weight is set and there are no labels.
            RecipeError: The network is already an ONNX model, or batches are too small to train its batch norms on.
            NetworkError: The network's batch is fixed, and the teacher's at another size.
        """
        data = training_data(context.task, self.label_weight, purpose="distillation", otherwise="")
        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to distil into",
                "an ONNX model",
                "give the torch network, and distil before quantizing; or use qat, which trains what it quantizes",
            )
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
        )
        context.reports["distill"] = {
            "settings": asdict(self),
            "training": done.to_dict(),
            "matched_features": matched,
        }
        return network.with_graph(trained)
