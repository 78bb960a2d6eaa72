"""From what a person names (a model, a file, a chain) to methods that are ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
    generator: Path  # the encoder's own file where that holds both
    spaces: frozenset[str]  # names of the generator's latent space: two generators share it if they share a name
    absolute: bool = False  # the encoder gives codes, not their distances from the average
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
        digests = {path: sha256(path) for path in set(files.values())}
        return {name: digests[path] for name, path in files.items()}

    def load(self, device: str | torch.device = "cpu") -> list[Method]:
        """The method of every step, in order, on `device`; a file that serves several is read once."""
        shelf = _Shelf(device)
        methods = [_build(model, shelf) for model in self.models]
        return [method for method, n in zip(methods, self.steps, strict=True) for _ in range(n)]


def load_method(name: str | Path, device: str | torch.device = "cpu", generator: str | Path | None = None) -> Method:
    """The method of a model called `name` in the catalog, or in the file `name`, ready on `device`.

    `generator`, a name or a file too, takes the place of the one that the model belongs to. RestyleError when there is
    none, or it does not fit its generator.
    """
    wish = _Wish(fetch.ensure, None if generator is None else str(generator))
    return _build(_find(str(name), wish), _Shelf(device))


def load_schedule(
    model: str,
    steps: int | None = None,
    via: str | None = None,
    device: str | torch.device = "cpu",
    generator: str | None = None,
) -> list[Method]:
    """The methods of `plan(...)`, ready on `device`: one for every step."""
    return plan(model, steps, via, generator=generator).load(device)


def plan(
    model: str,
    steps: int | None = None,
    via: str | None = None,
    ensure: Ensure = fetch.ensure,
    generator: str | None = None,
) -> Plan:
    """Find the models of the chain `via`, or else `steps` times `model`, and check that they go together.

    A network named outright is fetched by `ensure` if it is not here; one that a method stands for is not. Steps left
    open are the method's own default. `generator`, a name or a file, takes the place of the models' own. UsageError
    when a number of steps makes no sense or the models' generators do not share a latent space; RestyleError when a
    model is not known or not here.
    """
    if via is not None and steps is not None:
        raise UsageError("a chain has its steps in it", "leave --steps out; " + _CHAIN)
    wish = _Wish(ensure, generator)
    links = parse_chain(via) if via is not None else [Link(model, steps)]
    models = [_find(link.name, wish) for link in links]
    if via is None and (start := _start_of(models[0])) is not None:
        outright = models[0].name == model
        models.insert(0, _find(start, wish if outright else replace(wish, ensure=fetch.installed_path)))
        links.insert(0, Link(start))
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


@dataclass(frozen=True)
class _Wish:
    """How models are to be found: what gives the files of the catalog, and whose generator is to draw."""

    ensure: Ensure
    generator: str | None = None


def _find(name: str, wish: _Wish) -> Model:
    """The model called `name`: a method (its domain is chosen), an entry of the catalog or a file."""
    encoders = {entry.name: entry for entry in catalog.entries() if entry.kind == "encoder"}
    if name in METHODS:
        return _of_any_domain(name, encoders, wish)
    if name in encoders:
        return _of_entry(encoders[name], wish)
    if Path(name).is_file():
        return _of_file(Path(name), wish)
    every = "`restyle weights list` shows all"
    if any(entry.name == name for entry in catalog.entries()):
        raise RestyleError(f"'{name}' is not a model that inverts", every)
    if Path(name).suffix or "/" in name or "\\" in name:
        raise RestyleError(f"no file {name!r}", "check the path, or name a model; " + every)
    near = did_you_mean(name, [*METHODS.names(), *encoders])
    raise RestyleError(f"no model named '{name}'", f"{near}  {every}" if near else every)


def _of_any_domain(method: str, encoders: Mapping[str, catalog.Entry], wish: _Wish) -> Model:
    """The installed encoder of the default domain, or of the one whose networks stand in for it."""
    domains = [domain.name for domain in catalog.stand_ins()]
    wished = f"{method}-{domains[0]}"
    for domain in domains:
        entry = encoders.get(f"{method}-{domain}")
        if entry is None or not fetch.installed(entry):
            continue
        notice = None if domain == domains[0] else f"using {entry.name}: {_why_not(wished, encoders)}"
        return _of_entry(entry, wish, notice)
    get = f"`restyle weights get {wished}` brings it; " if wished in encoders else ""
    raise RestyleError(f"no network for '{method}' is installed", get + "`restyle weights list` shows all")


def _why_not(wished: str, encoders: Mapping[str, catalog.Entry]) -> str:
    if wished in encoders:
        return f"{wished} is not installed; `restyle weights get {wished}` brings it"
    return "the embedded network, made for drawn portraits rather than photographs"


def _of_entry(entry: catalog.Entry, wish: _Wish, notice: str | None = None) -> Model:
    if entry.method is None:
        raise RestyleError(f"the catalog does not say how to invert with '{entry.name}'")
    return _model(entry.name, wish.ensure(entry), wish, entry, notice)


def _of_file(path: Path, wish: _Wish) -> Model:
    """A file tells which method it serves; one that is called as a published one has that one's latent space."""
    published = (e for e in catalog.entries() if e.kind == "encoder" and not e.embedded and e.file == path.name)
    return _model(str(path), path, wish, next(published, None))


def _model(name: str, path: Path, wish: _Wish, entry: catalog.Entry | None = None, notice: str | None = None) -> Model:
    from restyle_cli.store.files import describe

    held = {part.role: part for part in reversed(describe(path))}
    if "encoder" not in held:
        message = f"{str(path)!r} holds no encoder, but: {', '.join(held)}"
        raise RestyleError(message, "-m needs an encoder's file; --generator takes a generator's")
    told = held["encoder"].extra
    method = (entry.method if entry else None) or told.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise RestyleError(f"{str(path)!r} does not say which method it is for", "-m needs an encoder's file")
    if wish.generator is None and "generator" in held:
        generator_name, generator, draws = f"{path.name}:decoder", path, held["generator"]
    else:
        known = wish.generator or told.get("generator") or (entry.generator if entry else None)
        generator_name, generator = _generator_file(known, path, wish)
        draws = next((part for part in describe(generator) if part.role == "generator"), None)
        if draws is None:
            raise RestyleError(f"{str(generator)!r} holds no generator", "--generator takes a generator's file")
    spaces = _spaces(generator_name, draws.extra)
    own = _spaces(f"{path.name}:decoder", held["generator"].extra) if "generator" in held else frozenset()
    own |= {entry.latent_space} if entry and entry.latent_space else set()
    if wish.generator is None:
        spaces |= own
    elif own and not own & spaces:
        notice = f"{name} was trained for another generator than {generator_name}: its codes may mean nothing there"
    return Model(name, method, path, generator_name, generator, spaces, told.get("absolute") is True, notice)


def _generator_file(name: Any, encoder: Path, wish: _Wish) -> tuple[str, Path]:
    """The generator called `name` in the catalog, a file of that name, or the one of that name beside the encoder's."""
    if not isinstance(name, str):
        raise RestyleError(f"{str(encoder)!r} does not say which generator it is for", "name one with --generator")
    if any(entry.name == name for entry in catalog.entries()):
        return name, wish.ensure(catalog.find(name))
    if wish.generator is not None:
        if not Path(name).is_file():
            raise RestyleError(
                f"no generator {name!r}", "--generator takes a name of `restyle weights list`, or a file"
            )
        return name, Path(name)
    path = encoder.parent / f"{name}.safetensors"
    if not path.is_file():
        raise RestyleError(f"the generator '{name}' is missing", f"it belongs at {str(path)!r}")
    return name, path


def _spaces(name: str, told: Mapping[str, Any]) -> frozenset[str]:
    """Names of the latent space of a generator: what its file tells, or its name, and what the catalog says."""
    known = {e.latent_space for e in catalog.entries() if e.kind == "generator" and name in (e.name, e.file)}
    spaces = {told.get("latent_space") or name, told.get("published_space"), *known}
    return frozenset(str(space) for space in spaces if space)


def _start_of(model: Model) -> str | None:
    """The model that finds the first code, where the catalog knows that this one does not do it itself."""
    return next((entry.start for entry in catalog.entries() if entry.name == model.name), None)


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
    if not first.spaces & other.spaces:
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
    """Networks read so far: what several models share is read once, and a file that holds several opened once."""

    device: str | torch.device
    networks: dict[tuple[Path, str], Any] = field(default_factory=dict)
    opened: dict[Path, list[Any]] = field(default_factory=dict)

    def take(self, path: Path, role: str) -> Any:
        if (path, role) not in self.networks:
            self.networks[path, role] = self._read(path, role)
        return self.networks[path, role]

    def _read(self, path: Path, role: str) -> Any:
        from restyle_cli.store import legacy
        from restyle_cli.store.files import read_module

        if not legacy.is_foreign(path):
            return read_module(path, self.device, role)
        if path not in self.opened:
            self.opened[path] = legacy.open_parts(path)
        return legacy.build(legacy.pick(self.opened[path], role, path), self.device, path)


def _build(model: Model, shelf: _Shelf) -> Method:
    encoder, generator = shelf.take(model.encoder, "encoder"), shelf.take(model.generator, "generator")
    _crop(encoder, generator)
    _check_fit(model, encoder, generator)
    options = {"absolute": True} if model.absolute else {}
    return METHODS.load(model.method)(model.name, encoder, generator, **options)


def _crop(encoder: Any, generator: Any) -> None:
    """A generator's own file does not say that its pictures are cut (cars'), but its encoder reads them so."""
    size, config = getattr(encoder.config, "input_size", None), generator.config
    if isinstance(size, tuple) and size[0] < size[1] and config.crop is None:
        generator.config = replace(config, crop=(config.resolution * size[0] // size[1], config.resolution))
