from __future__ import annotations

import pytest

from compress.network.network import Origin


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("models/resnet20.pt2", "pt2", "resnet20"),
        ("net.onnx", "onnx", "net"),
        ("nets.Small", "module", "nets.Small"),
        ("models/SmolLM2-1.7B", "decoder", "SmolLM2-1.7B"),
        ("models/SmolLM2-1.7B.Q8.gguf", "decoder", "SmolLM2-1.7B.Q8"),
        ("models/beit-v1.5", "hugging_face", "beit-v1.5"),
    ],
)
def test_a_network_is_called_by_its_file_or_its_class(path: str, kind: str, name: str) -> None:
    assert Origin(path, kind, "0" * 64).name == name
