from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.onnx_graph.fold import prepare
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session
from compress.quantization.batches import samples_of
from compress.quantization.weights import Settings
from compress.quantization.weights.forms import Form, all_forms
from compress.quantization.weights.packing import packed_arrays
from compress.quantization.weights.sensitivity import WeightCosts
from compress.quantization.weights.trials import Trials, divergences
from tests.quantization.weights.matrices import matrices, rows

FORMS = all_forms((4, 8), (16, 32), (False, True))


@pytest.fixture(scope="module")
def costs() -> WeightCosts:
    return WeightCosts(prepare(matrices()), [{"x": rows(64)}], Settings("rtn"), FORMS, scores=True)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("inputs", [80, 64])
def test_bytes_are_those_of_the_packed_arrays(form: Form, inputs: int):
    weight = np.random.default_rng(0).standard_normal((6, inputs)).astype(np.float32)
    packed = packed_arrays(form.rounded(weight, Settings("rtn")))
    assert form.bytes_of(6, inputs) == sum(array.nbytes for array in packed.values())


def test_divergence_is_that_of_the_definition():
    random = np.random.default_rng(0)
    ours, theirs = random.standard_normal((2, 5, 7)).astype(np.float32) * 3
    p, q = (np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (ours, theirs))
    np.testing.assert_allclose(divergences(ours, theirs), (p * np.log(p / q)).sum(axis=1), rtol=1e-4)


def test_a_shift_of_all_scores_is_no_divergence():
    ours = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_allclose(divergences(ours, ours + 100), 0, atol=1e-9)


def test_every_matrix_has_the_cost_of_each_form(costs):
    assert [each.shape for each in costs.matrices] == [(64, 80), (48, 64), (4, 48)]
    for each in costs.matrices:
        by_form = dict(zip(each.forms, each.losses, strict=True))
        assert by_form[Form(8, 16, True)] < 0.05 * by_form[Form(4, 32, True)]


def test_a_loss_that_follows_from_another_form_is_near_to_what_is_measured(costs):
    for each in costs.matrices:
        for form, loss in zip(each.forms, each.losses, strict=True):
            measured = costs.measured({each.matrix: form})
            if form.bits == 4:
                assert loss == pytest.approx(measured, rel=0.5)
            else:
                assert measured / 4 < loss < measured * 4


def test_losses_of_small_changes_add_up(costs):
    chosen = {each.matrix: Form(4, 16, False) for each in costs.matrices}
    alone = [each.losses[each.forms.index(Form(4, 16, False))] for each in costs.matrices]
    assert costs.measured(chosen) == pytest.approx(sum(alone), rel=0.5)


def test_nothing_changed_loses_nothing(costs):
    assert costs.measured({}) == pytest.approx(0, abs=1e-9)


def test_zero_points_of_eight_bits_are_not_tried():
    assert all(form.symmetric for form in FORMS if form.bits == 8)
    assert len(FORMS) == 6


def test_what_was_measured_is_kept_for_the_same_network_and_samples(tmp_path):
    x = rows(64)

    def costs(feed: np.ndarray, seed: int = 0) -> WeightCosts:
        model = prepare(matrices(seed=seed))
        return WeightCosts(model, [{"x": feed}], Settings("rtn"), FORMS, scores=True, cache=tmp_path)

    first = costs(x)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace(repr(first.matrices[0].losses[0]), "0.25"))
    assert costs(x).matrices[0].losses[0] == 0.25
    assert costs(2 * x).matrices[0].losses[0] != 0.25
    assert costs(x, seed=1).matrices[0].losses[0] != 0.25
    file.write_text("{")
    assert costs(x).matrices == first.matrices


def test_a_matrix_takes_any_form_where_none_that_is_wanted_fits(costs):
    each = costs.matrices[0]
    assert each.of([Form(4, 32, True)]).forms == (Form(4, 32, True),)
    assert each.of([Form(4, 256, True)]) == each


def test_samples_are_exactly_as_many_as_asked_for():
    graph = Graph(prepare(matrices()))
    batches = [{"x": rows(8)}, {"x": rows(8, seed=2)}, {"x": rows(8, seed=3)}]
    found = samples_of(batches, 11, graph)
    assert [len(each["x"]) for each in found] == [8, 3]
    np.testing.assert_array_equal(found[1]["x"], batches[1]["x"][:3])
    assert [len(each["x"]) for each in samples_of(batches, 100, graph)] == [8, 8, 8]
    assert samples_of([], 2, graph) == []


def test_a_trial_that_begins_inside_the_graph_finds_what_the_whole_does():
    model = prepare(matrices())
    names = [each.name for each in model.graph.initializer if len(each.dims) == 2]
    x = rows(16)
    trials = Trials(model, names, [{"x": x}], [], scores=False)
    graph = Graph(model)
    wanted = open_session(model).run(None, {"x": x})[0]
    for name in names:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        values = np.asarray(graph.constant(name)) * np.float32(1.1)
        next(each for each in changed.graph.initializer if each.name == name).CopyFrom(
            onnx.numpy_helper.from_array(values, name)
        )
        found = open_session(changed).run(None, {"x": x})[0]
        right = np.square(found - wanted).sum() / np.square(wanted - wanted.mean()).sum()
        assert right > 1e-3
        assert trials.loss({name: values}) == pytest.approx(right, rel=1e-3)
    assert len(trials._sessions) > 1  # two of the three do not run the whole


def test_matrices_are_tried_as_the_algorithm_rounds_them(tmp_path: Path):
    model, feeds = prepare(matrices()), [{"x": rows(64)}]
    measured = {}
    for algorithm in ("rtn", "search", "gptq"):
        each = WeightCosts(model, feeds, Settings(algorithm), FORMS, scores=True, cache=tmp_path)
        measured[algorithm] = each.measured({matrix.matrix: Form(4, 32, False) for matrix in each.matrices})
    assert len(list(tmp_path.iterdir())) == 3  # what one was measured with is not taken for another
    assert len(set(measured.values())) == 3
