"""Parses `--methods` into the chains that are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from restyle_cli.align import Rule, alignment_rule
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.evaluate.rows import Course
from restyle_cli.inversion import START
from restyle_cli.methods import METHODS
from restyle_cli.metrics import IDENTITIES
from restyle_cli.models import Ensure, Plan, parse_chain, plan
from restyle_cli.run.strip import shown_steps
from restyle_cli.store import catalog, fetch

MOST_STEPS = 21
"""Maximum number of measured steps: the first ones, fewer and fewer of the later ones, and the last."""


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


def courses(plans: Sequence[Plan]) -> list[Course]:
    """The courses of the chains. A name that several chains have is replaced by the full chain."""
    names = [chain.name or chain.chain for chain in plans]
    times = Counter(names)
    made = []
    for chain, name in zip(plans, names, strict=True):
        steps = shown_steps(sum(chain.steps), MOST_STEPS)
        methods = [START] + [m.name for m, n in zip(chain.models, chain.steps, strict=True) for _ in range(n)]
        unique = name if times[name] == 1 else chain.chain
        made.append(Course(unique, chain.chain, tuple(steps), tuple(methods[step] for step in steps)))
    return made


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


def identities(plans: Sequence[Plan], rule: Rule) -> tuple[str, ...]:
    """The identity metrics for these plans, best first; empty if the images are not faces."""
    if rule != "face":
        return ()
    domain = catalog.domain_of(plans[0].models[0].name, plans[0].models[0].generator_name) if plans else None
    return (domain.identity,) if domain is not None and domain.identity else IDENTITIES


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
