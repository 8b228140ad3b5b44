"""Make the README's two pictures with the colorcli that is installed: ``python .github/pictures.py``.

``before-after.jpg`` shows photographs that ship with scikit-image, as ``colorcli samples`` writes them and as
``colorcli colorize`` colours them; ``terminal.svg`` shows what the commands print. Make them again when the default
weights or the messages change, on a machine with nothing else to do, since the run's time is in the picture.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from colorcli.images.read import read_photo

HERE = Path(__file__).parent
SHOWN = ("rocket.webp", "coffee.tif", "astronaut.jpg", "cat.png")
WIDTH, HEIGHT, GAP = 300, 225, 4
COMMANDS = (
    "colorcli samples old_photos",
    "colorcli colorize old_photos",
    "colorcli colorize old_photos",
    "colorcli status old_photos_colorized",
)


def main() -> None:
    """Make both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        console = Console(record=True, width=92, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115, PTH123
        for command in COMMANDS:
            console.print(f"[bold green]$[/] [bold]{command}[/]", highlight=False)
            words = [sys.executable, "-m", *shlex.split(command)]
            said = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
            shown = (said.stdout + said.stderr).replace(f"{folder}/", "")
            console.print(shown, highlight=False, markup=False, end="" if shown.endswith("\n") else "\n")
        console.save_svg(str(HERE / "terminal.svg"), title="colorcli")
        _side_by_side(Path(folder)).save(HERE / "before-after.jpg", quality=82, optimize=True)


def _side_by_side(folder: Path) -> Image.Image:
    """The gray photographs in a row, their colourings below."""
    sheet = Image.new("RGB", (len(SHOWN) * (WIDTH + GAP) - GAP, 2 * HEIGHT + GAP), "white")
    for column, name in enumerate(SHOWN):
        for row, place in enumerate(("old_photos", "old_photos_colorized")):
            sheet.paste(_fitted(folder / place / name), (column * (WIDTH + GAP), row * (HEIGHT + GAP)))
    return sheet


def _fitted(path: Path) -> Image.Image:
    """The upper middle of a photograph, in 8-bit RGB."""
    pixels = read_photo(path).pixels
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    image = Image.fromarray(pixels.squeeze()).convert("RGB")
    scale = max(WIDTH / image.width, HEIGHT / image.height)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (image.width - WIDTH) // 2, min((image.height - HEIGHT) // 2, 40)
    return image.crop((left, top, left + WIDTH, top + HEIGHT))


if __name__ == "__main__":
    main()
