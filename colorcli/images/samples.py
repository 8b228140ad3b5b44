"""A handful of gray photographs to try things on, made from those that scikit-image ships."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import cast

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from colorcli.color.spaces import lightness_to_gray, srgb_to_lightness
from colorcli.errors import OutputError


@dataclass(frozen=True)
class SamplePhoto:
    """One sample: its path, scikit-image's photograph, its longer side in pixels and its bits per sample."""

    name: str
    source: str
    side: int
    bits: int = 8


SAMPLES = (
    SamplePhoto("astronaut.jpg", "astronaut.png", 512),
    SamplePhoto("cat.png", "chelsea.png", 451),
    SamplePhoto("coffee.tif", "coffee.png", 600, 16),
    SamplePhoto("rocket.webp", "rocket.jpg", 640),
    SamplePhoto("photographer.png", "camera.png", 512, 16),
    SamplePhoto("1912.06.03-a.jpg", "astronaut.png", 320),
    SamplePhoto("garage/motorcycle.tif", "motorcycle_left.png", 741),
    SamplePhoto("garage/motorcycle, enlarged.jpg", "motorcycle_right.png", 2400),
)


def write_samples(folder: Path) -> list[Path]:
    """Write gray photographs of several sizes, depths and formats into ``folder`` and one folder inside it.

    Nothing is downloaded, and existing files are left as they are.

    Returns:
        The paths of all samples, whether written now or before.

    Raises:
        OutputError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder.")
    paths = []
    for sample in SAMPLES:
        target = folder / sample.name
        paths.append(target)
        try:
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, _gray(sample))
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
    return paths


def color_photographs() -> dict[str, bytes]:
    """The contents of the colour photographs' files that the samples are made from, by name."""
    sources = sorted({sample.source for sample in SAMPLES} - {"camera.png"})
    return {source: files("skimage").joinpath("data", source).read_bytes() for source in sources}


def _gray(sample: SamplePhoto) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The photograph's lightness as gray codes of the sample's depth, at its size."""
    with as_file(files("skimage").joinpath("data", sample.source)) as path, Image.open(path) as image:
        rgb = image.convert("RGB")
    scale = sample.side / max(rgb.size)
    if scale != 1:
        size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
        rgb = rgb.resize(size, Image.Resampling.LANCZOS)
    gray = lightness_to_gray(srgb_to_lightness(np.asarray(rgb) / 255))
    top, dtype = (255, np.uint8) if sample.bits == 8 else (65535, np.uint16)
    return cast("NDArray[np.uint8]", np.rint(np.clip(gray, 0, 1) * top).astype(dtype))


def _write(target: Path, gray: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    part = target.with_name(f".{target.name}.part")
    if target.suffix == ".tif":
        tifffile.imwrite(part, gray, photometric="minisblack", compression="adobe_deflate", predictor=True,
                         resolution=(300, 300), resolutionunit="inch", metadata=None)  # fmt: skip
    elif gray.dtype == np.uint16:
        part.write_bytes(imagecodecs.png_encode(gray, level=6))
    else:
        form = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[target.suffix]
        Image.fromarray(gray).save(part, form, quality=92, dpi=(300, 300))
    part.replace(target)
