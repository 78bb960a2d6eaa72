"""`restyle methods`: the ways to invert, and the networks there are for each."""

from __future__ import annotations

from restyle_cli.cli.options import Json
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.loading import installed
from restyle_cli.methods import CHAINS, DESCRIPTIONS, METHODS


def methods(json: Json = False) -> None:
    """List the methods of inversion and the networks installed for each.

    A model's name is METHOD-DOMAIN. Examples:

        [bold]restyle invert photo.jpg -m restyle-psp-portrait -n 5[/]

        [bold]restyle invert photo.jpg --via psp-portrait,restyle-psp-portrait:5[/]
    """
    found = [
        {
            "name": name,
            "description": DESCRIPTIONS[name],
            "installed": installed(name),
        }
        for name in (*METHODS.names(), *CHAINS)
    ]
    rows = [(m["name"], m["description"], ", ".join(m["installed"]) or "—") for m in found]
    Terminal(json=json).result({"methods": found}, Table(["method", "what a step does", "installed"], rows))
