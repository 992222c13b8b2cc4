"""The networks that compress is measured on; the small ones under the names that ``--factory`` takes."""

from benchmarks.networks.reference import (
    FACTORIES,
    byte_cnn,
    gru,
    mobilenet,
    resnet20,
    resnet20_of_width,
    text_encoder,
    vit,
)

__all__ = [
    "FACTORIES",
    "byte_cnn",
    "gru",
    "mobilenet",
    "resnet20",
    "resnet20_of_width",
    "text_encoder",
    "vit",
]
