"""Layers that a Jetson's deep learning accelerator takes; all others run on the GPU without a message.

Operators: NVIDIA's Deep-Learning-Accelerator-SW, "Supported ONNX Operators on Orin DLA" (column "through TensorRT",
for TensorRT 8.5). Their limits: TensorRT's developer guide, "DLA Supported Layers and Restrictions". Which of the
operators Xavier's DLA lacks is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from compress.lint.findings import Finding, Subject, name_of
from compress.lint.releases import version_of
from compress.onnx_graph.graph import attribute
from compress.onnx_graph.operators import names
from compress.onnx_graph.shapes import input_specs

_OPERATORS = "NVIDIA Deep-Learning-Accelerator-SW, operators/README.md"
_RESTRICTIONS = "TensorRT developer guide, DLA Supported Layers and Restrictions"
_SUPPORT = "TensorRT developer guide 11, Working with DLA"

_NATIVE = names("""
    Abs Add AveragePool BatchNormalization Clip Concat Constant Conv ConvTranspose Cos Equal Gemm LRN LeakyRelu
    MatMul Max MaxPool Mul PRelu Relu Reshape Resize Sigmoid Slice Softmax Sub Sum Tanh Transpose Upsample
""")
#: Elementwise operators that the list for 8.5 lacks and the current restrictions name.
_NATIVE_SINCE_10 = names("Div Greater Less Min Pow")
#: They belong to the layers around them.
_NO_LAYER = names("ConstantOfShape DequantizeLinear Dropout Identity QuantizeLinear Shape")

_LARGEST_BATCH, _LARGEST_AXIS = 4096, 8192
_KERNEL, _STRIDE = 32, 8
_LAST_WITH_DLA = (10, 7)
_ORIN = "8.7"
_FALLS_BACK = (
    "it runs on the GPU, and every change of processor costs a copy; leave the DLA out, or write it otherwise"
)


def dla(subject: Subject) -> Iterator[Finding]:
    """Rule: the DLA takes every layer; checked only with ``compress lint --dla``."""
    target = subject.target
    if not target.dla:
        yield Finding("dla", "error", "", f"{target.name} has no DLA", "leave --dla out", "targets")
        return
    if version_of(target.tensorrt) > _LAST_WITH_DLA:
        message = f"TensorRT {target.tensorrt} has no DLA on Jetson; 10.7 was the last that had"
        yield Finding("dla", "error", "", message, "build for the GPU", _SUPPORT)
        return
    if target.compute_capability != _ORIN:
        message = "which of the operators of Orin's DLA this older one lacks is not known here"
        fix = "build with trtexec --useDLACore=0 --allowGPUFallback and read which layers fell back"
        yield Finding("dla", "note", "", message, fix, _OPERATORS)
    yield from _shapes(subject)
    yield from _nodes(subject)


def _shapes(subject: Subject) -> Iterator[Finding]:
    for spec in input_specs(subject.graph.model):
        if any(isinstance(size, str) for size in spec.shape):
            fix = "build for one batch size, with the same smallest, usual and largest shape"
            message = "the input has an open axis, and the DLA takes static shapes only"
            yield Finding("dla", "warning", spec.name, message, fix, _RESTRICTIONS)
        sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
        if sizes and max(sizes) > _LARGEST_AXIS:
            message = f"an axis of {max(sizes)}, and the DLA takes up to {_LARGEST_AXIS}"
            yield Finding("dla", "warning", spec.name, message, _FALLS_BACK, _RESTRICTIONS)
        if spec.shape and isinstance(spec.shape[0], int) and spec.shape[0] > _LARGEST_BATCH:
            message = f"a batch of {spec.shape[0]}, and the DLA takes up to {_LARGEST_BATCH}"
            yield Finding("dla", "warning", spec.name, message, "feed smaller batches", _RESTRICTIONS)


def _nodes(subject: Subject) -> Iterator[Finding]:
    native = _NATIVE | (_NATIVE_SINCE_10 if version_of(subject.target.tensorrt) >= (10,) else frozenset())
    fallen: dict[tuple[str, str], list[str]] = {}
    for node in subject.graph.nodes:
        if node.op_type in _NO_LAYER or subject.constants.issuperset(node.output):
            continue
        broken = (
            f"{node.op_type} is not among the DLA's operators"
            if node.op_type not in native
            else _broken(node, subject)
        )
        if broken is not None:
            source = _OPERATORS if node.op_type not in native else _RESTRICTIONS
            fallen.setdefault((broken, source), []).append(name_of(node))
    for (broken, source), nodes in fallen.items():
        more = f", and so {len(nodes) - 1} more" if len(nodes) > 1 else ""
        yield Finding("dla", "warning", nodes[0], broken + more, _FALLS_BACK, source)


def _broken(node: onnx.NodeProto, subject: Subject) -> str | None:
    """Return why the DLA refuses a use of an operator that it has; None where no reason is known."""
    rank = subject.typed.rank(node.input[0]) if node.input else None
    if node.op_type in ("Conv", "ConvTranspose") and rank not in (None, 4):
        return f"{node.op_type}: the DLA convolves in 2-D only"
    if node.op_type in ("AveragePool", "MaxPool") and rank not in (None, 4):
        return f"{node.op_type}: the DLA pools in 2-D only"
    if node.op_type == "Conv":
        kernel = _kernel(node, subject)
        if kernel and max(kernel) > _KERNEL:
            return f"Conv: a kernel of {max(kernel)}, and the DLA takes up to {_KERNEL}"
        strides = attribute(node, "strides", (1,))
        if max(strides) > _STRIDE:
            return f"Conv: a stride of {max(strides)}, and the DLA takes up to {_STRIDE}"
    if node.op_type == "ConvTranspose":
        if attribute(node, "group", 1) > 1 or set(attribute(node, "dilations", (1,))) != {1}:
            return "ConvTranspose: the DLA has no grouped or dilated one"
        if any(attribute(node, "pads", ())):
            return "ConvTranspose: on the DLA its padding has to be 0"
    if node.op_type == "Concat" and rank is not None and attribute(node, "axis") % rank != 1:
        return "Concat: the DLA concatenates along the channels only"
    if node.op_type == "MatMul" and node.input[1] not in subject.constants:
        return "MatMul: on the DLA its second input has to be constant"
    wide = {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE}
    if subject.typed.element_type(node.output[0]) in wide:
        return f"{node.op_type}: the DLA computes in float16 and int8 only"
    return None


def _kernel(node: onnx.NodeProto, subject: Subject) -> list[int]:
    kernel_shape = attribute(node, "kernel_shape")
    if kernel_shape:
        return list(kernel_shape)
    shape = subject.typed.shape(node.input[1]) or ()
    return [size for size in shape[2:] if isinstance(size, int)]
