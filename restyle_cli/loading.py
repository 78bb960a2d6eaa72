"""From what a person names (a model, a file, a chain) to methods that are ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.methods import METHODS
from restyle_cli.store import catalog, fetch

if TYPE_CHECKING:
    import torch

    from restyle_cli.inversion import Method

Ensure = Callable[[catalog.Entry], Path]
"""Gives the file of a network of the catalog: `fetch.ensure`, with its options."""
_CHAIN = "write NAME[:STEPS], separated by commas: 'psp-portrait,restyle-psp-portrait:5'"


@dataclass(frozen=True)
class Link:
    """One part of a chain as it was written: a model's name or file, and how many steps of it."""

    name: str
    steps: int | None = None


@dataclass(frozen=True)
class Model:
    """A model that was found: which method its encoder serves, and where both of its networks lie."""

    name: str
    method: str
    encoder: Path
    generator_name: str
    generator: Path
    latent_space: str
    notice: str | None = None  # for people: what stands in for what was asked


@dataclass(frozen=True)
class Plan:
    """A chain whose models were found and fit together; nothing is loaded yet."""

    models: tuple[Model, ...]
    steps: tuple[int, ...]  # of each model

    @property
    def chain(self) -> str:
        """The chain in full: "psp-portrait:1,restyle-psp-portrait:5"."""
        return ",".join(f"{model.name}:{n}" for model, n in zip(self.models, self.steps, strict=True))

    @property
    def notices(self) -> list[str]:
        """What a person should be told about the choice of models, one line each."""
        return list(dict.fromkeys(model.notice for model in self.models if model.notice))

    def networks(self) -> dict[str, str]:
        """The SHA-256 of each file used: another training of the same name is another network."""
        from restyle_cli.store.files import sha256

        files = {model.name: model.encoder for model in self.models}
        files |= {model.generator_name: model.generator for model in self.models}
        return {name: sha256(path) for name, path in files.items()}

    def load(self, device: str | torch.device = "cpu") -> list[Method]:
        """The method of every step, in order, on `device`; a file that serves several is read once."""
        shelf = _Shelf(device)
        methods = [_build(model, shelf) for model in self.models]
        return [method for method, n in zip(methods, self.steps, strict=True) for _ in range(n)]


def load_method(name: str | Path, device: str | torch.device = "cpu") -> Method:
    """The method of a model called `name` in the catalog, or in the file `name`, ready on `device`.

    RestyleError when there is none, or it does not fit its generator.
    """
    return _build(_find(str(name), fetch.ensure), _Shelf(device))


def load_schedule(
    model: str, steps: int | None = None, via: str | None = None, device: str | torch.device = "cpu"
) -> list[Method]:
    """The methods of `plan(...)`, ready on `device`: one for every step."""
    return plan(model, steps, via).load(device)


def plan(model: str, steps: int | None = None, via: str | None = None, ensure: Ensure = fetch.ensure) -> Plan:
    """Find the models of the chain `via`, or else `steps` times `model`, and check that they go together.

    A network named outright is fetched by `ensure` if it is not here; one that a method stands for is not. Steps left
    open are the method's own default. UsageError when a number of steps makes no sense or the models' generators do
    not share a latent space; RestyleError when a model is not known or not here.
    """
    if via is not None and steps is not None:
        raise UsageError("a chain has its steps in it", "leave --steps out; " + _CHAIN)
    links = parse_chain(via) if via is not None else [Link(model, steps)]
    models = [_find(link.name, ensure) for link in links]
    counts = [_steps(link, found) for link, found in zip(links, models, strict=True)]
    for found in models[1:]:
        _check_shared_space(models[0], found)
    return Plan(tuple(models), tuple(counts))


def parse_chain(text: str) -> list[Link]:
    """The links of "name[:steps],name[:steps],…"; UsageError when it is not of this form."""
    links = []
    for part in (part.strip() for part in text.split(",")):
        name, colon, count = part.rpartition(":")
        if not colon or "/" in count or "\\" in count:  # the colon, if any, belongs to a path
            links.append(Link(part))
        elif count.isascii() and count.isdigit():
            links.append(Link(name, int(count)))
        else:
            raise UsageError(f"'{count}' in the chain '{text}' is no number of steps", _CHAIN)
        if not links[-1].name:
            raise UsageError(f"a name is missing in the chain '{text}'", _CHAIN)
    return links


# --- finding


def _find(name: str, ensure: Ensure) -> Model:
    """The model called `name`: a method (its domain is chosen), an entry of the catalog or a file."""
    encoders = {entry.name: entry for entry in catalog.entries() if entry.kind == "encoder"}
    if name in METHODS:
        return _of_any_domain(name, encoders, ensure)
    if name in encoders:
        return _of_entry(encoders[name], ensure)
    if Path(name).is_file():
        return _of_file(Path(name), ensure)
    every = "`restyle weights list` shows all"
    if any(entry.name == name for entry in catalog.entries()):
        raise RestyleError(f"'{name}' is not a model that inverts", every)
    if Path(name).suffix or "/" in name or "\\" in name:
        raise RestyleError(f"no file {name!r}", "check the path, or name a model; " + every)
    near = did_you_mean(name, [*METHODS.names(), *encoders])
    raise RestyleError(f"no model named '{name}'", f"{near}  {every}" if near else every)


def _of_any_domain(method: str, encoders: Mapping[str, catalog.Entry], ensure: Ensure) -> Model:
    """The installed encoder of the default domain, or of the one whose networks stand in for it."""
    domains = [domain.name for domain in catalog.stand_ins()]
    wished = f"{method}-{domains[0]}"
    for domain in domains:
        entry = encoders.get(f"{method}-{domain}")
        if entry is None or not fetch.installed(entry):
            continue
        notice = None if domain == domains[0] else f"using {entry.name}: {_why_not(wished, encoders)}"
        return _of_entry(entry, ensure, notice)
    get = f"`restyle weights get {wished}` brings it; " if wished in encoders else ""
    raise RestyleError(f"no network for '{method}' is installed", get + "`restyle weights list` shows all")


def _why_not(wished: str, encoders: Mapping[str, catalog.Entry]) -> str:
    if wished in encoders:
        return f"{wished} is not installed; `restyle weights get {wished}` brings it"
    return "the embedded network, made for drawn portraits rather than photographs"


def _of_entry(entry: catalog.Entry, ensure: Ensure, notice: str | None = None) -> Model:
    if entry.method is None or entry.generator is None:
        raise RestyleError(f"the catalog does not say how to invert with '{entry.name}'")
    return _model(entry.name, entry.method, ensure(entry), entry.generator, ensure, notice)


def _of_file(path: Path, ensure: Ensure) -> Model:
    """A file says in its header which method it serves and which generator it belongs to."""
    from restyle_cli.store.files import read_header

    extra = read_header(path)["extra"]
    method, generator = extra.get("method"), extra.get("generator")
    if not isinstance(method, str) or method not in METHODS or not isinstance(generator, str):
        raise RestyleError(
            f"{str(path)!r} does not say which method and generator it is for", "-m needs an encoder's file"
        )
    return _model(str(path), method, path, generator, ensure)


def _model(name: str, method: str, encoder: Path, generator: str, ensure: Ensure, notice: str | None = None) -> Model:
    from restyle_cli.store.files import read_header

    path = _generator_file(generator, encoder.parent, ensure)
    space = read_header(path)["extra"].get("latent_space", generator)
    return Model(name, method, encoder, generator, path, str(space), notice)


def _generator_file(name: str, folder: Path, ensure: Ensure) -> Path:
    """The generator called `name` in the catalog, else the file of that name beside the encoder's."""
    if any(entry.name == name for entry in catalog.entries()):
        return ensure(catalog.find(name))
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise RestyleError(f"the generator '{name}' is missing", f"it belongs at {str(path)!r}")
    return path


# --- checking


def _steps(link: Link, model: Model) -> int:
    method = METHODS.load(model.method)
    steps = method.default_steps if link.steps is None else link.steps
    if 1 <= steps <= method.max_steps:
        return steps
    if method.max_steps == 1:
        raise UsageError(f"{link.name} finds the code in one step, not {steps}", "a ReStyle model takes several")
    raise UsageError(f"{link.name} takes 1 to {method.max_steps} steps, not {steps}", "5 are usually enough")


def _check_shared_space(first: Model, other: Model) -> None:
    if first.latent_space != other.latent_space:
        raise UsageError(
            f"{first.name} and {other.name} cannot be chained: their generators, {first.generator_name} and "
            f"{other.generator_name}, do not share a latent space",
            "chain models of one generator, or of one fine-tuned from the other",
        )


def _check_fit(model: Model, encoder: Any, generator: Any) -> None:
    """RestyleError unless the encoder takes what its method gives, and gives what the generator takes."""
    gives = (encoder.config.styles, encoder.config.w_dim)
    takes = (generator.layers, generator.config.w_dim)
    if gives != takes:
        raise RestyleError(
            f"{model.name} gives codes of {gives[0]}x{gives[1]}, {model.generator_name} takes {takes[0]}x{takes[1]}",
            "they do not belong together; fetch or train both again",
        )
    channels = METHODS.load(model.method).input_channels
    if encoder.config.input_channels != channels:
        raise RestyleError(
            f"{model.name} reads {encoder.config.input_channels} channels, "
            f"its method {model.method} gives it {channels}",
            "it was made for another method",
        )


# --- loading


@dataclass
class _Shelf:
    """Networks read so far: one that several models share is read once."""

    device: str | torch.device
    networks: dict[Path, Any] = field(default_factory=dict)

    def take(self, path: Path) -> Any:
        from restyle_cli.store.files import read_module

        if path not in self.networks:
            self.networks[path] = read_module(path, self.device)
        return self.networks[path]


def _build(model: Model, shelf: _Shelf) -> Method:
    encoder, generator = shelf.take(model.encoder), shelf.take(model.generator)
    _check_fit(model, encoder, generator)
    return METHODS.load(model.method)(model.name, encoder, generator)
