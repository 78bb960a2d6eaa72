"""One network of a foreign checkpoint, with the names of this package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

ROLES = ("encoder", "generator", "perceptual", "discriminator")
"""A file is for the first of these that it has."""


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint: `config` for the family's `Config.from_dict`, `tensors` for `load_state_dict`.

    `extra` is metadata of the file: `method` (in METHODS), `latent_space`, and options of the original that affect its
    use. `names` maps the tensors to their names in the file, for messages.
    """

    role: str  # in ROLES
    family: str  # a name in GENERATORS, ENCODERS or PERCEPTUAL
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    extra: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
