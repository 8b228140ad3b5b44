"""Make the pictures of the documentation with the colorcli that is installed: ``python .github/pictures.py``.

``before-after.jpg`` shows photographs that ship with scikit-image, as ``colorcli samples`` writes them and as
``colorcli colorize`` colours them; ``terminal.svg`` shows what the commands print. Make them again when the default
weights or the messages change, on a machine with nothing else to do, since the run's time is in the picture.
``models/bigcolor/vividness.svg`` plots ``models/results/bigcolor-vividness.json``.
"""

from __future__ import annotations

import json
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
MODELS = HERE.parent / "models"
SHOWN = ("rocket.webp", "coffee.tif", "astronaut.jpg", "cat.png")
WIDTH, HEIGHT, GAP = 300, 225, 4
COMMANDS = (
    "colorcli samples old_photos",
    "colorcli colorize old_photos",
    "colorcli colorize old_photos",
    "colorcli status old_photos_colorized",
)


def main() -> None:
    """Make all pictures."""
    _plot_vividness()
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


def _plot_vividness() -> None:
    """Plot PSNR (vertical, dB) against colourfulness (horizontal, % of the originals') by vividness."""
    record = json.loads((MODELS / "results" / "bigcolor-vividness.json").read_text(encoding="utf-8"))
    measured = {name: (row["of the original's"], row["psnr"][0]) for name, row in record["rows"].items()}
    gray = measured.pop("gray")[1]

    def place(share: float, psnr: float) -> tuple[float, float]:
        return 50 + 3.6 * share, 250 - 70 * (psnr - 21)

    level = place(0, gray)[1]
    parts = [
        f'<path d="M50 {level:.1f}H428" stroke="#999" stroke-dasharray="4"/>',
        f'<text x="60" y="{level - 5:.1f}">gray</text>',
        '<path d="M50 20V250H428" fill="none" stroke="#333"/>',
        '<text x="240" y="284" text-anchor="middle">colourfulness, % of the originals\'</text>',
        '<text transform="translate(14 135) rotate(-90)" text-anchor="middle">PSNR, dB</text>',
    ]
    parts += [
        f'<text x="{place(share, 0)[0]:.1f}" y="266" text-anchor="middle">{share}</text>' for share in range(0, 101, 25)
    ]
    parts += [f'<text x="44" y="{place(0, psnr)[1] + 4:.1f}" text-anchor="end">{psnr}</text>' for psnr in range(21, 25)]
    points = [(name, place(*values)) for name, values in measured.items()]
    line = " ".join(f"{x:.1f},{y:.1f}" for _, (x, y) in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2864b4" stroke-width="2"/>')
    for name, (x, y) in points:
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#2864b4"/>')
        parts.append(f'<text x="{x + 6:.1f}" y="{y - 6:.1f}">{"vividness " * (name == "0")}{name}</text>')
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    body = "\n".join(parts)
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 440 292" width="440">\n'
    svg += f'<rect width="440" height="292" fill="#fff"/>\n<g {style}>\n{body}\n</g>\n</svg>\n'
    (MODELS / "bigcolor" / "vividness.svg").write_text(svg, encoding="utf-8")


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
