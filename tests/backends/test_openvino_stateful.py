"""A decoder in OpenVINO is called as ONNX Runtime's decoders are, and gives what they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from compress.backends.base import Artifact, Backend, Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.backends.openvino import CACHES, OpenVino
from compress.backends.openvino_stateful import OpenVinoDecoderSession
from compress.errors import BundleError, DataError, NetworkError, RecipeError
from compress.language.documents import empty_cache, fed
from compress.language.graph import decoder_model
from compress.language.matrices import round_to_nearest
from compress.language.weights import open_language_model
from compress.onnx_graph.files import copy_to, files_of, sha256_of
from compress.target.target import load_target
from tests.language.tiny import Tiny, tiny

openvino = pytest.importorskip("openvino")

IDS = np.random.default_rng(0).integers(3, 101, (2, 24))


def graph_of(made: Tiny, *form: Any) -> onnx.ModelProto:
    model = open_language_model(made.path)
    return decoder_model(model.config, model.weights, *form)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return graph_of(tiny(tmp_path_factory.mktemp("tiny"), "llama, tied"))


@pytest.fixture
def artifact(graph: onnx.ModelProto, tmp_path: Path) -> Artifact:
    return OpenVino().compile(graph, tmp_path, {})


def answers(session: Session, ids: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Outputs of a prompt of 12 tokens, of 5 behind it, and of each step after that."""
    past = empty_cache(session, len(ids))
    found = []
    # Several texts take several tokens at once in ONNX Runtime only as their first ones.
    middle = [(12, 17)] if len(ids) == 1 else [(at, at + 1) for at in range(12, 17)]
    for start, stop in ((0, 12), *middle, *((at, at + 1) for at in range(17, 24))):
        outputs = session.run(fed(ids[:, start:stop], past))
        past = dict(zip(past, outputs[1:], strict=True))
        found += outputs
    return found


@pytest.mark.parametrize("kind", ["llama", "mistral, window", "qwen2", "gemma"])
def test_calls_give_what_onnx_runtime_gives(tmp_path: Path, kind: str):
    model = graph_of(tiny(tmp_path, kind))
    outputs, interfaces = [], []
    for backend, name in ((OpenVino(), "ours"), (OnnxRuntime(), "theirs")):
        (tmp_path / name).mkdir()
        built = backend.compile(model, tmp_path / name, {"intra_op_threads": 1})
        with backend.open(built) as session:
            interfaces.append(
                [list(map(str, session.inputs)), list(map(str, session.outputs)), session.metadata]
            )
            outputs.append([*answers(session, IDS[:1]), *answers(session, IDS)])
    assert interfaces[0] == interfaces[1]
    for ours, theirs in zip(*outputs, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(np.abs(theirs).max()))


@pytest.mark.parametrize(("cache", "most"), [("float16", 5e-3), ("int8", 6e-2)])
def test_a_rounded_cache_is_close_and_is_seen_by_a_prompt_too(artifact: Artifact, cache: str, most: float):
    found = {}
    for precision in ("float32", cache):
        built = Artifact(**{**vars(artifact), "options": {"cache": precision, "intra_op_threads": 1}})
        with OpenVino().open(built) as session:
            found[precision] = session.run(fed(IDS, empty_cache(session, 2)))[0]
    apart = np.abs(found[cache] - found["float32"]).max() / np.abs(found["float32"]).max()
    assert 0 < apart < most


def test_the_precisions_of_a_cache_are_those_of_the_program_that_is_shipped():
    from compress.backends import openvino_generation

    assert tuple(openvino_generation.CACHES) == CACHES
    with pytest.raises(RecipeError, match="cache"):
        OpenVino().session_options.read({"cache": "int4"})


def test_the_artifact_is_both_files_and_the_same_each_time(
    artifact: Artifact, graph: onnx.ModelProto, tmp_path: Path
):
    weights = artifact.path.with_suffix(".bin")
    assert files_of(artifact.path) == (artifact.path, weights)
    assert artifact.size_bytes == artifact.path.stat().st_size + weights.stat().st_size
    again = tmp_path / "again"
    again.mkdir()
    assert OpenVino().compile(graph, again, {}).sha256 == artifact.sha256 == sha256_of(artifact.path)
    other = tmp_path / "other"
    other.mkdir()
    copied = copy_to(artifact.path, other)
    copied.with_suffix(".bin").write_bytes(weights.read_bytes()[:-4] + b"\1\1\1\1")
    assert sha256_of(copied) != artifact.sha256


@pytest.mark.parametrize("backend", [OpenVino(), OnnxRuntime()], ids=lambda backend: backend.name)
def test_steps_are_timed_where_keys_and_values_lie(graph: onnx.ModelProto, tmp_path: Path, backend: Backend):
    with backend.open(backend.compile(graph, tmp_path, {"intra_op_threads": 1})) as session:
        context = int(session.metadata["context_length"])
        for before in (0, 8, context - 2):
            ids = np.tile(IDS, 3)[:, : before + 1]
            past = empty_cache(session, 2)
            if before:
                past = dict(zip(past, session.run(fed(ids[:, :-1], past))[1:], strict=True))
            feeds = fed(ids[:, -1:], past)
            (wanted, *_), call = session.run(feeds), session.prepared(feeds)
            if isinstance(session, OpenVinoDecoderSession):
                np.testing.assert_allclose(call(), wanted, atol=1e-5)
            else:  # keys and values, with those of the token where the step wrote them
                for held, present in zip(call(), session.run(feeds)[1:], strict=True):
                    np.testing.assert_allclose(held.numpy(), present, atol=1e-5)
            for _ in range(40):
                call()
                session.timed_call(feeds)
            np.testing.assert_allclose(session.run(feeds)[0], wanted, atol=1e-5)


def test_products_of_integers_are_what_the_graph_says(tmp_path: Path):
    made = tiny(tmp_path, "llama, tied")
    for compute in ("float32", "int8"):
        (tmp_path / compute).mkdir()
        model = graph_of(made, round_to_nearest(4, 32, compute=compute))
        built = OpenVino().compile(model, tmp_path / compute, {})
        with OpenVino().open(built) as session:
            assert isinstance(session, OpenVinoDecoderSession)
            size = session.decoder.compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
            assert (size > 0) is (compute == "int8")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("input_ids", lambda ids: ids.astype(np.int32)),
        ("attention_mask", lambda mask: mask[:, :-1]),
        ("past_key_values.1.value", lambda values: values[:, :, :2]),
        ("past_key_values.0.key", lambda keys: keys[:1]),
        ("input_ids", lambda ids: ids[:, :0]),
    ],
)
def test_feeds_that_do_not_fit_are_refused(artifact: Artifact, name: str, change: Any):
    with OpenVino().open(artifact) as session:
        past = {key: np.zeros((2, 2, 3, 16), np.float32) for key in empty_cache(session)}
        feeds = fed(IDS[:, :1], past)
        session.run(feeds)
        with pytest.raises(DataError, match=r"wanted .*; found .*; "):
            session.run({**feeds, name: change(feeds[name])})


def test_damage_is_told_in_one_line(artifact: Artifact):
    whole, weights = artifact.path.read_bytes(), artifact.path.with_suffix(".bin")
    artifact.path.write_bytes(whole[:900])
    with pytest.raises(BundleError, match=r"wanted a decoder of OpenVINO; found [^\n]*; build it again"):
        OpenVino().open(artifact)
    artifact.path.write_bytes(whole.replace(b"context_length", b"context_lengt_"))
    with pytest.raises(BundleError, match="no 'context_length' in its notes; build it again"):
        OpenVino().open(artifact)
    artifact.path.write_bytes(whole)
    weights.rename(weights.with_suffix(".away"))
    with pytest.raises(BundleError, match=r"openvino_model\.bin beside .*; copy or build it again"):
        OpenVino().open(artifact)


def test_experts_are_refused_and_leave_nothing(tmp_path: Path):
    model = graph_of(tiny(tmp_path, "mixtral"))
    (reason,) = OpenVino().not_supported_reasons(model, load_target("cpu"))
    assert "MoE" in reason
    (tmp_path / "build").mkdir()
    with pytest.raises(NetworkError, match="MoE"):
        OpenVino().compile(model, tmp_path / "build", {})
    assert list((tmp_path / "build").iterdir()) == []
