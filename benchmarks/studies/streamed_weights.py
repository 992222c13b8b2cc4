"""Memory and time of ``compress quantize`` on a language model's weights alone, beside plain copying of as many bytes.

    python -m benchmarks run synthetic_decoder big
    python -m benchmarks run streamed_weights big [--kill-after 60]

Plain copying reads all of the model's files and writes as many bytes as the result has, in pieces of 16 MiB. Memory is
the largest resident set of the process, and of all its processes together where it has more, looked at every 50 ms.
With --kill-after the command is first killed after so many seconds, and the same command takes its work up.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import results

PIECE = 16 << 20
RECIPE = """name = "int4"

[[technique]]
name = "weight_only"
algorithm = "{algorithm}"
bits = 4
group_size = 32
compute = "int8"
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--algorithm", default="rtn")
    parser.add_argument("--kill-after", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.model.parent, prefix="streamed-") as name:
        directory = Path(name)
        recipe = directory / "int4.toml"
        recipe.write_text(RECIPE.format(algorithm=arguments.algorithm), encoding="utf-8")
        out = directory / "out" / "int4.onnx"
        out.parent.mkdir()
        command = [sys.executable, "-m", "compress", "quantize", str(arguments.model.resolve())]
        command += ["--recipe", str(recipe), "--out", str(out)]
        rows = []
        if arguments.kill_after is not None:
            rows.append(
                {"run": f"killed after {arguments.kill_after:g} s", **measure(command, arguments.kill_after)}
            )
            left = ", ".join(sorted(each.name for each in out.parent.iterdir()))
            print(f"{rows[-1]}\nleft: {left}", flush=True)
        rows.append({"run": "compress quantize", **measure(command)})
        print(rows[-1], flush=True)
        written = sum(each.stat().st_size for each in out.parent.iterdir())
        print(
            f"written: {', '.join(sorted(each.name for each in out.parent.iterdir()))}; {written / 1e9:.2f} GB"
        )
        rows.append({"run": "plain copying", **copy(arguments.model, directory / "copied", written)})
        print(rows[-1], flush=True)
    results.record("streamed_weights", rows)


def copy(model: Path, target: Path, size: int) -> dict[str, float]:
    """Read all files of a model, and write a number of bytes."""
    begun = time.perf_counter()
    read = 0
    with target.open("wb") as written:
        for path in sorted(model.glob("*.safetensors")):
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    read += len(piece)
                    written.write(piece[: max(0, size - written.tell())])
        written.flush()
        os.fsync(written.fileno())
    return {"seconds": round(time.perf_counter() - begun, 1), "read_gb": round(read / 1e9, 2)}


def measure(command: Sequence[str], kill_after: float | None = None) -> dict[str, float]:
    """Run a command, and return its wall time, processor time, and largest resident sets."""
    begun = time.perf_counter()
    running = subprocess.Popen(command)
    together = largest = 0
    while (state := os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
        sets = [resident(pid) for pid in tree(running.pid)]
        together, largest = max(together, sum(sets)), max(largest, len(sets))
        if kill_after is not None and time.perf_counter() - begun > kill_after:
            running.send_signal(signal.SIGKILL)
            kill_after = None
        time.sleep(0.05)
    del state
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the command ended with {running.returncode}")
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gib": round(max(usage.ru_maxrss * 1024, together) / 2**30, 2),
        "processes": largest,
    }


def tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
