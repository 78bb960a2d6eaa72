"""The contact sheet of docs/bundled-models.md: images above their reconstructions, in rows of ten.

restyle samples -n 20 --seed 8 -o people && restyle invert people -o inverted -n 5
python docs/contact_sheet.py people inverted docs/contact-sheet.png
"""

import sys
from pathlib import Path

from PIL import Image

SIDE, COLUMNS = 128, 10


def main(images: Path, reconstructions: Path, target: Path) -> None:
    """Write the sheet of the first twenty images to `target`."""
    names = sorted(path.name for path in images.glob("*.png"))[: 2 * COLUMNS]
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(names) // COLUMNS) * 2 * SIDE), "white")
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        for below, folder in enumerate((images, reconstructions)):
            image = Image.open(folder / name).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(image, (column * SIDE, (2 * row + below) * SIDE))
    sheet.save(target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
