"""The device that trains: what is asked for, or one GPU for each process. No GPU is needed to tell what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import compress
from compress.errors import CompressError, UnavailableError, UsageError
from compress.onnx_module import shaping
from compress.training.devices import device_of


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose GPUs and processes a test sets."""
    found = SimpleNamespace(gpus=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found.gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found.gpus)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def started(rank: int, count: int) -> None:
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))

    found.started = started
    return found


@pytest.mark.parametrize(
    ("gpus", "wanted", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_a_device_is_what_is_asked_for(machine: SimpleNamespace, gpus: int, wanted: str, device: str) -> None:
    machine.gpus = gpus
    assert device_of(wanted) == torch.device(device)


def test_each_process_has_a_gpu_of_its_own(machine: SimpleNamespace) -> None:
    machine.gpus = 2
    machine.started(1, 2)
    assert device_of() == device_of("cuda") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="cuda:0 for all"):
        device_of("cuda:0")


@pytest.mark.parametrize("rank", [0, 2])
def test_more_processes_than_gpus_are_refused_in_each_of_them(machine: SimpleNamespace, rank: int) -> None:
    machine.gpus = 2
    machine.started(rank, 3)
    for wanted in ("auto", "cuda"):
        with pytest.raises(UnavailableError, match=r"a GPU for each of 3 processes.*2.*--device cpu"):
            device_of(wanted)
    assert device_of("cpu").type == "cpu"


@pytest.mark.parametrize(
    ("gpus", "wanted", "kind", "words"),
    [
        (0, "cuda", UnavailableError, "a GPU to train on"),
        (1, "cuda:1", UnavailableError, "1 here"),
        (1, "gpu", UsageError, "cuda:N"),
        (1, "cuda:", UsageError, "cuda:N"),
        (1, "", UsageError, "cuda:N"),
    ],
)
def test_what_is_not_there_is_told(
    machine: SimpleNamespace, gpus: int, wanted: str, kind: type[CompressError], words: str
) -> None:
    machine.gpus = gpus
    with pytest.raises(kind, match=words):
        device_of(wanted)


def test_every_verb_that_trains_tells_it_before_anything_is_read(machine: SimpleNamespace) -> None:
    x = {"x": np.zeros((4, 4), np.float32)}
    more = {"data": x, "train_data": x}
    for call in (
        lambda: compress.optimize("none.pt2", device="cuda", **more),
        lambda: compress.prune("none.pt2", device="cuda", **more),
        lambda: compress.distill("none.pt2", device="cuda", student="a.b:c", **more),
        lambda: compress.choose_student(
            "none.pt2", device="cuda", student="json:loads", widths=(1, 2, 3), **more
        ),
    ):
        with pytest.raises(UnavailableError, match="a GPU to train on"):
            call()


def test_shapes_of_an_onnx_network_are_where_its_tensors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As constants are: indices that are gathered from a shape, and joined with it, are on one device."""
    x, three = torch.empty(2, 3, device="meta"), torch.empty((), dtype=torch.int64, device="meta")
    monkeypatch.setattr(shaping, "number", lambda _: 3)
    monkeypatch.setattr(shaping, "_ints", lambda _: [3])
    for name, inputs in (
        ("Shape", (x,)),
        ("Size", (x,)),
        ("Range", (three, three, three)),
        ("ConstantOfShape", (three,)),
    ):
        assert shaping.SHAPING[name]({}, *inputs).device.type == "meta", name
