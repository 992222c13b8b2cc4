"""Programs of a bundle from templates: ``run.py``, ``run.cpp``, ``selfcheck.py``, and ``selfcheck.sh`` for TensorRT.

Names come from a network's file, so each goes into a program as a literal of that language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compress.backends.openvino_decoder import GRAPH
from compress.bundle.programs.filling import (
    RUN_PROMPT,
    filled,
    python_dictionary,
    python_sample,
    template,
)
from compress.bundle.programs.openvino_decoder import decoder_programs
from compress.bundle.programs.sample import Sample, Value
from compress.core.plain_text import plain, shell_word
from compress.core.tensor_spec import TensorSpec

#: Type in C++, and as ONNX Runtime names it, by NumPy's name.
_CPP = {
    "float32": ("float", "FLOAT"),
    "float64": ("double", "DOUBLE"),
    "float16": ("half", "FLOAT16"),
    "int64": ("int64_t", "INT64"),
    "int32": ("int32_t", "INT32"),
    "int16": ("int16_t", "INT16"),
    "int8": ("int8_t", "INT8"),
    "uint64": ("uint64_t", "UINT64"),
    "uint32": ("uint32_t", "UINT32"),
    "uint16": ("uint16_t", "UINT16"),
    "uint8": ("uint8_t", "UINT8"),
    "bool": ("uint8_t", "BOOL"),
}
#: And as OpenVINO does.
_OPENVINO = {"float32": "f32", "float64": "f64", "float16": "f16", "bool": "boolean"}

#: How a program in Python runs a stream of the user's.
_RUN_STREAM = """    import sys

    if len(sys.argv) == 3:
        run_stream(*sys.argv[1:])
        sys.exit()
"""


def programs(
    backend: str,
    inputs: Sequence[TensorSpec],
    sample: Sample,
    options: Mapping[str, Any],
    release: str | None = None,
    precision: str = "fp32",
    states: Mapping[str, str] | None = None,
    generates: bool = False,
    crashing: Sequence[str] = (),
    model: str = "model.onnx",
) -> dict[str, str]:
    """Return the programs that load and run a build, by their file's name.

    Args:
        backend: Back end of the deployed build: ``onnxruntime``, ``openvino`` or ``tensorrt``; others have no programs.
        inputs: Inputs of the build.
        sample: Sample that the programs run.
        options: Session options of the build.
        release: Release of TensorRT on the target.
        precision: Precision of the graph: ``fp32``, ``fp16`` or ``int8``.
        states: The output that is the next value of each input that is carried from call to call; None for none.
        generates: Whether the build is a decoder of text, with ``generation.py`` and ``tokenizer.json`` beside it.
        crashing: Optimizations of ONNX Runtime that crash at the graph.
        model: Name of the build's file.
    """
    states = states or {}
    if backend == "onnxruntime":
        python, cpp = _onnxruntime(inputs, sample, options, precision, states, crashing)
    elif backend == "openvino" and model == GRAPH:
        return decoder_programs(sample, options)
    elif backend == "openvino":
        python, cpp = _openvino(sample, options, states)
    elif backend == "tensorrt":
        python, cpp = {}, _tensorrt(sample, states)
    else:
        return {}
    fields = {
        "model": model,
        "common": template("common.cpp"),
        "sample": python_sample(sample),
        "input_names": repr([value.name for value in sample.inputs]),
        "output_names": repr([value.name for value in sample.outputs]),
        "stream": _stream_in_python(sample, states),
        "run_stream": _RUN_STREAM if states else "",
    }
    if generates:
        fields |= {"stream": template("generate.py"), "run_stream": RUN_PROMPT}
    contents = {
        "run.py": filled(f"run.{backend}.py", fields | python),
        "run.cpp": filled(f"run.{backend}.cpp", fields | cpp),
        "selfcheck.py": template("selfcheck.py"),
    }
    if backend == "tensorrt":
        contents["selfcheck.sh"] = _board_check(inputs, sample, options, release)
        for index, value in enumerate(sample.outputs):
            contents[_text_file(index)] = "".join(
                f"{number:.9g}\n" for number in value.array.ravel().tolist()
            )
    return contents


def _onnxruntime(
    inputs: Sequence[TensorSpec],
    sample: Sample,
    options: Mapping[str, Any],
    precision: str,
    states: Mapping[str, str],
    crashing: Sequence[str],
) -> tuple[dict[str, str], dict[str, str]]:
    from compress.backends.gpu_sessions import provider_options
    from compress.backends.onnxruntime import REWRITES, OnnxRuntimeOptions
    from compress.backends.providers import TENSORRT, XNNPACK, chain, on_nvidia_gpu

    settings = OnnxRuntimeOptions.read(options)
    bound = settings.io_binding or settings.cuda_graph
    providers = chain(settings.provider, settings.intra_op_threads, precision)
    providers[0][1].update(provider_options(settings, inputs))
    threads = 1 if settings.provider == XNNPACK else settings.intra_op_threads
    entries = {"session.intra_op.allow_spinning": str(int(settings.spinning))}
    disabled = list(crashing)
    if not settings.qdq_fusion:
        entries["session.disable_quant_qdq"] = "1"
        disabled = [*REWRITES, *crashing]
    python = {
        "package": "onnxruntime-gpu" if on_nvidia_gpu(settings.provider) else "onnxruntime",
        "provider": providers[0][0],
        "threads": str(threads),
        "arena": repr(settings.arena),
        "entries": python_dictionary(entries),
        "providers": ", ".join(
            f'("{name}", {python_dictionary(chosen)})' if chosen else f'"{name}"'
            for name, chosen in providers
        ),
        "disabled": repr(disabled),
        "bound": "        self.bound = {}\n" if bound else "",
        "call": "        return dict(zip(OUTPUTS, self.session.run(OUTPUTS, inputs)))",
    }
    if bound:
        fields = {"device": "cuda", "graph": repr(settings.cuda_graph)}
        fields["numbered"] = repr(settings.cuda_graph and settings.provider != TENSORRT)
        python["call"] = filled("bound.onnxruntime.py", fields)
    # A recording needs memory that stays where it is, which this program has not.
    plain = [
        (name, {key: value for key, value in chosen.items() if "cuda_graph" not in key})
        for name, chosen in providers
    ]
    lines = [] if settings.arena else ["options.DisableCpuMemArena();"]
    if disabled:
        entries["optimization.disable_specified_optimizers"] = ";".join(disabled)
    lines += [f"options.AddConfigEntry({_cpp(key)}, {_cpp(value)});" for key, value in entries.items()]
    lines += [line for name, chosen in plain for line in _appended(name, chosen)]
    feeds = []
    for index, value in enumerate(sample.inputs):
        feeds += [
            f"std::vector<char> input_{index} = contents({_cpp(value.file)});",
            f"const std::vector<int64_t> shape_{index} = {_shape(value)};",
        ]
    names = ", ".join(_cpp(value.name) for value in sample.inputs)
    feeds += [f"const char* input_names[] = {{{names}}};", "std::vector<Ort::Value> inputs;"]
    for index, value in enumerate(sample.inputs):
        kind = f"ONNX_TENSOR_ELEMENT_DATA_TYPE_{_CPP[value.array.dtype.name][1]}"
        feeds += [
            "inputs.push_back(Ort::Value::CreateTensor(",
            f"    memory, input_{index}.data(), input_{index}.size(), shape_{index}.data(), shape_{index}.size(),",
            f"    {kind}));",
        ]
    outputs = [
        _equals(
            value,
            f"outputs[{index}].GetTensorRawData()",
            f"outputs[{index}].GetTensorTypeAndShapeInfo().GetElementCount() * {value.array.dtype.itemsize}",
        )
        for index, value in enumerate(sample.outputs)
    ]
    outputs += _carried(
        [f"inputs[{to}] = std::move(outputs[{of}]);" for to, of in _positions(sample, states)],
        [
            "outputs = session.Run(",
            "    Ort::RunOptions{nullptr}, input_names, inputs.data(), inputs.size(), output_names, "
            f"{len(sample.outputs)});",
        ],
    )
    return python, {
        "threads": str(threads),
        "unbound": "\n// It was measured with memory of the GPU that is kept; here it is not."
        if bound
        else "",
        "entries": _indented(lines),
        "inputs": _indented(feeds),
        "output_names": ", ".join(_cpp(value.name) for value in sample.outputs),
        "output_count": str(len(sample.outputs)),
        "outputs": _indented(outputs),
    }


def _appended(provider: str, options: Mapping[str, str]) -> list[str]:
    """Return the C++ lines that ask for an execution provider; the rest runs on the processor by default."""
    from compress.backends.providers import CUDA, TENSORRT, XNNPACK

    pairs = [(_cpp(key), _cpp(value)) for key, value in options.items()]
    if provider == CUDA:
        return ["options.AppendExecutionProvider_CUDA(OrtCUDAProviderOptions{});"]
    if provider == XNNPACK:
        pairs_text = ", ".join(f"{{{key}, {value}}}" for key, value in pairs)
        return [f'options.AppendExecutionProvider("XNNPACK", {{{pairs_text}}});']
    if provider == TENSORRT:
        return [
            f"const char* tensorrt_keys[] = {{{', '.join(key for key, _ in pairs)}}};",
            f"const char* tensorrt_values[] = {{{', '.join(value for _, value in pairs)}}};",
            "OrtTensorRTProviderOptionsV2* tensorrt = nullptr;",
            "Ort::ThrowOnError(Ort::GetApi().CreateTensorRTProviderOptions(&tensorrt));",
            "Ort::ThrowOnError(Ort::GetApi().UpdateTensorRTProviderOptions(",
            f"    tensorrt, tensorrt_keys, tensorrt_values, {len(pairs)}));",
            "options.AppendExecutionProvider_TensorRT_V2(*tensorrt);",
            "Ort::GetApi().ReleaseTensorRTProviderOptions(tensorrt);",
        ]
    return []


def _openvino(
    sample: Sample, options: Mapping[str, Any], states: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    from compress.backends.openvino import OpenVinoOptions, properties

    settings = properties(replace(OpenVinoOptions.read(options), affinity=()))
    inputs = []
    for index, value in enumerate(sample.inputs):
        kind = _OPENVINO.get(
            value.array.dtype.name, value.array.dtype.name.replace("int", "i").replace("ui", "u")
        )
        inputs += [
            f"std::vector<char> input_{index} = contents({_cpp(value.file)});",
            f"request.set_input_tensor({index}, ov::Tensor(ov::element::{kind}, ov::Shape{_shape(value)}, "
            f"input_{index}.data()));",
        ]
    outputs = [
        _equals(
            value,
            f"request.get_output_tensor({index}).data()",
            f"request.get_output_tensor({index}).get_byte_size()",
        )
        for index, value in enumerate(sample.outputs)
    ]
    outputs += _carried(
        [
            line
            for to, of in _positions(sample, states)
            for line in (
                f"ov::Tensor state_{to}(request.get_output_tensor({of}).get_element_type(), "
                f"request.get_output_tensor({of}).get_shape());",
                f"request.get_output_tensor({of}).copy_to(state_{to});",
                f"request.set_input_tensor({to}, state_{to});",
            )
        ],
        ["request.infer();"],
    )
    return {"properties": python_dictionary(settings)}, {
        "properties": _indented(
            [f"{{{_cpp(key)}, {_cpp_value(value)}}}," for key, value in settings.items()], 8
        ),
        "shapes": ", ".join(f"ov::Shape{_shape(value)}" for value in sample.inputs),
        "inputs": _indented(inputs),
        "outputs": _indented(outputs),
    }


def _tensorrt(sample: Sample, states: Mapping[str, str]) -> dict[str, str]:
    inputs, buffers, copies, outputs = [], [], [], []
    for index, value in enumerate(sample.inputs):
        buffers += [
            f"Buffer input_{index}({value.array.nbytes});",
            f"input_{index}.to_device(values_{index}, stream);",
            f"context->setTensorAddress({_cpp(value.name)}, input_{index}.address);",
        ]
        inputs += [
            f"const std::vector<char> values_{index} = contents({_cpp(value.file)});",
            f"if (!context->setInputShape({_cpp(value.name)}, dims({_shape(value)}))) "
            f"throw std::runtime_error({_cpp(f'a shape of {value.name} outside of what the engine was built for')});",
        ]
    for index, value in enumerate(sample.outputs):
        buffers += [
            f"Buffer output_{index}({value.array.nbytes});",
            f"context->setTensorAddress({_cpp(value.name)}, output_{index}.address);",
        ]
        copies.append(f"output_{index}.to_host(stream);")
        outputs.append(_equals(value, f"output_{index}.bytes.data()", f"output_{index}.size"))
    copies += _carried(
        [
            f"check(cudaMemcpyAsync(input_{to}.address, output_{of}.address, output_{of}.size, "
            "cudaMemcpyDeviceToDevice, stream));"
            for to, of in _positions(sample, states)
        ],
        ['if (!context->enqueueV3(stream)) throw std::runtime_error("the engine did not run");'],
    )
    return {
        "inputs": _indented(inputs),
        "buffers": _indented(buffers),
        "copies": _indented(copies),
        "outputs": _indented(outputs),
    }


def _positions(sample: Sample, states: Mapping[str, str]) -> list[tuple[int, int]]:
    """Return, for each state, its position among the inputs and the position of its next value among the outputs."""
    inputs = [value.name for value in sample.inputs]
    outputs = [value.name for value in sample.outputs]
    return [(inputs.index(state), outputs.index(output)) for state, output in states.items()]


def _carried(carry: list[str], run: list[str]) -> list[str]:
    """Return the lines that continue with the next frame of a stream; empty without states."""
    if not carry:
        return []
    comment = (
        "As a stream: the state that a call gives, the next one takes. Here the same frame comes once more."
    )
    return [f"// {comment}", *carry, *run]


def _stream_in_python(sample: Sample, states: Mapping[str, str]) -> str:
    """Return the lines that a Python program needs for streams; empty without states."""
    if not states:
        return ""
    start = ", ".join(
        f"{value.name!r}: np.zeros({value.array.shape}, {value.array.dtype.name!r})"
        for value in sample.inputs
        if value.name in states
    )
    axes = {value.name: value.array.ndim for value in sample.inputs if value.name not in states}
    fields = {"states": repr(dict(states)), "start": start, "axes": repr(axes)}
    return filled("stream.py", fields)


def _board_check(
    inputs: Sequence[TensorSpec], sample: Sample, options: Mapping[str, Any], release: str | None
) -> str:
    from compress.backends.tensorrt import TRTEXEC
    from compress.backends.trtexec import TensorRtOptions, timing_arguments

    settings = TensorRtOptions.read(options)
    graph = settings.cuda_graph and settings.dla_core is None
    loaded = {value.name: value.file for value in sample.inputs}
    shapes = {value.name: value.array.shape for value in sample.inputs}
    timing = timing_arguments(release or "10", inputs, shapes, 1.0, loaded=loaded, cuda_graph=graph)
    # Where its files go is known only there.
    arguments = [argument for argument in timing if not argument.startswith("--exportTimes")]
    comparisons = [
        " ".join(map(shell_word, ["compare", value.name, _text_file(index), f"{value.tolerance:.6g}"]))
        for index, value in enumerate(sample.outputs)
    ]
    return filled(
        "selfcheck.sh",
        {
            "trtexec": TRTEXEC,
            "arguments": " \\\n    ".join(map(shell_word, arguments)),
            "comparisons": "\n".join(comparisons),
            "batch": str(sample.batch),
        },
    )


def _text_file(index: int) -> str:
    """Return the values of an output as text, for tools that read only text."""
    return f"sample/output-{index}.txt"


def _equals(value: Value, address: str, size: str) -> str:
    kind = _CPP[value.array.dtype.name][0]
    return (
        f"right &= equals<{kind}>({_cpp(plain(value.name))}, {address}, {size}, {_cpp(value.file)}, "
        f"{value.tolerance:.9g});"
    )


def _shape(value: Value) -> str:
    return f"{{{', '.join(map(str, value.array.shape))}}}"


def _cpp_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _cpp(value) if isinstance(value, str) else str(value)


def _cpp(text: str) -> str:
    """Return a C++ string literal, with other characters than plain ASCII as octal bytes."""
    plain = {ord(" "), *range(ord("0"), ord("9") + 1), *range(ord("A"), ord("Z") + 1), *range(97, 123)}
    plain |= set(b"_-./:,;()+=!*[]{}<>#~^|&@'")
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _indented(lines: list[str], columns: int = 4) -> str:
    return "\n".join(" " * columns + line for line in lines)
