"""From what a person names (a model, a file, a chain) to methods that are ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.methods import BORROWED, METHODS, WITHOUT_ENCODER
from restyle_cli.store import catalog, fetch

if TYPE_CHECKING:
    import torch

    from restyle_cli.inversion import Method
    from restyle_cli.methods.optimise import Perceptual
    from restyle_cli.store.legacy.part import Part

Ensure = Callable[[catalog.Entry], Path]
"""Gives the file of a network of the catalog: `fetch.ensure`, with its options."""
LPIPS = "lpips-alex"
"""The network by which methods compare pictures that do so; where it is not installed, `structure` stands in."""
_CHAIN = "write NAME[:STEPS], separated by commas: 'psp-portrait,restyle-psp-portrait:5'"


@dataclass(frozen=True)
class Link:
    """One part of a chain as it was written: a model's name or file, and how many steps of it."""

    name: str
    steps: int | None = None


@dataclass(frozen=True)
class Model:
    """A model that was found: its method, and where its networks lie.

    `perceptual`: the name of what compares pictures for the method, if anything does.
    """

    name: str
    method: str
    encoder: Path | None  # None: the method needs none
    generator_name: str
    generator: Path  # the encoder's own file where that holds both
    spaces: frozenset[str]  # names of the generator's latent space: two generators share it if they share a name
    absolute: bool = False  # the encoder gives codes, not their distances from the average
    notices: tuple[str, ...] = ()  # for people: what stands in for what was asked
    perceptual: str | None = None
    perceptual_file: Path | None = None  # None where it needs none
    task: str | None = None  # of pSp alone: what it makes of a picture
    downscale: int = 1  # of pSp alone: how much smaller its encoder is to see the picture

    def files(self) -> list[tuple[str, Path]]:
        """The networks by name, with their files."""
        named = (
            (self.name, self.encoder),
            (self.generator_name, self.generator),
            (self.perceptual, self.perceptual_file),
        )
        return [(name, path) for name, path in named if name is not None and path is not None]


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
    def generators(self) -> dict[str, str]:
        """By the models' names, those of the generators that draw for them."""
        return {model.name: model.generator_name for model in self.models}

    @property
    def notices(self) -> list[str]:
        """What a person should be told about the choice of models, one line each."""
        return list(dict.fromkeys(notice for model in self.models for notice in model.notices))

    @property
    def perceptual(self) -> str | None:
        """What compares pictures for methods that do so: "lpips-alex" or "structure"; None if no method does."""
        return next((model.perceptual for model in self.models if model.perceptual), None)

    def networks(self) -> dict[str, str]:
        """The SHA-256 of each file used: another training of the same name is another network."""
        from restyle_cli.store.files import sha256

        files = dict(file for model in self.models for file in model.files())
        digests = {path: sha256(path) for path in set(files.values())}
        return {name: digests[path] for name, path in files.items()}

    def load(self, device: str | torch.device = "cpu") -> list[Method]:
        """The method of every step, in order, on `device`; a file that serves several is read once."""
        from restyle_cli.inversion import over

        shelf = _Shelf(device)
        methods = [over(_build(model, shelf), n) for model, n in zip(self.models, self.steps, strict=True)]
        return [method for method, n in zip(methods, self.steps, strict=True) for _ in range(n)]


def load_method(name: str | Path, device: str | torch.device = "cpu", generator: str | Path | None = None) -> Method:
    """The method of a model called `name` in the catalog, or in the file `name`, ready on `device`.

    `generator`, a name or a file too, takes the place of the one that the model belongs to. RestyleError when there is
    none, or it does not fit its generator.
    """
    wish = _Wish(fetch.ensure, None if generator is None else str(generator))
    return _build(_find(str(name), wish), _Shelf(device))


def load_perceptual(device: str | torch.device = "cpu") -> Perceptual:
    """How methods compare pictures: by LPIPS where it is installed, else by what stands in; `name` says which."""
    _, path = _perceptual()
    return _Shelf(device).compare_by(path)


def installed(method: str) -> list[str]:
    """Names of the models of `method` that are ready on this machine."""
    if method in WITHOUT_ENCODER:
        return [f"{method}-{domain.name}" for domain in catalog.domains() if _generator_of(domain) is not None]
    return [entry.name for entry in _encoders().values() if entry.method == method and fetch.installed(entry)]


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
    downscale: int = 1,
) -> Plan:
    """Find the models of the chain `via`, or else `steps` times `model`, and check that they go together.

    A network named outright is fetched by `ensure` if it is not here; one that a method stands for is not. Steps left
    open are the method's own default. `generator`, a name or a file, takes the place of the models' own. `downscale`:
    how much smaller pSp's encoders are to see the picture, which those for super-resolution make up for. UsageError
    when a number of steps makes no sense or the models' generators do not share a latent space; RestyleError when a
    model is not known or not here.
    """
    if via is not None and steps is not None:
        raise UsageError("a chain has its steps in it", "leave --steps out; " + _CHAIN)
    wish = _Wish(ensure, generator)
    links = parse_chain(via) if via is not None else [Link(model, steps)]
    models: list[Model] = []
    for link in links:
        models.append(_find(link.name, wish, models[-1] if models else None))
    if via is None and (start := _start_of(models[0])) is not None:
        outright = models[0].name == model
        models.insert(0, _find(start, wish if outright else replace(wish, ensure=fetch.installed_path)))
        links.insert(0, Link(start))
    if downscale > 1:
        if not any(found.task for found in models):
            raise UsageError("nothing here is shown a smaller picture", "--downscale is for pSp's encoders")
        models = [replace(found, downscale=downscale) if found.task else found for found in models]
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


def _find(name: str, wish: _Wish, before: Model | None = None) -> Model:
    """The model called `name`: a method (its domain is chosen), an entry of the catalog or a file.

    `before`: the link before in the chain, whose generator serves a method that names none, and whose encoder one
    that borrows it.
    """
    encoders = _encoders()
    if before is not None and before.method in BORROWED.get(name, ()):
        return _comparing(replace(before, name=name, method=name, notices=(), task=None))
    if name in WITHOUT_ENCODER:
        return _without_encoder(name, None, wish, before)
    if (found := _method_and_domain(name)) and not Path(name).is_file():
        return _without_encoder(*found, wish, before)
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
    known = [*METHODS.names(), *encoders, *(ready for method in WITHOUT_ENCODER for ready in installed(method))]
    near = did_you_mean(name, known)
    raise RestyleError(f"no model named '{name}'", f"{near}  {every}" if near else every)


def _encoders() -> dict[str, catalog.Entry]:
    """The catalog's encoders by name, and those that a method borrows where a domain has none for it."""
    found = {entry.name: entry for entry in catalog.entries() if entry.kind == "encoder"}
    for method, lenders in BORROWED.items():
        for domain in catalog.domains():
            lender = next((found[name] for name in (f"{m}-{domain.name}" for m in lenders) if name in found), None)
            if lender is not None:
                name = f"{method}-{domain.name}"
                found.setdefault(name, replace(lender, name=name, method=method))
    return found


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


def _method_and_domain(name: str) -> tuple[str, catalog.Domain] | None:
    """Of a METHOD-DOMAIN whose method needs no encoder, both; else None."""
    for domain in catalog.domains():
        method = name.removesuffix(f"-{domain.name}")
        if method != name and method in WITHOUT_ENCODER:
            return method, domain
    return None


def _without_encoder(method: str, domain: catalog.Domain | None, wish: _Wish, before: Model | None) -> Model:
    """The model of a method that needs no encoder, and the generator for it.

    That is the one wished, or the domain's, or the link's before, or the default domain's, or one that stands in.
    """
    name, notices = f"{method}-{domain.name}" if domain else method, ()
    if wish.generator is not None:
        generator_name, path = _generator_file(wish.generator, None, wish)
    elif domain is not None:
        generator_name, path = _generator_of(domain) or _fetched(domain, wish)
    elif before is not None:
        generator_name, path = before.generator_name, before.generator
    else:
        domain, notices, (generator_name, path) = _any_generator(method)
        name = f"{method}-{domain.name}"
    spaces = _spaces(generator_name, _generator_part(path).extra)
    if before is not None and path == before.generator:
        spaces |= before.spaces
    return _comparing(Model(name, method, None, generator_name, path, spaces, notices=notices))


def _any_generator(method: str) -> tuple[catalog.Domain, tuple[str, ...], tuple[str, Path]]:
    """The first of the default domain and those that stand in for it that has a generator here, and a notice."""
    wished, *_ = domains = catalog.stand_ins()
    for domain in domains:
        if found := _generator_of(domain):
            get = f"`restyle weights get {wished.generator}` brings it"
            notice = f"using {method}-{domain.name}: {wished.generator} is not installed; {get}"
            return domain, () if domain is wished else (notice,), found
    raise RestyleError(f"no generator for '{method}' is installed", "`restyle weights list` shows all")


def _generator_of(domain: catalog.Domain) -> tuple[str, Path] | None:
    """The domain's generator, its name and file, if it is here: by itself, or inside an encoder's file."""
    for entry in catalog.entries():
        if entry.name == domain.generator and fetch.installed(entry):
            return entry.name, fetch.path_of(entry)
    for entry in catalog.entries():
        if entry.holds_generator and entry.generator == domain.generator and fetch.installed(entry):
            return f"{entry.file}:decoder", fetch.path_of(entry)
    return None


def _fetched(domain: catalog.Domain, wish: _Wish) -> tuple[str, Path]:
    if domain.generator is None:
        raise RestyleError(f"the catalog knows no generator of the domain '{domain.name}'", "name one with --generator")
    return domain.generator, wish.ensure(catalog.find(domain.generator))


def _comparing(model: Model) -> Model:
    """The model with what compares pictures for it, if its method does so."""
    if not METHODS.load(model.method).compares:
        return model
    name, path = _perceptual(METHODS.load(model.method).own_perceptual)
    notices = model.notices if path else (*model.notices, _stand_in_notice(name))
    return replace(model, notices=notices, perceptual=name, perceptual_file=path)


def _perceptual(own: str | None = None) -> tuple[str, Path | None]:
    """The name of what compares pictures, and its file if it has one; `own` is what a method would rather have."""
    from restyle_cli.perceptual.structure import Structure

    for entry in (catalog.find(name) for name in (own, LPIPS) if name is not None):
        if fetch.installed(entry):
            return entry.name, fetch.path_of(entry)
    return Structure.name, None


def _stand_in_notice(name: str) -> str:
    return (
        f"pictures are compared by '{name}', which needs no network: {LPIPS} is not installed; "
        f"`restyle weights get {LPIPS}` brings it"
    )


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
        draws = _generator_part(generator)
    spaces = _spaces(generator_name, draws.extra)
    own = _spaces(f"{path.name}:decoder", held["generator"].extra) if "generator" in held else frozenset()
    own |= {entry.latent_space} if entry and entry.latent_space else set()
    if wish.generator is None:
        spaces |= own
    elif own and not own & spaces:
        notice = f"{name} was trained for another generator than {generator_name}: its codes may mean nothing there"
    absolute, notices = told.get("absolute") is True, (notice,) if notice else ()
    task = _task(held["encoder"], entry) if method == "psp" else None
    return _comparing(Model(name, method, path, generator_name, generator, spaces, absolute, notices, task=task))


def _task(encoder: Part, entry: catalog.Entry | None) -> str:
    """What an encoder of pSp makes of a picture, by its file, the catalog and its input's channels."""
    from restyle_cli.methods.psp import VARIANTS, task_of

    named = VARIANTS.get(entry.variant) if entry is not None and entry.variant else None
    return task_of(int(encoder.config.get("input_channels", 3)), encoder.extra.get("task") or named)


def _generator_part(path: Path) -> Part:
    """What the file says of the generator in it; RestyleError where there is none."""
    from restyle_cli.store.files import describe

    draws = next((part for part in describe(path) if part.role == "generator"), None)
    if draws is None:
        raise RestyleError(f"{str(path)!r} holds no generator", "--generator takes a generator's file")
    return draws


def _generator_file(name: Any, encoder: Path | None, wish: _Wish) -> tuple[str, Path]:
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
    """The model that finds the first code, where this one does not do it itself: the catalog's, or the domain's."""
    if METHODS.load(model.method).needs_start:
        named = _method_and_domain(model.name)
        domains = [named[1]] if named else [d for d in catalog.domains() if d.generator == model.generator_name]
        return domains[0].encoder if domains else None
    return next((entry.start for entry in catalog.entries() if entry.name == model.name), None)


# --- checking


def _steps(link: Link, model: Model) -> int:
    method = METHODS.load(model.method)
    steps = method.default_steps if link.steps is None else link.steps
    if 1 <= steps <= method.max_steps:
        return steps
    if method.max_steps == 1:
        raise UsageError(f"{link.name} finds the code in one step, not {steps}", "a ReStyle model takes several")
    usual = f"{method.default_steps} are usually enough"
    raise UsageError(f"{link.name} takes 1 to {method.max_steps} steps, not {steps}", usual)


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
    method, channels = METHODS.load(model.method), encoder.config.input_channels
    if not method.takes(channels):
        raise RestyleError(
            f"{model.name} reads {channels} channels, its method {model.method} gives it {method.input_channels}",
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

    def compare_by(self, path: Path | None) -> Perceptual:
        """The network in `path` that compares pictures; without one, what needs none."""
        from restyle_cli.perceptual.structure import Structure

        return self.take(path, "perceptual") if path is not None else Structure()

    def _read(self, path: Path, role: str) -> Any:
        from restyle_cli.store import legacy
        from restyle_cli.store.files import read_module

        if not legacy.is_foreign(path):
            return read_module(path, self.device, role)
        if path not in self.opened:
            self.opened[path] = legacy.open_parts(path)
        return legacy.build(legacy.pick(self.opened[path], role, path), self.device, path)


def _build(model: Model, shelf: _Shelf) -> Method:
    generator = shelf.take(model.generator, "generator")
    options: dict[str, Any] = {"absolute": True} if model.absolute else {}
    if model.perceptual is not None:
        options["perceptual"] = shelf.compare_by(model.perceptual_file)
    method = METHODS.load(model.method)
    if model.encoder is None:
        _crop_as_domain(model, generator)
        return method(model.name, generator, **options)
    encoder = shelf.take(model.encoder, "encoder")
    _crop(encoder, generator)
    _check_fit(model, encoder, generator)
    if model.task is not None:
        options |= {"task": model.task, "downscale": model.downscale}
    return method(model.name, encoder, generator, **options)


def _crop_as_domain(model: Model, generator: Any) -> None:
    """Without an encoder that would say so, the catalog knows whose pictures are cut."""
    file = model.generator_name.partition(":")[0]  # FILE:decoder is what an encoder's file holds
    entry = next((e for e in catalog.entries() if file in (e.name, e.file)), None)
    domain = next((d for d in catalog.domains() if entry is not None and d.name == entry.domain), None)
    if domain is not None and domain.crop is not None and generator.config.crop is None:
        generator.config = replace(generator.config, crop=domain.picture)


def _crop(encoder: Any, generator: Any) -> None:
    """A generator's own file does not say that its pictures are cut (cars'), but its encoder reads them so."""
    size, config = getattr(encoder.config, "input_size", None), generator.config
    if isinstance(size, tuple) and size[0] < size[1] and config.crop is None:
        generator.config = replace(config, crop=(config.resolution * size[0] // size[1], config.resolution))
