"""Samples and where they come from: arrays, images with labels, boxes or masks, and the user's own loaders."""

from compress.data.image_options import ImageOptions
from compress.data.opening import open_data
from compress.data.split import Batch, Split
from compress.metrics.detection_options import DetectionOptions

__all__ = ["Batch", "DetectionOptions", "ImageOptions", "Split", "open_data"]
