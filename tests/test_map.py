"""The package is a staircase: a module imports only what stands below it, also inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import restyle_cli

PACKAGE = Path(restyle_cli.__file__).parent

# From the ground up. Rooms on one line stand beside each other and do not see each other.
FLOORS = [
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
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(source: str) -> Iterator[tuple[int, str]]:
    """Line and room of each import from this package. The package's own names (`__version__`) are no room."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written with the package's name"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "restyle_cli" else [base]
        else:
            continue
        for name in names:
            package, *rooms = name.split(".")
            if package == "restyle_cli" and rooms and not rooms[0].startswith("__"):
                yield node.lineno, rooms[0]


def wrong_imports(room: str, source: str) -> list[str]:
    """What is wrong with the imports of a module in `room`."""
    wrong = []
    for line, target in imported_rooms(source):
        if target not in FLOOR_OF:
            wrong.append(f"line {line}: '{target}' is not on the map")
        elif target != room and FLOOR_OF[target] >= FLOOR_OF[room]:
            wrong.append(f"line {line}: {room} imports {target}, which does not stand below it")
    return wrong


def modules() -> list[Path]:
    """All modules but the package's own `__init__` and `__main__`, which are doors and no rooms."""
    doors = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
    return sorted(path for path in PACKAGE.rglob("*.py") if path not in doors)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_imports_only_what_stands_below(path: Path) -> None:
    assert room_of(path) in FLOOR_OF, "a room that the map does not know"
    assert wrong_imports(room_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("ops", "from restyle_cli.generators import GENERATORS"),
        ("ops", "import restyle_cli.cli.app"),
        ("devices", "from restyle_cli import images"),
        ("store", "def f():\n    from restyle_cli.inversion import State"),
        ("inversion", "class A:\n    def f(self):\n        import restyle_cli.methods.encoder as r"),
        ("errors", "from restyle_cli.registry import Registry"),
        ("cli", "from restyle_cli.utils import helper"),
    ],
)
def test_wrong_import_is_caught(room: str, source: str) -> None:
    assert wrong_imports(room, source) != []


def test_right_imports_pass() -> None:
    source = "import torch\nfrom restyle_cli import __version__\nfrom restyle_cli.ops.fir import blur\n"
    assert wrong_imports("generators", source) == []
    assert wrong_imports("cli", "from restyle_cli.cli.output import Table") == []


def test_the_package_itself_imports_no_room_at_its_top() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert list(imported_rooms("\n".join(ast.unparse(node) for node in top))) == []
