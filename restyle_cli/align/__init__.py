"""Crop faces as FFHQ does: eyes and mouth at fixed places of an upright square.

The published and the bundled encoders were trained on such crops. Images of other domains are cropped as the catalog
says.
"""

import sys

from restyle_cli.align.align import (
    Aligned,
    AlignOptions,
    FaceChoice,
    Rule,
    align,
    align_image,
    aligned_mark,
    alignment_rule,
    recrop,
)
from restyle_cli.align.crop import crop_quad
from restyle_cli.align.detect import DETECTOR, LANDMARKS, Face, find_faces, model_file
from restyle_cli.align.geometry import (
    Matrix,
    Points,
    Quad,
    Size,
    inverse_of,
    mapped,
    matrix_of,
    quad_of,
    side_of,
    tilt_of,
)
from restyle_cli.align.landmarks import Landmarks, read_landmarks
from restyle_cli.registry import CallablePackage

__all__ = [
    "DETECTOR",
    "LANDMARKS",
    "AlignOptions",
    "Aligned",
    "Face",
    "FaceChoice",
    "Landmarks",
    "Matrix",
    "Points",
    "Quad",
    "Rule",
    "Size",
    "align",
    "align_image",
    "aligned_mark",
    "alignment_rule",
    "crop_quad",
    "find_faces",
    "inverse_of",
    "mapped",
    "matrix_of",
    "model_file",
    "quad_of",
    "read_landmarks",
    "recrop",
    "side_of",
    "tilt_of",
]

sys.modules[__name__].__class__ = CallablePackage  # `restyle_cli.align(image)` calls `api.align`
