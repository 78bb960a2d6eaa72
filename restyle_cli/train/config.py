"""Recipes: what a training does, in one TOML file. Everything is checked before data are read."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.records import parse_toml, read
from restyle_cli.train.losses import check_losses

try:
    from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
    from pydantic.dataclasses import dataclass
except ImportError as error:  # the everyday commands do not need it
    raise RestyleError("training needs the package 'pydantic'", "pip install 'restyle-cli[train]'") from error

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Count = Annotated[int, Field(ge=1, le=10**9)]
Side = Annotated[int, Field(ge=8, le=4096)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
KNOWN_LATENTS = ("generated", "faces")  # kinds of data
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # of files too


@dataclass(frozen=True, config=STRICT)
class Stage:
    """A stretch of training with one learning rate curve: a short rise, then a cosine down to `final_lr` * `lr`."""

    steps: Count = 100_000
    batch: Count = 8  # of all processes together
    lr: Rate = 1e-4
    final_lr: Share = 1.0
    warm_up: Annotated[int, Field(ge=0)] = 0  # steps over which the learning rate rises
    ema: Share = 0.0  # decay of the averaged weights; 0: no averaging
    losses: dict[str, float] = Field(default_factory=dict)  # weights by name; see losses.py
    iterations: Count = 1  # encoders: steps of the inversion loop, each with its own backward pass
    augment: Share = 0.0  # encoders: share of the inputs that are augmented; targets stay as they are
    bootstrap: Share = 0.5  # encoders: share of the batches that begin with the recipe's chain `first`
    resolution: Side | None = None  # size of the images compared; None: the data's
    mixing: Share = 0.0  # generators: share of the images whose styles are mixed
    focus: float = 0.0  # generators: extra weight of eyes, nose and mouth
    adversary: float = 0.0  # generators: gradient of the patch discriminator, as a share of the losses' gradient


@dataclass(frozen=True, config=STRICT)
class Data:
    """Where the images come from; a kind is a line in the table of `restyle_cli.data`."""

    kind: Literal["folder", "pairs", "generated", "faces"] = "folder"
    folder: str | None = None  # images, or a zip file of images; pairs: the targets; faces: the photographs
    inputs: str | None = None  # pairs: images with the names of the targets
    resolution: Side = 256  # longer side in px, at most; a smaller generator is compared at its own size
    flip: bool = True  # mirror half of the images
    align: Literal["auto", "always", "never"] = "auto"  # as the option of `restyle invert`
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05  # share of the images that no training sees
    held_out: tuple[str, ...] = ()  # faces: people whom no training sees
    style: Literal["photo", "toon"] = "photo"  # faces: as photographed, or cartoons of the same people
    count: Count = 8192  # faces: how many are rendered
    photos: Share = 0.25  # faces, encoders: share of photographs, whose latents are not known
    truncation: Annotated[float, Field(gt=0)] = 1.0  # generated: of the latents
    flip_inputs: bool = False  # mirror half of the inputs, but not their targets (frontalisation)
    factors: tuple[Count, ...] = ()  # inputs are shrunk by one of these factors (super-resolution)


@dataclass(frozen=True, config=STRICT)
class Discriminator:
    """e4e's latent discriminator (Tov et al. 2021)."""

    lr: Rate = 2e-5
    r1: float = 10.0
    r1_every: Count = 16
    pool: Annotated[int, Field(ge=0)] = 50  # latents of earlier steps to train on; see `LatentPool`


@dataclass(frozen=True, config=STRICT)
class Progressive:
    """e4e's progressive training: style 1 gets its offset at step `start`, each further one `every` steps later."""

    start: Count = 20_000
    every: Count = 2_000


@dataclass(frozen=True, config=STRICT)
class Validation:
    """How often, and on how many images, the metrics of `restyle eval` are measured."""

    every: Count = 1000
    images: Count = 64
    best: str = "lpips"  # the metric by which the best checkpoint is chosen; lower is better


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One training. `model` holds the settings of the network; `start_from` names a model to take weights from."""

    name: Name
    task: Literal["encoder", "faces"] = "encoder"
    summary: str = ""
    method: str = "restyle-psp"
    generator: str | None = None  # frozen; a name or a file, as --generator takes it
    first: str | None = None  # chain that finds the first latent: bootstrapping, or a hypernetwork's encoder
    start_from: str | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    data: Data = Field(default_factory=Data)
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(),)
    networks: dict[str, str] = Field(default_factory=dict)  # which model a loss uses: {id = "dlib"}
    discriminator: Discriminator | None = None
    progressive: Progressive | None = None
    validation: Validation = Field(default_factory=Validation)
    optimizer: Literal["adam", "ranger"] = "adam"
    betas: tuple[Share, Share] = (0.9, 0.99)
    checkpointing: bool = True  # compute the generator's feature maps twice rather than keep them
    accumulate: Count = 1  # parts that a batch is computed in, to save memory
    clip: Annotated[float, Field(ge=0)] = 0.0  # largest norm of the gradient; 0: any
    keep: Count = 3  # of the last checkpoints, how many weights are kept
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


def bundled_recipes() -> dict[str, dict[str, Any]]:
    """The recipes in the package by name, as they are written: a file each, or a table of `published.toml`."""
    folder = resources.files("restyle_cli.train") / "recipes"
    tables = {
        item.name.removesuffix(".toml"): parse_toml(item.read_bytes())
        for item in folder.iterdir()
        if item.name.endswith(".toml")
    }
    published = tables.pop("published")
    return dict(sorted((tables | {name: {"name": name, **table} for name, table in published.items()}).items()))


def read_table(name: str | Path) -> dict[str, Any]:
    """A recipe as it is written: one of the package by name, or a TOML file. RestyleError if there is none."""
    if Path(name).suffix == ".toml":
        return read(Path(name), parse_toml, dict)
    recipes = bundled_recipes()
    if str(name) not in recipes:
        near = did_you_mean(str(name), recipes)
        raise RestyleError(f"no recipe or folder named '{name}'", near or f"recipes: {', '.join(recipes)}")
    return recipes[str(name)]


def make_recipe(table: Mapping[str, Any], name: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """The recipe of a table with `settings` ("training.lr=1e-4") applied.

    In the table, `preset` names defaults of `presets.toml`, and `training` holds what all `stages` have in common.
    RestyleError names the first wrong setting of the table, UsageError a wrong one of `settings`.
    """
    for setting in settings:
        table = _with_setting(table, setting)
    table = with_preset(table)
    common = table.pop("training", {})
    stages = table.get("stages", [{}])
    if isinstance(common, dict) and isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages):
        table["stages"] = [common | stage for stage in stages]
    try:
        recipe = TypeAdapter(Recipe).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RestyleError(f"the recipe '{name}' is wrong at '{where}': {_reason(first)}", _near(first)) from error
    if recipe.task == "encoder":
        for stage in recipe.stages:
            check_losses(stage.losses, recipe.data.kind in KNOWN_LATENTS, recipe.discriminator is not None)
    return recipe


def with_preset(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table on top of its preset: what the preset says in general, then of the table's method, then the table."""
    table = dict(table)
    name = table.pop("preset", None)
    if name is None:
        return table
    presets = parse_toml((resources.files("restyle_cli.train") / "presets.toml").read_bytes())
    if name not in presets:
        raise RestyleError(
            f"no preset named '{name}'", did_you_mean(str(name), presets) or f"available: {', '.join(presets)}"
        )
    preset = presets[name]
    methods = preset.pop("methods")
    method = table.get("method", "restyle-psp")
    if method not in methods:
        near = did_you_mean(str(method), methods)
        raise UsageError(f"no method named '{method}' can be trained", near or f"choose from {', '.join(methods)}")
    return merged(merged(preset, methods[method]), table)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables in one; where both have a value, that of `above`."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _with_setting(table: Mapping[str, Any], setting: str) -> dict[str, Any]:
    path, equals, text = setting.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set takes KEY=VALUE, not '{setting}'", "for example --set training.lr=1e-4")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a word without quotation marks
    changed = dict(table)
    inner: dict[str, Any] = changed
    for key in keys[:-1]:
        below = inner.get(key, {})
        if not isinstance(below, dict):
            raise UsageError(f"--set {path}: '{key}' has no settings of its own", "edit the recipe's file instead")
        inner[key] = dict(below)
        inner = inner[key]
    inner[keys[-1]] = value
    return changed


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "unexpected_keyword_argument":
        return "there is no such setting"
    reason = str(error["msg"]).removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]


def _near(error: Mapping[str, Any]) -> str | None:
    """A setting of a similar name, if the error is an unknown one."""
    if error["type"] != "unexpected_keyword_argument":
        return None
    tables = {"data": Data, "stages": Stage, "discriminator": Discriminator, "progressive": Progressive}
    where = [str(part) for part in error["loc"]]
    known = (tables | {"validation": Validation}).get(where[0], Recipe) if len(where) > 1 else Recipe
    return did_you_mean(where[-1], [field.name for field in dataclasses.fields(known)])
