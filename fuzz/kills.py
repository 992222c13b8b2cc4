"""Kills commands while they work, and holds what the next run makes against a run that nobody disturbed.

    python -m fuzz.kills --kills 100              # over every command, with every signal
    python -m fuzz.kills --kills 20 --flip        # one bit of what is kept is flipped before each resumption
    python -m fuzz.kills --kills 5 optimize       # of this command

Each round starts the command, sends it a signal after a random time, and starts it again until it ends by itself. It
must then end with 0, hand back what an undisturbed run hands back (of ``optimize`` the same builds with the same
accuracy, of the others the same file or figures), and leave nothing beside it. ``optimize`` must not have measured
again what was recorded before the kill. Ends with 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.core.own_directories import MARK

#: What is sent, and how often, half a second apart.
SIGNALS = {
    "KILL": (signal.SIGKILL, 1),
    "TERM": (signal.SIGTERM, 1),
    "INT": (signal.SIGINT, 1),
    "INT twice": (signal.SIGINT, 2),
    "HUP": (signal.SIGHUP, 1),
}
#: Seconds that a command may take on a machine with other work; a longer one hangs.
_LIMIT_S = 900


@dataclass(frozen=True)
class Killed:
    """A command that is killed.

    Attributes:
        arguments: Arguments of ``compress``.
        out: Path that it writes.
        result: Outcome that must be the same as without a kill, told from what it wrote and printed.
    """

    arguments: tuple[str, ...]
    out: str
    result: Callable[[Path, str], Any]


def _builds(out: Path, _: str) -> Any:
    entries = [json.loads(line) for line in (out / "candidates.jsonl").read_text().splitlines()]
    return sorted(
        (entry["recipe"]["name"], entry["profile"] and entry["profile"]["accuracy"]["mean"])
        for entry in entries
    )


def _digest(out: Path, _: str) -> Any:
    return hashlib.sha256(out.read_bytes()).hexdigest()


def _weights(out: Path, _: str) -> Any:
    import torch

    program = torch.export.load(out)
    digest = hashlib.sha256()
    for name, value in sorted(program.state_dict.items()):
        digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _accuracy(out: Path, _: str) -> Any:
    return json.loads(out.read_text())["accuracy"]["mean"]


COMMANDS = {
    "optimize": Killed(
        (
            *("optimize", "net.onnx", "--data", "val.npz", "--threads", "1", "--seconds", "0.2"),
            *("--backend", "onnxruntime", "--out", "build", "--max-drop", "50"),
        ),
        "build",
        _builds,
    ),
    "quantize": Killed(("quantize", "net.onnx", "--data", "val.npz", "--out", "q.onnx"), "q.onnx", _digest),
    "prune": Killed(
        (
            "prune",
            "net.pt2",
            "--data",
            "val.npz",
            "--ratio",
            "0.4",
            "--out",
            "p.pt2",
            "--importance",
            "magnitude",
        ),
        "p.pt2",
        _weights,
    ),
    "distill": Killed(
        (
            *(
                "distill",
                "net.pt2",
                "--student",
                "student.pt2",
                "--data",
                "val.npz",
                "--train-data",
                "train.npz",
            ),
            *("--epochs", "6", "--out", "d.pt2"),
        ),
        "d.pt2",
        _weights,
    ),
    "profile": Killed(
        ("profile", "net.onnx", "--data", "val.npz", "--seconds", "0.5", "--out", "profile.json"),
        "profile.json",
        _accuracy,
    ),
    "report": Killed(("report", "whole/build", "--markdown", "report.md"), "report.md", _digest),
}


def prepare(folder: Path) -> None:
    """Networks and data for every command."""
    import numpy as np
    import torch
    from torch import nn

    torch.manual_seed(0)

    def network(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
        ).eval()  # fmt: skip

    teacher = network(48)
    x = np.random.default_rng(0).standard_normal((900, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        y = teacher(torch.from_numpy(x)).argmax(1).numpy()
    np.savez(folder / "val.npz", x=x[:400], y=y[:400])
    np.savez(folder / "train.npz", x=x[400:], y=y[400:])
    shapes = ({0: torch.export.Dim("batch")},)
    for name, module in (("net", teacher), ("student", network(16))):
        program = torch.export.export(module, (torch.from_numpy(x[:2]),), dynamic_shapes=shapes)
        torch.export.save(program, folder / f"{name}.pt2")
    torch.onnx.export(
        teacher, (torch.from_numpy(x[:2]),), folder / "net.onnx", dynamo=False, dynamic_axes={"x": {0: "batch"}},
        input_names=["x"],
    )  # fmt: skip


def start(arguments: tuple[str, ...], folder: Path) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "compress", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def flipped(kept: Path, chance: random.Random) -> str:
    """Flip one bit of a file of a run's directory; its name, empty where there is none."""
    # A directory whose mark is another one is refused in a line, since it may be somebody's.
    files = sorted(
        path for path in kept.rglob("*") if path.is_file() and path.stat().st_size and path.name != MARK
    )
    if not files:
        return ""
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return str(path.relative_to(kept))


def recorded(folder: Path, out: str) -> list[Any]:
    """Latencies of what an interrupted ``optimize`` has recorded, with the names of the builds."""
    path = folder / f"{out}.partial" / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [(entry["recipe"]["name"], entry["profile"]["latency"]) for entry in entries if entry["profile"]]


def round_of(
    name: str, sent: str, folder: Path, undisturbed: tuple[Any, float], chance: random.Random, flip: bool
) -> str:
    """One kill; what was wrong, empty where nothing was."""
    each = COMMANDS[name]
    wanted, seconds = undisturbed
    before = {path.name for path in folder.iterdir()}
    process = start(each.arguments, folder)
    time.sleep(chance.uniform(0.05, 1.0) * seconds)
    number, times = SIGNALS[sent]
    for _ in range(times):
        if process.poll() is None:
            process.send_signal(number)
            time.sleep(0.5 if times > 1 else 0)
    process.communicate(timeout=_LIMIT_S)
    kept = recorded(folder, each.out) if name == "optimize" and not (folder / each.out).exists() else []
    touched = flipped(folder / f"{each.out}.partial", chance) if flip else ""
    process = start(each.arguments, folder)
    printed, errors = process.communicate(timeout=_LIMIT_S)
    if process.returncode != 0:
        return (
            f"exit {process.returncode}: {errors.strip().splitlines()[-1:]} (flipped: {touched or 'nothing'})"
        )
    found = each.result(folder / each.out, printed)
    if found != wanted:
        return f"another result: {found} instead of {wanted} (flipped: {touched or 'nothing'})"
    if kept and not touched:
        lines = (folder / each.out / "candidates.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        now = [
            (entry["recipe"]["name"], entry["profile"]["latency"]) for entry in entries if entry["profile"]
        ]
        again = [build for build, latency in kept if (build, latency) not in now]
        if again:
            return f"measured again: {', '.join(again)}"
    left = {path.name for path in folder.iterdir()} - before - {each.out}
    if left:
        return f"left beside it: {', '.join(sorted(left))}"
    return ""


def cleared(folder: Path, each: Killed) -> None:
    """Remove what a command wrote."""
    import shutil

    for path in folder.iterdir():
        if path.name.startswith((each.out, ".compress-")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument(
        "--flip", action="store_true", help="flip one bit of what is kept before each resumption"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = given.commands or list(COMMANDS)
    chance = random.Random(given.seed)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        folder = Path(scratch)
        prepare(folder)
        (folder / "whole").mkdir()
        undisturbed = {}
        for name in dict.fromkeys(["optimize", *names]):
            begin = time.perf_counter()
            process = start(COMMANDS[name].arguments, folder)
            printed, errors = process.communicate(timeout=_LIMIT_S)
            if process.returncode != 0:
                print(f"{name} fails by itself: {errors.strip()}")
                return 1
            out = folder / COMMANDS[name].out
            undisturbed[name] = COMMANDS[name].result(out, printed), time.perf_counter() - begin
            if name == "optimize":
                out.rename(folder / "whole" / "build")
            else:
                out.unlink()
        for number in range(given.kills):
            name = names[number % len(names)]
            sent = list(SIGNALS)[number // len(names) % len(SIGNALS)]
            told = round_of(name, sent, folder, undisturbed[name], chance, given.flip)
            wrong += bool(told)
            print(f"{number + 1}/{given.kills} {name} {sent}: {told or 'ok'}", flush=True)
            cleared(folder, COMMANDS[name])
    print(f"{given.kills} kills, {wrong} with something wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
