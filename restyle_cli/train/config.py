"""Recipes: what a training does, in one TOML file, checked before anything starts."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.records import parse_toml, read

try:
    from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
    from pydantic.dataclasses import dataclass
except ImportError as error:  # the everyday commands do not need it
    raise RestyleError("training needs the package 'pydantic'", "pip install 'restyle-cli[train]'") from error

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Count = Annotated[int, Field(ge=1, le=10**9)]
Side = Annotated[int, Field(ge=4, le=4096)]
Rate = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # of files too
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class Stage:
    """A stretch of training with one learning rate curve. Losses are weights by name (see losses.py)."""

    steps: Count
    lr: Rate
    batch: Count = 16
    final_lr: Share = 0.02  # as a share of `lr`, at the end of a cosine
    ema: Share = 0.998
    losses: dict[str, float] = Field(default_factory=dict)
    resolution: Side = 128  # generators: the size that is drawn and supervised
    iterations: Count = 1  # encoders: steps of the loop, each with its own backward pass
    step_gain: float = 1.0  # encoders: each later step of the loop weighs so many times the one before
    augment: Share = 0.0  # encoders: share of pictures spoiled before the encoder sees them
    pace: tuple[float, ...] = ()  # encoders: part of the way that the finest layer is asked to go by step 1, 2, …
    emphasis: dict[str, float] = Field(default_factory=dict)  # encoders: weights of single columns in `latent`
    focus: float = 0.0  # extra weight of eyes, nose and mouth
    mixing: Share = 0.0  # faces: share of images whose styles are mixed; fine layers exist from 64 px on
    adversary: float = 0.0  # generators: a judge's push, as a share of that of the losses


@dataclass(frozen=True, config=STRICT)
class Data:
    """Drawn pictures: how many, in which style, and the share of them pulled towards the mean look."""

    pictures: Count
    style: Literal["portrait", "toon"] = "portrait"
    folder: str | None = None  # faces: the photographs that are blended
    held_out: tuple[str, ...] = ()  # faces: people whom no training sees
    resolution: Side = 128
    truncated: Share = 0.18
    favour: dict[str, float] = Field(default_factory=dict)  # how much oftener a generator sees who has a trait
    mixing: Share = 0.5  # share of pictures whose layers get codes of several looks that agree where it matters


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One network to train. `network` holds the settings of its family; `start_from` names the one it goes on from."""

    name: Name
    family: Literal["stylegan2", "small", "small-hyper", "drawn-identity", "faces"]
    data: Data
    network: dict
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    method: str | None = None  # encoders: the method they are for
    generator: str | None = None  # encoders: the frozen generator, a name or a file
    first: str | None = None  # encoders: the chain that every other batch begins with (bootstrapping); "NAME:STEPS,…"
    start_from: str | None = None
    precision: Literal["fp32", "bf16"] = "bf16"
    check_every: Count = 500
    clip: Annotated[float, Field(ge=0)] = 0.0  # largest norm of the gradient; 0 leaves it alone
    betas: tuple[Share, Share] = (0.9, 0.99)
    summary: str = ""

    @model_validator(mode="after")
    def _enough_pictures(self) -> Self:
        largest = max(stage.batch for stage in self.stages)
        if largest > self.data.pictures:
            raise ValueError(f"a batch of {largest} needs more than {self.data.pictures} pictures")
        return self

    @property
    def steps(self) -> int:
        """All stages together."""
        return sum(stage.steps for stage in self.stages)


def recipe_names() -> list[str]:
    """The recipes in the package."""
    folder = resources.files("restyle_cli.train") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def read_recipe(name: str | Path) -> Recipe:
    """A recipe of the package by name, or a TOML file. RestyleError names the first wrong setting."""
    path = Path(name)
    if path.suffix == ".toml":
        table = read(path, parse_toml, dict)
    else:
        names = recipe_names()
        if str(name) not in names:
            guess = did_you_mean(str(name), names)
            raise RestyleError(
                f"no recipe named '{name}'", f"{guess + '  ' if guess else ''}there are {', '.join(names)}"
            )
        table = parse_toml((resources.files("restyle_cli.train") / "recipes" / f"{name}.toml").read_bytes())
    try:
        return TypeAdapter(Recipe).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        at = f" at '{where}'" if where else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise RestyleError(f"the recipe '{name}' is wrong{at}: {reason[:1].lower()}{reason[1:]}") from error
