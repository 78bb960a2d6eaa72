"""README's contact sheet: pictures above their reconstructions, in rows of ten.

restyle samples -n 20 -o faces && restyle invert faces -o inverted -n 5
python docs/contact_sheet.py faces inverted/faces docs/contact-sheet.png
"""

import sys
from pathlib import Path

from PIL import Image

SIDE, COLUMNS = 128, 10


def main(pictures: Path, reconstructions: Path, target: Path) -> None:
    """Put the sheet together."""
    names = sorted(path.name for path in pictures.glob("*.png"))[: 2 * COLUMNS]
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(names) // COLUMNS) * 2 * SIDE), "white")
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        for below, folder in enumerate((pictures, reconstructions)):
            picture = Image.open(folder / name).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(picture, (column * SIDE, (2 * row + below) * SIDE))
    sheet.save(target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
