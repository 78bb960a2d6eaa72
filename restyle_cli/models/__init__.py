"""From what a person names (a model, a file, a chain) to methods that are ready to run."""

from restyle_cli.models.chains import (
    Link,
    Plan,
    load_chain,
    load_method,
    load_perceptual,
    load_schedule,
    parse_chain,
    plan,
)
from restyle_cli.models.presets import QUALITIES, plan_quality
from restyle_cli.models.resolve import Ensure, Model, installed

__all__ = [
    "QUALITIES",
    "Ensure",
    "Link",
    "Model",
    "Plan",
    "installed",
    "load_chain",
    "load_method",
    "load_perceptual",
    "load_schedule",
    "parse_chain",
    "plan",
    "plan_quality",
]
