"""torch's exporter reads its operators once in a process, and no export sees what another one added."""

from __future__ import annotations

import pytest
from torch.onnx._internal.exporter import _registration

from compress.network.exporter_operators import read_once
from compress.network.recurrent_export import TRANSLATIONS


def test_operators_are_read_once_and_additions_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    read_once()
    first = _registration.ONNXRegistry.from_torchlib()
    assert first.is_registered("aten::relu")
    monkeypatch.setattr(_registration, "onnxscript_apis", None)  # whoever reads again fails
    monkeypatch.setattr(_registration, "_torchlib_registry", None)
    read_once()
    second = _registration.ONNXRegistry().from_torchlib()  # as torch calls it
    assert second.functions == first.functions
    operator, function = next(iter(TRANSLATIONS.items()))
    before = first.get_decomps(operator)
    second.register_op(operator, function)
    assert second.get_decomps(operator)[0].onnx_function is function
    assert first.get_decomps(operator) == before
    assert _registration.ONNXRegistry.from_torchlib().get_decomps(operator) == before
