"""Networks of transformers and timm, built from a directory's settings and filled with its weights.

Nothing is downloaded, and no code of the directory is run: the class is one that the installed library itself lists.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.core.installation import imported
from compress.errors import CompressError, NetworkError, UntrustedFileError
from compress.network.formats.directory import CONFIG, ModelDirectory
from compress.network.formats.weights import first_names
from compress.network.tracing import essence, quiet

#: Kinds of heads in transformers whose answer is logits; each is a table of the library's auto classes.
_WITH_LOGITS = (
    "IMAGE_CLASSIFICATION",
    "SEQUENCE_CLASSIFICATION",
    "TOKEN_CLASSIFICATION",
    "AUDIO_CLASSIFICATION",
    "MASKED_LM",
    "CTC",
)
_GENERATIVE = ("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")
#: Arguments of timm's ``create_model`` that are no settings of a network: some read files, or fetch them.
_OF_TIMM_ITSELF = frozenset(
    ("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
)
_CLASSES = "an image, text or audio classifier, or an encoder of texts or images"


class OneOutput(nn.Module):
    """A network that answers with one of its outputs, by name; subclasses name its inputs.

    Args:
        model: Network of the library.
        output: Name of the output that is taken.
    """

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def answer(self, **given: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Return the one output by name."""
        return {self.output: self.model(**given)[self.output]}


class OfPixels(OneOutput):
    """A network of images ``(n, channels, height, width)``."""

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the output by name."""
        return self.answer(pixel_values=pixel_values)


class OfSamples(OneOutput):
    """A network of sound: samples ``(n, length)``, or a spectrogram ``(n, frames, bins)``."""

    def forward(self, input_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the output by name."""
        return self.answer(input_values=input_values)


class OfFeatures(OneOutput):
    """A network of a sound's features, as the directory's feature extractor makes them."""

    def forward(self, input_features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the output by name."""
        return self.answer(input_features=input_features)


class OfTokens(OneOutput):
    """A network of texts: numbers of tokens and their mask, ``(n, length)``."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the output by name."""
        return self.answer(input_ids=input_ids, attention_mask=attention_mask)


class OfTypedTokens(OneOutput):
    """A network of texts or pairs of texts: numbers of tokens, their mask, and which text each is of."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the output by name."""
        return self.answer(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)


class OfTimm(OneOutput):
    """A network of timm, which returns its logits alone."""

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits, for images ``(n, channels, height, width)``."""
        return {self.output: self.model(pixel_values)}


_BY_INPUT: Mapping[str, type[OneOutput]] = {
    "pixel_values": OfPixels,
    "input_values": OfSamples,
    "input_features": OfFeatures,
}


def read_directory(directory: ModelDirectory, *, trust_pickle: bool) -> nn.Module:
    """Return the network of a directory, whose ``forward`` takes its inputs by name and gives its logits.

    Args:
        directory: The directory.
        trust_pickle: Whether to let weights be unpickled.

    Raises:
        UnavailableError: The library that builds the network is not installed.
        UntrustedFileError: The weights are pickles.
        NetworkError: The network cannot be built, is of a kind that is not supported, or lacks weights.
    """
    if directory.pickled and not trust_pickle:
        raise UntrustedFileError(
            "weights in safetensors",
            f"{directory.weights}, a pickle",
            "save them with model.save_pretrained(…); --trust-pickle loads it if you know who made it",
        )
    if directory.library == "timm":
        return _of_timm(directory)
    return _of_transformers(directory)


def default_example(directory: ModelDirectory, module: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """Return two samples of the size that the settings tell: noise for images and sound, and tokens of number 1.

    Raises:
        NetworkError: The settings do not tell the size.
    """
    config, random = directory.config, np.random.default_rng(0)
    if isinstance(module, OfTokens | OfTypedTokens):
        longest = config.get("max_position_embeddings", 128)
        length = min(128, longest) if isinstance(longest, int) and longest > 0 else 128
        ids = np.ones((2, length), np.int64)
        return {"input_ids": ids, "attention_mask": ids.copy()}
    if isinstance(module, OfPixels | OfTimm):
        input_size = (
            config.get("pretrained_cfg", {}).get("input_size") if directory.library == "timm" else None
        )
        channels, size = config.get("num_channels", 3), config.get("image_size", 224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        shape = input_size or (channels, height, width)
        if all(isinstance(edge, int) and 0 < edge <= 16384 for edge in shape) and len(shape) == 3:
            return {"pixel_values": random.standard_normal((2, *shape)).astype(np.float32)}
    if isinstance(module, OfSamples) and config.get("model_type") != "audio-spectrogram-transformer":
        return {"input_values": random.standard_normal((2, 16000)).astype(np.float32)}
    raise NetworkError(
        "one batch of inputs to trace the network with",
        f"{directory.path}, whose settings do not tell their size",
        "give data (--data), or a shape (--shape 2x1024x128)",
    )


# --- transformers -------------------------------------------------------------------------------------------


def _of_transformers(directory: ModelDirectory) -> nn.Module:
    with quiet(), _offline():
        library = imported("transformers", "language", f"which builds the network of {directory.path}")
    name, output = _supported(directory, library)
    compressed_by = [
        key for key in ("quantization_config", "compression_config") if directory.config.get(key)
    ]
    if compressed_by:
        raise NetworkError(
            "a network in floating point",
            f"{directory.path}, whose {CONFIG} has {compressed_by[0]}",
            "give the network before it was quantized",
        )
    if (directory.path / "adapter_config.json").exists():
        raise NetworkError(
            "a whole network",
            f"{directory.path} with adapter_config.json, a part that is added to another network",
            "save the two as one: model.merge_and_unload().save_pretrained(…)",
        )
    with quiet(), _offline(), _no_log(library):
        try:
            kind = getattr(library, name)
            _check_size(kind, library, directory)
            model, loading_info = kind.from_pretrained(
                str(directory.path),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=not directory.pickled,
                attn_implementation="eager",  # plain matrix products; also no kernel that the settings name
                ignore_mismatched_sizes=True,  # told below, by name
                output_loading_info=True,
            )
        except CompressError:
            raise
        except Exception as error:
            raise NetworkError(
                f"a directory that transformers {library.__version__} loads",
                f"{directory.path}: {essence(error)}",
                "save it again with model.save_pretrained(…)",
            ) from error
    others = [
        mismatch if isinstance(mismatch, str) else mismatch[0]
        for mismatch in loading_info.get("mismatched_keys", ())
    ]
    missing = sorted({*loading_info.get("missing_keys", ()), *others})
    if missing:
        raise NetworkError(
            f"weights of the right shape for every layer of {name}",
            f"{directory.weights} without {len(missing)} of them ({first_names(missing)})",
            "train that part, and save the whole with model.save_pretrained(…)",
        )
    model.config.use_cache = False
    return _with_inputs(model, output)


def _check_size(kind: Any, library: Any, directory: ModelDirectory) -> None:
    """Refuse settings of a network that is far larger than its weights: what they lack would be made, in memory.

    Raises:
        NetworkError: There are more parameters than bytes of weights.
    """
    config = library.AutoConfig.from_pretrained(
        str(directory.path), local_files_only=True, trust_remote_code=False
    )
    try:
        with torch.device("meta"):  # shapes alone
            parameters = sum(parameter.numel() for parameter in kind(config).parameters())
    except Exception:  # noqa: BLE001 - a network that reads values while it is built; its own loader knows how
        return
    held = sum(file.stat().st_size for file in directory.files if file.suffix != ".json")
    if parameters > held:
        raise NetworkError(
            f"weights for the {parameters:,} parameters of {directory.path / CONFIG}",
            f"{held:,} bytes in {directory.weights}",
            "save it again with model.save_pretrained(…)",
        )


def _supported(directory: ModelDirectory, library: Any) -> tuple[str, str]:
    """Return the class of the network, which the library itself lists, and the name of its output."""
    tables = importlib.import_module("transformers.models.auto.modeling_auto")
    config, kind = directory.config, directory.config["model_type"]
    listed = config.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else None
    if kind not in getattr(tables, "CONFIG_MAPPING_NAMES", {kind: ""}):
        own_code = "; it needs code of its own, which is not run" if config.get("auto_map") else ""
        raise NetworkError(
            f"a network that transformers {library.__version__} knows",
            f"{directory.path} of model_type '{kind}'{own_code}",
            "update transformers, or export the network with torch.export",
        )
    if name is None:
        raise NetworkError(
            f"the class of the network as architectures in {CONFIG}",
            f"none in {directory.path / CONFIG}",
            "save it again with model.save_pretrained(…)",
        )
    if name in _classes(tables, *_GENERATIVE):
        raise NetworkError(
            _CLASSES,
            f"{directory.path}, {name}: a network that generates text",
            "of these, compress optimize takes gemma, gpt2, llama, mistral, mixtral, qwen2, qwen2_moe, qwen3, "
            "qwen3_moe and smollm3 in safetensors",
        )
    if name in _classes(tables, *_WITH_LOGITS):
        return name, "logits"
    encoders = {
        kind for table in ("MASKED_LM", "IMAGE_CLASSIFICATION", "CTC") for kind in _table(tables, table)
    }
    if name == _table(tables, "").get(kind) and kind in encoders:
        return name, "last_hidden_state"
    raise NetworkError(
        _CLASSES, f"{directory.path}, {name}", "export the network with torch.export, and give the .pt2 file"
    )


def _table(tables: Any, head: str) -> Mapping[str, Any]:
    name = f"MODEL_FOR_{head}_MAPPING_NAMES" if head else "MODEL_MAPPING_NAMES"
    names: Mapping[str, Any] = getattr(tables, name, {})
    return names


def _classes(tables: Any, *heads: str) -> set[str]:
    """Return the names of all classes with one of these heads."""
    names = [name_or_names for head in heads for name_or_names in _table(tables, head).values()]
    return {part for name in names for part in (name if isinstance(name, tuple | list) else (name,))}


def _with_inputs(model: nn.Module, output: str) -> nn.Module:
    main = str(getattr(model, "main_input_name", "input_ids"))
    if main in _BY_INPUT:
        return _BY_INPUT[main](model, output)
    typed = "token_type_ids" in inspect.signature(model.forward).parameters
    return OfTypedTokens(model, output) if typed else OfTokens(model, output)


# --- timm ---------------------------------------------------------------------------------------------------


def _of_timm(directory: ModelDirectory) -> nn.Module:
    from compress.network.formats.checkpoint import read_tensors
    from compress.network.formats.detection import sniff
    from compress.network.formats.weights import fill

    with quiet(), _offline():
        timm = imported("timm", "timm", f"which builds the network of {directory.path}")
    config = directory.config
    name = config["architecture"]
    arguments = config.get("model_args")
    settings = {
        key: config[key] for key in ("num_classes", "global_pool") if isinstance(config.get(key), int | str)
    }
    settings |= arguments if isinstance(arguments, dict) else {}
    refused = sorted(_OF_TIMM_ITSELF & set(settings))
    if refused:
        raise NetworkError(
            f"model_args in {CONFIG} that are settings of the network",
            f"'{refused[0]}' in {directory.path / CONFIG}",
            "take it out: weights are read from the directory alone",
        )
    if not timm.is_model(name):
        raise NetworkError(
            f"a network that timm {timm.__version__} knows", f"{directory.path}, '{name}'", "update timm"
        )
    with quiet():
        try:
            model = timm.create_model(name, pretrained=False, **settings)
        except Exception as error:
            raise NetworkError(
                f"settings that timm {timm.__version__} builds '{name}' with",
                f"{directory.path / CONFIG}: {essence(error)}",
                "correct them",
            ) from error
    tensors = read_tensors(sniff(directory.weights), trust_pickle=directory.pickled)
    fill(model, tensors, factory=f"timm:{name}", path=directory.weights)
    return OfTimm(model, "logits")


# --- the libraries ------------------------------------------------------------------------------------------


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the Hugging Face libraries from the network inside the block."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        from huggingface_hub import constants
    except ImportError:
        constants = None
    online = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
        if constants is not None and online is not None:
            constants.HF_HUB_OFFLINE = online


@contextmanager
def _no_log(library: Any) -> Iterator[None]:
    """Let the library print no progress inside the block."""
    log = library.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()
