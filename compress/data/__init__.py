"""Samples and where they come from: arrays, folders of images, and the user's own loaders."""

from compress.data.image_options import ImageOptions
from compress.data.opening import open_data
from compress.data.split import Batch, Split

__all__ = ["Batch", "ImageOptions", "Split", "open_data"]
