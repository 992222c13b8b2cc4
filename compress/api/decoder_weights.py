"""``quantize`` of a language model without data: its weights alone, read and written one matrix after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.own_directories import kept_until_done
from compress.errors import RecipeError, UsageError
from compress.language.weights import open_language_model
from compress.language.weights_alone import matrices_of, write_rounded
from compress.network.formats.unused_options import refuse_unused
from compress.quantization.weights.settings import DATA_DRIVEN
from compress.techniques import load_technique
from compress.techniques.weight_only import WeightOnly

if TYPE_CHECKING:
    from compress.api.options import QuantizeOptions
    from compress.core.progress import Reporter
    from compress.quantization.weights import WeightOnlyReport
    from compress.recipe import Recipe
    from compress.target.target import Target

#: What the result says of itself.
NOTE = "the weights alone were read: neither accuracy nor speed is measured; with --data both networks are run on texts"


def quantize_weights_alone(
    model: str | Path,
    recipe: Recipe,
    target: Target,
    options: QuantizeOptions,
    path: Path,
    reporter: Reporter,
) -> WeightOnlyReport:
    """Write a language model with rounded weights; what a killed call has written is taken up.

    Args:
        model: A directory as transformers saves it, or a GGUF file.
        recipe: Recipe of one technique, ``weight_only`` with an algorithm that needs no data.
        target: Target, which ONNX Runtime serves.
        options: Options of the verb, with no data.
        path: File (.onnx) to write.
        reporter: Receives the progress.

    Raises:
        RecipeError: The recipe needs data, or the target's back end has no such operator.
        UsageError: An option has no meaning without data, or there is too little memory.
        NetworkError: The model cannot be used.
        OutputError: There is too little space, or the file cannot be written.
    """
    settings = _settings(recipe)
    settings.check_target(target)
    document_model = f"{model}, a language model"
    refuse_unused(
        document_model, factory=options.factory, weights=options.weights, batch_axis=options.batch_axis
    )
    for flag, value in (
        ("--metric", options.metric),
        ("--sequence-length", options.sequence_length),
        ("--stride", options.stride),
        ("--calibration-data", options.calibration_data),
        ("--state", options.state),
        ("--classes", options.classes),
    ):
        if value is not None:
            raise UsageError(f"--data with {flag}", "none", f"give --data, or leave {flag} out")
    reporter.stage("reading the weights")
    opened = open_language_model(Path(model))
    reporter.step("rounding the weights", matrices_of(opened.config))
    with kept_until_done(path.with_name(path.name + ".partial")) as directory:
        return write_rounded(opened, settings, path, directory, reporter.tick)


def _settings(recipe: Recipe) -> WeightOnly:
    techniques = [load_technique(step) for step in recipe.steps]
    first = techniques[0] if techniques else None
    if len(techniques) != 1 or not isinstance(first, WeightOnly) or first.algorithm in DATA_DRIVEN:
        raise RecipeError(
            'without --data, a recipe of weight_only alone with algorithm = "rtn", "search", "hqq" or "onnxruntime"',
            f"the recipe '{recipe.name}'",
            "give --data with texts, or such a --recipe",
        )
    return first
