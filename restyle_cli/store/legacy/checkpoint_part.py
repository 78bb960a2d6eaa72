"""One network of a foreign file, under our names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

ROLES = ("generator", "encoder", "perceptual", "discriminator")


@dataclass(frozen=True)
class Part:
    """One network of a file: `config` is for the family's `Config.from_dict`, `tensors` for its `load_state_dict`.

    `extra` holds what the file tells beside the network: `method` (of METHODS), `latent_space`, and options of the
    original that matter to its use. `names` are the file's own names of tensors, for what people are told.
    """

    role: str  # of ROLES
    family: str  # a name in one of the tables of networks
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    extra: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
