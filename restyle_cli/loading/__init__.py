"""From what a person names (a model, a file, a chain) to methods that are ready to run."""

from restyle_cli.loading.chains import (
    Link,
    Plan,
    load_chain,
    load_method,
    load_perceptual,
    load_schedule,
    parse_chain,
    plan,
)
from restyle_cli.loading.models import Ensure, Model, installed
from restyle_cli.loading.qualities import QUALITIES, plan_quality

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
