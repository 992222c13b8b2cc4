"""Trends of a network's builds over time, from recorded profiles.

recordings   what lies in a directory: profiles and bundles, checked, in the order in which they were measured
series       one figure of one network on one target, and where it moved to another level
"""

from compress.trends.recordings import Recording, Recordings, read_recordings
from compress.trends.series import Change, Point, Series, series_of

__all__ = ["Change", "Point", "Recording", "Recordings", "Series", "read_recordings", "series_of"]
