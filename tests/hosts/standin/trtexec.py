"""A STAND-IN for TensorRT's ``trtexec``. It is not TensorRT: it builds no engine and uses no GPU.

It takes exactly the options of the release that it plays, refuses the others as the real tool does, runs the graph by
ONNX Runtime on the processor, and writes the JSON that the real tool writes. What is tested with it is how ``compress``
talks to the tool; its times say nothing about any board.

``$COMPRESS_STANDIN`` is a directory with ``release`` (``10.3``), ``options`` (those of that release) and ``fault``: a
line for each fault to play, removed from there when its line ends in ``once``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PLAY = Path(os.environ["COMPRESS_STANDIN"])
RELEASE = (PLAY / "release").read_text().strip()
MAGIC = b"STANDIN ENGINE " + RELEASE.encode() + b"\n"
NUMBERS = {
    "8.2": "8201",
    "8.5": "8502",
    "8.6": "8601",
    "10.3": "100300",
    "10.7": "100700",
    "10.16": "101600",
    "11.1": "110100",
}
BANNER = f"TensorRT.trtexec [TensorRT v{NUMBERS[RELEASE]}] # trtexec {' '.join(sys.argv[1:])}"
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
#: Where an engine keeps its optimization profile.
PROFILE = "standin_profile"
COMPUTE = ("Conv", "Gemm", "MatMul", "Add", "GlobalAveragePool", "Relu")


def main() -> int:
    print(f"&&&& RUNNING {BANNER}", flush=True)
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    if "--help" in given:
        return 0
    known = set((PLAY / "options").read_text().split())
    unknown = [f"{key} {value}" for key, value in given.items() if key not in known]
    if unknown:
        for each in unknown:
            print(f"[E] Unknown option: {each}", file=sys.stderr)
        return failed()
    doing = "build" if "--onnx" in given else "run"
    if fault(f"hang-{doing}"):
        time.sleep(3600)
    if fault(f"drop-{doing}"):
        drop()
    return build(given) if doing == "build" else run(given)


def build(given: dict[str, str]) -> int:
    import onnx

    if fault("memory"):
        os.kill(os.getpid(), signal.SIGKILL)
    path = Path(given["--onnx"])
    model = onnx.load(path)
    for node in model.graph.initializer:
        if node.data_type == onnx.TensorProto.UINT8 and "zero" in node.name:
            return failed(
                f"ModelImporter.cpp:731: ERROR: {node.name}: zero point of type uint8 is not supported"
            )
    if RELEASE.startswith("10.") and {"--stronglyTyped", "--useDLACore"} <= given.keys():
        return failed(
            "IBuilderConfig::setDefaultDeviceType: Error Code 3: API Usage Error (Parameter check failed, DLA is not "
            "supported with strongly typed networks)"
        )
    wrong = profile(model, given)
    if wrong is not None:
        return failed(wrong)
    content = MAGIC + model.SerializeToString()
    if fault("corrupt"):
        content = content[8:]
    try:
        Path(given["--saveEngine"]).write_bytes(content)
    except OSError as error:
        return failed(f"Saving engine to file failed: {error.strerror}")
    Path(given["--timingCacheFile"]).write_bytes(b"stand-in")
    Path(given["--exportLayerInfo"]).write_text(json.dumps(layers(model, "--useDLACore" in given)))
    if "--skipInference" not in given and "--buildOnly" not in given:
        return failed("the stand-in measures in a run of its own only")
    return passed()


def shapes_of(given: dict[str, str], option: str) -> dict[str, list[int]]:
    """Name → shape, as the real tool splits it: at commas, then at the last colon, then at each x."""
    pairs = (pair.rpartition(":") for pair in given.get(option, "").split(",") if pair)
    return {name: [int(size) for size in sizes.split("x")] for name, _, sizes in pairs}


def profile(model: Any, given: dict[str, str]) -> str | None:
    """Keep the optimization profile with the engine; why TensorRT would not build it, None where it would."""
    import onnx

    try:
        told = [shapes_of(given, f"--{end}Shapes") for end in ("min", "opt", "max")]
    except ValueError as error:
        return f"Invalid shape: {error}"
    weights = {each.name for each in model.graph.initializer}
    dims = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim
        ]
        for value in model.graph.input
        if value.name not in weights
    }
    dynamic = {name for name, sizes in dims.items() if -1 in sizes}
    if any(told) and not dynamic:
        return "Static model does not take explicit shapes: the model itself determines those of inference tensors"
    for name in (name for shapes in told for name in shapes):
        if name not in dims:
            return f"Cannot find input tensor with name {name!r} in the network inputs"
    for name in sorted(dynamic):
        ends = [shapes.get(name) for shapes in told]
        # The real tool builds for 1 along every open axis then, which no call of another size can use.
        if None in ends:
            return (
                f"Network has dynamic or shape inputs, but no optimization profile has been defined: {name}"
            )
        if any(len(end) != len(dims[name]) for end in ends):
            return f"input dims {dims[name]} of {name} and profile dims {ends} have other ranks"
        for size, *range_ in zip(dims[name], *ends, strict=True):
            if sorted(range_) != range_ or (size != -1 and set(range_) != {size}):
                return f"kMIN, kOPT and kMAX of {name} do not fit its dims {dims[name]}: {ends}"
            if "--useDLACore" in given and len(set(range_)) > 1:
                return f"DLA does not support dynamic shapes: min, opt and max of {name} have to be equal"
    entries = {name: [shapes[name] for shapes in told] for name in dynamic}
    onnx.helper.set_model_props(model, {PROFILE: json.dumps(entries)})
    return None


def run(given: dict[str, str]) -> int:
    import numpy as np
    import onnxruntime

    content = Path(given["--loadEngine"]).read_bytes()
    if not content.startswith(MAGIC):
        return failed(
            "Error[1]: [runtime.cpp::parsePlan::314] Error Code 1: Serialization "
            "(Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)"
        )
    graph = content[len(MAGIC) :]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    shapes, profiled = (
        shapes_of(given, "--shapes"),
        json.loads(session.get_modelmeta().custom_metadata_map[PROFILE]),
    )
    files = dict(pair.rsplit(":", 1) for pair in given["--loadInputs"].split(","))
    feeds = {}
    for spec in session.get_inputs():
        shape = spec.shape
        if spec.name in profiled:
            if spec.name not in shapes:
                return failed(
                    f"Dynamic dimensions required for input: {spec.name}, but no shapes were provided."
                )
            shape = shapes[spec.name]
            least, _, most = profiled[spec.name]
            for axis, (low, size, high) in enumerate(zip(least, shape, most, strict=True)):
                if not low <= size <= high:
                    return failed(
                        f"Error[3]: Supplied binding dimension {shape} for bindings[0] exceed min ~ max range at index "
                        f"{axis}, maximum dimension in profile is {high}, minimum dimension in profile is {low}, "
                        f"but supplied dimension is {size}."
                    )
        dtype = np.dtype(DTYPES[spec.type])
        if dtype == np.int64 and RELEASE.startswith("8"):
            dtype = np.dtype(np.int32)
        raw = np.fromfile(files[spec.name].strip("'"), dtype)
        if raw.size != np.prod(shape):
            return failed(f"{files[spec.name]} has {raw.nbytes} bytes, and {spec.name} of {shape} other ones")
        raw = raw.reshape(shape)
        feeds[spec.name] = raw.astype(DTYPES[spec.type])
    outputs = session.run(None, feeds)
    if fault("not-finite"):
        outputs[0].ravel()[:3] = [float("nan"), float("inf"), -float("inf")]
    if "--dumpRawBindingsToFile" in given:
        for spec in session.get_inputs():
            write_raw(spec.name, "input", feeds[spec.name])
        for spec, array in zip(session.get_outputs(), outputs, strict=True):
            write_raw(spec.name, "output", array)
    if "--exportOutput" in given:
        entries = [
            {
                "name": spec.name,
                "dimensions": "x".join(map(str, array.shape)),
                "values": [float(f"{value:.6g}") for value in array.ravel()],
            }
            for spec, array in zip(session.get_outputs(), outputs, strict=True)
        ]
        text = json.dumps(entries).replace("NaN", "-nan").replace("Infinity", "inf")  # as C++ prints them
        Path(given["--exportOutput"]).write_text(text)
    if "--exportTimes" in given:
        # Two calls are in flight, and each waits for the other's kernels, unless copies are to be seen.
        in_flight = 1 if "--exposeDMA" in given else 2
        entries = times(session, feeds, int(given["--iterations"]), in_flight)
        Path(given["--exportTimes"]).write_text(json.dumps(entries))
    if "--exportProfile" in given:
        names = [layer["Name"] for layer in json.loads(Path("layers.json").read_text())["Layers"]]
        each = {"timeMs": 1.0, "averageMs": 0.1, "medianMs": 0.1, "percentage": 100 / len(names)}
        profile = [{"count": 10}, *({"name": name, **each} for name in names)]
        Path(given["--exportProfile"]).write_text(json.dumps(profile))
    return passed()


def write_raw(name: str, kind: str, array: Any) -> None:
    """Write a binding as the real tool does: named by a safe form of all it is, told in the log."""
    if RELEASE.startswith("8") and array.dtype.name == "int64":
        array = array.astype("int32")
    short = {"float32": "fp32", "float16": "fp16"}.get(array.dtype.name, array.dtype.name)
    sizes = ".".join(map(str, array.shape))
    file = "".join(
        mark if mark.isascii() and (mark.isalnum() or mark in "._-,") else "_" * len(mark.encode())
        for mark in f"{name}.{kind}.{sizes}.{short}.raw"
    )
    if len(file) > 150 and RELEASE in ("10.16", "11.1"):
        file = f"{file[:73]}...{file[-73:]}"
    print(
        f"[01/01/2026-00:00:00] [I] Writing file for {kind} binding {name} (with datatype {short} and dimensions "
        f"{sizes}) to {file}"
    )
    Path(file).write_bytes(array.tobytes())


def times(session: Any, feeds: dict[str, Any], count: int, in_flight: int) -> list[dict[str, float]]:
    if fault("other-power"):
        (PLAY / "power").write_text("NV Power Mode: MAXN_SUPER\n2\n")
    slower = 2.0 if fault("throttle") else 1.0
    entries = []
    for index in range(count):
        start = time.perf_counter()
        session.run(None, feeds)
        compute = 1e3 * in_flight * (time.perf_counter() - start) * (slower if index >= count // 2 else 1)
        entries.append({
            "startEnqMs": index, "endEnqMs": index, "startH2dMs": index, "endH2dMs": index,
            "startComputeMs": index, "endComputeMs": index, "startD2hMs": index, "endD2hMs": index,
            "h2dMs": 0.01, "computeMs": compute, "d2hMs": 0.01, "latencyMs": compute + 0.02,
        })  # fmt: skip
    if slower > 1 or fault("long"):
        time.sleep(0.5)  # Long enough for tegrastats or nvidia-smi to see it.
    return entries


def layers(model: Any, dla: bool) -> dict[str, list[object]]:
    """Layers as 10.x tells them; 8.x spells the types out."""
    import onnx

    spelled = RELEASE.startswith("8")
    words = {
        "int8": "Four wide channel vectorized row major Int8 format" if spelled else "Int8",
        "fp16": "Two wide channel vectorized row major FP16 format" if spelled else "Half",
        "fp32": "Row major linear FP32" if spelled else "Float",
    }
    dequantized = {
        name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    half = {each.name for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT16}
    weights = {"int8": "Int8", "fp16": "Half", "fp32": "Float"}
    kernels = {
        "int8": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32",
        "fp16": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64x32",
        "fp32": "sm80_xmma_fprop_implicit_gemm_indexed_f32f32_f32f32_f32_nhwckrsc_nhwc",
    }
    # With an open axis the inspector tells no tensor's type: only weights and kernels do.
    opened = any(size.dim_param for value in model.graph.input for size in value.type.tensor_type.shape.dim)
    found: list[object] = []
    on_dla = dla and not fault("dla-fallback", keep=True)
    for index, node in enumerate(node for node in model.graph.node if node.op_type in COMPUTE):
        quantized = bool(dequantized & set(node.input))
        kind = "int8" if quantized else "fp16" if half & set(node.input) else "fp32"
        layer_type = (
            "DLA" if on_dla else "CaskConvolution" if node.op_type == "Conv" else "CaskGemmConvolution"
        )
        tensor = {
            "Name": node.input[0],
            "Location": "Device",
            "Dimensions": [1],
            "Format/Datatype": "N/A due to dynamic shapes" if opened else words[kind],
        }
        found.append({
            "Name": node.name or f"{node.op_type}_{index}", "LayerType": layer_type,
            "Inputs": [tensor], "Outputs": [tensor], "StreamId": 0, "Metadata": "",
            "Weights": {"Type": weights[kind], "Count": 1}, "TacticName": kernels[kind],
        })  # fmt: skip
    return {"Layers": found, "Bindings": [each.name for each in (*model.graph.input, *model.graph.output)]}


def fault(name: str, keep: bool = False) -> bool:
    """Whether to play a fault; one that is to be played once is taken off the list."""
    path = PLAY / "fault"
    lines = path.read_text().splitlines() if path.exists() else []
    line = next((line for line in lines if line.split()[0] == name), None)
    if line is not None and line.endswith(" once") and not keep:
        lines.remove(line)
        path.write_text("\n".join(lines))
    return line is not None


def drop() -> None:
    """End every connection of the stand-in board's own sshd."""
    parent = (PLAY / "sshd.pid").read_text().strip()
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)


def passed() -> int:
    print(f"&&&& PASSED {BANNER}")
    return 0


def failed(reason: str | None = None) -> int:
    if reason is not None:
        print(f"[01/01/2026-00:00:00] [E] {reason}", file=sys.stderr)
    print(f"&&&& FAILED {BANNER}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
