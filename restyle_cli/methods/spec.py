"""The table of methods, read from `methods.toml` without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restyle_cli.records import conform, parse_toml

if TYPE_CHECKING:
    from restyle_cli.inversion import Method

Network = Literal["encoder", "hypernetwork", "generator", "perceptual"]
Space = Literal["W", "W+", "noise", "weights"]

NETWORKS: Mapping[Network, str] = {
    "encoder": "an encoder",
    "hypernetwork": "a hypernetwork, and a previous method that finds the latent",
    "generator": "the generator",
    "perceptual": "a perceptual network (if none is installed, a structural distance without weights is used)",
}
SPACES: Mapping[Space, str] = {
    "W": "W, one vector for all layers of the generator",
    "W+": "W+, one vector for each layer of the generator",
    "noise": "the generator's noise maps",
    "weights": "the generator's weights; the latent stays as the previous method found it",
}

MEASURED = "OMP_NUM_THREADS=1 python benchmarks/methods.py"
"""How the seconds were measured: one image, the bundled models (128 px), one thread of an AMD EPYC. Methods without a
bundled model were measured with an untrained one of the same architecture."""


@dataclass(frozen=True)
class Paper:
    """The publication of a method."""

    authors: str
    title: str
    venue: str
    year: int
    link: str

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}. {self.venue} {self.year}"


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """An entry of `methods.toml`, which explains the fields. Either `location` or `chain` is set.

    A method of another package has the fields that follow from its class; see `describe`.
    """

    location: str | None = None  # "module:Class", the key `class`
    chain: str | None = None
    borrows: tuple[str, ...] = ()
    summary: str
    paper: Paper | None = None
    step: str | None = None
    strengths: str | None = None
    weaknesses: str | None = None
    space: tuple[Space, ...] = ()
    networks: tuple[Network, ...]
    steps: int
    paper_steps: str | None = None
    seconds: float | None = None
    compares: str | None = None
    example: str


def _read() -> dict[str, MethodSpec]:
    tables = parse_toml(Path(__file__).with_name("methods.toml").read_bytes())
    specs = {}
    for name, table in tables["method"].items():
        values = {**table, "paper": tables["paper"][table["paper"]], "location": table.get("class")}
        values.pop("class", None)
        specs[name] = conform(values, MethodSpec)
    return specs


SPECS: Mapping[str, MethodSpec] = _read()
"""The methods and chains of this package by name, in the order in which they are listed."""


def describe(name: str, method: type[Method]) -> MethodSpec:
    """The facts about a method of another package, from its class."""
    networks: list[Network] = ["encoder"] if method.needs_encoder else []
    networks += ["generator", "perceptual"] if method.compares else ["generator"]
    chain = f'--via "restyle-psp:5,{name}"' if method.needs_start else f"-m {name}"
    return MethodSpec(
        borrows=method.borrows,
        summary=(method.__doc__ or name).strip().splitlines()[0].rstrip("."),
        networks=tuple(networks),
        steps=method.default_steps,
        example=f"restyle invert photo.jpg {chain}",
    )
