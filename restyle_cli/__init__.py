"""Find the latent code of a picture in a StyleGAN's space, step by step.

    method = restyle_cli.load("restyle-psp-portrait")
    inversion = restyle_cli.invert("photo.png", method, steps=5)  # .w [N, L, 512], .images, .steps

`load`, `invert` and `iterate` are imported at first use: `import restyle_cli` itself does not import torch.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # that of `typing`, whose import takes longer than the rest of this file
if TYPE_CHECKING:
    from typing import Any

    from restyle_cli.api import Chain, Inversion, Method, Metric, StandInWarning, State, invert, iterate, load

__version__ = "0.1.0"
__all__ = [
    "Chain",
    "Inversion",
    "Method",
    "Metric",
    "StandInWarning",
    "State",
    "__version__",
    "invert",
    "iterate",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import one of the public functions at first use."""
    if name in __all__:
        return getattr(import_module("restyle_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
