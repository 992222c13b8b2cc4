"""Distillation: the network at this point of the recipe, trained to answer as the user's network does.

It regains accuracy after pruning. Labels are not needed; where there are any, they can be mixed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from compress.core.options import option
from compress.core.versions import versions
from compress.errors import RecipeError
from compress.network.network import DECODER, Network
from compress.records.technique_reports import DistillReport
from compress.techniques.base import Context, Technique
from compress.training.context import loss_for, only_batch, telling, training_data
from compress.training.settings import DistillationOptions

if TYPE_CHECKING:
    from torch import fx

    from compress.data.split import Split
    from compress.training.loop import Progress, TrainingReport

    #: Trains with some settings, by a loss, with a checkpoint of this name, and tells every step.
    Train = Callable[
        ["Distill", Any, str, Callable[[Progress], None]],
        tuple[fx.GraphModule, TrainingReport, list[str]],
    ]


@dataclass(frozen=True, kw_only=True)
class Distill(Technique, DistillationOptions):
    """Train the network in its trainable form against the original network's outputs.

    A language model is trained on windows of the texts: a sample is a window.

    Attributes:
        window: Largest number of tokens of a text that a language model reads at once.
        weight_bits: Bits that a language model's weights are rounded to while they train, 4 or 8, in groups of 32, for
            a ``weight_only`` of algorithm ``rtn`` that follows. None trains floats.
        tune: Number of trainings that search the other settings before the last one; see
            :mod:`compress.training.tuning`. None takes the settings as they are.
    """

    window: int = option("Tokens of a text that a language model reads at once", 256, low=8, high=1 << 20)
    weight_bits: int | None = option(
        "Bits that a language model's weights are rounded to while they train", low=4, high=8
    )
    tune: int | None = option(
        "Trainings that search learning rate, batch size, averaging, temperature and weight of the labels, judged on "
        "held-out training data; the best is trained last",
        low=1,
        high=10_000,
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
        if self.tune is not None and network.origin.format == DECODER:
            raise RecipeError(
                "a network that is no language model, for tune", "a language model", "leave tune out"
            )
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
        learner, master = network.graph, as_module(teacher)

        def train(
            settings: Distill, loss: Any, save_to: str, on_step: Callable[[Progress], None]
        ) -> tuple[fx.GraphModule, TrainingReport, list[str]]:
            return distilled(
                learner,
                master,
                data,
                settings.with_batch(only_batch(network, teacher)),
                loss,
                inputs=[spec.name for spec in network.inputs],
                features=settings.features,
                seed=context.seed,
                save_to=None if context.directory is None else context.directory / save_to,
                report=on_step,
                device=device_of(context.device),
            )

        chosen, tuning = self, None
        if self.tune is not None:
            chosen, tuning = self._tuned(network, teacher, data, context, train)
        loss = loss_for(network, context.task, chosen.temperature, chosen.label_weight)
        trained, done, matched = train(chosen, loss, "distill.pt", telling(context.reporter))
        report: DistillReport = {
            "settings": asdict(chosen),
            "training": done.to_dict(),
            "matched_features": matched,
        }
        if tuning is not None:
            report["tuning"] = tuning
        context.reports["distill"] = report
        return network.with_graph(trained)

    def _tuned(
        self, network: Network, teacher: Network, data: Split, context: Context, train: Train
    ) -> tuple[Distill, dict[str, Any]]:
        """Return the settings that were judged best on samples held out of the training data, and all trials."""
        from compress.training import tuned_teaching
        from compress.training.processes import joined
        from compress.training.tuning import best_of, tuned

        if joined().count > 1:
            raise RecipeError(
                "one process for --tune",
                f"{joined().count} under torchrun",
                "tune first, and train by torchrun then",
            )
        loss = loss_for(network, context.task, 1.0, 0.0)
        space, held_out = tuned_teaching.space_of(
            self,
            len(data),
            classes=loss.classes,
            labelled=data.labelled,
            only_batch=only_batch(network, teacher),
        )
        judge = tuned_teaching.judge_of(loss, labelled=data.labelled)

        def trial(settings: dict[str, Any], tell: Callable[[int, float], None]) -> float:
            tried = replace(self, **settings, held_out=held_out, tune=None)
            own_loss = replace(loss, temperature=tried.temperature, label_weight=tried.label_weight)
            on_step = tuned_teaching.after_epochs(tell)
            done = train(tried, tuned_teaching.JudgedAlike(own_loss, judge), "trial.pt", on_step)[1]
            return tuned_teaching.judged(done)

        content = [asdict(replace(self, tune=None)), network.identity, teacher.identity, data.sha256]
        with TemporaryDirectory(prefix="compress-") as scratch:
            trials = tuned(
                trial,
                space,
                {name: getattr(self, name) for name in space},
                trials=self.tune or 1,
                seed=context.seed,
                journal=Path(context.directory or scratch, "tuning.log"),
                key=hashlib.sha256(repr((content, context.seed, versions())).encode()).hexdigest()[:24],
                on_trial=lambda number: context.reporter.step(f"trial {number + 1} of {self.tune}"),
            )
        best = best_of(trials)
        chosen = self if best is None else replace(self, **best.settings)
        return chosen, dict(tuned_teaching.report_of(trials, space, context.seed))

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
