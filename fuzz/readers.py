"""Readers by the kind of file; each is called as a command calls it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from compress.errors import CompressError, InternalError
from fuzz import corpus, language, mutations
from fuzz.corpus import Corpus
from fuzz.mutations import Mutation


@dataclass(frozen=True)
class Reader:
    """One reader of one kind of file.

    Attributes:
        name: Name, as it is given on the command line.
        read: Reads a file; raises what the reader raises.
        corpus: Good files by name.
        mutation: Makes others of them.
        suffix: Ending of the files.
    """

    name: str
    read: Callable[[Path], object]
    corpus: Callable[[], Corpus]
    mutation: Mutation
    suffix: str = ""


def _command(*arguments: object) -> None:
    from compress.cli import compress

    compress.main([str(each) for each in arguments], standalone_mode=False)


def _inspect(path: Path) -> None:
    _command("inspect", path)


def _inspect_torch(path: Path) -> None:
    _command("inspect", path, "--input", "2x4")


def _inspect_weights(path: Path) -> None:
    _command("inspect", path, "--input", "2x4", "--factory", "fuzz.corpus:_network")


def _lint(path: Path) -> None:
    _command("lint", path, "--target", "jetson-orin-nano-super", "--fix", path.with_suffix(".fixed.onnx"))


def _quantize(path: Path) -> None:
    """Quantize a graph of the corpus, with data that fits its inputs."""
    import onnx

    try:
        inputs = onnx.load(str(path), load_external_data=False).graph.input
        shape = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim][1:]
    except Exception:  # noqa: BLE001 - it is for the reader to say what is wrong
        shape = []
    shape = shape if 0 < len(shape) < 5 and 0 < np.prod(shape, dtype=float) < 1e4 and min(shape) > 0 else [4]
    data = path.with_name("data.npz")
    np.savez(
        data, x=np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32), y=np.arange(16) % 2
    )
    out = path.with_suffix(".int8.onnx")
    out.unlink(missing_ok=True)
    _command("quantize", path, "--data", data, "--out", out)


def _arrays(path: Path) -> None:
    from compress.data import open_data

    for _ in open_data(path).batches(4):
        pass


def _groups(path: Path) -> None:
    from compress.gate.groups import load_task_and_groups

    load_task_and_groups({"x": np.ones((60, 4), np.float32), "y": np.arange(60) % 2}, groups=path)


def _folder(path: Path, files: dict[str, bytes]) -> Path:
    folder = path.with_name(f"{path.stem}.folder")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _image(path: Path) -> None:
    _arrays(_folder(path, {"cat/a.png": path.read_bytes()}))


def _image_options(path: Path) -> None:
    _arrays(_folder(path, {"cat/a.png": corpus.images()["PNG"], "compress-data.toml": path.read_bytes()}))


def _coco(path: Path) -> None:
    _folder(path, {"a.png": corpus.images()["PNG"]})
    annotations = _folder(path, {"boxes.json": path.read_bytes()}) / "boxes.json"
    _arrays(annotations)


def _yolo(labels: bytes, names: bytes, path: Path) -> None:
    _arrays(
        _folder(path, {"images/a.png": corpus.images()["PNG"], "labels/a.txt": labels, "data.yaml": names})
    )


def _yolo_labels(path: Path) -> None:
    _yolo(path.read_bytes(), corpus.yolo_names()["list"], path)


def _yolo_names(path: Path) -> None:
    _yolo(corpus.yolo_labels()["boxes"], path.read_bytes(), path)


def _recipe(path: Path) -> None:
    from compress.recipe import Recipe

    Recipe.from_file(path)


def _policy(path: Path) -> None:
    from compress.gate.policy import load_policy

    load_policy(path)


def _target(path: Path) -> None:
    from compress.target.target import load_target

    load_target(path)


def _history(path: Path) -> None:
    """A profile alone in a directory; one without its hash gets it, so that what is inside is read too."""
    from compress.core.digests import DIGEST, digest

    content = path.read_bytes()
    try:
        data = json.loads(content)
        if isinstance(data, dict) and DIGEST not in data:
            content = json.dumps({**data, DIGEST: digest(data)}).encode()
    except (ValueError, RecursionError):
        pass
    _command("history", _folder(path, {"profile.json": content}))


def _loaded(build: Path) -> None:
    from compress.bundle.bundle import load_bundle

    bundle = load_bundle(build)
    _ = bundle.network, bundle.states, bundle.kinds


def _reported(build: Path) -> None:
    written = [
        each for kind in ("html", "markdown", "svg") for each in (f"--{kind}", build.with_suffix(f".{kind}"))
    ]
    _command("report", build, *written)


def _judged(build: Path) -> None:
    policy = build.with_suffix(".toml")
    policy.write_text('checks = ["accuracy", "size"]\n')
    _command("gate", build, "--baseline", build, "--policy", policy)


def _profiled(build: Path) -> None:
    _command("profile", build, "--seconds", "0.01")


def _of_bundle(name: str, inner: Mutation, *uses: Callable[[Path], None]) -> Reader:
    """A bundle of which one file is damaged, as each command that believes the file reads it."""

    def read(path: Path) -> None:
        build = path.with_name("build")
        shutil.rmtree(build, ignore_errors=True)
        for each, content in corpus.unzipped(path.read_bytes()).items():
            (build / each).parent.mkdir(parents=True, exist_ok=True)
            (build / each).write_bytes(content)
        _loaded(build)
        refused: Exception | None = None
        for use in uses:  # where one refuses it, the others read it all the same
            try:
                use(build)
            except InternalError:
                raise
            except (CompressError, click.ClickException) as error:
                refused = error
        if refused is not None:
            raise refused

    what = name.partition(".")[0].lower()
    return Reader(f"bundle-{what}", read, corpus.bundles, mutations.of_bundle(name, inner), ".zip")


#: By name.
READERS: dict[str, Reader] = {
    each.name: each
    for each in (
        Reader("onnx-inspect", _inspect, corpus.onnx_graphs, mutations.of_onnx, ".onnx"),
        Reader("onnx-lint", _lint, corpus.onnx_graphs, mutations.of_onnx, ".onnx"),
        Reader("onnx-quantize", _quantize, corpus.onnx_graphs, mutations.of_onnx, ".onnx"),
        Reader("torchscript", _inspect_torch, corpus.torchscript, mutations.of_zip()),
        Reader("pt2", _inspect, corpus.pt2, mutations.of_zip()),
        Reader("checkpoint", _inspect_weights, corpus.checkpoints, mutations.of_zip_or_bytes),
        Reader("safetensors", _inspect_weights, corpus.safetensors, mutations.of_bytes),
        Reader("npz", _arrays, corpus.npz, mutations.of_zip(), ".npz"),
        Reader("groups", _groups, corpus.npy, mutations.of_bytes, ".npy"),
        Reader("image", _image, corpus.images, mutations.of_bytes),
        Reader("image-options", _image_options, corpus.image_options, mutations.of_text, ".toml"),
        Reader("coco", _coco, corpus.coco, mutations.of_json, ".json"),
        Reader("yolo-labels", _yolo_labels, corpus.yolo_labels, mutations.of_text, ".txt"),
        Reader("yolo-names", _yolo_names, corpus.yolo_names, mutations.of_text, ".yaml"),
        Reader("recipe", _recipe, corpus.recipes, mutations.of_text, ".toml"),
        Reader("policy", _policy, corpus.policies, mutations.of_text, ".toml"),
        Reader("target", _target, corpus.targets, mutations.of_text, ".toml"),
        Reader("history", _history, corpus.profiles, mutations.of_json, ".json"),
        Reader("gguf", language.read_gguf, language.ggufs, mutations.of_bytes, ".gguf"),
        Reader("decoder-config", language.read_config, language.configs, mutations.of_json, ".json"),
        Reader("decoder-weights", language.read_weights, language.weights, mutations.of_bytes),
        Reader("tokenizer", language.read_tokenizer, language.tokenizers, mutations.of_json, ".json"),
        _of_bundle("manifest.json", mutations.of_json, _reported, _judged, _profiled),
        _of_bundle("profile.json", mutations.of_json, _reported, _judged, _profiled),
        _of_bundle("candidates.jsonl", mutations.of_json_lines, _reported),
        _of_bundle("recipe.toml", mutations.of_text, _reported),
        _of_bundle("SHA256SUMS", mutations.of_text),
    )
}
