from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.backends.onnxruntime import OnnxRuntime
from compress.bundle.bundle import load_bundle
from compress.bundle.writing import beside, check_replaceable, write_bundle
from compress.core.own_directories import own_directory
from compress.errors import BundleError, DataError, OutputError
from compress.recipe import Recipe
from tests.graphs import classifier, samples
from tests.records import profile, resealed


def written(tmp_path: Path, out: str = "build", seed: int = 0) -> Path:
    source = tmp_path / f"source{seed}"
    source.mkdir(exist_ok=True)
    artifact = OnnxRuntime().compile(classifier(seed), source, {})
    with OnnxRuntime().open(artifact) as session:
        manifest = {
            "artifact": {
                "file": "model.onnx",
                "sha256": artifact.sha256,
                "bytes": artifact.size_bytes,
                "backend": artifact.backend,
                "options": artifact.options,
            },
            "inputs": [spec.to_dict() for spec in session.inputs],
            "outputs": [spec.to_dict() for spec in session.outputs],
        }
    texts = {"build.sh": "#!/bin/sh\n", "candidates.jsonl": "{}\n"}
    return write_bundle(tmp_path / out, artifact.path, manifest, profile(), Recipe("int8"), texts)


def test_round_trip(tmp_path: Path) -> None:
    with load_bundle(written(tmp_path)) as bundle:
        assert bundle.profile == profile()
        assert bundle.recipe == Recipe("int8")
        with OnnxRuntime().open(bundle.artifact) as session:
            (wanted,) = session.run({"x": samples(3)})
        np.testing.assert_array_equal(bundle.run(samples(3))[0], wanted)
        np.testing.assert_array_equal(bundle.run({"x": samples(3)})[0], wanted)


def test_scripts_are_executable(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert os.access(path / "build.sh", os.X_OK)
    assert not os.access(path / "profile.json", os.X_OK)


def test_bundle_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    first = load_bundle(written(tmp_path)).artifact.sha256
    second = load_bundle(written(tmp_path, seed=1)).artifact.sha256
    assert first != second
    assert {path.name for path in tmp_path.iterdir()} == {"build", "source0", "source1"}


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_bundle_is_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "build"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="--out"):
        written(tmp_path)
    assert (out if kind == "file" else out / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["model.onnx", "profile.json", "recipe.toml", "candidates.jsonl"])
def test_every_changed_file_is_noticed(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content.replace(content[5:6], b"~", 1))
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "manifest.json").unlink(),
        lambda path: (path / "manifest.json").write_text("{"),
        lambda path: (path / "manifest.json").write_text("[]"),
        lambda path: (path / "manifest.json").write_text("{}"),
        lambda path: (path / "manifest.json").write_text('{"schema": 99}'),
        lambda path: (path / "manifest.json").write_text('{"schema": 1, "files": []}'),
        lambda path: (path / "profile.json").unlink(),
        lambda path: (path / "model.onnx").unlink(),
    ],
)
def test_damaged_bundle_is_told(tmp_path: Path, damage: object) -> None:
    path = written(tmp_path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(BundleError):
        load_bundle(path)


@pytest.mark.parametrize("name", ["x" * 5000, "\0", "\ud800"])
def test_a_name_that_no_disk_takes_is_told(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = "0" * 64
    (path / "manifest.json").write_text(json.dumps(manifest))
    resealed(path)
    with pytest.raises(BundleError):
        load_bundle(path)


def test_manifest_cannot_point_outside_the_bundle(tmp_path: Path) -> None:
    path = written(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["artifact"]["file"] = "../source0/model.onnx"
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="inside the bundle"):
        load_bundle(path)


def test_wrong_input_is_told(tmp_path: Path) -> None:
    with load_bundle(written(tmp_path)) as bundle, pytest.raises(DataError, match="float32"):
        bundle.run(samples(1).astype(np.float64))


def test_runs_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, compress\n"
        f"print(compress.load_bundle({str(written(tmp_path))!r}).run(np.zeros((2, 3, 8, 8), np.float32))[0].shape)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "(2, 4)\n"


@pytest.mark.parametrize("out", [".", "..", "../here", "inner/..", "/"])
def test_a_directory_that_cannot_be_moved_aside_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="--out build"):
        check_replaceable(Path(out))


def test_what_is_kept_beside_a_directory_is_beside_it_whatever_way_leads_there(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for way in ("real", "link", "real/inner/..", "real/"):
        assert beside(tmp_path / way, ".partial") == tmp_path / "real.partial"


@pytest.mark.parametrize("name", ["build.staging", "build.partial", "build.replaced"])
def test_directories_of_the_users_beside_a_bundle_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
    for _ in range(2):  # written, and replaced
        with contextlib.suppress(OutputError):
            written(tmp_path)
    assert (tmp_path / name / "mine").read_text() == "mine"


def test_a_bundle_that_stepped_aside_for_a_killed_run_comes_back(tmp_path: Path) -> None:
    path = written(tmp_path)
    place = own_directory(tmp_path / f"{path.name}.staging")
    path.rename(place / "replaced")  # killed here
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("compress.bundle.writing._write", _full)
        with pytest.raises(OutputError):
            written(tmp_path)
    with load_bundle(path) as bundle:
        assert bundle.profile == profile()
    assert not place.exists()


def _full(path: Path, content: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def places(value: object, place: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*place, key))


@pytest.mark.parametrize(
    "change", [{"reason": "faster"}, {"options": {}}, {"notes": ["good"]}, {"complete": True}]
)
def test_a_manifest_that_was_changed_is_seen(tmp_path: Path, change: dict[str, object]) -> None:
    path = written(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(BundleError, match=r"manifest\.json with sha256"):
        load_bundle(path)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=path, capture_output=True, text=True)
    assert "manifest.json: FAILED" in done.stdout


@pytest.mark.parametrize("left_out", ["manifest.json", "recipe.toml"])
def test_the_list_of_hashes_is_whole(tmp_path: Path, left_out: str) -> None:
    path = written(tmp_path)
    lines = (path / "SHA256SUMS").read_text().splitlines(keepends=True)
    (path / "SHA256SUMS").write_text("".join(line for line in lines if not line.endswith(f"  {left_out}\n")))
    with pytest.raises(BundleError, match=f"'{left_out}' in SHA256SUMS"):
        load_bundle(path)
    (path / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="'SHA256SUMS' in the bundle"):
        load_bundle(path)


def refusal(path: Path) -> str:
    try:
        load_bundle(path).close()
    except BundleError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["manifest.json", "profile.json"])
@pytest.mark.parametrize("wrong", [None, "x", -1.5, [], {}, True], ids=str)
def test_whatever_stands_in_json_it_is_refused_in_one_line_or_fits(
    tmp_path: Path, name: str, wrong: object
) -> None:
    path = written(tmp_path)
    whole = json.loads((path / name).read_text())
    refused = 0
    for place in places(whole):
        changed = copy.deepcopy(whole)
        holder: Any = changed
        for key in place[:-1]:
            holder = holder[key]
        if place:
            holder[place[-1]] = wrong
        else:
            changed = wrong
        (path / name).write_text(json.dumps(changed))
        if name == "profile.json":
            manifest = json.loads((path / "manifest.json").read_text())
            manifest["files"][name] = hashlib.sha256((path / name).read_bytes()).hexdigest()
            (path / "manifest.json").write_text(json.dumps(manifest))
        resealed(path)
        told = refusal(path)
        assert "\n" not in told
        refused += bool(told)
    assert refused > 10


def test_a_directory_with_the_manifest_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "manifest.json").write_text('{"manifest_version": 3, "name": "an extension"}')
    with pytest.raises(OutputError, match="other files"):
        check_replaceable(tmp_path / "build")


def test_a_damaged_bundle_is_replaced(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "manifest.json").write_text("{")
    check_replaceable(path)
    with load_bundle(written(tmp_path)) as bundle:
        assert bundle.recipe == Recipe("int8")
