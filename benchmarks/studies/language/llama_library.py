"""llama.cpp's shared libraries by ctypes: to decode, and to write its own quantized files.

Structures of settings are opaque here, and larger than those of the library: they are its last argument, so that what
lies behind is not read. The few fields that are set stand first in them, release v0.5.0.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Types of llama.cpp's files by their names.
TYPES = {"Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}

_CONTEXT = 2048

#: First settings of a context as the library gives them: room, tokens at once, in one computation, …, threads.
_DEFAULTS = [512, 2048, 512, 1, 0, 0, 1, 4, 4]


class _Settings(ctypes.Structure):
    _fields_ = [("words", ctypes.c_int32 * 256)]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_int32),
        ("tokens", ctypes.POINTER(ctypes.c_int32)),
        ("embeddings", ctypes.c_void_p),
        ("positions", ctypes.POINTER(ctypes.c_int32)),
        ("sequence_counts", ctypes.c_void_p),
        ("sequences", ctypes.c_void_p),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


def libraries(folder: Path) -> ctypes.CDLL:
    """Load the libraries of a folder, with the fastest kernels for this processor, and return llama's."""
    (ggml,) = folder.glob("libggml.v*.so")
    (llama,) = folder.glob("libllama.v*.so")
    ctypes.CDLL(str(folder / "libggml-base.so"), ctypes.RTLD_GLOBAL)
    backends = ctypes.CDLL(str(ggml), ctypes.RTLD_GLOBAL)
    backends.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
    backends.ggml_backend_load_all_from_path(str(folder).encode())
    found = ctypes.CDLL(str(llama), ctypes.RTLD_GLOBAL)
    for name in ("model_default_params", "context_default_params", "model_quantize_default_params"):
        getattr(found, f"llama_{name}").restype = _Settings
    for name in ("model_load_from_file", "init_from_model", "get_memory", "model_get_vocab"):
        getattr(found, f"llama_{name}").restype = ctypes.c_void_p
    found.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Settings]
    found.llama_init_from_model.argtypes = [ctypes.c_void_p, _Settings]
    found.llama_get_memory.argtypes = found.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    found.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
    found.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    found.llama_decode.argtypes = [ctypes.c_void_p, _Batch]
    found.llama_get_logits.argtypes = [ctypes.c_void_p]
    found.llama_get_logits.restype = ctypes.POINTER(ctypes.c_float)
    found.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Settings)]
    found.llama_model_quantize.restype = ctypes.c_uint32
    return found


def quantize(folder: Path, source: Path, target: Path, kind: str) -> None:
    """Write a GGUF file in one of :data:`TYPES`, by llama.cpp's own quantizer."""
    library = libraries(folder)
    settings = library.llama_model_quantize_default_params()
    settings.words[1] = TYPES[kind]
    ctypes.cast(ctypes.byref(settings, 16), ctypes.POINTER(ctypes.c_bool))[0] = True  # from integers, too
    if library.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(settings)):
        raise RuntimeError(f"llama.cpp could not write {target}")


class Llama:
    """A model, loaded.

    Args:
        folder: Folder of the libraries.
        path: GGUF file.
        threads: Number of threads.
    """

    def __init__(self, folder: Path, path: Path, threads: int) -> None:
        self._library = libraries(folder)
        model = self._library.llama_model_load_from_file(
            str(path).encode(), self._library.llama_model_default_params()
        )
        settings = self._library.llama_context_default_params()
        if list(settings.words[:9]) != _DEFAULTS:
            raise RuntimeError("wanted llama.cpp v0.5.0; found other settings of a context")
        settings.words[0:2] = [_CONTEXT, _CONTEXT]
        settings.words[7:9] = [threads, threads]  # of a step, of a prompt
        self._context = self._library.llama_init_from_model(model, settings)
        if not model or not self._context:
            raise RuntimeError(f"llama.cpp could not load {path}")
        self._vocabulary = self._library.llama_vocab_n_tokens(self._library.llama_model_get_vocab(model))

    def forget(self) -> None:
        """Forget all tokens."""
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def decode(self, ids: Sequence[int], every: bool = False) -> np.ndarray:
        """Add tokens; return the logits behind the last of them, or behind each, float32 [tokens, vocabulary]."""
        count = len(ids)
        tokens = (ctypes.c_int32 * count)(*ids)
        wanted = (ctypes.c_int8 * count)(*([int(every)] * (count - 1)), 1)
        batch = _Batch(count, tokens, None, None, None, None, wanted)
        if self._library.llama_decode(self._context, batch):
            raise RuntimeError("llama.cpp could not decode")
        rows = count if every else 1
        found = np.ctypeslib.as_array(self._library.llama_get_logits(self._context), (rows, self._vocabulary))
        return found.copy() if every else found
