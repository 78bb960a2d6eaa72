"""Chains as people write them, planned and loaded: the methods of every step, in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restyle_cli.errors import UsageError
from restyle_cli.methods import CHAINS, METHODS
from restyle_cli.models.build import Shelf, build
from restyle_cli.models.resolve import (
    Ensure,
    GeneratorUnknown,
    Model,
    Wish,
    chain_and_domain,
    find,
    generator_of,
    perceptual_network,
    start_of,
)
from restyle_cli.store import catalog, fetch
from restyle_cli.store.spaces import doubt, shared

if TYPE_CHECKING:
    import torch

    from restyle_cli.inversion import Chain, Method
    from restyle_cli.perceptual import Perceptual

_CHAIN = "write NAME[:STEPS], separated by commas: 'psp-portrait,restyle-psp-portrait:5'"


@dataclass(frozen=True)
class Link:
    """One part of a chain as it was written: a model's name or file, and how many steps of it."""

    name: str
    steps: int | None = None


@dataclass(frozen=True)
class Plan:
    """A chain whose models were found and fit together; nothing is loaded yet."""

    models: tuple[Model, ...]
    steps: tuple[int, ...]  # of each model
    name: str | None = None  # of the whole chain, if it was asked for by one name

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
        names = dict.fromkeys(model.perceptual for model in self.models if model.perceptual)
        return ", ".join(names) or None

    def networks(self) -> dict[str, str]:
        """The SHA-256 of each file used: another training of the same name is another network."""
        from restyle_cli.store.files import sha256

        files = dict(file for model in self.models for file in model.files())
        digests = {path: sha256(path) for path in set(files.values())}
        return {name: digests[path] for name, path in files.items()}

    @property
    def is_random(self) -> bool:
        """Whether a step of it uses random numbers."""
        return any(METHODS.load(model.method).is_random for model in self.models)

    def load(self, device: str | torch.device = "cpu", seed: int = 0) -> list[Method]:
        """The method of every step, in order, on `device`; a file that serves several is read once.

        `seed`: of the random numbers of methods that use any.
        """
        return list(self.ready(device, seed))

    def ready(self, device: str | torch.device = "cpu", seed: int = 0) -> Chain:
        """As `load`, with the links told apart."""
        from restyle_cli.inversion import Chain

        shelf = Shelf(device)
        return Chain(tuple((build(model, shelf, seed), n) for model, n in zip(self.models, self.steps, strict=True)))


def load_method(name: str | Path, device: str | torch.device = "cpu", generator: str | Path | None = None) -> Method:
    """The method of a model called `name` in the catalog, or in the file `name`, ready on `device`.

    `generator`, a name or a file too, takes the place of the one that the model belongs to. RestyleError when there is
    none, or it does not fit its generator.
    """
    wish = Wish(fetch.ensure, None if generator is None else str(generator))
    return build(find(str(name), wish), Shelf(device))


def load_chain(
    name: str, device: str | torch.device, generator: str | None = None, seed: int = 0
) -> tuple[Method | Chain, list[str]]:
    """What `name` stands for, ready on `device`, and what people should know of the choice of models, a line each.

    One method for a model's name; for a chain's ("hybrid") or a chain as people write it, all of its links.
    """
    if "," not in name and chain_and_domain(name) is None:
        model = find(name, Wish(fetch.ensure, generator))
        return build(model, Shelf(device), seed), list(model.notices)
    planned = plan(name, via=name if "," in name else None, generator=generator)
    return planned.ready(device, seed), planned.notices


def load_perceptual(device: str | torch.device = "cpu") -> Perceptual:
    """How methods compare pictures: by LPIPS where it is installed, else by what stands in; `name` says which."""
    _, path = perceptual_network()
    return Shelf(device).compare_by(path)


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
    default: int | None = None,
) -> Plan:
    """Find the models of the chain `via`, or else `steps` times `model`, and check that they go together.

    A network named outright is fetched by `ensure` if it is not here; one that a method stands for is not. Steps left
    open are `default`, for methods that take several, or the method's own. `generator`, a name or a file, takes the
    place of the models' own. `downscale`: how much smaller pSp's encoders are to see the picture, which those for
    super-resolution make up for. UsageError when a number of steps makes no sense or the models' generators are known
    not to share a latent space; RestyleError when a model is not known or not here.
    """
    if via is not None and steps is not None:
        raise UsageError("a chain has its steps in it", "leave --steps out; " + _CHAIN)
    wish = Wish(ensure, generator)
    named = parse_chain(via) if via is not None else [Link(model, steps)]
    links = [part for link in named for part in _spelt_out(link)]
    models: list[Model] = []
    for index, link in enumerate(links):
        models.append(_found(link, links[index + 1 :], wish, models[-1] if models else None))
    if via is None and (start := start_of(models[0])) is not None:
        outright = models[0].name == model
        models.insert(0, find(start, wish if outright else replace(wish, ensure=fetch.installed_path)))
        links.insert(0, Link(start))
    elif METHODS.load(models[0].method).needs_start:
        raise UsageError(
            f"{models[0].name} goes on from a code, and no method before it finds one",
            f'find one first: --via "restyle-psp:5,{models[0].name}"',
        )
    if downscale > 1:
        if not any(found.task for found in models):
            raise UsageError("nothing here is shown a smaller picture", "--downscale is for pSp's encoders")
        models = [replace(found, downscale=downscale) if found.task else found for found in models]
    counts = [_steps(link, found, default) for link, found in zip(links, models, strict=True)]
    models = [_in_shared_space(found, models[:index]) for index, found in enumerate(models)]
    alone = named[0].name if chain_and_domain(named[0].name) else models[-1].name
    return Plan(tuple(models), tuple(counts), alone if len(named) == 1 else None)


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


def _spelt_out(link: Link) -> list[Link]:
    """The link, or those that a chain's name stands for."""
    found = chain_and_domain(link.name)
    if found is None:
        return [link]
    chain, domain = found
    if domain is not None:
        if domain.encoder is None:
            message = f"the catalog knows no encoder of the domain '{domain.name}', with which '{chain}' begins"
            raise UsageError(message, f'write the chain out: --via "ENCODER,{CHAINS[chain]}"')
        return [Link(domain.encoder), Link(CHAINS[chain], link.steps)]
    usual = catalog.find(str(catalog.stand_ins()[0].encoder))
    return [Link(str(usual.method)), Link(CHAINS[chain], link.steps)]


def _steps(link: Link, model: Model, default: int | None = None) -> int:
    method = METHODS.load(model.method)
    usual = default if default is not None and method.max_steps > 1 else method.default_steps
    steps = usual if link.steps is None else link.steps
    if 1 <= steps <= method.max_steps:
        return steps
    if method.max_steps == 1:
        hint = "a ReStyle model takes several" if steps and method.needs_encoder else f"write {link.name}:1"
        raise UsageError(f"{link.name} makes one step, not {steps}", hint)
    enough = f"{method.default_steps} are usually enough"
    raise UsageError(f"{link.name} takes 1 to {method.max_steps} steps, not {steps}", enough)


def _found(link: Link, after: list[Link], wish: Wish, before: Model | None) -> Model:
    """The model of `link`. An encoder that does not say which generator it is for takes that of the next link of the
    chain that has one, or of the link before."""
    try:
        return find(link.name, wish, before)
    except GeneratorUnknown:
        lent = next(filter(None, (generator_of(other.name, wish) for other in after)), None)
        if lent is None and before is not None:
            lent = before.generator_name, before.generator
        if lent is None:
            raise
        return find(link.name, replace(wish, lent=lent), before)


def _in_shared_space(found: Model, before: list[Model]) -> Model:
    """The model, with a notice where it is not known whether it shares its latent space with the link before.

    UsageError where it is known not to share it with one of them.
    """
    for other in before:
        if shared(other.spaces, found.spaces) is False:
            raise UsageError(
                f"{other.name} and {found.name} cannot be chained: their generators, {other.generator_name} and "
                f"{found.generator_name}, do not share a latent space",
                "chain models of one generator, or of one fine-tuned from the other",
            )
    if before and shared(before[-1].spaces, found.spaces) is None:
        return replace(found, notices=(*found.notices, doubt(before[-1].name, found.name)))
    return found
