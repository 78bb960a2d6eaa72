"""Imports go one way: a part of the package imports only parts of lower layers, also inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import restyle_cli

PACKAGE = Path(restyle_cli.__file__).parent

# The lowest first. Parts of one layer do not import each other.
LAYERS = [
    ["errors", "interrupts"],
    ["registry", "io", "memory"],
    ["records"],
    ["devices", "images"],
    ["ops"],
    ["generators", "encoders"],
    ["perceptual"],
    ["store"],
    ["stopping"],
    ["inversion"],
    ["methods"],
    ["models"],
    ["align"],
    ["metrics"],
    ["run"],
    ["evaluate", "heatmap", "edit"],
    ["data"],
    ["train"],
    ["api"],
    ["cli"],
]
LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in parts}


def imported_parts(source: str) -> Iterator[tuple[int, str]]:
    """Line and part of each import from the package, without the names of the package itself (`__version__`)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "restyle_cli" else [base]
        else:
            continue
        for name in names:
            package, *parts = name.split(".")
            if package == "restyle_cli" and parts and not parts[0].startswith("__"):
                yield node.lineno, parts[0]


def wrong_imports(part: str, source: str) -> list[str]:
    """The imports of a module of `part` that are not from a lower layer."""
    return [
        f"line {line}: {part} imports {other}"
        for line, other in imported_parts(source)
        if other != part and LAYER_OF.get(other, len(LAYERS)) >= LAYER_OF[part]
    ]


def modules() -> list[Path]:
    """All modules but the package's own `__init__` and `__main__`."""
    return sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py", PACKAGE / "__main__.py"})


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_imports_only_lower_layers(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in LAYER_OF, "a part without a layer"
    assert wrong_imports(part, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("ops", "from restyle_cli.generators import GENERATORS"),
        ("ops", "import restyle_cli.cli.app"),
        ("devices", "from restyle_cli import images"),
        ("store", "def f():\n    from restyle_cli.inversion import State"),
        ("inversion", "class A:\n    def f(self):\n        import restyle_cli.methods.encoder as e"),
        ("errors", "from restyle_cli.registry import Registry"),
        ("cli", "from restyle_cli.utils import helper"),
    ],
)
def test_wrong_import_is_found(part: str, source: str) -> None:
    assert wrong_imports(part, source) != []


def test_right_imports_pass() -> None:
    source = "import torch\nfrom restyle_cli import __version__\nfrom restyle_cli.ops.fir import blur\n"
    assert wrong_imports("generators", source) == []
    assert wrong_imports("cli", "from restyle_cli.cli.output import Table") == []


def test_the_package_imports_no_part_at_its_top() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert list(imported_parts("\n".join(ast.unparse(node) for node in top))) == []
