"""`restyle methods`: list the inversion methods, or describe one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from restyle_cli.cli.options import Json, Quiet, Verbose, examples
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.methods import CHAINS, METHODS, spec_of
from restyle_cli.methods.spec import MEASURED, NETWORKS, SPACES, SPECS, MethodSpec
from restyle_cli.models import installed
from restyle_cli.store import catalog
from restyle_cli.store.catalog import Entry

EPILOG = examples(
    "restyle methods pti",
    "restyle invert photo.jpg -m restyle-psp-portrait -n 5",
    "restyle invert photo.jpg --via psp-portrait,restyle-psp-portrait:5",
)

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Method to describe.", show_default=False)]


def methods(name: Name = None, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List the inversion methods and their installed models, or describe one.

    A description has the paper, what a step does, strengths and weaknesses,
    time, and the licences of the published models. A model's name is
    METHOD-DOMAIN. Other packages can add methods.
    """
    terminal = Terminal(json, quiet, verbose)
    if name is not None:
        spec, published = _spec(name), _published(name)
        values = _as_json(name, spec, published)
        terminal.result(values, Table(["", ""], list(_rows(name, spec, published).items())))
        return
    found = {}
    for each in [*SPECS, *METHODS.names()]:
        try:
            found[each] = spec_of(each)
        except RestyleError as error:  # of a broken package; the others are listed
            terminal.warn(error.full_message)
    listed = [{"name": n, "description": spec.summary, "installed": installed(n)} for n, spec in found.items()]
    rows = [(n, spec.summary, ", ".join(installed(n)) or "—") for n, spec in found.items()]
    terminal.result({"methods": listed}, Table(["method", "step", "installed"], rows, spare=("installed",)))


def _spec(name: str) -> MethodSpec:
    if name in SPECS or name in METHODS:
        return spec_of(name)
    if catalog.get(name):
        raise RestyleError(f"'{name}' is a model, not a method", f"see `restyle weights info {name}`")
    near, every = did_you_mean(name, [*SPECS, *METHODS.names()]), "see `restyle methods`"
    raise RestyleError(f"no method named '{name}'", f"{near}  {every}" if near else every)


def _published(name: str) -> list[Entry]:
    """The catalog's published models of the method, without the bundled ones."""
    return [entry for entry in catalog.entries() if entry.method == name and not (entry.embedded or entry.own)]


def _package(name: str) -> str | None:
    """The package that adds the method; None for the methods of this one."""
    point = METHODS.plugin(name)
    return f"{point.dist.name} {point.dist.version}" if point is not None and point.dist else None


def _as_json(name: str, spec: MethodSpec, published: list[Entry]) -> dict[str, Any]:
    licences = ("name", "licence_code", "licence_weights", "licence_data", "commercial")
    package = _package(name)
    return {
        "name": name,
        **({"package": package} if package else {}),
        "description": spec.summary,
        "paper": asdict(spec.paper) if spec.paper else None,
        "step": spec.step,
        "good_at": spec.strengths,
        "bad_at": spec.weaknesses,
        "space": list(spec.space),
        "networks": list(spec.networks),
        "compares": spec.compares,
        "default_steps": spec.steps,
        "seconds_per_step": spec.seconds,
        "measured_by": MEASURED if spec.seconds is not None else None,
        "published": [{key: getattr(entry, key) for key in licences} for entry in published],
        "installed": installed(name),
        "example": spec.example,
    }


def _rows(name: str, spec: MethodSpec, published: list[Entry]) -> dict[str, str]:
    """The description for people, by title."""
    package = _package(name)
    rows = {
        "method": name,
        "": spec.summary,
        "package": package,
        "paper": str(spec.paper) if spec.paper else None,
        "link": spec.paper.link if spec.paper else None,
        "step": spec.step,
        "strengths": spec.strengths,
        "weaknesses": spec.weaknesses,
        "optimises": "; ".join(SPACES[space] for space in spec.space),
        "needs": "; ".join(NETWORKS[network] for network in spec.networks),
        "compares": spec.compares,
        "steps": _steps(name, spec),
        "cost": None if package else _cost(spec),
        "licence": None if package else _licences(name, published),
        "installed": ", ".join(installed(name)) or "—",
        "example": spec.example,
    }
    return {title: text for title, text in rows.items() if text}


def _steps(name: str, spec: MethodSpec) -> str:
    default = "always 1" if spec.steps == 1 else f"{spec.steps:,} by default"
    after = f", after the encoder's; see `restyle methods {CHAINS[name]}`" if name in CHAINS else ""
    return default + after + (f"; {spec.paper_steps} in the paper" if spec.paper_steps else "")


def _cost(spec: MethodSpec) -> str:
    if spec.seconds is None:
        return "not measured: there is no bundled model and no recipe for one"
    total = spec.seconds * spec.steps
    whole = "" if spec.steps == 1 else f", {total:.{0 if total >= 9.5 else 1}f} s for {spec.steps:,}"
    return f"{spec.seconds:.3f} s per step{whole}, with the bundled models on one CPU thread: {MEASURED}"


def _licences(name: str, published: list[Entry]) -> str:
    """The licences of the published weights, one per line, with their models."""
    if not published:
        whose = "its links'" if name in CHAINS else "the generator's"
        return f"no weights of its own; {whose} licence applies, see `restyle weights list`"
    models: dict[str, list[str]] = {}
    for entry in published:
        models.setdefault(f"{entry.licence_weights}; commercial use: {entry.commercial}", []).append(entry.name)
    return "\n".join(f"{licence} ({', '.join(names)})" for licence, names in models.items())
