"""Files that are shipped beside a decoder of OpenVINO, in place of those that are for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from compress.language.genai import CONFIG

#: The program that opens the decoder; ``generation.py`` writes text with it.
_PROGRAM = "openvino_generation.py"


def companions_of_openvino(companions: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that are shipped beside a decoder of OpenVINO, by their file's name.

    Args:
        companions: Those that are shipped beside one of ONNX Runtime; onnxruntime-genai's own is left out.
    """
    program = (files("compress.backends") / _PROGRAM).read_text(encoding="utf-8")
    kept = {name: text for name, text in companions.items() if name != CONFIG}
    return {**kept, _PROGRAM: program}
