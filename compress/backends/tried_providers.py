"""The execution providers in which ONNX Runtime really opens a session, which its list does not tell.

``get_available_providers`` lists what a wheel was built with. Where a library of CUDA is missing or of another release,
a session falls back to the processor with no more than a line in a log. So one is opened, once, of the smallest graph,
in a process of its own: a driver that does not fit may end it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from compress.backends.providers import NVIDIA

#: One Relu of one number, opset 13.
_GRAPH = (
    "080812003a330a0c0a0178120179220452656c751201675a0f0a0178120a0a0"
    "8080112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)
_SECONDS = 120.0
_TOLD = "providers: "

#: Prints the providers of the installed ONNX Runtime that open a session, and those that are in it all the same.
CODE = f"""
import json, os
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
import onnxruntime as module
listed, opened = list(module.get_available_providers()), []
for name in listed:
    if name in {list(NVIDIA)!r}:
        try:
            getattr(module, "preload_dlls", lambda: None)()
            options = module.SessionOptions()
            options.log_severity_level = 4
            session = module.InferenceSession(bytes.fromhex("GRAPH"), options, providers=[name])
            if name not in session.get_providers():
                continue
        except Exception:
            continue
    opened.append(name)
print("{_TOLD}" + json.dumps([opened, [name for name in listed if name not in opened]]))
""".replace("GRAPH", _GRAPH)


@cache
def tried() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the providers that open a session, and those that are in this ONNX Runtime and do not.

    Tried once a process, and only where one for a GPU is in it at all.
    """
    import onnxruntime

    listed = tuple(onnxruntime.get_available_providers())
    if not set(listed) & set(NVIDIA):
        return listed, ()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CODE], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        tried_names = told(done.stdout)
    except subprocess.TimeoutExpired:
        tried_names = None
    if tried_names is not None:
        return tried_names
    return tuple(name for name in listed if name not in NVIDIA), tuple(
        name for name in listed if name in NVIDIA
    )


def told(output: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return what :data:`CODE` printed; None where it ended before."""
    lines = [line for line in output.splitlines() if line.startswith(_TOLD)]
    if not lines:
        return None
    opened, idle = json.loads(lines[-1].removeprefix(_TOLD))
    return tuple(opened), tuple(idle)
