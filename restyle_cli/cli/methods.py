"""`restyle methods`: list the inversion methods, or describe one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from restyle_cli.cli.options import Json, examples
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.methods import CHAINS
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


def methods(name: Name = None, json: Json = False) -> None:
    """List the inversion methods and their installed models, or describe one.

    A description has the paper, what a step does, strengths and weaknesses,
    time, and the licences of the published models. A model's name is
    METHOD-DOMAIN.
    """
    terminal = Terminal(json=json)
    if name is not None:
        page = _page(name)
        published = _published(name)
        values = _described(name, page, published)
        terminal.result(values, Table(["", ""], list(_rows(values, page, published).items())))
        return
    found = [{"name": n, "description": page.summary, "installed": installed(n)} for n, page in SPECS.items()]
    rows = [(n, page.summary, ", ".join(installed(n)) or "—") for n, page in SPECS.items()]
    terminal.result({"methods": found}, Table(["method", "step", "installed"], rows, spare=("installed",)))


def _page(name: str) -> MethodSpec:
    if name in SPECS:
        return SPECS[name]
    if any(entry.name == name for entry in catalog.entries()):
        raise RestyleError(f"'{name}' is a model, not a method", f"see `restyle weights info {name}`")
    near, every = did_you_mean(name, SPECS), "see `restyle methods`"
    raise RestyleError(f"no method named '{name}'", f"{near}  {every}" if near else every)


def _published(name: str) -> list[Entry]:
    """The catalog's published models of the method, without the bundled ones."""
    return [entry for entry in catalog.entries() if entry.method == name and not (entry.embedded or entry.own)]


def _described(name: str, page: MethodSpec, published: list[Entry]) -> dict[str, Any]:
    paper = page.paper
    return {
        "name": name,
        "description": page.summary,
        "paper": {
            "authors": paper.authors,
            "title": paper.title,
            "venue": paper.venue,
            "year": paper.year,
            "link": paper.link,
        },
        "step": page.step,
        "good_at": page.strengths,
        "bad_at": page.weaknesses,
        "space": list(page.space),
        "networks": list(page.networks),
        "compares": page.compares,
        "default_steps": page.steps,
        "seconds_per_step": page.seconds,
        "measured_by": MEASURED if page.seconds is not None else None,
        "published": [
            {
                "name": entry.name,
                "licence_code": entry.licence_code,
                "licence_weights": entry.licence_weights,
                "licence_data": entry.licence_data,
                "commercial": entry.commercial,
            }
            for entry in published
        ],
        "installed": installed(name),
        "example": page.example,
    }


def _rows(values: dict[str, Any], page: MethodSpec, published: list[Entry]) -> dict[str, str]:
    """The description for people, by title."""
    return {
        "method": values["name"],
        "": page.summary,
        "paper": str(page.paper),
        "link": page.paper.link,
        "step": page.step,
        "strengths": page.strengths,
        "weaknesses": page.weaknesses,
        "optimises": "; ".join(SPACES[space] for space in page.space),
        "needs": "; ".join(NETWORKS[network] for network in page.networks),
        **({"compares": page.compares} if page.compares else {}),
        "steps": _steps(values["name"], page),
        "cost": _cost(page),
        "licence": _licences(values["name"], published),
        "installed": ", ".join(values["installed"]) or "—",
        "example": page.example,
    }


def _steps(name: str, page: MethodSpec) -> str:
    default = "always 1" if page.steps == 1 else f"{page.steps:,} by default"
    after = f", after the encoder's; see `restyle methods {CHAINS[name]}`" if name in CHAINS else ""
    return default + after + (f"; {page.paper_steps} in the paper" if page.paper_steps else "")


def _cost(page: MethodSpec) -> str:
    if page.seconds is None:
        return "not measured: there is no bundled model and no recipe for one"
    all_of_them = page.seconds * page.steps
    whole = "" if page.steps == 1 else f", {all_of_them:.{0 if all_of_them >= 9.5 else 1}f} s for {page.steps:,}"
    return f"{page.seconds:.3f} s per step{whole}, with the bundled models on one CPU thread: {MEASURED}"


def _licences(name: str, published: list[Entry]) -> str:
    """The licences of the published weights, one per line, with their models."""
    if not published:
        whose = "its links'" if name in CHAINS else "the generator's"
        return f"no weights of its own; {whose} licence applies, see `restyle weights list`"
    under: dict[str, list[str]] = {}
    for entry in published:
        under.setdefault(f"{entry.licence_weights}; commercial use: {entry.commercial}", []).append(entry.name)
    return "\n".join(f"{licence} ({', '.join(names)})" for licence, names in under.items())
