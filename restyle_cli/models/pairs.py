"""The encoders for bootstrapping (Alaluf et al. 2021, section 5): one domain's finds a latent, another's refines it.

The generators must share a latent space: the target's was fine-tuned from the first one's. As in the original code,
the second encoder starts from the first one's latent and image; its own average latent is never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry
from restyle_cli.store.spaces import shared, unknown_notice


@dataclass(frozen=True)
class Pair:
    """The encoders of two domains; `notice` is a line for people if they replace the requested ones."""

    first: Entry
    target: Entry
    notice: str | None = None

    def chain(self, steps: int) -> str:
        """The chain: one step of the first encoder, then `steps` of the target's."""
        return f"{self.first.name}:1,{self.target.name}:{steps}"


def find_pair(source: str, target: str, method: str = "restyle-psp") -> Pair:
    """The encoders of the domains `source` and `target` for `method`, or installed ones that replace both.

    RestyleError if a domain has none, or neither they nor replacements are installed; UsageError if the generators of
    the domains are known not to share a latent space.
    """
    requested = (_encoder(source, method), _encoder(target, method))
    pairs = product(_candidates(source, method), _candidates(target, method))
    fitting = [(first, last) for first, last in pairs if _shared(first, last) is not False]
    if not fitting:
        raise UsageError(
            f"'{source}' and '{target}' cannot be chained: their generators, {requested[0].generator} and "
            f"{requested[1].generator}, do not share a latent space",
            f"targets for '{source}': {', '.join(_reachable(requested[0], method)) or 'none'}",
        )
    for first, last in fitting:
        if _installed(first) and _installed(last):
            notices = [_notice(first, last, requested)] if (first, last) != requested else []
            notices += [unknown_notice(first.name, last.name)] if _shared(first, last) is None else []
            return Pair(first, last, "; ".join(notices) or None)
    names = [entry.name for entry in fitting[0] if not _installed(entry)]
    raise RestyleError(f"not installed: {' and '.join(names)}", f"run `restyle weights get {' '.join(names)}`")


def _shared(first: Entry, last: Entry) -> bool | None:
    """Whether their generators share a latent space; None if unknown."""
    return shared(*(filter(None, [entry.latent_space]) for entry in (first, last)))


def _encoder(domain: str, method: str) -> Entry:
    """The catalog's encoder of exactly this domain; RestyleError if there is none."""
    every = {entry.domain for entry in catalog.entries() if entry.kind == "encoder" and entry.method == method}
    if domain in every and (entry := catalog.encoders(domain).get(method)):
        return entry
    near = did_you_mean(domain, every)
    raise RestyleError(
        f"no {method} encoder for the domain '{domain}'", near or f"there are: {', '.join(sorted(every))}"
    )


def _candidates(domain: str, method: str) -> list[Entry]:
    """The encoder of the domain, then those of the domains that can replace it."""
    known = {known.name for known in catalog.domains()}
    domains = [d.name for d in catalog.stand_ins(domain)] if domain in known else [domain]
    found = (catalog.encoders(name).get(method) for name in domains)
    return [entry for entry in found if entry is not None]


def _reachable(first: Entry, method: str) -> list[str]:
    """The domains that can be the target."""
    return [
        entry.domain
        for entry in catalog.entries()
        if entry.kind == "encoder"
        and entry.method == method
        and _shared(first, entry)
        and entry.domain != first.domain
        and not entry.variant
    ]


def _installed(entry: Entry) -> bool:
    """Whether the encoder is installed, and the generator that it needs."""
    if not fetch.installed(entry):
        return False
    return entry.holds_generator or entry.generator is None or fetch.installed(catalog.find(entry.generator))


def _notice(first: Entry, last: Entry, requested: tuple[Entry, ...]) -> str:
    using = f"using {first.name} and {last.name}"
    if _shared(*requested) is False:
        return f"{using}: {requested[0].name} does not share a latent space with {requested[1].name}"
    missing = [entry.name for entry in requested if not _installed(entry)]
    verb = "is" if len(missing) == 1 else "are"
    get = f"run `restyle weights get {' '.join(missing)}`"
    return f"{using}: {' and '.join(missing)} {verb} not installed; {get}"
