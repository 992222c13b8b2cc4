"""A streaming denoiser of speech through ``compress optimize --state``, and its bundle over 1,000 frames.

    python -m benchmarks run streaming --out streaming

Speech is espeak-ng's, spoken here from this repository's own documents in several voices, under noise at 0 to 15 dB.
The network takes a frame of 161 compressed magnitudes (20 ms at 16 kHz) and the state of two GRU layers, and gives the
frame without noise. It is trained here, exported with an open batch, and built by the command. Then a speaker and
sentences that nobody has seen run frame by frame through the bundle and through the exported file in ONNX Runtime, each
with its own states.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from scipy.signal import resample_poly  # type: ignore[import-untyped]
from torch import nn

from benchmarks import results
from compress import load_bundle
from compress.cli import main as compress

RATE, FRAME, BINS, HIDDEN = 16_000, 320, 161, 256
FRAMES, UNSEEN_FRAMES = 100, 1_000
VOICES, UNSEEN_VOICE = ("en-us", "en-gb", "de", "fr", "it", "nl"), "es"
STATES = {"h": "hn", "g": "gn"}

Array = np.ndarray[Any, Any]


class Denoiser(nn.Module):
    """x [batch, bins], h and g [1, batch, hidden] → y, hn, gn."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(BINS, HIDDEN), nn.GRU(HIDDEN, HIDDEN)
        self.mask = nn.Sequential(nn.Linear(HIDDEN, 256), nn.ReLU(), nn.Linear(256, BINS), nn.Sigmoid())

    def forward(
        self, x: torch.Tensor, h: torch.Tensor, g: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One frame."""
        hn = torch.gru_cell(x, h[0], *self.first.all_weights[0])
        gn = torch.gru_cell(hn, g[0], *self.second.all_weights[0])
        return self.mask(gn) * x, hn[None], gn[None]

    def over(self, frames: torch.Tensor) -> torch.Tensor:
        """Whole streams at once, to train: ``(frames, streams, bins)`` in and out."""
        inside = self.second(self.first(frames)[0])[0]
        found: torch.Tensor = self.mask(inside) * frames
        return found


def speech(voice: str, text: str, speed: int) -> Array:
    """Return the speech of espeak-ng, float32 at 16 kHz."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), text]
    with wave.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)) as file:
        rate, samples = file.getframerate(), file.readframes(1 << 30)
    sound = np.frombuffer(samples, np.int16).astype(np.float32) / 32768
    return np.asarray(resample_poly(sound, RATE, rate), np.float32)


def spectrum(sound: Array) -> Array:
    """Compressed magnitudes of half-overlapping frames, float32 ``(frames, bins)``."""
    hop = FRAME // 2
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::hop] * np.hanning(FRAME)
    return (np.abs(np.fft.rfft(frames)) ** 0.3).astype(np.float32)


def pairs(voice: str, text: str, random: np.random.Generator) -> tuple[Array, Array]:
    """Speech under noise, and clean: coloured noise at 0 to 15 dB, in half of the cases with a hum."""
    clean = speech(voice, text, int(random.integers(130, 200)))
    noise = random.standard_normal(len(clean) + 2).astype(np.float32)
    noise = noise[2:] + float(random.uniform(0, 0.95)) * noise[1:-1]
    if random.random() < 0.5:
        noise += 2 * np.sin(2 * np.pi * random.uniform(50, 400) / RATE * np.arange(len(clean)))
    level = 10 ** (-random.uniform(0, 15) / 20) * clean.std() / noise.std()
    return spectrum(clean + level * noise), spectrum(clean)


def sentences() -> list[str]:
    """Sentences of this repository's README and changelog: 8 to 30 words, letters, digits and plain marks."""
    root = Path(__file__).resolve().parents[2]
    text = " ".join(path.read_text(encoding="utf-8") for path in (root / "README.md", root / "CHANGELOG.md"))
    plain = "".join(letter if letter.isalnum() or letter in " .,'" else " " for letter in text)
    found = [" ".join(part.split()) for part in plain.split(". ")]
    return [part for part in dict.fromkeys(found) if 8 <= len(part.split()) <= 30]


def streams(texts: list[str], seed: int, count: int) -> tuple[Array, Array]:
    """Noisy and clean streams, float32 ``(count, frames, bins)``."""
    random = np.random.default_rng(seed)
    noisy: list[Array] = []
    clean: list[Array] = []
    while len(noisy) < count:
        parts = pairs(VOICES[len(noisy) % len(VOICES)], texts[int(random.integers(len(texts)))], random)
        for start in range(0, len(parts[0]) - FRAMES + 1, FRAMES):
            noisy.append(parts[0][start : start + FRAMES])
            clean.append(parts[1][start : start + FRAMES])
    return np.stack(noisy[:count]), np.stack(clean[:count])


def trained(noisy: Array, clean: Array, epochs: int) -> Denoiser:
    """A denoiser that learned from these streams."""
    torch.manual_seed(0)
    network = Denoiser()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    wanted = [torch.from_numpy(each).transpose(0, 1) for each in (noisy, clean)]
    for epoch in range(epochs):
        losses = []
        for rows in torch.split(torch.randperm(noisy.shape[0]), 32):
            loss = nn.functional.mse_loss(network.over(wanted[0][:, rows]), wanted[1][:, rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}: {np.mean(losses):.5f}", flush=True)
    return network.eval()


def export(network: Denoiser, path: Path) -> None:
    """Write the network as ONNX with an open batch: axis 0 of ``x``, axis 1 of both states."""
    example = (torch.zeros(2, BINS), torch.zeros(1, 2, HIDDEN), torch.zeros(1, 2, HIDDEN))
    axes = {"x": {0: "batch"}, "h": {1: "batch"}, "g": {1: "batch"}}
    torch.onnx.export(
        network,
        example,
        str(path),
        input_names=["x", "h", "g"],
        output_names=["y", "hn", "gn"],
        dynamic_shapes=axes,
        dynamo=True,
        external_data=False,
    )


def over_original(path: Path, frames: Array, forget: bool = False) -> Array:
    """The exported file over a stream, in ONNX Runtime as it is installed; ``forget`` begins each frame with zeros."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    zeros = {name: np.zeros((1, 1, HIDDEN), np.float32) for name in STATES}
    state, found = zeros, []
    for frame in frames:
        y, hn, gn = session.run(["y", "hn", "gn"], {"x": frame[None], **state})
        state = zeros if forget else {"h": hn, "g": gn}
        found.append(y[0])
    return np.stack(found)


def far(one: Array, other: Array) -> float:
    """The difference as a share of what the second varies by, in percent."""
    return 100 * float(np.sqrt(np.mean((one - other) ** 2) / np.var(other)))


def main() -> int:
    """Train, build, and run both over a stream that is new."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("streaming"))
    parser.add_argument("--streams", type=int, default=800, help="of 100 frames, to train on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--time-budget", default="4m")
    options = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        print("skipped: no espeak-ng on this machine (apt-get install espeak-ng)")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    start, texts = time.perf_counter(), sentences()
    network = trained(*streams(texts[::2], 0, options.streams), options.epochs)
    model, data, bundle = (options.out / name for name in ("denoiser.onnx", "val.npz", "build"))
    export(network, model)
    noisy, clean = streams(texts[1::2], 1, 400)
    np.savez(data, x=noisy, y=clean)
    print(f"trained and exported after {time.perf_counter() - start:.0f} s", flush=True)

    start = time.perf_counter()
    states = [part for name, output in STATES.items() for part in ("--state", f"{name}={output}")]
    command = ["optimize", str(model), "--data", str(data), "--out", str(bundle), *states]
    code = int(compress([*command, "--time-budget", options.time_budget]))
    seconds = time.perf_counter() - start
    if code:
        print(f"compress optimize: exit {code}")
        return code

    random = np.random.default_rng(2)
    parts: list[tuple[Array, Array]] = []
    while sum(len(each) for each, _ in parts) < UNSEEN_FRAMES:
        parts.append(pairs(UNSEEN_VOICE, texts[int(random.integers(len(texts)))], random))
    frames, wanted = (np.concatenate(each)[:UNSEEN_FRAMES] for each in zip(*parts, strict=True))
    original, forgotten = over_original(model, frames), over_original(model, frames, forget=True)
    with load_bundle(bundle) as build:
        stream = build.stream()
        ours = np.stack([stream(frame[None])[0][0] for frame in frames])
        accuracy, latency = build.profile.accuracy, build.profile.latency[0]
    ratio = 1.0 if latency.ratio is None else latency.ratio
    print(f"shipped {build.recipe.name} in {seconds:.0f} s: {ratio:.2f} × the time of fp32 at batch 1")
    if accuracy is not None and accuracy.drop is not None:
        bounds = accuracy.drop.interval
        print(f"told: {accuracy.metric} {accuracy.mean:.4f}, drop {accuracy.drop.points:.2f} points "
              f"({bounds.low:.2f} to {bounds.high:.2f})")  # fmt: skip
    errors = [float(np.abs(each - wanted).mean()) for each in (original, ours)]
    print(f"on {UNSEEN_FRAMES} new frames: mean error {errors[0]:.4f} of the original, {errors[1]:.4f} of the build: "
          f"{100 * (errors[1] / errors[0] - 1):+.2f} points")  # fmt: skip
    results.record(
        "figures",
        [
            {"what": "shipped", "value": f"{build.recipe.name}, after {seconds:.0f} s"},
            {"what": "time of one call over fp32's, batch 1", "value": f"{ratio:.2f}"},
            {"what": f"mean error on {UNSEEN_FRAMES} new frames over the original's, less 1", "value":
             f"{100 * (errors[1] / errors[0] - 1):+.2f} %"},
            {"what": "difference from the original, of what it varies by", "value": f"{far(ours, original):.2f} %"},
            {"what": "the same of a runner that forgets the states", "value": f"{far(forgotten, original):.1f} %"},
        ],
    )  # fmt: skip
    print(f"difference from the original: {far(ours, original):.2f} % of what it varies by")
    print(f"in the first 100 frames {far(ours[:100], original[:100]):.2f} %")
    print(f"in the last 100 frames {far(ours[-100:], original[-100:]):.2f} %")
    print(f"of a runner that forgets the states {far(forgotten, original):.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
