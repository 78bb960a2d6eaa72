"""`restyle methods`: the ways to invert, the networks there are for each, and a page for every one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from restyle_cli.cli.options import Json
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.loading import installed
from restyle_cli.methods import CHAINS
from restyle_cli.methods.spec import MEASURED, NETWORKS, SPACES, SPECS, MethodSpec
from restyle_cli.store import catalog
from restyle_cli.store.catalog import Entry

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A method, to show its page.", show_default=False)]


def methods(name: Name = None, json: Json = False) -> None:
    """List the methods of inversion and the networks installed for each, or show the page of one.

    A page tells of the paper, what a step does, what the method is good and bad at, what it costs, and under which
    licences its published networks are.

    A model's name is METHOD-DOMAIN. Examples:

        [bold]restyle methods pti[/]

        [bold]restyle invert photo.jpg -m restyle-psp-portrait -n 5[/]

        [bold]restyle invert photo.jpg --via psp-portrait,restyle-psp-portrait:5[/]
    """
    terminal = Terminal(json=json)
    if name is not None:
        page = _page(name)
        published = _published(name)
        values = _described(name, page, published)
        terminal.result(values, Table(["", ""], list(_rows(values, page, published).items())))
        return
    found = [{"name": n, "description": page.summary, "installed": installed(n)} for n, page in SPECS.items()]
    rows = [(m["name"], m["description"], ", ".join(m["installed"]) or "—") for m in found]
    terminal.result({"methods": found}, Table(["method", "what a step does", "installed"], rows, spare=("installed",)))


def _page(name: str) -> MethodSpec:
    if name in SPECS:
        return SPECS[name]
    if any(entry.name == name for entry in catalog.entries()):
        raise RestyleError(f"'{name}' is a network and no method", f"`restyle weights info {name}` tells of it")
    near, every = did_you_mean(name, SPECS), "`restyle methods` shows all"
    raise RestyleError(f"no method named '{name}'", f"{near}  {every}" if near else every)


def _published(name: str) -> list[Entry]:
    """The catalog's networks of the method, those that are not embedded."""
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
    """The page for people, by title."""
    return {
        "method": values["name"],
        "": page.summary,
        "paper": str(page.paper),
        "link": page.paper.link,
        "a step": page.step,
        "good at": page.strengths,
        "bad at": page.weaknesses,
        "finds": "; ".join(SPACES[space] for space in page.space),
        "needs": "; ".join(NETWORKS[network] for network in page.networks),
        **({"compares": page.compares} if page.compares else {}),
        "steps": _steps(values["name"], page),
        "cost": _cost(page),
        "licence": _licences(values["name"], published),
        "installed": ", ".join(values["installed"]) or "—",
        "example": page.example,
    }


def _steps(name: str, page: MethodSpec) -> str:
    least = "1, always" if page.steps == 1 else f"{page.steps:,} by default"
    after = f", after the encoder's; see `restyle methods {CHAINS[name]}`" if name in CHAINS else ""
    return least + after + (f"; {page.paper_steps} in the paper" if page.paper_steps else "")


def _cost(page: MethodSpec) -> str:
    if page.seconds is None:
        return "not measured: no network of it is embedded, and there is no recipe for one"
    all_of_them = page.seconds * page.steps
    whole = "" if page.steps == 1 else f", {all_of_them:.{0 if all_of_them >= 9.5 else 1}f} s for {page.steps:,}"
    return f"{page.seconds:.3f} s a step{whole}, with the embedded networks on one thread of a CPU: {MEASURED}"


def _licences(name: str, published: list[Entry]) -> str:
    """The licences of the published weights, a line each, with the networks that are under it."""
    if not published:
        whose = "its links'" if name in CHAINS else "the generator's"
        return f"no weights of its own; {whose} licence counts: `restyle weights list`"
    under: dict[str, list[str]] = {}
    for entry in published:
        under.setdefault(f"{entry.licence_weights}; commercial use: {entry.commercial}", []).append(entry.name)
    return "\n".join(f"{licence} ({', '.join(names)})" for licence, names in under.items())
