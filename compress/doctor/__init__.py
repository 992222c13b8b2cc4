"""A check of what this machine and a board can measure for each target, and how to install what is missing.

Nothing here needs torch, onnx or ONNX Runtime: missing packages are reported. Packages are imported in processes of
their own, all at once, since one that is damaged may end the process it is imported in.
"""

from __future__ import annotations

from compress.doctor.board import advice
from compress.doctor.diagnosis import Diagnosis, diagnose
from compress.doctor.outlook import Outlook, outlook
from compress.doctor.packages import PACKAGES, Package, look
from compress.doctor.system import System, system

__all__ = [
    "PACKAGES",
    "Diagnosis",
    "Outlook",
    "Package",
    "System",
    "advice",
    "diagnose",
    "look",
    "outlook",
    "system",
]
