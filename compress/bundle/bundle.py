"""Bundles: directories of a build, read back with every file checked; :mod:`compress.bundle.writing` writes them.

build/
├── model.onnx         the artifact, the very file that was measured
├── manifest.json      inputs, outputs, sha256 of every file, versions, target, session options, provenance
├── recipe.toml        how it was made
├── profile.json       its measurements, with the outcome of every evaluation sample
├── candidates.jsonl   everything that was tried, with its measurements
├── sample/            a batch and the outputs that the build gave for it
├── run.py, run.cpp    programs that load the build in its runtime and run the sample
├── selfcheck.py       checks files, outputs and time where the build is deployed; selfcheck.sh needs only trtexec
├── SHA256SUMS         for `sha256sum -c`
├── build.sh           for targets with TensorRT: the command that builds the engine on the board
├── triton/            for targets with TensorRT: a model for a repository of Triton Inference Server
├── tokenizer.json    for a language model, with generation.py and what onnxruntime-genai reads
├── draft/             where it was proven faster: a smaller language model that writes ahead for it
└── model.engine       where a board was at hand: the engine, for that board and TensorRT release alone
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from compress.core.closeable import Closeable
from compress.core.moved import names_of
from compress.core.tensor_spec import TensorSpec
from compress.errors import BundleError, DataError
from compress.onnx_graph.files import sha256_of, size_of
from compress.recipe import Recipe
from compress.records.profile import Profile

if TYPE_CHECKING:
    import numpy as np

    from compress.backends.base import Artifact, Session
    from compress.language.generation import TextDecoder
    from compress.metrics.output_kinds import OutputKind

#: Version of the layout and of manifest.json.
SCHEMA = 1
MANIFEST = "manifest.json"
#: As sha256sum(1) writes and reads it: every file but itself. Its own hash stands for the whole bundle.
SUMS = "SHA256SUMS"
PROFILE = "profile.json"
#: Of a language model alone.
TOKENIZER = "tokenizer.json"


class Bundle(Closeable):
    """A bundle read back from disk; :meth:`run` needs neither torch nor onnx.

    Attributes:
        path: Directory of the bundle.
        manifest: Content of manifest.json.
        artifact: The compiled build.
        profile: Measurements of the build.
        recipe: Recipe that made the build.
        inputs: Inputs that :meth:`run` takes.
        outputs: Outputs that :meth:`run` returns.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], profile: Profile, recipe: Recipe) -> None:
        from compress.backends.base import Artifact

        self.path = path
        self.manifest = manifest
        self.profile = profile
        self.recipe = recipe
        self.inputs = tuple(TensorSpec.from_dict(entry) for entry in manifest["inputs"])
        self.outputs = tuple(TensorSpec.from_dict(entry) for entry in manifest["outputs"])
        entry = manifest["artifact"]
        self.artifact: Artifact = Artifact(
            path / entry["file"], entry["sha256"], entry["bytes"], entry["backend"], entry["options"]
        )
        self._session: Session | None = None
        self._draft: TextDecoder | None = None

    @property
    def network(self) -> tuple[str, str] | None:
        """Name of the original network, and sha256 of its file; None where not recorded."""
        from compress.network.network import Origin

        try:
            origin = Origin(**self.manifest["network"])
        except (KeyError, TypeError):
            return None
        return origin.name, origin.sha256

    @property
    def states(self) -> dict[str, str]:
        """The output that is the next value of each input that is carried from call to call; empty where none is."""
        return dict(self.manifest.get("states", {}))

    @property
    def sample_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each input of the bundle's own sample; empty where there is none."""
        return shapes_of_sample(self.manifest.get("sample"))

    @property
    def kinds(self) -> tuple[OutputKind, ...]:
        """Kinds of the outputs' content, as they were judged; empty where not recorded."""
        from compress.metrics.output_kinds import OutputKind

        try:
            return tuple(OutputKind(**entry) for entry in self.manifest["data"]["outputs"])
        except (KeyError, TypeError):
            return ()

    def open(self) -> Session:
        """Open a new session over the artifact; close it, or use it in a ``with`` block.

        Raises:
            UnavailableError: The back end is not installed here.
        """
        from compress.backends import load_backend

        return load_backend(self.artifact.backend).open(self.artifact)

    def run(
        self, inputs: np.ndarray[Any, Any] | Mapping[str, np.ndarray[Any, Any]]
    ) -> list[np.ndarray[Any, Any]]:
        """Run one batch; the session is opened at the first call and kept.

        Args:
            inputs: One array per input name, or just the array where there is one input; shapes and dtypes as in
                :attr:`inputs`.

        Returns:
            One array per entry of :attr:`outputs`.

        Raises:
            DataError: The inputs do not fit.
            UnavailableError: The back end is not installed here.
        """
        if self._session is None:
            self._session = self.open()
        if not isinstance(inputs, Mapping):
            if len(self.inputs) != 1:
                names = ", ".join(spec.name for spec in self.inputs)
                raise DataError(f"an array for each of {names}", "one array", "give a dictionary of arrays")
            inputs = {self.inputs[0].name: inputs}
        return self._session.run(inputs)

    def stream(self, first: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Stream:
        """Start a stream of calls, with the states carried from each call to the next.

        Args:
            first: First value, by the state's name, of states that do not begin at zero.

        Raises:
            BundleError: The network carries no state.
        """
        if not self.states:
            raise BundleError("a network that carries a state", "one without", "call run() of the bundle")
        return Stream(self, first)

    @property
    def tokenizer(self) -> Path | None:
        """File of the tokenizer of a language model; None for other networks."""
        return self.path / TOKENIZER if TOKENIZER in self.manifest["files"] else None

    def generate(self, prompt: Any, *, max_new_tokens: int = 256) -> Iterator[str]:
        """Yield the answer to a prompt in pieces, as they come; each token is the likeliest one.

        Where the bundle has a draft, that writes ahead.

        Args:
            prompt: The prompt, as the network reads it: a template for chats is the caller's to fill in. For an
                encoder–decoder the input: a text, or a spectrum, float32 [bands, frames].
            max_new_tokens: Largest number of tokens of the answer, 1 or more. The answer also ends with a token that
                ends answers, and where the context is full.

        Raises:
            BundleError: The network is no language model.
            DataError: The prompt has no token, or the context has no room for it and one more.
            UnavailableError: The back end or the package ``tokenizers`` is not installed here.
        """
        if self.tokenizer is None:
            raise BundleError(
                "a bundle of a language model", f"{self.path}: none", "call run() of the bundle"
            )
        from compress.language.bundled import answer
        from compress.language.generation import open_decoder

        if self._session is None:
            self._session = self.open()
        draft = self.manifest.get("draft")
        if draft is not None and self._draft is None:
            self._draft = open_decoder(
                self.path / draft["file"], threads=draft["threads"], spinning=draft["spinning"]
            )
        ahead = 1 if draft is None else draft["ahead"]
        return answer(self._session, self.tokenizer, prompt, max_new_tokens, self._draft, ahead)

    def close(self) -> None:
        """Close the session that :meth:`run` opened."""
        self._draft = None
        if self._session is not None:
            self._session.close()
            self._session = None


class Stream:
    """A stream that runs through a bundle, frame by frame; several may run side by side as one batch.

    Args:
        bundle: Bundle of a network that carries states; the stream keeps its session.
        first: First value, by the state's name, of states that do not begin at zero.

    Attributes:
        outputs: Outputs of a call that are no states.
    """

    def __init__(self, bundle: Bundle, first: Mapping[str, np.ndarray[Any, Any]] | None = None) -> None:
        from compress.network.states import Carried

        self._carried = Carried(bundle, bundle.states, first)
        following = set(bundle.states.values())
        self._answers = [at for at, spec in enumerate(bundle.outputs) if spec.name not in following]
        self._inputs = [spec for spec in bundle.inputs if spec.name not in bundle.states]
        self.outputs = tuple(bundle.outputs[at] for at in self._answers)

    @property
    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """States for the next call, by name; empty before the first call where states begin at zero."""
        return self._carried.state

    def __call__(
        self, inputs: np.ndarray[Any, Any] | Mapping[str, np.ndarray[Any, Any]]
    ) -> list[np.ndarray[Any, Any]]:
        """Run the next frame.

        Args:
            inputs: One array for each input that is no state, or just the array where there is one such input.

        Returns:
            One array per entry of :attr:`outputs`.

        Raises:
            DataError: The inputs do not fit.
        """
        if not isinstance(inputs, Mapping):
            if len(self._inputs) != 1:
                names = ", ".join(spec.name for spec in self._inputs)
                raise DataError(f"an array for each of {names}", "one array", "give a dictionary of arrays")
            inputs = {self._inputs[0].name: inputs}
        _, outputs = self._carried(inputs)
        return [outputs[at] for at in self._answers]


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and check every file against its sha256, and the manifest and the profile against their schemas.

    Raises:
        BundleError: There is no bundle, it is damaged, or it is of a later version.
    """
    directory = Path(path)
    manifest = read_json(directory / MANIFEST)
    try:
        if manifest["schema"] > SCHEMA:
            raise BundleError(
                f"a bundle of schema {SCHEMA}",
                f"schema {manifest['schema']} in {directory}",
                "upgrade compress-toolkit",
            )
        for name, sha256 in manifest["files"].items():
            _check_file(directory, name, sha256)
        _check_file(directory, manifest["artifact"]["file"], manifest["artifact"]["sha256"])
        _check_form(manifest, "manifest", directory / MANIFEST)
        _check_size(directory / manifest["artifact"]["file"], manifest["artifact"]["bytes"])
        if covering(manifest) == SUMS:
            _check_sums(directory, manifest["files"])
        measured = read_json(directory / PROFILE)
        _check_form(measured, "profile", directory / PROFILE)
        profile = Profile.from_dict(measured)
        recipe = Recipe.from_file(directory / "recipe.toml")
        return Bundle(directory, manifest, profile, recipe)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(
            "a bundle written by compress optimize",
            f"{directory}: {type(error).__name__} {reason}",
            "build it again",
        ) from error


def shapes_of_sample(sample: Mapping[str, Any] | None) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the name and the shape of each input of a sample, as a manifest holds it; empty for None."""
    return tuple((entry["name"], tuple(entry["shape"])) for entry in (sample or {}).get("inputs", ()))


def covering(manifest: Mapping[str, Any]) -> str:
    """Return the file whose hash covers the whole bundle: SHA256SUMS, or in older bundles the manifest."""
    return MANIFEST if SUMS in manifest["files"] else SUMS


def hash_of(path: Path) -> str:
    """Return the sha256 of one file alone; ``sha256_of`` adds the weights that a graph keeps beside it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(directory: Path, name: str, sha256: str) -> None:
    if not _inside(name):
        raise BundleError(
            "a file inside the bundle", f"'{name}' in {directory / MANIFEST}", "do not use this bundle"
        )
    path = directory / name
    if not path.is_file():
        raise BundleError(f"'{name}' in the bundle", f"no such file in {directory}", "copy or build it again")
    if sha256_of(path) != sha256:
        raise BundleError(f"{path} with sha256 {sha256[:12]}…", "another content", "copy or build it again")


def _check_size(path: Path, announced: int) -> None:
    """Check the size that the manifest announces: time and memory of the artifact's processes grow with it."""
    if size_of(path) != announced:
        raise BundleError(
            f"{path} with {announced} bytes, as {MANIFEST} says",
            f"{size_of(path)} bytes",
            "copy or build it again",
        )


def _check_form(data: dict[str, Any], schema: str, path: Path) -> None:
    from compress.records.schemas.checking import fault_in

    fault = fault_in(data, schema)
    if fault is not None:
        raise BundleError(f"a {schema} written by compress", f"{path}: {fault}", "copy or build it again")


def _check_sums(directory: Path, files: Mapping[str, str]) -> None:
    """Check that the list for sha256sum holds the manifest's hash, and every file that the manifest names."""
    try:
        lines = (directory / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"'{SUMS}' in the bundle", f"{directory}: {error}", "copy or build it again"
        ) from error
    sums = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    missing = next((name for name in (MANIFEST, *files) if name not in sums), None)
    if missing is not None:
        raise BundleError(f"'{missing}' in {SUMS}", f"no such line in {directory}", "copy or build it again")
    if hash_of(directory / MANIFEST) != sums[MANIFEST]:
        path = directory / MANIFEST
        raise BundleError(
            f"{path} with sha256 {sums[MANIFEST][:12]}…", "another content", "copy or build it again"
        )


def _inside(name: str) -> bool:
    """Whether a file's name stays inside the bundle: plain, or in one directory of it."""
    parts = PurePosixPath(name).parts
    return (
        "\\" not in name and 1 <= len(parts) <= 2 and not {"..", "/"} & set(parts) and "/".join(parts) == name
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a bundle.

    Raises:
        BundleError: There is no such file, or it holds none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            "a bundle (a directory with manifest.json)",
            f"no {path}",
            "give the directory compress optimize wrote",
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError("JSON written by compress", f"{path}: {error}", "copy or build it again") from error
    if not isinstance(data, dict):
        raise BundleError("a JSON object", f"{path}: {type(data).__name__}", "copy or build it again")
    return data


if not TYPE_CHECKING:  # names that have left; no type checker shall take any name for one
    __getattr__ = names_of(__name__, __name__)
