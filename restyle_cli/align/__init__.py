"""Faces framed as FFHQ frames them: eyes and mouth at fixed places of a square, upright picture.

The published encoders and the embedded ones know faces in this frame only; pictures of other domains are framed as
the catalog says.
"""

from restyle_cli.align.align import Aligned, Framing, Rule, Which, align, frame, frame_mark, part_of, rule_of
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
from restyle_cli.align.landmarks import OwnPoints, read_points

__all__ = [
    "DETECTOR",
    "LANDMARKS",
    "Aligned",
    "Face",
    "Framing",
    "Matrix",
    "OwnPoints",
    "Points",
    "Quad",
    "Rule",
    "Size",
    "Which",
    "align",
    "crop_quad",
    "find_faces",
    "frame",
    "frame_mark",
    "inverse_of",
    "mapped",
    "matrix_of",
    "model_file",
    "part_of",
    "quad_of",
    "read_points",
    "rule_of",
    "side_of",
    "tilt_of",
]
