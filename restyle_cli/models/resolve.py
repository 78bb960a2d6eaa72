"""Which networks a name means: a method, a model of the catalog, or a file. Nothing is loaded yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.methods import BORROWED, CHAINS, METHODS, OF_GENERATOR, OF_GENERATOR_ALONE, WITHOUT_ENCODER
from restyle_cli.store import catalog, fetch
from restyle_cli.store.inputs import check_input, is_file
from restyle_cli.store.spaces import UNNAMED, shared

if TYPE_CHECKING:
    from restyle_cli.store.legacy.checkpoint_part import Part

Ensure = Callable[[catalog.Entry], Path]
"""Gives the file of a network of the catalog: `fetch.ensure`, with its options."""
LPIPS = "lpips-alex"
"""The network by which methods compare pictures that do so; where it is not installed, `structure` stands in."""


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
    spaces: frozenset[str]  # names of the generator's latent space; see `store.spaces`
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
class Wish:
    """How models are to be found: what gives the files of the catalog, and whose generator is to draw.

    `lent`: the name and file of a generator for encoders that do not say which they are for.
    """

    ensure: Ensure
    generator: str | None = None
    lent: tuple[str, Path] | None = None


class GeneratorUnknown(RestyleError):
    """An encoder does not say which generator it is for."""


def installed(method: str) -> list[str]:
    """Names of the models of `method`, or of the chains of that name, that are ready on this machine."""
    if method in CHAINS:
        encoders = {entry.name for entry in catalog.entries() if fetch.installed(entry)}
        ready = {name.rpartition(f"{CHAINS[method]}-")[2] for name in installed(CHAINS[method])}
        return [f"{method}-{d.name}" for d in catalog.domains() if d.encoder in encoders and d.name in ready]
    if method == OF_GENERATOR:
        return [entry.name for entry in catalog.entries() if entry.kind == "generator" and fetch.installed(entry)]
    if method in WITHOUT_ENCODER:
        return [f"{method}-{domain.name}" for domain in catalog.domains() if _generator_of(domain) is not None]
    return [entry.name for entry in _encoders().values() if entry.method == method and fetch.installed(entry)]


def find(name: str, wish: Wish, before: Model | None = None) -> Model:
    """The model called `name`: a method (its domain is chosen), an entry of the catalog or a file.

    `before`: the link before in the chain, whose generator serves a method that names none, and whose encoder one
    that borrows it. After it a generator's name or file means that this one renders what was found; alone, the
    projector on it.
    """
    encoders = _encoders()
    if before is not None and before.method in BORROWED.get(name, ()):
        return _comparing(replace(before, name=name, method=name, notices=(), task=None))
    if name in WITHOUT_ENCODER:
        return _without_encoder(name, None, wish, before)
    if (found := _method_and_domain(name)) and not is_file(name):
        return _without_encoder(*found, wish, before)
    if name == OF_GENERATOR:
        hint = f'write its name or file as a later link of a chain: --via "restyle-e4e:5,{_a_generator()}"'
        raise RestyleError(f"'{name}' is what a generator does in a chain", hint)
    if name in METHODS:
        return _of_any_domain(name, encoders, wish)
    if name in encoders:
        return _of_entry(encoders[name], wish)
    if _is_generator(name):
        return _projected(name, wish) if before is None else _of_generator(name, wish)
    if os.path.lexists(name) and not any(entry.name == name for entry in catalog.entries()):
        return _of_file(Path(name), wish)
    every = "`restyle methods` shows what is ready, `restyle weights list` shows all networks"
    if any(entry.name == name for entry in catalog.entries()):
        raise RestyleError(f"'{name}' is not a model that inverts", every)
    if Path(name).suffix or "/" in name or "\\" in name:
        raise RestyleError(f"no file {name!r}", "check the path, or name a model; " + every)
    made_up = [ready for kind in (*WITHOUT_ENCODER, *CHAINS) for ready in installed(kind)]
    known = [*METHODS.names(), *CHAINS, *encoders, *made_up]
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


def _of_any_domain(method: str, encoders: Mapping[str, catalog.Entry], wish: Wish) -> Model:
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


def chain_and_domain(name: str) -> tuple[str, catalog.Domain | None] | None:
    """Of the name of a chain ("hybrid", "hybrid-portrait"), both; None for any other name."""
    if name in CHAINS:
        return name, None
    named = ((name.removesuffix(f"-{domain.name}"), domain) for domain in catalog.domains())
    return next(((chain, domain) for chain, domain in named if chain != name and chain in CHAINS), None)


def _method_and_domain(name: str) -> tuple[str, catalog.Domain] | None:
    """Of a METHOD-DOMAIN whose method needs no encoder, both; else None."""
    for domain in catalog.domains():
        method = name.removesuffix(f"-{domain.name}")
        if method != name and method in WITHOUT_ENCODER:
            return method, domain
    return None


def _without_encoder(method: str, domain: catalog.Domain | None, wish: Wish, before: Model | None) -> Model:
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


def _is_generator(name: str) -> bool:
    """Whether `name` is a generator of the catalog, or a file that holds one and no encoder."""
    if any(entry.name == name for entry in catalog.entries()):
        return catalog.find(name).kind == "generator"
    from restyle_cli.images import SUFFIXES

    if not is_file(name) or Path(name).suffix.lower() in SUFFIXES:
        return False
    from restyle_cli.store.files import describe

    roles = {part.role for part in describe(Path(name))}
    return "generator" in roles and "encoder" not in roles


def _of_generator(name: str, wish: Wish) -> Model:
    """A generator that draws what the link before found."""
    entry = next((entry for entry in catalog.entries() if entry.name == name), None)
    path = Path(name) if entry is None else wish.ensure(entry)
    return Model(name, OF_GENERATOR, None, name, path, _spaces(name, _generator_part(path).extra))


def generator_of(name: str, wish: Wish) -> tuple[str, Path] | None:
    """The generator, its name and file, that a link of this name brings along; None if it takes another's."""
    if name in WITHOUT_ENCODER:
        return None
    try:
        model = _of_generator(name, wish) if _is_generator(name) else find(name, wish)
    except GeneratorUnknown:
        return None
    return model.generator_name, model.generator


def _projected(name: str, wish: Wish) -> Model:
    """The projector on the generator of that name or file."""
    if wish.generator is not None:
        message = f"{name} is a generator, and --generator names another: {wish.generator}"
        raise UsageError(message, "leave one of them out")
    return replace(_without_encoder(OF_GENERATOR_ALONE, None, replace(wish, generator=name), None), name=name)


def _a_generator() -> str:
    return next(iter(installed(OF_GENERATOR)), "GENERATOR")


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


def _fetched(domain: catalog.Domain, wish: Wish) -> tuple[str, Path]:
    if domain.generator is None:
        raise RestyleError(f"the catalog knows no generator of the domain '{domain.name}'", "name one with --generator")
    return domain.generator, wish.ensure(catalog.find(domain.generator))


def _comparing(model: Model) -> Model:
    """The model with what compares pictures for it, if its method does so."""
    if not METHODS.load(model.method).compares:
        return model
    own = METHODS.load(model.method).own_perceptual
    name, path = perceptual_network(own)
    notices = model.notices if name == own else (*model.notices, _stand_in_notice(model.method, own, name))
    return replace(model, notices=notices, perceptual=name, perceptual_file=path)


def perceptual_network(own: str = LPIPS) -> tuple[str, Path | None]:
    """The name of what compares pictures, and its file if it has one: `own`, which a method asks for, or a stand-in."""
    from restyle_cli.perceptual.structure import Structure

    for entry in map(catalog.find, (own, LPIPS)):
        if fetch.installed(entry):
            return entry.name, fetch.path_of(entry)
    return Structure.name, None


def _stand_in_notice(method: str, own: str, name: str) -> str:
    get = f"{own} is not installed; `restyle weights get {own}` brings it"
    if LPIPS not in (own, name):
        get += f", `restyle weights get {LPIPS}` a closer stand-in"
    return f"images are compared by '{name}', which stands in for {own} in {method}: {get}"


def _of_entry(entry: catalog.Entry, wish: Wish, notice: str | None = None) -> Model:
    if entry.method is None:
        raise RestyleError(f"the catalog does not say how to invert with '{entry.name}'")
    return _model(entry.name, wish.ensure(entry), wish, entry, notice)


def _of_file(path: Path, wish: Wish) -> Model:
    """A file tells which method it serves; one that is called as a published one has that one's latent space."""
    from restyle_cli.images import SUFFIXES

    if path.suffix.lower() in SUFFIXES:
        raise RestyleError(f"{str(path)!r} is a picture, and no network", "pictures to invert stand without an option")
    check_input(path)
    published = (e for e in catalog.entries() if e.kind == "encoder" and not e.embedded and e.file == path.name)
    return _model(str(path), path, wish, next(published, None))


def _model(name: str, path: Path, wish: Wish, entry: catalog.Entry | None = None, notice: str | None = None) -> Model:
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
        if known is None and wish.lent is not None:
            generator_name, generator = wish.lent
            notice = f"{name} does not say which generator it is for; in this chain it uses {generator_name}"
        else:
            generator_name, generator = _generator_file(known, path, wish)
        draws = _generator_part(generator)
    spaces = _spaces(generator_name, draws.extra)
    own = _spaces(f"{path.name}:decoder", held["generator"].extra) if "generator" in held else frozenset()
    own |= {entry.latent_space} if entry and entry.latent_space else set()
    if wish.generator is None:
        spaces |= own
    elif own and not shared(own, spaces):
        notice = f"{name} was trained for another generator than {generator_name}: its codes may mean nothing there"
    absolute, notices = told.get("absolute") is True, (notice,) if notice else ()
    task = _task(held["encoder"], entry) if method == "psp" else None
    return _comparing(Model(name, method, path, generator_name, generator, spaces, absolute, notices, task=task))


def _task(encoder: Part, entry: catalog.Entry | None) -> str:
    """What an encoder of pSp makes of a picture, by its file, the catalog and its input's channels."""
    from restyle_cli.methods.encoder import VARIANTS, task_of

    named = VARIANTS.get(entry.variant) if entry is not None and entry.variant else None
    return task_of(int(encoder.config.get("input_channels", 3)), encoder.extra.get("task") or named)


def _generator_part(path: Path) -> Part:
    """What the file says of the generator in it; RestyleError where there is none."""
    from restyle_cli.store.files import describe

    draws = next((part for part in describe(path, "generator") if part.role == "generator"), None)
    if draws is None:
        raise RestyleError(f"{str(path)!r} holds no generator", "--generator takes a generator's file")
    return draws


def _generator_file(name: Any, encoder: Path | None, wish: Wish) -> tuple[str, Path]:
    """The generator called `name` in the catalog, a file of that name, or the one of that name beside the encoder's."""
    if not isinstance(name, str):
        message = f"{str(encoder)!r} does not say which generator it is for"
        raise GeneratorUnknown(message, "name one with --generator")
    if any(entry.name == name for entry in catalog.entries()):
        return name, wish.ensure(catalog.find(name))
    if wish.generator is not None:
        if not os.path.lexists(name):
            raise RestyleError(
                f"no generator {name!r}", "--generator takes a name of `restyle weights list`, or a file"
            )
        check_input(Path(name))
        return name, Path(name)
    path = encoder.parent / f"{name}.safetensors"
    if not path.is_file():
        raise RestyleError(f"the generator '{name}' is missing", f"it belongs at {str(path)!r}")
    return name, path


def _spaces(name: str, told: Mapping[str, Any]) -> frozenset[str]:
    """Names of the latent space of a generator: what its file tells, or its name, and what the catalog says."""
    known = {e.latent_space for e in catalog.entries() if e.kind == "generator" and name in (e.name, e.file)}
    spaces = {space for space in (told.get("latent_space"), told.get("published_space"), *known) if space}
    return frozenset(map(str, spaces)) or frozenset([f"{UNNAMED}{name}"])


def start_of(model: Model) -> str | None:
    """The model that finds the first code, where this one does not do it itself: the catalog's, or the domain's."""
    if METHODS.load(model.method).needs_start:
        named = _method_and_domain(model.name)
        domains = [named[1]] if named else [d for d in catalog.domains() if d.generator == model.generator_name]
        return domains[0].encoder if domains else None
    return next((entry.start for entry in catalog.entries() if entry.name == model.name), None)
