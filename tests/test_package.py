"""What `import restyle_cli` gives, and that it gives it without importing torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import restyle_cli
from restyle_cli.encoders import ENCODERS
from restyle_cli.generators import GENERATORS
from restyle_cli.methods import METHODS


def test_from_python(tiny_store: Path) -> None:
    method = restyle_cli.load("restyle-psp-portrait")
    inversion = restyle_cli.invert(torch.zeros(2, 3, 256, 256), method, steps=2)
    assert inversion.w.shape[0] == 2
    assert len(list(restyle_cli.iterate(torch.zeros(1, 3, 256, 256), [method] * 2))) == 3


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = restyle_cli.nothing
    assert {"load", "invert", "iterate", "__version__"} <= set(dir(restyle_cli))


@pytest.mark.parametrize("table", [GENERATORS, ENCODERS, METHODS], ids=["generators", "encoders", "methods"])
def test_every_name_in_a_table_leads_to_a_class(table: object) -> None:
    for name in table.names():
        assert isinstance(table.load(name), type)


def test_importing_the_package_imports_no_torch() -> None:
    check = "import sys, restyle_cli, restyle_cli.generators, restyle_cli.encoders, restyle_cli.methods; " \
        "print('torch' in sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
