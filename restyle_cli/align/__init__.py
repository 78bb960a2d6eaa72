"""Crop faces as FFHQ does: eyes and mouth at fixed places of an upright square.

The published and the bundled encoders were trained on such crops. Images of other domains are cropped as the catalog
says.
"""

import sys

from restyle_cli.align.align import (
    Aligned,
    AlignOptions,
    Rule,
    align_image,
    aligned_mark,
    alignment_rule,
    recrop,
)
from restyle_cli.align.crop import crop_quad
from restyle_cli.align.detect import LANDMARKS, model_file
from restyle_cli.align.geometry import Quad, Size, inverse_of, mapped, matrix_of, side_of, tilt_of
from restyle_cli.align.landmarks import read_landmarks
from restyle_cli.registry import CallablePackage

__all__ = [
    "LANDMARKS",
    "AlignOptions",
    "Aligned",
    "Quad",
    "Rule",
    "Size",
    "align_image",
    "aligned_mark",
    "alignment_rule",
    "crop_quad",
    "inverse_of",
    "mapped",
    "matrix_of",
    "model_file",
    "read_landmarks",
    "recrop",
    "side_of",
    "tilt_of",
]

sys.modules[__name__].__class__ = CallablePackage  # `restyle_cli.align(image)` calls `api.align`
