"""2:4 sparsity: of every four weights along the inputs two are zero, which GPUs from Ampere on multiply faster."""

from __future__ import annotations

from compress.sparsity.masks import Held, mask_2_4, obstacle

__all__ = ["Held", "mask_2_4", "obstacle"]
