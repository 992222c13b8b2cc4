"""A decoder's ONNX graph becomes a network of OpenVINO that keeps its keys and values itself.

The ONNX graph is that of :mod:`compress.language.graph`, as techniques leave it: operators of ONNX Runtime with weights
of floats or of packed integers. OpenVINO's own reader takes such operators apart into what its processor kernels do not
fuse. Here each becomes the form that they do: attention with states, compressed weights, turned and normalized heads.

Inputs: ``input_ids`` int64 [batch, sequence], ``attention_mask`` int64 [batch, total], ``position_ids`` int64 [batch,
sequence], ``beam_idx`` int32 [batch], the row of the states that each text goes on with. Output: ``logits`` float32
[batch, sequence, vocabulary]. It is the form that openvino-genai runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compress.backends.openvino_operators import OPERATORS
from compress.backends.openvino_translation import Translation
from compress.core.decoder_texts import CONTEXT_KEY, KEYS
from compress.core.files import written_safely
from compress.core.installation import install_command
from compress.errors import NetworkError, UnavailableError

if TYPE_CHECKING:
    import onnx
    import openvino

#: Name of the network in its directory, as openvino-genai looks for it; the weights lie in ``.bin`` beside it.
GRAPH = "openvino_model.xml"

#: Level of MatMulNBits that multiplies integers: what it multiplies is rounded too.
_INTEGERS = 4


def is_decoder(model: onnx.ModelProto) -> bool:
    """Whether a graph is a decoder with keys and values that compress wrote."""
    return any(entry.key == CONTEXT_KEY for entry in model.metadata_props) and any(
        node.op_type == "GroupQueryAttention" for node in model.graph.node
    )


def without_form(model: onnx.ModelProto) -> list[str]:
    """Return the operators of a decoder that there is no form of for OpenVINO, by name."""
    return sorted({node.op_type for node in model.graph.node} - set(OPERATORS))


def has_integers(path: Path) -> bool:
    """Whether weights of a network that :func:`write_stateful_decoder` wrote are integers of 4 or 8 bits."""
    text = path.read_text(encoding="utf-8")
    return any(f'element_type="{kind}"' in text for kind in ("u4", "i4", "u8", "i8"))


def _level(node: onnx.NodeProto) -> int:
    """Return the level of a product with integer weights; 0 for other nodes, and where it has none."""
    if node.op_type != "MatMulNBits":
        return 0
    return next((entry.i for entry in node.attribute if entry.name == "accuracy_level"), 0)


def stateful_decoder(model: onnx.ModelProto) -> openvino.Model:
    """Return a decoder with states.

    Args:
        model: Graph of the decoder, with its weights in it.

    Raises:
        NetworkError: It has an operator that there is no form of for OpenVINO.
        UnavailableError: OpenVINO is not installed.
    """
    try:
        import openvino
        from openvino import opset13 as ov
    except ImportError as error:
        raise UnavailableError(
            "OpenVINO", f"no such package ({error})", install_command("openvino")
        ) from error
    from compress.backends.openvino_generation import NOTES, PRODUCTS

    unknown = without_form(model)
    if unknown:
        raise NetworkError(
            "a decoder of operators that there is a form of for OpenVINO",
            ", ".join(unknown),
            "choose another technique, or ONNX Runtime",
        )
    at = Translation(model)
    for node in model.graph.node:
        OPERATORS[node.op_type](at, node)
    logits = ov.result(at.values["logits"])
    logits.output(0).get_tensor().set_names({"logits"})
    written = openvino.Model([logits], at.sinks, at.parameters, "decoder")
    for entry in model.metadata_props:
        if entry.key in KEYS:
            written.set_rt_info(entry.value, [NOTES, entry.key])
    if any(_level(node) == _INTEGERS for node in model.graph.node):
        written.set_rt_info("int8", [NOTES, PRODUCTS])
    written.validate_nodes_and_infer_types()
    for index, node in enumerate(written.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():  # its own has a count of all nodes of this process
            node.set_friendly_name(f"{node.get_type_name()}.{index}")
    return written


def write_stateful_decoder(model: onnx.ModelProto, directory: Path) -> Path:
    """Write a decoder as ``openvino_model.xml`` with ``openvino_model.bin``, and return the first.

    Raises:
        NetworkError: It has an operator that there is no form of for OpenVINO.
        UnavailableError: OpenVINO is not installed.
        OutputError: The files cannot be written.
    """
    import openvino

    path = directory / GRAPH
    network = stateful_decoder(model)
    with written_safely(path):
        openvino.save_model(network, str(path), compress_to_fp16=False)
    return path
