"""A decoder with states as a back end's build: written, opened, and called as ONNX Runtime's decoders are.

Who judges a decoder gives each call the keys and values before it. They become the states of the runtime, and its
states the keys and values that the call returns, so that documents are read and steps are timed alike in both runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Artifact, Session
from compress.backends.bound_step import is_step
from compress.backends.feeds import check_feeds
from compress.backends.narrowed import narrowed
from compress.backends.openvino_decoder import GRAPH, write_stateful_decoder
from compress.core.decoder_texts import MADE_OF_KEY
from compress.core.tensor_spec import BATCH, TensorSpec
from compress.errors import BundleError, DataError, NetworkError
from compress.onnx_graph.files import sha256_of, size_of

if TYPE_CHECKING:
    import onnx

    from compress.backends.openvino_generation import OpenVinoCache, OpenVinoDecoder

Feeds = Mapping[str, "np.ndarray[Any, Any]"]

#: Steps that are timed until the cache is set back to the keys and values that a call was given. That takes the time of
#: a fraction of a step, and no answer has it.
_STEPS = 16


def compile_decoder(
    model: onnx.ModelProto, directory: Path, backend: str, options: Mapping[str, Any]
) -> Artifact:
    """Write a decoder with states into a directory, whole or not at all, and open it once as a check.

    Args:
        model: Graph of the decoder.
        directory: Directory for its files.
        backend: Name of the back end.
        options: Session options of the build.

    Raises:
        NetworkError: OpenVINO has no form of it, or does not run it.
        OutputError: The files cannot be written.
    """
    from compress.backends.first_opening import open_elsewhere

    path = directory / GRAPH
    try:
        write_stateful_decoder(model, directory)
        artifact = Artifact(path, sha256_of(path), size_of(path), backend, dict(options))
        open_elsewhere(artifact)
    except BaseException:
        for part in (path, path.with_suffix(".bin")):
            part.unlink(missing_ok=True)
        raise
    return artifact


class OpenVinoDecoderSession(Session):
    """A decoder, opened; see :class:`compress.backends.openvino_generation.OpenVinoDecoder`.

    Args:
        path: The file of the network.
        cache: Precision of keys and values, one of :data:`compress.backends.openvino_generation.CACHES`.
        properties: OpenVINO's properties for session options.
    """

    def __init__(self, path: Path, cache: str, properties: Mapping[str, Any]) -> None:
        self._decoder: OpenVinoDecoder | None = _opened(path, cache, properties)
        self.metadata = self._decoder.notes
        past = {name: (BATCH, heads, "past", size) for name, (heads, size) in self._decoder.past.items()}
        self.inputs = (
            TensorSpec("input_ids", "int64", (BATCH, "sequence")),
            TensorSpec("attention_mask", "int64", (BATCH, "total")),
            *(TensorSpec(name, "float32", shape) for name, shape in past.items()),
        )
        self.outputs = (
            TensorSpec("logits", "float32", (BATCH, "sequence", self._decoder.vocabulary)),
            *(
                TensorSpec(
                    name.replace("past_key_values", "present"), "float32", (BATCH, heads, "total", size)
                )
                for name, (_, heads, _, size) in past.items()
            ),
        )
        self._names = [spec.name for spec in self.outputs]
        self._timed: tuple[Feeds, Callable[[], object]] | None = None

    @property
    def decoder(self) -> OpenVinoDecoder:
        """The decoder, for whoever generates text with it."""
        if self._decoder is None:
            raise RuntimeError("the session is closed")
        return self._decoder

    def taken(self, feeds: Feeds) -> Feeds:
        """See :meth:`Session.taken`."""
        if MADE_OF_KEY not in self.metadata:
            return feeds
        return narrowed(self.inputs, self.decoder.vocabulary, feeds)

    def run(self, feeds: Feeds) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`."""
        decoder = self.decoder
        feeds = self.taken(feeds)
        _check(self.inputs, feeds)
        try:
            outputs = decoder(feeds)
        except RuntimeError as error:
            raise DataError("a batch the network can run", _line(error), "check the data's shapes") from error
        return [outputs[name] for name in self._names]

    def prepared(self, feeds: Feeds) -> Callable[[], object]:
        """See :meth:`Session.prepared`: a step of the decoder with the keys and values in its states."""
        self.run(feeds)
        taken = self.taken(feeds)
        return _Steps(self.decoder, taken) if is_step(self.inputs, taken) else partial(self.run, feeds)

    def timed_call(self, feeds: Feeds) -> None:
        """See :meth:`Session.timed_call`: :meth:`prepared`, which is made once for the same feeds."""
        if self._timed is None or self._timed[0] is not feeds:
            self._timed = (feeds, self.prepared(feeds))
        self._timed[1]()

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._decoder = self._timed = None


class _Steps:
    """Steps of one token behind the same keys and values, as an answer makes them.

    The runtime adds the token to its cache, so the next step has one more before it; after :data:`_STEPS` of them the
    cache is as it was given again.

    Args:
        decoder: The decoder.
        feeds: Inputs of the first step.
    """

    def __init__(self, decoder: OpenVinoDecoder, feeds: Feeds) -> None:
        self._ids = feeds["input_ids"]
        self._past = {name: feeds[name] for name in decoder.past}
        before = next(iter(self._past.values())).shape[2]
        self._end = before + max(1, min(_STEPS, decoder.context - before))
        mask = np.ones((len(self._ids), self._end), np.int64)
        mask[:, : before + 1] = feeds["attention_mask"]
        self._cache: OpenVinoCache = decoder.begin(self._end, len(self._ids), mask)
        self._cache.fill(self._past)

    def __call__(self) -> np.ndarray[Any, Any]:
        """Make a step, and return its logits."""
        if self._cache.length == self._end:
            self._cache.fill(self._past)
        return self._cache.step(self._ids)


def _opened(path: Path, cache: str, properties: Mapping[str, Any]) -> OpenVinoDecoder:
    import openvino

    from compress.backends import openvino_generation as generation

    if not path.with_suffix(".bin").is_file():
        raise BundleError(f"{path.stem}.bin beside {path}", "no such file", "copy or build it again")
    core = openvino.Core()
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise BundleError("a decoder of OpenVINO", f"{path}: {_line(error)}", "build it again") from error
    try:
        special = generation.precisions(model, cache)
        compiled = core.compile_model(model, "CPU", {**special, **properties})
        return generation.OpenVinoDecoder(model, compiled, cache != "float32")
    except RuntimeError as error:
        raise NetworkError("a decoder OpenVINO can run", _line(error), "choose another back end") from error
    except ValueError as error:
        wanted, _, rest = str(error).removeprefix("wanted ").partition("; found ")
        found_text, _, todo = rest.partition("; ")
        raise BundleError(wanted, f"{path}: {found_text}", todo) from error


def _check(inputs: tuple[TensorSpec, ...], feeds: Feeds) -> None:
    """Check the feeds, and that their lengths fit together: the runtime would read beyond the mask.

    Raises:
        DataError: They do not.
    """
    check_feeds(inputs, feeds)
    ids, mask = feeds["input_ids"], feeds["attention_mask"]
    before = {feeds[spec.name].shape[2] for spec in inputs[2:]}
    rows = {len(feeds[spec.name]) for spec in inputs}
    if len(before) != 1 or len(rows) != 1 or mask.shape[1] != min(before) + ids.shape[1] or not ids.shape[1]:
        raise DataError(
            "one number of texts, and a mask for the tokens before and in a call of 1 token or more",
            f"input_ids {list(ids.shape)}, attention_mask {list(mask.shape)}, "
            f"{', '.join(map(str, sorted(before)))} tokens before",
            "correct the arrays",
        )


def _line(error: Exception) -> str:
    """Return the last line of the runtime's message, which tells the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:400]
