"""What a name means: a method, a model of the catalog, or a file. Nothing is loaded yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.methods import CHAINS, METHODS, OF_GENERATOR, OF_GENERATOR_ALONE, borrows, without_encoder
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Domain, Entry
from restyle_cli.store.inputs import check_input, is_file
from restyle_cli.store.spaces import UNNAMED, shared

if TYPE_CHECKING:
    from restyle_cli.store.legacy.checkpoint_part import Part

Ensure = Callable[[Entry], Path]
"""Returns the file of a catalog entry and may download it, as `fetch.ensure` does."""
LPIPS = "lpips-alex"
"""The bundled perceptual network, which stands in for others that are not installed."""


@dataclass(frozen=True)
class GeneratorFile:
    """A generator: its name, the file that contains it, and the names of its latent space (see `store.spaces`)."""

    name: str
    path: Path
    spaces: frozenset[str]


@dataclass(frozen=True)
class Model:
    """A method and the files of its networks."""

    name: str
    method: str
    generator: GeneratorFile
    encoder: Path | None = None  # None if the method needs none
    absolute: bool = False  # the encoder's output is not relative to w_avg
    notices: tuple[str, ...] = ()  # lines for people, for example which model stands in for the requested one
    perceptual: str | None = None  # name of the network that compares images, if the method needs one
    perceptual_file: Path | None = None  # None if it has no weights
    task: str | None = None  # only pSp: a task of `methods.encoder.TASKS`
    downscale: int = 1  # only pSp: factor by which images are shrunk before the encoder

    @property
    def generator_name(self) -> str:
        """Name of the generator."""
        return self.generator.name

    def files(self) -> list[tuple[str, Path]]:
        """The networks by name, with their files."""
        named = (
            (self.name, self.encoder),
            (self.generator.name, self.generator.path),
            (self.perceptual, self.perceptual_file),
        )
        return [(name, path) for name, path in named if name is not None and path is not None]


@dataclass(frozen=True)
class LoadOptions:
    """How models are found.

    `generator`: name or file of a generator that replaces the models' own. `fallback`: the generator of encoders whose
    files do not record one.
    """

    ensure: Ensure = fetch.ensure
    generator: str | None = None
    fallback: GeneratorFile | None = None


class GeneratorUnknown(RestyleError):
    """The file of an encoder does not record a generator."""


def installed(method: str) -> list[str]:
    """Names of the installed models of a method or a named chain."""
    if method in CHAINS:
        encoders = {entry.name for entry in catalog.entries() if fetch.installed(entry)}
        ready = {name.rpartition(f"{CHAINS[method]}-")[2] for name in installed(CHAINS[method])}
        return [f"{method}-{d.name}" for d in catalog.domains() if d.encoder in encoders and d.name in ready]
    if method == OF_GENERATOR:
        return [entry.name for entry in catalog.entries() if entry.kind == "generator" and fetch.installed(entry)]
    if without_encoder(method):
        return [f"{method}-{domain.name}" for domain in catalog.domains() if _installed_generator(domain) is not None]
    entries = [entry for entry in catalog.entries() if entry.kind == "encoder" and entry.method == method]
    borrowed = [_borrowed_encoder(method, domain) for domain in catalog.domains()]
    entries += [entry for entry in borrowed if entry is not None and catalog.get(entry.name) is None]
    return [entry.name for entry in entries if fetch.installed(entry)]


def find(name: str, options: LoadOptions, previous: Model | None = None) -> Model:
    """The model called `name`: a method (its domain is chosen), a catalog entry or a file.

    `previous` is the model before it in a chain. A method without a model of its own uses its generator, and its
    encoder if the method can borrow it. A generator after another model renders its latent; alone it means the
    projector. RestyleError if there is no such model; GeneratorUnknown if only the generator is missing.
    """
    if previous is not None and previous.method in borrows(name):
        return _with_perceptual(replace(previous, name=name, method=name, notices=(), task=None))
    split = split_domain(name, without_encoder)
    if split is not None and (split[1] is None or not is_file(name)):
        return _of_generator_method(*split, options, previous)
    if name == OF_GENERATOR:
        generator = next(iter(installed(OF_GENERATOR)), "GENERATOR")
        hint = f'write its name or file as a later link of a chain: --via "restyle-e4e:5,{generator}"'
        raise RestyleError(f"'{name}' is what a generator does in a chain", hint)
    if name in METHODS:
        return _of_any_domain(name, options)
    if entry := _encoder_entry(name):
        return _of_encoder(entry.name, options.ensure(entry), options, entry)
    if _is_generator(name):
        if previous is None:
            return _projector(name, options)
        return Model(name, OF_GENERATOR, _named_generator(name, options))
    if os.path.lexists(name) and catalog.get(name) is None:
        return _of_file(Path(name), options)
    raise _unknown(name)


def split_domain(name: str, suits: Callable[[str], object]) -> tuple[str, Domain | None] | None:
    """METHOD or METHOD-DOMAIN as (method, domain or None), if the method suits; else None."""
    if suits(name):
        return name, None
    for domain in catalog.domains():
        method = name.removesuffix(f"-{domain.name}")
        if method != name and suits(method):
            return method, domain
    return None


def generator_of(name: str, options: LoadOptions) -> GeneratorFile | None:
    """The generator of the model or the generator called `name`; None if it would use that of another model."""
    if without_encoder(name):
        return None
    if _is_generator(name):
        return _named_generator(name, options)
    try:
        return find(name, options).generator
    except GeneratorUnknown:
        return None


def start_of(model: Model) -> str | None:
    """Name of the model that must find the first latent; None if `model` has a first guess of its own."""
    if not METHODS.load(model.method).needs_start:
        entry = catalog.get(model.name)
        return None if entry is None else entry.start
    split = split_domain(model.name, without_encoder)
    if split is not None and split[1] is not None:
        return split[1].encoder
    return next((d.encoder for d in catalog.domains() if d.generator == model.generator.name), None)


def _encoder_entry(name: str) -> Entry | None:
    """The encoder of this name in the catalog, or the one that a method borrows."""
    entry = catalog.get(name)
    if entry is not None:
        return entry if entry.kind == "encoder" else None
    split = split_domain(name, borrows)
    return _borrowed_encoder(split[0], split[1]) if split and split[1] else None


def _borrowed_encoder(method: str, domain: Domain) -> Entry | None:
    """The encoder of another method that `method` uses in this domain, as an entry of its own."""
    for lender in borrows(method):
        entry = catalog.get(f"{lender}-{domain.name}")
        if entry is not None and entry.kind == "encoder":
            return replace(entry, name=f"{method}-{domain.name}", method=method)
    return None


def _unknown(name: str) -> RestyleError:
    hint = "`restyle methods` shows the installed models, `restyle weights list` shows all"
    if catalog.get(name) is not None:
        return RestyleError(f"'{name}' is not a model that inverts", hint)
    if Path(name).suffix or "/" in name or "\\" in name:
        return RestyleError(f"no file {name!r}", "check the path, or name a model; " + hint)
    methods = [*METHODS.names(), *CHAINS]
    models = [model for method in methods if METHODS.plugin(method) is None for model in installed(method)]
    encoders = [entry.name for entry in catalog.entries() if entry.kind == "encoder"]
    near = did_you_mean(name, [*methods, *encoders, *models])
    return RestyleError(f"no model named '{name}'", f"{near}  {hint}" if near else hint)


# --- methods with an encoder


def _of_any_domain(method: str, options: LoadOptions) -> Model:
    """The installed model of the default domain, or of a domain that stands in for it."""
    domains = [domain.name for domain in catalog.stand_ins()]
    requested = f"{method}-{domains[0]}"
    get = f"run `restyle weights get {requested}`" if _encoder_entry(requested) else None
    for domain in domains:
        entry = _encoder_entry(f"{method}-{domain}")
        if entry is None or not fetch.installed(entry):
            continue
        reason = f"{requested} is not installed; {get}" if get else "a bundled model, trained on generated portraits"
        notice = None if domain == domains[0] else f"using {entry.name}: {reason}"
        return _of_encoder(entry.name, options.ensure(entry), options, entry, notice)
    every = "`restyle weights list` shows all"
    raise RestyleError(f"no model of '{method}' is installed", f"{get}; {every}" if get else every)


def _of_file(path: Path, options: LoadOptions) -> Model:
    """The model in a file. The catalog knows more about one that has the file name of a published model."""
    from restyle_cli.images import SUFFIXES

    if path.suffix.lower() in SUFFIXES:
        raise RestyleError(f"{str(path)!r} is an image, not a model", "images are arguments without an option")
    check_input(path)
    published = (e for e in catalog.entries() if e.kind == "encoder" and not e.embedded and e.file == path.name)
    return _of_encoder(str(path), path, options, next(published, None))


def _of_encoder(
    name: str, path: Path, options: LoadOptions, entry: Entry | None = None, notice: str | None = None
) -> Model:
    """The model whose encoder is in `path`."""
    parts = _parts(path)
    encoder = parts.get("encoder")
    if encoder is None:
        message = f"{str(path)!r} contains no encoder, but: {', '.join(parts)}"
        raise RestyleError(message, "-m needs the file of an encoder; --generator takes that of a generator")
    method = (entry.method if entry else None) or encoder.extra.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise RestyleError(f"{str(path)!r} does not record its method", "-m needs the file of an encoder")
    own = _generator_in(path, f"{path.name}:decoder", parts["generator"]) if "generator" in parts else None
    own_spaces = own.spaces if own else frozenset()
    if entry is not None and entry.latent_space:
        own_spaces |= {entry.latent_space}
    if options.generator is None:
        recorded = encoder.extra.get("generator") or (entry.generator if entry else None)
        generator = own or _recorded_generator(recorded, path, options)
        if generator is options.fallback:
            notice = f"{name} does not record its generator; in this chain it uses {generator.name}"
        generator = replace(generator, spaces=generator.spaces | own_spaces)
    else:
        generator = _named_generator(options.generator, options)
        if own_spaces and not shared(own_spaces, generator.spaces):
            notice = f"{name} was trained for another generator than {generator.name}; the images may show anything"
    return _with_perceptual(
        Model(
            name,
            method,
            generator,
            path,
            absolute=encoder.extra.get("absolute") is True,
            notices=(notice,) if notice else (),
            task=_psp_task(encoder, entry) if method == "psp" else None,
        )
    )


def _psp_task(encoder: Part, entry: Entry | None) -> str:
    """The task of a pSp encoder: from its number of input channels, its file and the catalog."""
    from restyle_cli.methods.encoder import VARIANTS, task_of

    variant = VARIANTS.get(entry.variant) if entry is not None and entry.variant else None
    return task_of(int(encoder.config.get("input_channels", 3)), encoder.extra.get("task") or variant)


# --- methods without an encoder


def _of_generator_method(
    method: str, domain: Domain | None, options: LoadOptions, previous: Model | None = None
) -> Model:
    """The model of a method that needs only a generator.

    Its generator is, in this order, that of the options, of the domain, of the previous model, or of the default
    domain or a domain that stands in for it.
    """
    notices: tuple[str, ...] = ()
    if options.generator is not None:
        generator = _named_generator(options.generator, options)
    elif domain is not None:
        generator = _domain_generator(domain, options)
    elif previous is not None:
        generator = previous.generator
    else:
        domain, notices = _default_domain(method)
        generator = _domain_generator(domain, options)
    if previous is not None and generator.path == previous.generator.path:
        generator = replace(generator, spaces=generator.spaces | previous.generator.spaces)
    name = f"{method}-{domain.name}" if domain else method
    return _with_perceptual(Model(name, method, generator, notices=notices))


def _projector(generator: str, options: LoadOptions) -> Model:
    """The projector on a generator, named after it."""
    if options.generator is not None:
        message = f"{generator} is a generator, and --generator names another: {options.generator}"
        raise UsageError(message, "leave one of them out")
    found = _of_generator_method(OF_GENERATOR_ALONE, None, replace(options, generator=generator))
    return replace(found, name=generator)


def _default_domain(method: str) -> tuple[Domain, tuple[str, ...]]:
    """The default domain or one that stands in for it, whichever has an installed generator, and notices."""
    default, *_ = domains = catalog.stand_ins()
    for domain in domains:
        if _installed_generator(domain):
            get = f"run `restyle weights get {default.generator}`"
            notice = f"using {method}-{domain.name}: {default.generator} is not installed; {get}"
            return domain, () if domain is default else (notice,)
    raise RestyleError(f"no generator for '{method}' is installed", "`restyle weights list` shows all")


# --- generators


def _is_generator(name: str) -> bool:
    """Whether `name` is a generator of the catalog, or a file with a generator and no encoder."""
    entry = catalog.get(name)
    if entry is not None:
        return entry.kind == "generator"
    from restyle_cli.images import SUFFIXES

    if not is_file(name) or Path(name).suffix.lower() in SUFFIXES:
        return False
    parts = _parts(Path(name))
    return "generator" in parts and "encoder" not in parts


def _installed_generator(domain: Domain) -> tuple[Path, str] | None:
    """File and name of the domain's generator, if it is installed: in its own file or in that of an encoder."""
    for entry in catalog.entries():
        if entry.name == domain.generator and fetch.installed(entry):
            return fetch.path_of(entry), entry.name
    for entry in catalog.entries():
        if entry.holds_generator and entry.generator == domain.generator and fetch.installed(entry):
            return fetch.path_of(entry), f"{entry.file}:decoder"
    return None


def _domain_generator(domain: Domain, options: LoadOptions) -> GeneratorFile:
    """The generator of the domain, downloaded if it is not installed."""
    if found := _installed_generator(domain):
        return _generator_in(*found)
    if domain.generator is None:
        message = f"the catalog has no generator for the domain '{domain.name}'"
        raise RestyleError(message, "name one with --generator")
    return _named_generator(domain.generator, options)


def _named_generator(name: str, options: LoadOptions) -> GeneratorFile:
    """The generator of this name in the catalog, or in this file."""
    entry = catalog.get(name)
    if entry is not None:
        return _generator_in(options.ensure(entry), name)
    if not os.path.lexists(name):
        raise RestyleError(f"no generator {name!r}", "--generator takes a name of `restyle weights list`, or a file")
    check_input(Path(name))
    return _generator_in(Path(name), name)


def _recorded_generator(name: Any, encoder: Path, options: LoadOptions) -> GeneratorFile:
    """The generator that an encoder's file records: an entry of the catalog, or a file in the same folder."""
    if not isinstance(name, str):
        if options.fallback is not None and name is None:
            return options.fallback
        raise GeneratorUnknown(f"{str(encoder)!r} does not record its generator", "name one with --generator")
    if catalog.get(name) is not None:
        return _named_generator(name, options)
    path = encoder.parent / f"{name}.safetensors"
    if not path.is_file():
        raise RestyleError(f"the generator '{name}' is missing", f"it belongs at {str(path)!r}")
    return _generator_in(path, name)


def _generator_in(path: Path, name: str, part: Part | None = None) -> GeneratorFile:
    """The generator in `path`, with the names of its latent space from the file and the catalog.

    RestyleError if the file contains no generator.
    """
    part = part or _parts(path, "generator").get("generator")
    if part is None:
        raise RestyleError(f"{str(path)!r} contains no generator", "--generator takes the file of a generator")
    known = {e.latent_space for e in catalog.entries() if e.kind == "generator" and name in (e.name, e.file)}
    recorded = (part.extra.get("latent_space"), part.extra.get("published_space"), *known)
    spaces = frozenset(str(space) for space in recorded if space)
    return GeneratorFile(name, path, spaces or frozenset([f"{UNNAMED}{name}"]))


def _parts(path: Path, role: str | None = None) -> dict[str, Part]:
    """The networks in a file by role, the first of each."""
    from restyle_cli.store.files import describe

    return {part.role: part for part in reversed(describe(path, role))}


# --- perceptual networks


def _with_perceptual(model: Model) -> Model:
    """The model with its perceptual network, if its method needs one, and a notice if that is a replacement."""
    method = METHODS.load(model.method)
    if not method.compares:
        return model
    from restyle_cli.perceptual.structure import Structure

    own = method.own_perceptual or LPIPS
    entry = next((entry for entry in map(catalog.find, (own, LPIPS)) if fetch.installed(entry)), None)
    name, path = (entry.name, fetch.path_of(entry)) if entry else (Structure.name, None)
    notices = model.notices
    if name != own:
        get = "install restyle again" if own == LPIPS else f"run `restyle weights get {own}`"
        reason = f"{own} is not installed; {get}"
        notices = (*notices, f"images are compared by '{name}', which stands in for {own} in {model.method}: {reason}")
    return replace(model, notices=notices, perceptual=name, perceptual_file=path)
