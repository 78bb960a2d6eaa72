"""Find the latent of an image in the latent space of a StyleGAN, step by step.

    model = restyle_cli.load("restyle-psp-portrait")
    result = restyle_cli.invert("photo.png", model, steps=5)  # .w [N, L, 512], .images, .steps
    result.save("results")

Names are imported at first use: `import restyle_cli` does not import torch.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than the rest of this file
if TYPE_CHECKING:
    from typing import Any

    from restyle_cli.api import (
        Aligned,
        Chain,
        Images,
        Inversion,
        Method,
        Metric,
        RestyleError,
        Result,
        StandInWarning,
        State,
        Step,
        StyleGenerator,
        align,
        evaluate,
        generate,
        invert,
        iterate,
        load,
    )

__version__ = "0.1.0"
__all__ = [
    "Aligned",
    "Chain",
    "Images",
    "Inversion",
    "Method",
    "Metric",
    "RestyleError",
    "Result",
    "StandInWarning",
    "State",
    "Step",
    "StyleGenerator",
    "__version__",
    "align",
    "evaluate",
    "generate",
    "invert",
    "iterate",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a public name at first use."""
    if name in __all__:
        return getattr(import_module("restyle_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
