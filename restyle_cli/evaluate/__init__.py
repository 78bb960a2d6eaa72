"""How well methods invert many images: inverted, measured at every step, and reported."""

import sys

from restyle_cli.registry import CallablePackage

sys.modules[__name__].__class__ = CallablePackage  # `restyle_cli.evaluate(result)` calls `api.evaluate`
