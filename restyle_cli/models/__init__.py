"""From a name, a file or a chain to methods that are ready to run."""

from restyle_cli.models.chains import Link, Plan, load, load_generator, load_method, parse_chain, plan
from restyle_cli.models.presets import QUALITIES, plan_quality
from restyle_cli.models.resolve import Ensure, LoadOptions, Model, installed

__all__ = [
    "QUALITIES",
    "Ensure",
    "Link",
    "LoadOptions",
    "Model",
    "Plan",
    "installed",
    "load",
    "load_generator",
    "load_method",
    "parse_chain",
    "plan",
    "plan_quality",
]
