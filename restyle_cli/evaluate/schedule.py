"""What is compared: the chains of `--methods`, or the images of another folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restyle_cli.align import Rule, alignment_rule
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.inversion import START
from restyle_cli.methods import METHODS
from restyle_cli.models import Ensure, Plan, parse_chain, plan
from restyle_cli.run.sources import Source
from restyle_cli.run.strip import shown_steps
from restyle_cli.store import catalog, fetch

MOST_STEPS = 21
"""Maximum number of measured steps: the first ones, fewer and fewer of the later ones, and the last."""


@dataclass(frozen=True)
class Schedule:
    """One method of a report: a chain, or the images of a folder. `key` identifies it in the journal."""

    name: str
    key: str
    steps: tuple[int, ...]  # the measured steps
    methods: tuple[str, ...]  # the method of each of them


@dataclass(frozen=True)
class Item:
    """An image to invert, or a target and the `result` to compare it with."""

    path: Path
    result: Path | None = None


def plans(
    text: str | None = None,
    via: str | None = None,
    steps: int | None = None,
    ensure: Ensure = fetch.ensure,
    generator: str | None = None,
) -> list[Plan]:
    """The chains of "a,b:5,c" (models) or "a;b,c:5" (chains), then the chain `via`; without both, all installed ones.

    `steps` applies to multi-step models without a number of their own. `generator`, a name or a file, replaces the
    models' own. Errors as in `models.plan`.
    """
    chains = [*(_separated(text) if text is not None else ()), *((via,) if via is not None else ())]
    found: dict[str, Plan] = {}
    for chain in chains or _installed():
        first, *others = parse_chain(chain)
        options = {"via": chain} if others else {"steps": first.steps}
        planned = plan(first.name, ensure=ensure, default=steps, generator=generator, **options)
        found.setdefault(planned.chain, planned)
    return list(found.values())


def schedules(plans: Sequence[Plan]) -> list[Schedule]:
    """The schedules of the chains. A name that several chains have is replaced by the full chain."""
    names = [chain.name or chain.chain for chain in plans]
    times = Counter(names)
    found = []
    for chain, name in zip(plans, names, strict=True):
        steps = shown_steps(sum(chain.steps), MOST_STEPS)
        methods = [START] + [m.name for m, n in zip(chain.models, chain.steps, strict=True) for _ in range(n)]
        unique = name if times[name] == 1 else chain.chain
        found.append(Schedule(unique, chain.chain, tuple(steps), tuple(methods[step] for step in steps)))
    return found


def rule(plans: Sequence[Plan]) -> Rule:
    """How photos are framed for these plans; "face" if there are none. UsageError if they need different rules."""
    rules: dict[str, Rule] = {
        plan.models[0].name: alignment_rule(plan.models[0].name, plan.models[0].generator_name) for plan in plans
    }
    if not rules:
        return "face"
    (first, one), *others = rules.items()
    for name, other in others:
        if other != one:
            raise UsageError(f"{first} and {name} need different crops", "compare them in two runs")
    return one


def pairs(folder: Path, sources: Sequence[Source], against: Path, others: Sequence[Source]) -> list[Item]:
    """Each image of `folder` with the image of `against` that has the same path inside the folder.

    Suffixes may differ if the match is unique. Two files always pair. RestyleError for the first image without a match.
    """
    if against.is_file() and folder.is_file():
        return [Item(folder, against)]
    by_stem: dict[Path, list[Path]] = defaultdict(list)
    for other in others:
        by_stem[_inside(other.path, against).with_suffix("")].append(other.path)
    found = []
    for source in sources:
        name = _inside(source.path, folder)
        candidates = by_stem[name.with_suffix("")]
        same = [path for path in candidates if path.suffix == name.suffix]
        if len(candidates) != 1 and not same:
            count = "more than one image" if candidates else "no image"
            message = f"{str(against)!r} has {count} for {str(source.path)!r}"
            raise RestyleError(message, "both folders need images with the same names; suffixes may differ")
        found.append(Item(source.path, (same or candidates)[0]))
    return found


def _inside(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if folder.is_dir() else Path(path.name)


def _separated(text: str) -> list[str]:
    """The chains of a text; UsageError if one is empty."""
    chains = [part.strip() for part in text.split(";" if ";" in text else ",")]
    if not all(chains):
        message = f"--methods '{text}' has an empty name"
        raise UsageError(message, "write a,b:5 for two models, 'a; b,c:5' for a model and a chain")
    return chains


def _installed() -> list[str]:
    """Every installed model of the default domain or of its replacement, each as a chain."""
    for domain in catalog.stand_ins():
        entries = [entry for entry in catalog.encoders(domain.name).values() if fetch.installed(entry)]
        if entries:
            order = METHODS.names()
            entries.sort(key=lambda entry: order.index(str(entry.method)))
            return [f"{entry.start},{entry.name}" if entry.start else entry.name for entry in entries]
    raise RestyleError("no inversion model is installed", "see `restyle weights list`")
