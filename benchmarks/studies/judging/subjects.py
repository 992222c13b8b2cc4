"""Every network of the study: what it is, what it learns from, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from benchmarks.networks.reference import RowGRU, VisionTransformer
from benchmarks.studies.judging import garments, glyphs, losses, networks, scenes, speech, texts, tones, truth
from benchmarks.studies.judging.data import Data
from benchmarks.studies.judging.losses import Loss
from benchmarks.studies.judging.networks import Ended
from benchmarks.studies.judging.training import Schedule
from benchmarks.studies.judging.truth import Truth


@dataclass(frozen=True)
class Subject:
    """A network to be trained, compressed and damaged.

    Attributes:
        name: Name of its directory.
        told: Description for tables.
        kind: Kind of its output: ``classes``, ``tokens``, ``map``, ``embedding``, ``probabilities`` (of several
            independent things) or ``values``.
        axis: Axis of the classes; None where there is none.
        form: Form of the numbers: ``logits``, ``probabilities``, ``cosines``, ``sigmoids``, ``vectors``,
            ``unit vectors`` or ``values``.
        make: The untrained network.
        data: Makes what it learns from.
        loss: Loss that it is trained by.
        truth: The true metric.
        schedule: Schedule of its training.
        augment: Augmentation of training inputs; None for none.
        half: Outputs are kept in float16.
        thorough: Also the builds that take minutes: trained int8, reconstructed rounding.
        kept_data: Its data is kept on disk rather than made each time.
    """

    name: str
    told: str
    kind: str
    axis: int | None
    form: str
    make: Callable[[], Ended]
    data: Callable[[], Data]
    loss: Loss
    truth: Truth
    schedule: Schedule
    augment: Callable[[Tensor], Tensor] | None = None
    half: bool = False
    thorough: bool = False
    kept_data: bool = True


_FLIPPED = losses.shifted
_SHIFTED = partial(losses.shifted, flip=False)


def _classifier(
    name: str,
    told: str,
    make: Callable[[], Ended],
    data: Callable[[], Data],
    schedule: Schedule,
    *,
    form: str = "logits",
    loss: Loss | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
    thorough: bool = False,
    kept_data: bool = True,
) -> Subject:
    return Subject(
        name,
        told,
        "classes",
        1,
        form,
        make,
        data,
        loss or losses.classes(),
        truth.TOP_1,
        schedule,
        augment,
        thorough=thorough,
        kept_data=kept_data,
    )


_IMAGES = (
    _classifier(
        "fashion_resnet",
        "residual CNN, 10 garments",
        lambda: Ended(networks.residual(1, 10)),
        garments.whole,
        Schedule(5),
        augment=_FLIPPED,
        thorough=True,
        kept_data=False,
    ),
    _classifier(
        "fashion_vit",
        "vision transformer, 10 garments",
        lambda: Ended(VisionTransformer(width=64, depth=3, heads=4, patch=7)),
        garments.whole,
        Schedule(5, rate=1.5e-3),
        augment=_FLIPPED,
        thorough=True,
        kept_data=False,
    ),
    _classifier(
        "fashion_gru",
        "GRU over an image's rows, 10 garments",
        lambda: Ended(RowGRU(hidden=64, layers=1)),
        garments.whole,
        Schedule(4, rate=4e-3, bfloat16=False),
        kept_data=False,
    ),
    _classifier(
        "overconfident",
        "plain CNN that knows its 1,000 garments by heart",
        lambda: Ended(networks.plain(1, 10)),
        garments.few,
        Schedule(40, rate=2e-3, batch=50, weight_decay=0.0, bfloat16=False),
        kept_data=False,
    ),
    _classifier(
        "underconfident",
        "plain CNN, label smoothing 0.3 and mixup",
        lambda: Ended(networks.plain(1, 10)),
        garments.whole,
        Schedule(7, rate=2e-3),
        loss=losses.classes(smoothing=0.3, mixup=1.0),
        augment=_FLIPPED,
        kept_data=False,
    ),
    _classifier(
        "cosine_head",
        "residual CNN that gives plain cosines",
        lambda: Ended(networks.cosine_residual(1, 10)),
        garments.whole,
        Schedule(5),
        form="cosines",
        loss=losses.classes(scale=16.0),
        augment=_FLIPPED,
        kept_data=False,
    ),
    _classifier(
        "hard",
        "residual CNN, garments nearly lost in noise",
        lambda: Ended(networks.residual(1, 10)),
        garments.spoilt,
        Schedule(5),
        augment=_FLIPPED,
    ),
    _classifier(
        "pairs",
        "residual CNN, 100 pairs of garments",
        lambda: Ended(networks.residual(1, 100)),
        garments.pairs,
        Schedule(6),
        augment=_SHIFTED,
    ),
    _classifier(
        "glyphs",
        f"depthwise CNN, {len(glyphs.CHARACTERS)} letters of three scripts",
        lambda: Ended(networks.separable(1, len(glyphs.CHARACTERS))),
        glyphs.letters,
        Schedule(6),
        thorough=True,
    ),
)

_SOUNDS = (
    _classifier(
        "spoken",
        f"residual CNN with softmax inside, {len(speech.WORDS)} spoken words",
        lambda: Ended(networks.residual(1, len(speech.WORDS), networks.WIDE), "softmax"),
        speech.words,
        Schedule(6),
        form="probabilities",
        thorough=True,
    ),
    Subject(
        "pitch",
        "pitch tracker with 360 sigmoid bins",
        "probabilities",
        1,
        "sigmoids",
        lambda: Ended(networks.pitch_tracker(tones.BINS), "sigmoid"),
        tones.tones,
        losses.pitch_bins,
        truth.PITCH,
        Schedule(6, rate=2e-3),
    ),
)

_TEXTS = (
    _classifier(
        "packages",
        "transformer over bytes, 8 packages",
        lambda: Ended(networks.package_encoder(8)),
        texts.packages,
        Schedule(4, rate=1.5e-3),
    ),
    _classifier(
        "fragments",
        "separable CNN over bytes, 7 kinds of files",
        lambda: Ended(networks.fragment_network(7)),
        texts.fragments,
        Schedule(3),
    ),
    Subject(
        "tagger",
        f"dilated CNN, {len(texts.KINDS)} kinds of bytes in Python source",
        "tokens",
        2,
        "logits",
        lambda: Ended(networks.Tagger(len(texts.KINDS))),
        texts.tagged,
        losses.classes(axis=2),
        truth.TOKENS,
        Schedule(5, batch=64),
        half=True,
    ),
    Subject(
        "decoder",
        f"causal transformer, {texts.VOCABULARY} sub-words of Python source",
        "tokens",
        2,
        "logits",
        lambda: Ended(networks.Decoder(texts.VOCABULARY, texts.CONTEXT, width=128, depth=3, heads=4)),
        texts.tokens,
        losses.classes(axis=2),
        truth.TOKENS,
        Schedule(4, rate=2e-3, batch=64),
        half=True,
        thorough=True,
    ),
)

_EMBEDDINGS = (
    Subject(
        "embedding_unit",
        "encoder into 64 numbers of norm 1, learned from classes",
        "embedding",
        None,
        "unit vectors",
        lambda: Ended(networks.encoder(1, 64, unit=True)),
        garments.whole,
        losses.alike,
        truth.RETRIEVAL,
        Schedule(6),
        kept_data=False,
    ),
    Subject(
        "embedding_views",
        "encoder into 64 numbers of norm 1, learned briefly from pairs of views",
        "embedding",
        None,
        "unit vectors",
        lambda: Ended(networks.encoder(1, 64, unit=True)),
        garments.whole,
        losses.views,
        truth.RETRIEVAL,
        Schedule(4, batch=256),
        kept_data=False,
    ),
    Subject(
        "embedding_free",
        "encoder into 128 numbers of any norm, learned from 100 pairs of garments",
        "embedding",
        None,
        "vectors",
        lambda: Ended(networks.encoder(1, 128, unit=False)),
        garments.pairs,
        losses.neighbours,
        truth.RETRIEVAL,
        Schedule(7),
        augment=_SHIFTED,
    ),
)

_SCENES = (
    Subject(
        "scene_parts",
        "U-Net, 11 classes of pixels",
        "map",
        1,
        "logits",
        lambda: Ended(networks.MapNetwork(1, 11, width=12)),
        scenes.parts,
        losses.classes(),
        truth.MAP,
        Schedule(6, batch=32),
        half=True,
    ),
    Subject(
        "scene_shoes",
        "U-Net with a sigmoid map of shoes",
        "map",
        1,
        "sigmoids",
        lambda: Ended(networks.MapNetwork(1, 1, width=12), "sigmoid"),
        scenes.shoes,
        losses.sigmoids,
        truth.BINARY_MAP,
        Schedule(10, batch=32),
        half=True,
    ),
    Subject(
        "scene_digits",
        "residual CNN with 10 sigmoids: which digits are there",
        "probabilities",
        1,
        "sigmoids",
        lambda: Ended(networks.residual(1, 10), "sigmoid"),
        scenes.digits,
        losses.sigmoids,
        truth.F1,
        Schedule(7),
    ),
    Subject(
        "pose",
        "residual CNN, place, angle and scale of a letter",
        "values",
        None,
        "values",
        lambda: Ended(networks.residual(1, 5, networks.WIDE)),
        scenes.poses,
        losses.values,
        truth.ERROR,
        Schedule(8),
    ),
)

SUBJECTS = {each.name: each for each in (*_IMAGES, *_SOUNDS, *_TEXTS, *_EMBEDDINGS, *_SCENES)}
