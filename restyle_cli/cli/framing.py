"""The options about faces: `--align`, `--face` and `--landmarks`, and the warnings about crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.cli import options
from restyle_cli.cli.output import Terminal
from restyle_cli.errors import UsageError

if TYPE_CHECKING:
    from restyle_cli.align import AlignOptions, Rule
    from restyle_cli.run.pipeline import Outcome
    from restyle_cli.run.sources import Source


def choose(
    align: str,
    face: str,
    landmarks: Path | None,
    sources: Sequence[Source],
    terminal: Terminal,
    rule: Rule = "face",
    others: Sequence[Path] = (),
) -> tuple[AlignOptions, dict[str, Any]]:
    """The framing that the options request, and the settings that results depend on.

    UsageError if the options contradict each other. Warns of names in a table of landmarks that belong neither to a
    source nor to one of the `others`.
    """
    from restyle_cli.align import AlignOptions, read_landmarks
    from restyle_cli.store.files import sha256

    which = options.parse_face(face)
    option = "--landmarks" if landmarks else f"--face {face}"
    if which != 1 or landmarks:
        if align == "never":
            raise UsageError(f"{option} and --align never cannot be combined", "leave one of them out")
        if rule != "face":
            raise UsageError(f"{option} has no effect: these models are not for faces", "leave it out")
    points = read_landmarks(landmarks) if landmarks else None
    for name in points.check([source.path for source in sources], others) if points else ():
        terminal.warn(f"{str(landmarks)!r} has landmarks for {name!r}, which is not one of the images")
    settings = {"align": align, "face": which, "points": sha256(landmarks) if landmarks else None}
    return AlignOptions(align, which, rule, points), settings


def warn(outcome: Outcome, terminal: Terminal) -> None:
    """Print the warnings about the crop of an image that was done."""
    alignment = outcome.record.get("alignment", {})
    which = f", face {alignment['face']}" if alignment.get("face", 1) > 1 else ""
    for text in alignment.get("doubts", ()) if outcome.status == "done" else ():
        terminal.warn(f"{str(outcome.path)!r}{which}: {text}")
