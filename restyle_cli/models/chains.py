"""Chains as they are written, planned and loaded: the method of each step, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.methods import CHAINS, METHODS
from restyle_cli.models import build
from restyle_cli.models.build import ModelCache, build_method
from restyle_cli.models.resolve import (
    Ensure,
    GeneratorUnknown,
    LoadOptions,
    Model,
    find,
    generator_of,
    split_domain,
    start_of,
)
from restyle_cli.store import catalog, fetch
from restyle_cli.store.spaces import shared, unknown_notice

if TYPE_CHECKING:
    import torch

    from restyle_cli.generators.base import StyleGenerator
    from restyle_cli.inversion import Chain, Method

SYNTAX = "write NAME[:STEPS], separated by commas: 'psp-portrait,restyle-psp-portrait:5'"


@dataclass(frozen=True)
class Link:
    """A part of a chain as it is written: name or file of a model, and its number of steps."""

    name: str
    steps: int | None = None


@dataclass(frozen=True)
class Plan:
    """The models of a chain and their steps. Nothing is loaded yet."""

    models: tuple[Model, ...]
    steps: tuple[int, ...]  # of each model
    name: str | None = None  # of the whole chain, if it was requested by one name

    @property
    def chain(self) -> str:
        """The chain in full: "psp-portrait:1,restyle-psp-portrait:5"."""
        return ",".join(f"{model.name}:{n}" for model, n in zip(self.models, self.steps, strict=True))

    @property
    def generators(self) -> dict[str, str]:
        """The names of the generators, by the names of the models."""
        return {model.name: model.generator.name for model in self.models}

    @property
    def notices(self) -> list[str]:
        """Lines for people about the choice of models."""
        return list(dict.fromkeys(notice for model in self.models for notice in model.notices))

    @property
    def perceptual(self) -> str | None:
        """Names of the perceptual networks of the methods; None if no method needs one."""
        return ", ".join(dict.fromkeys(model.perceptual for model in self.models if model.perceptual)) or None

    @property
    def is_random(self) -> bool:
        """Whether a method uses random numbers."""
        return any(METHODS.load(model.method).is_random for model in self.models)

    def networks(self) -> dict[str, str]:
        """The SHA-256 of each network's file by the network's name."""
        from restyle_cli.store.files import sha256

        files = {name: path for model in self.models for name, path in model.files()}
        digests = {path: sha256(path) for path in set(files.values())}
        return {name: digests[path] for name, path in files.items()}

    def load(self, device: str | torch.device = "cpu", seed: int = 0) -> Chain:
        """The methods on `device`. `seed` is that of methods with random numbers."""
        from restyle_cli.inversion import Chain

        cache = ModelCache(device)
        return Chain(
            tuple((build_method(model, cache, seed), n) for model, n in zip(self.models, self.steps, strict=True))
        )


def load_method(name: str | Path, device: str | torch.device = "cpu", generator: str | Path | None = None) -> Method:
    """The method of the model `name` on `device`, with another generator if one is named.

    Both are names of the catalog or files. RestyleError if there is no such model, or the two do not fit.
    """
    options = LoadOptions(generator=None if generator is None else str(generator))
    return build_method(find(str(name), options), ModelCache(device))


def load_generator(name: str | Path, device: str | torch.device = "cpu") -> StyleGenerator:
    """The generator called `name` or in this file, or that of the model. RestyleError if there is none."""
    found = generator_of(str(name), LoadOptions())
    if found is None:
        raise RestyleError(f"'{name}' has no generator of its own", "name a generator")
    generator = build.load_generator(found, ModelCache(device))
    build.crop_as_domain(generator, found.name)
    return generator


def load(
    name: str, device: str | torch.device, generator: str | None = None, seed: int = 0
) -> tuple[Method | Chain, list[str]]:
    """The method of a model, or the chain of "A,B:5" or of a named chain ("hybrid"), and notices for people."""
    if "," not in name and split_domain(name, CHAINS.__contains__) is None:
        model = find(name, LoadOptions(generator=generator))
        return build_method(model, ModelCache(device), seed), list(model.notices)
    planned = plan(name, via=name if "," in name else None, generator=generator)
    return planned.load(device, seed), planned.notices


def plan(
    model: str,
    steps: int | None = None,
    via: str | None = None,
    ensure: Ensure = fetch.ensure,
    generator: str | None = None,
    downscale: int = 1,
    default: int | None = None,
) -> Plan:
    """Find the models of the chain `via`, or of `steps` times `model`.

    A model named outright may be downloaded by `ensure`; a model that a method stands for is not. `default` replaces
    the default number of steps of methods that take several. `generator` (a name or a file) replaces the models' own.
    `downscale` is the factor by which images are shrunk before pSp's encoders.

    UsageError for a wrong number of steps, or models that do not share a latent space; RestyleError if a model is
    unknown or not installed.
    """
    if via is not None and steps is not None:
        raise UsageError("--via and --steps cannot be combined", "the chain contains the steps; " + SYNTAX)
    options = LoadOptions(ensure, generator)
    written = parse_chain(via) if via is not None else [Link(model, steps)]
    links = [part for link in written for part in _expand(link)]
    models: list[Model] = []
    for index, link in enumerate(links):
        models.append(_find(link, models[-1] if models else None, links[index + 1 :], options))
    if via is None and (start := start_of(models[0])) is not None:
        may_download = models[0].name == model
        models.insert(0, find(start, options if may_download else replace(options, ensure=fetch.installed_path)))
        links.insert(0, Link(start))
    elif METHODS.load(models[0].method).needs_start:
        raise UsageError(
            f"{models[0].name} needs the latent of a previous method",
            f'start with an encoder: --via "restyle-psp:5,{models[0].name}"',
        )
    if downscale > 1:
        if not any(found.task for found in models):
            raise UsageError("--downscale has no effect: the chain has no pSp encoder")
        models = [replace(found, downscale=downscale) if found.task else found for found in models]
    counts = tuple(_steps(link, found, default) for link, found in zip(links, models, strict=True))
    models = _check_spaces(models)
    name = written[0].name if split_domain(written[0].name, CHAINS.__contains__) else models[-1].name
    return Plan(tuple(models), counts, name if len(written) == 1 else None)


def parse_chain(text: str) -> list[Link]:
    """The links of "name[:steps],name[:steps],…". UsageError if the text has another form."""
    links = []
    for part in (part.strip() for part in text.split(",")):
        name, colon, count = part.rpartition(":")
        if not colon or "/" in count or "\\" in count:  # the colon, if any, is part of a path
            links.append(Link(part))
        elif count.isascii() and count.isdigit():
            links.append(Link(name, int(count)))
        else:
            raise UsageError(f"'{count}' in the chain '{text}' is not a number of steps", SYNTAX)
        if not links[-1].name:
            raise UsageError(f"the chain '{text}' has an empty name", SYNTAX)
    return links


def _expand(link: Link) -> list[Link]:
    """The link, or the links of a named chain."""
    split = split_domain(link.name, CHAINS.__contains__)
    if split is None:
        return [link]
    chain, domain = split
    encoder = domain.encoder if domain else catalog.find(str(catalog.stand_ins()[0].encoder)).method
    if encoder is None:
        message = f"the catalog has no encoder for '{link.name}' to start with"
        raise UsageError(message, f'write the chain in full: --via "ENCODER,{CHAINS[chain]}"')
    return [Link(encoder), Link(CHAINS[chain], link.steps)]


def _find(link: Link, previous: Model | None, later: Sequence[Link], options: LoadOptions) -> Model:
    """The model of `link`. If its file records no generator, it uses that of the next link that has one, else that of
    the previous one."""
    try:
        return find(link.name, options, previous)
    except GeneratorUnknown:
        fallback = next(filter(None, (generator_of(other.name, options) for other in later)), None)
        fallback = fallback or (previous.generator if previous else None)
        if fallback is None:
            raise
        return find(link.name, replace(options, fallback=fallback), previous)


def _steps(link: Link, model: Model, default: int | None) -> int:
    method = METHODS.load(model.method)
    steps = link.steps
    if steps is None:
        steps = method.default_steps if default is None or method.max_steps == 1 else default
    if 1 <= steps <= method.max_steps:
        return steps
    if method.max_steps == 1:
        hint = "a ReStyle model takes several" if steps and method.needs_encoder else f"write {link.name}:1"
        raise UsageError(f"{link.name} makes one step, not {steps}", hint)
    hint = f"the default is {method.default_steps}"
    raise UsageError(f"{link.name} takes 1 to {method.max_steps} steps, not {steps}", hint)


def _check_spaces(models: Sequence[Model]) -> list[Model]:
    """The models, with a notice where it is unknown whether one shares its latent space with the previous one.

    UsageError if two of them are known not to share a latent space.
    """
    checked: list[Model] = []
    for model in models:
        for other in checked:
            if shared(other.generator.spaces, model.generator.spaces) is False:
                raise UsageError(
                    f"{other.name} and {model.name} cannot be chained: their generators, {other.generator.name} and "
                    f"{model.generator.name}, do not share a latent space",
                    "chain models of one generator, or of one fine-tuned from the other",
                )
        if checked and shared(checked[-1].generator.spaces, model.generator.spaces) is None:
            model = replace(model, notices=(*model.notices, unknown_notice(checked[-1].name, model.name)))
        checked.append(model)
    return checked
