"""Recognizes what is not an ordinary photograph: blank images, pages of text, drawings and halftone prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from colorcli.images.photo import Pixels

_SIDE = 1024
# black and white can have no chroma: an image in which fewer pixels lie between them has no room for colour
LEAST_ROOM = 0.005
_NEAR_BLACK, _NEAR_WHITE = 0.03, 0.97
# an image is near-black if this share of its pixels is below this code (L* 10)
_DARK, _MOSTLY = 0.105, 0.99

# a page: at least this share of pixels has the paper's tone, within the tolerance; ink is darker by the contrast
_BINS, _LEAST_PAPER, _TOLERANCE, _LIGHTEST_PAPER = 64, 0.6, 3, 0.5
_CONTRAST, _LEAST_INK, _MOST_INK = 0.2, 0.004, 0.35
_STROKES_ACROSS, _MOST_SOLID = 40, 0.05
# lines of text repeat: the autocorrelation of ink over rows (columns, if the page lies sideways) at one line's distance
_COLUMNS, _SHORTEST_LINE, _LEAST_PERIODIC = 8, 5, 0.3

# a halftone screen: two perpendicular peaks in the spectrum of the centre, this many times the mean at their frequency
_WINDOW, _COARSEST, _LEAST_PEAK = 128, 0.07, 200.0


@dataclass(frozen=True)
class Content:
    """What an image shows.

    Attributes:
        room: share of the pixels, 0..1, whose tone lies between black and white and could hold colour.
        neutral: why the image stays black and white, as a sentence; empty for a photograph.
        dark: whether it is near-black, so that it may get hardly any colour.
        note: anything else a person should know; empty if there is nothing.
    """

    room: float
    neutral: str = ""
    dark: bool = False
    note: str = ""


def content_of(pixels: Pixels) -> Content:
    """Judge an image ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.

    Two sorts of images stay neutral: those with hardly a pixel between black and white (blank pages, one-bit line
    drawings), and pages of text, in which at least 60 % of the pixels have the paper's tone and thin strokes form
    evenly spaced lines. Thin strokes that form no lines are a drawing or a map, which is coloured, with a note.
    """
    step = max(1, max(pixels.shape[:2]) // _SIDE)
    sample = pixels[::step, ::step]
    top = np.iinfo(pixels.dtype).max
    coarse = sample[::2, ::2] if max(sample.shape[:2]) >= _SIDE // 2 else sample
    room = float(np.mean((coarse > _NEAR_BLACK * top) & (coarse < _NEAR_WHITE * top)))
    if room <= LEAST_ROOM:
        reason = "stays black and white: hardly a pixel lies between the two and could hold colour"
        return Content(room, f"neutral: {reason}")
    tones = _tones(coarse[::2, ::2] if max(coarse.shape[:2]) >= _SIDE // 4 else coarse, top)
    if np.mean(tones < _DARK) >= _MOSTLY:
        return Content(room, dark=True)
    paper = _paper(tones)
    if paper is None:
        return Content(room, note=_screen(pixels, top))
    ink = _tones(sample, top) < paper - _CONTRAST
    if not _LEAST_INK <= float(ink.mean()) <= _MOST_INK or _solid(ink) > _MOST_SOLID:
        return Content(room, note=_screen(pixels, top))
    if max(_periodic(ink), _periodic(ink.T)) >= _LEAST_PERIODIC:
        return Content(room, "neutral: a page of text stays black and white; --recolor colours it anyway")
    return Content(room, note="looks like a drawing or a page of text: its colours mean little")


def _tones(sample: Pixels, top: int) -> NDArray[np.float32]:
    gray = sample if sample.ndim == 2 else sample.mean(axis=2)
    return (gray / np.float32(top)).astype(np.float32)


def _paper(tones: NDArray[np.float32]) -> float | None:
    """The paper's tone, or None if most pixels do not share one light tone."""
    counts = np.bincount((tones * (_BINS - 1)).astype(np.intp).ravel(), minlength=_BINS)
    mode = int(np.argmax(counts))
    near = counts[max(0, mode - _TOLERANCE) : mode + _TOLERANCE + 1].sum()
    if mode < _LIGHTEST_PAPER * _BINS or near < _LEAST_PAPER * tones.size:
        return None
    return mode / (_BINS - 1)


def _solid(ink: NDArray[np.bool_]) -> float:
    """The share of the ink in blocks that are filled: thin strokes never fill one."""
    block = max(2, max(ink.shape) // _STROKES_ACROSS)
    rows, columns = ink.shape[0] // block, ink.shape[1] // block
    if not rows or not columns:
        return 1.0
    blocks = ink[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))
    return float((blocks > 0.9).sum() * block * block / max(1, int(ink.sum())))


def _periodic(ink: NDArray[np.bool_]) -> float:
    """Autocorrelation of ink over rows at one line's distance, a mean over vertical strips, as pages may be askew."""
    length = ink.shape[0]
    if length < 8 * _SHORTEST_LINE:
        return 0.0
    profiles = np.stack([part.mean(axis=1) for part in np.array_split(ink, _COLUMNS, axis=1) if part.shape[1]])
    profiles = profiles[profiles.std(axis=1) > 0.01]
    if len(profiles) < _COLUMNS // 2:
        return 0.0
    profiles = profiles - profiles.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(profiles, 2 * length, axis=1)) ** 2
    likeness = np.fft.irfft(spectrum, axis=1)[:, : length // 4]
    mean = (likeness / likeness[:, :1]).mean(axis=0)
    falling = np.flatnonzero(np.diff(mean) > 0)  # before the first rise, rows are alike because they are neighbours
    start = max(_SHORTEST_LINE, int(falling[0]) if len(falling) else len(mean))
    if start >= len(mean):
        return 0.0
    return float(mean[start:].max() - min(0.0, float(mean[:start].min())))


def _screen(pixels: Pixels, top: int) -> str:
    """A note if the centre of the image shows a halftone screen, else an empty string."""
    height, width = pixels.shape[:2]
    if min(height, width) < _WINDOW:
        return ""
    y, x = (height - _WINDOW) // 2, (width - _WINDOW) // 2
    middle = _tones(pixels[y : y + _WINDOW, x : x + _WINDOW], top)
    window = np.hanning(_WINDOW).astype(np.float32)
    power = np.abs(np.fft.fft2((middle - middle.mean()) * window[:, None] * window)) ** 2
    order, starts, ring = _rings()
    usual = np.exp(np.add.reduceat(np.log(power.ravel()[order] + 1e-9), starts) / np.diff(starts, append=len(order)))
    scaled = np.where((ring >= _FIRST_RING) & (ring < _WINDOW // 2), power / np.maximum(usual[ring], 1e-6), 0)
    fy, fx = np.unravel_index(int(np.argmax(scaled)), scaled.shape)
    across = scaled[np.ix_(*(np.arange(at - 1, at + 2) % _WINDOW for at in (int(fx), -int(fy))))].max()
    if min(float(scaled[fy, fx]), float(across)) < _LEAST_PEAK:
        return ""
    return "looks like a halftone print, whose dots weaken colours: descreen it, or scale it down until they vanish"


_FIRST_RING = round(_COARSEST * _WINDOW)


@cache
def _rings() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Flat indices of the spectrum sorted by frequency, where each frequency starts among them, and a frequency map."""
    axis = np.fft.fftfreq(_WINDOW, 1 / _WINDOW)
    ring = np.rint(np.hypot(axis[:, None], axis)).astype(np.intp)
    order = np.argsort(ring, axis=None, kind="stable")
    return order, np.searchsorted(ring.ravel()[order], np.arange(int(ring.max()) + 1)), ring
