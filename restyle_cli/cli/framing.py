"""What the options about faces mean: which, where, and what is told about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.cli import options
from restyle_cli.cli.output import Terminal
from restyle_cli.errors import UsageError

if TYPE_CHECKING:
    from restyle_cli.align import Framing, Rule
    from restyle_cli.folder import Outcome
    from restyle_cli.sources import Source


def choose(
    align: str,
    face: str,
    landmarks: Path | None,
    sources: Sequence[Source],
    terminal: Terminal,
    rule: Rule = "face",
    others: Sequence[Path] = (),
) -> tuple[Framing, dict[str, Any]]:
    """The framing that `--align`, `--face` and `--landmarks` ask for, and the settings that results depend on.

    UsageError where they contradict each other; names in the table of landmarks that neither a source nor one of the
    `others` has are reported.
    """
    from restyle_cli.align import Framing, read_points
    from restyle_cli.store.files import sha256

    which = options.parse_face(face)
    asked = "--landmarks" if landmarks else f"--face {face}"
    if which != 1 or landmarks:
        if align == "never":
            raise UsageError(f"{asked} has no meaning with --align never", "leave one of them out")
        if rule != "face":
            raise UsageError(f"{asked} has no meaning here: these networks are for pictures without faces")
    points = read_points(landmarks) if landmarks else None
    for name in points.check([source.path for source in sources], others) if points else ():
        terminal.warn(f"{str(landmarks)!r} has landmarks of {name!r}, which is none of the pictures")
    settings = {"align": align, "face": which, "points": sha256(landmarks) if landmarks else None}
    return Framing(align, which, rule, points), settings


def warn(outcome: Outcome, terminal: Terminal) -> None:
    """Tell what looks off about the crop of a picture that was done."""
    alignment = outcome.made.get("alignment", {})
    which = f", face {alignment['face']}" if alignment.get("face", 1) > 1 else ""
    for doubt in alignment.get("doubts", ()) if outcome.status == "done" else ():
        terminal.warn(f"{str(outcome.path)!r}{which}: {doubt}")
