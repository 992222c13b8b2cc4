from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import fx, nn

from compress.errors import OutputError
from compress.pruning import decision
from compress.pruning.decision import decided_together, kept, key_of
from compress.training.processes import Processes


class Timing:
    """Chooses other units each time, as times differ."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self):
        self.count += 1
        return {"one": np.arange(self.count)}, {"latency": {"predicted": self.count / 10}}


def test_what_was_chosen_is_chosen_again(tmp_path) -> None:
    choose, path = Timing(), tmp_path / "below" / "prune.json"
    units, told = kept(path, "this", choose)
    again, told_again = kept(path, "this", choose)
    assert choose.count == 1
    assert units["one"].tolist() == again["one"].tolist() == [0]
    assert again["one"].dtype == np.int64
    assert told == told_again == {"latency": {"predicted": 0.1}}
    assert [each.name for each in path.parent.iterdir()] == ["prune.json"]


def test_another_key_is_chosen_anew(tmp_path) -> None:
    choose, path = Timing(), tmp_path / "prune.json"
    kept(path, "this", choose)
    assert kept(path, "other", choose)[0]["one"].tolist() == [0, 1]


@pytest.mark.parametrize("content", ["", "{", '{"key": "thi'])
def test_a_file_cut_short_counts_as_none(tmp_path, content) -> None:
    choose, path = Timing(), tmp_path / "prune.json"
    path.write_text(content)
    assert kept(path, "this", choose)[0]["one"].tolist() == [0]


def test_without_a_place_nothing_is_kept() -> None:
    choose = Timing()
    kept(None, "this", choose)
    assert kept(None, "this", choose)[0]["one"].tolist() == [0, 1]


def test_what_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"prune\.json"):
        kept(tmp_path / "file" / "prune.json", "this", Timing())


def test_the_key_tells_networks_and_settings_apart() -> None:
    def graph(seed: int, *more: nn.Module) -> fx.GraphModule:
        torch.manual_seed(seed)
        return fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), *more))

    same = key_of(graph(0), settings={"latency": 0.5})
    assert same == key_of(graph(0), settings={"latency": 0.5})
    assert same != key_of(graph(1), settings={"latency": 0.5})
    assert same != key_of(graph(0, nn.ReLU()), settings={"latency": 0.5})
    assert same != key_of(graph(0), settings={"latency": 0.6})


def test_the_first_process_decides_for_all(monkeypatch) -> None:
    def of_the_first(processes: Processes, value: str | None) -> str:
        assert (value is None) is not processes.first
        return value or "as the first"

    monkeypatch.setattr(Processes, "broadcast", of_the_first)
    for rank, expected in enumerate(("mine", "as the first")):
        monkeypatch.setattr(decision, "joined", lambda rank=rank: Processes(rank, 2))
        assert decided_together(lambda: "mine") == expected
