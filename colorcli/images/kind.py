"""Decides whether a photograph is gray, toned or in colour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colorcli.color.spaces import srgb_to_lab
from colorcli.images.photo import Kind, Pixels

_SIDE = 128
_OVERSAMPLING = 4
_STRIP_ROWS = 64
# JPEG's chroma noise around gray stays within 3 codes of the common value
_GRAY_SPREAD = 6 / 255
_STRAY_SHARE = 0.002
_BINS = 16
_LEVELS = np.linspace(0, 100, _BINS + 1)
# limits of the distance in a*, b* from the tone curve: 95th and 98th percentile, and what only another colour explains;
# they separate synthetic toned prints, with JPEG noise and uneven fading, from colour photographs
_USUAL_RESIDUAL, _LARGE_RESIDUAL, _STRAY_RESIDUAL = 7.5, 10.5, 25.0

# a print surrounded by other colours: the longer sides of the copies that are searched; how far this percentile of its
# central half may be from its tone curve; the distance from which a colour is not the print's; the smallest share of
# the image that the print may take, and the largest that spots on it may take, in one piece or scattered
_COARSE_SIDES = (64, 32)
_CORE_RESIDUAL, _CORE_SHARE, _OTHER_COLOR = 2.5, 85, 9.0
_LEAST_BESIDE = 0.6  # share of the central part that is not in or next to another colour
_LEAST_PRINT, _MOST_SPOTS, _SCATTERED, _SCATTERED_ANYWHERE = 0.35, 0.10, 0.03, 0.01
# a print with handwriting: the distance from its tone that this percentile of what is beside the ink may have, and the
# largest change of its tone from one bin of L* to the next
_PLAIN_RESIDUAL, _PLAIN_SHARE, _STEEPEST = 1.2, 95, 6.0
_MOST_ONE_SIDED = 0.16  # largest share of the height or width for a margin or target on only one side
# what keeps its own colour: the longer side of the copy it is taken from; the residuals at which weights leave 0 and
# reach 1; the width of the transition in pixels; the sampling step for the print's tone curve
_OWN_SIDE, _OWN_FROM, _OWN_WHOLLY, _OWN_BLUR, _CURVE_STEP = 1024, 5.0, 10.0, 3, 16
# an unevenly faded print: largest 95th and 98th percentile of the distance in a*, b* from its slowly changing tint; the
# chroma from which that tint has a hue, the hues in degrees that are warm, and the share of the tint that must be
_FADED_RESIDUAL, _LARGE_FADED_RESIDUAL, _FADED_FROM = 2.5, 4.0, 4.0
_WARM, _MOSTLY_WARM = (25, 125), 0.97
# share of two channels' difference that a shift explains: above 0.5 if there is one, below 0.01 otherwise
_FRINGE_SHARE = 0.2


@dataclass(frozen=True)
class Judgement:
    """What a photograph is, with a note if only part of the image shows it.

    Attributes:
        kind: gray, toned or in colour.
        note: what was seen besides a monochrome print; empty if the whole image is one kind.
        other: a coarse map of the image ``(h, w)``, uint8: 0 for the print, ``MAYBE`` where another colour was seen in
            or near it, ``OTHER`` for what lies around it; None if the whole image is the print.
    """

    kind: Kind
    note: str = ""
    other: NDArray[np.uint8] | None = None


MAYBE, OTHER = 1, 2


def judge(pixels: Pixels) -> Judgement:
    """``gray``, ``toned`` or ``color``, judged on a reduced copy of at most 128 pixels a side.

    Toned means that chroma is a function of lightness, as in sepia, cyanotype and split tones: what remains of a* and
    b* after subtracting a smooth curve over L* is noise or uneven fading. The photograph decides, not what it lies on:
    if its central part is gray or toned, differently coloured bands at the sides are its margin (a page, a colour
    target), and a few differently coloured spots are stamps and stains. Colour fringes from channels scanned out of
    register are recognized by what no colour photograph shows: the difference of two channels follows the gradient of
    one.

    Whatever is not of the print's colour keeps its own (``own_color``): page, target, stamps and stains, and objects
    coloured by hand.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
    """
    if pixels.ndim == 2:
        return Judgement("gray")
    top = np.iinfo(pixels.dtype).max
    sample = _sample(pixels)
    # the codes themselves decide most files; for the rest, averaging blocks removes JPEG's noise
    if _is_gray(sample, _GRAY_SPREAD * top):
        return Judgement("gray")
    rgb = _block_means(sample, _SIDE) / top
    if _is_gray(rgb, _GRAY_SPREAD):
        return Judgement("gray")
    if _is_toned(srgb_to_lab(rgb).reshape(-1, 3)):
        return Judgement("toned")
    return _monochrome(sample, top) or Judgement("color")


def own_color(pixels: Pixels, other: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The colours that parts of a monochrome print keep, with weights, on a copy of at most 1,024 pixels a side.

    Args:
        pixels: ``(H, W, 3)``, uint8 or uint16, sRGB-encoded.
        other: the map from ``judge``.

    Returns:
        The image's own a*, b* ``(2, h, w)``, and weights ``(h, w)``: 1 where it keeps them, 0 in the print; float32.
    """
    from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter  # slow, and few photographs need it

    step = max(1, max(pixels.shape[:2]) // (2 * _OWN_SIDE))
    lab = srgb_to_lab(_block_means(pixels[::step, ::step], _OWN_SIDE) / np.iinfo(pixels.dtype).max)
    height, width = lab.shape[:2]
    rows, columns = (np.arange(n) * other.shape[k] // n for k, n in enumerate((height, width)))
    spread = maximum_filter(other, 3)[np.ix_(rows, columns)]
    print_ = lab[spread == 0]
    curve = (print_ if len(print_) else lab.reshape(-1, 3))[::_CURVE_STEP]
    tone = _tone_curve(curve[:, 0], curve[:, 1:], at=lab[..., 0].ravel()).reshape(height, width, 2)
    residual = np.hypot(*np.moveaxis(lab[..., 1:] - tone, -1, 0))
    weights = np.clip((residual - _OWN_FROM) / (_OWN_WHOLLY - _OWN_FROM), 0, 1) * (spread > 0)
    whole = minimum_filter(other, 3)[np.ix_(rows, columns)] == OTHER
    weights = uniform_filter(np.where(whole, 1, weights), _OWN_BLUR)
    return np.ascontiguousarray(np.moveaxis(lab[..., 1:], -1, 0), np.float32), weights.astype(np.float32)


def _monochrome(sample: Pixels, top: int) -> Judgement | None:
    """The judgement of a monochrome print that is seen with other colours; None if the photograph is in colour."""
    copies = [srgb_to_lab(_block_means(sample, side) / top) for side in _COARSE_SIDES]
    if _is_unevenly_faded(copies[0]):
        return Judgement("toned", "its tone changes from place to place, as of a print that has yellowed unevenly")
    for copy in copies:
        found = _print_among_colors(copy)
        if found is not None:
            return found
    registered = _in_register(sample)
    if registered is None:
        return None
    fringes = "its channels were scanned out of register: colour fringes at edges"
    lab = srgb_to_lab(np.clip(_block_means(registered, _COARSE_SIDES[0]) / top, 0, 1))
    if _is_toned(lab.reshape(-1, 3)):
        return Judgement("toned", fringes)
    found = _print_among_colors(lab)
    return None if found is None else replace(found, note=f"{fringes}; {found.note}")


def gray_channel(pixels: Pixels) -> Pixels | None:
    """One channel ``(H, W)`` of RGB pixels whose three channels are exactly equal, else None."""
    for y in range(0, pixels.shape[0], _STRIP_ROWS):
        red, green, blue = np.moveaxis(pixels[y : y + _STRIP_ROWS], -1, 0)
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            return None
    return np.ascontiguousarray(pixels[..., 0])


def _sample(pixels: Pixels) -> Pixels:
    """Every n-th pixel along each side, so that large photographs cost no more than small ones."""
    step = max(1, max(pixels.shape[:2]) // (_SIDE * _OVERSAMPLING))
    return pixels[::step, ::step]


def _block_means(sample: NDArray[Any], side: int) -> NDArray[np.float64]:
    block = max(1, -(-max(sample.shape[:2]) // side))
    rows, columns = sample.shape[0] // block, sample.shape[1] // block
    if rows == 0 or columns == 0:
        return sample.astype(np.float64)
    whole = sample[: rows * block, : columns * block].reshape(rows, block, -1)
    # one axis after the other, which takes a third of the time of both at once
    return np.asarray(whole.sum(1, np.float64).reshape(rows, columns, block, 3).sum(2) / block**2)


def _is_gray(rgb: NDArray[Any], spread: float) -> bool:
    red, green, blue = np.moveaxis(rgb, -1, 0)
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    return bool(np.mean(largest - smallest > spread) <= _STRAY_SHARE)


def _is_toned(lab: NDArray[np.floating]) -> bool:
    lightness, chroma = lab[:, 0], lab[:, 1:]
    residual = np.hypot(*(chroma - _tone_curve(lightness, chroma)).T)
    return bool(
        np.percentile(residual, 95) <= _USUAL_RESIDUAL
        and np.percentile(residual, 98) <= _LARGE_RESIDUAL
        and np.mean(residual > _STRAY_RESIDUAL) <= _STRAY_SHARE
    )


def _is_unevenly_faded(lab: NDArray[np.floating]) -> bool:
    """Whether the colour is that of a monochrome print which has yellowed more in one place than in another.

    Its chroma changes with place and lightness as slowly as a cubic does, and where there is some, it is warm: a sky
    over a gray landscape is not.
    """
    height, width = lab.shape[:2]
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    place = np.stack([x**k * y**m for k in range(4) for m in range(4 - k)])
    tone = lab[..., 0].ravel() / 100 - 0.5
    rows = np.concatenate([place, place * tone, place[[0, 1, 2, 4, 5, 7]] * tone**2])
    chroma = lab[..., 1:].reshape(-1, 2)
    counted = np.ones(len(chroma), bool)
    for _ in range(2):  # once more without what fits worst
        weights = np.stack([_fit(rows[:, counted], chroma[counted, k]) for k in (0, 1)])
        tint = (weights @ rows).T
        misfit = np.hypot(*(chroma - tint).T)
        counted = misfit <= max(float(np.percentile(misfit, 90)), 1.0)
    rest = chroma - tint
    rest = np.hypot(*(rest - _tone_curve(lab[..., 0].ravel(), rest)).T)
    if np.percentile(rest, 95) > _FADED_RESIDUAL or np.percentile(rest, 98) > _LARGE_FADED_RESIDUAL:
        return False
    if np.mean(rest > _OTHER_COLOR) > _STRAY_SHARE:  # a stamp
        return False
    tint = tint[np.hypot(*tint.T) > _FADED_FROM]
    hue = np.degrees(np.arctan2(tint[:, 1], tint[:, 0]))
    return bool(np.mean((hue > _WARM[0]) & (hue < _WARM[1])) > _MOSTLY_WARM) if len(tint) else True


def _in_register(sample: Pixels) -> NDArray[np.float64] | None:
    """The image without the fringes of channels shifted by about a pixel; None if none is shifted."""
    green = sample[..., 1].astype(np.float64)
    if min(green.shape) < 3:
        return None
    down, right = np.gradient(green)
    scaled = green / max(float(green.max()), 1.0)
    tone = np.stack([np.ones(green.size), scaled.ravel(), scaled.ravel() ** 2, scaled.ravel() ** 3])
    fringes = np.stack([down.ravel(), right.ravel()])
    made = sample.astype(np.float64)
    shifted = False
    for channel in (0, 2):
        difference = (made[..., channel] - green).ravel()
        rest = difference - _fit(tone, difference) @ tone
        both = np.concatenate([tone, fringes])
        weights = _fit(both, difference)
        if 1 - np.var(difference - weights @ both) / max(float(np.var(rest)), 1e-9) > _FRINGE_SHARE:
            made[..., channel] -= (weights[len(tone) :] @ fringes).reshape(green.shape)
            shifted = True
    return made if shifted else None


def _fit(rows: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares weights of the rows that approximate the values."""
    return np.asarray(np.linalg.lstsq(rows @ rows.T, rows @ values, rcond=None)[0])


def _print_among_colors(lab: NDArray[np.floating]) -> Judgement | None:
    """The judgement of an image whose central part is a monochrome print; None if it is not one.

    The print's tone is that of the central part, or if this is stained, of the whole image.
    """
    height, width = lab.shape[:2]
    inner = (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4))
    every = lab.reshape(-1, 3)
    for basis, scattered in ((lab[inner].reshape(-1, 3), _SCATTERED), (every, _SCATTERED_ANYWHERE)):
        tone = _tone_curve(basis[:, 0], basis[:, 1:], at=every[:, 0])
        residual = np.hypot(*(every[:, 1:] - tone).T).reshape(height, width)
        written_on = _is_written_on(residual, _tone_curve(basis[:, 0], basis[:, 1:], at=_LEVELS))
        found = _print_by_residual(residual, inner, _MOST_SPOTS if written_on else scattered)
        if found is not None:
            return found
    return None


def _is_written_on(residual: NDArray[np.floating], levels: NDArray[np.floating]) -> bool:
    """Whether all but some spots have the print's tone to a hair, so that scattered ones are rather ink than objects.

    ``levels`` is the tone at evenly spaced L*: where a coloured object dominates a few of them, it changes abruptly.
    """
    from scipy.ndimage import maximum_filter

    rest = residual[~maximum_filter(residual > _OTHER_COLOR, 3)]
    return bool(
        rest.size >= _LEAST_BESIDE * residual.size
        and np.percentile(rest, _PLAIN_SHARE) <= _PLAIN_RESIDUAL
        and np.hypot(*np.diff(levels, axis=0).T).max() <= _STEEPEST
    )


def _print_by_residual(
    residual: NDArray[np.floating], inner: tuple[slice, slice], scattered: float
) -> Judgement | None:
    """``_print_among_colors``, given the distance of every pixel's colour from the print's tone."""
    from scipy.ndimage import maximum_filter

    height, width = residual.shape
    colored = residual > _OTHER_COLOR
    # a stamp or stain may lie in the middle: what is beside it decides, if that is most of the middle
    beside = ~maximum_filter(colored, 3)[inner]
    looked_at = (
        [residual[inner].ravel(), residual[inner][beside]] if beside.mean() >= _LEAST_BESIDE else [residual[inner]]
    )
    if min(np.percentile(part, _CORE_SHARE) for part in looked_at) > _CORE_RESIDUAL:
        return None
    top, bottom, left, right = _without_margins(colored)
    if (bottom - top) * (right - left) < _LEAST_PRINT * height * width:
        return None
    margins = [line for line in (top / height, 1 - bottom / height, left / width, 1 - right / width) if line > 0]
    if len(margins) == 1 and margins[0] > _MOST_ONE_SIDED:  # such as a sky over a gray landscape
        return None
    inside = colored[top:bottom, left:right]
    share = float(inside.mean())
    if share > _MOST_SPOTS or (share > scattered and _largest_share(inside) < 0.5):
        return None
    seen = [] if (top, bottom, left, right) == (0, height, 0, width) else ["a coloured margin or target"]
    if share > 0:
        seen.append(f"colour in {max(100 * share, 0.1):.1f} % of it, as from a stamp or stain")
    other = np.full(colored.shape, OTHER, np.uint8)
    other[top:bottom, left:right] = np.where(inside, MAYBE, 0)
    what = " and ".join(seen) or "colour at its edges"
    return Judgement("toned", f"judged by its inner part: {what}; other colours than the print's are kept", other)


def _without_margins(colored: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what remains after removing differently coloured lines at the sides."""
    top, bottom, left, right = 0, colored.shape[0], 0, colored.shape[1]
    while bottom - top > 4 and right - left > 4:
        box = colored[top:bottom, left:right]
        shares = [float(line.mean()) for line in (box[0], box[-1], box[:, 0], box[:, -1])]
        side = int(np.argmax(shares))
        if shares[side] <= 0.5:
            break
        top, bottom = top + (side == 0), bottom - (side == 1)
        left, right = left + (side == 2), right - (side == 3)
    return top, bottom, left, right


def _largest_share(spots: NDArray[np.bool_]) -> float:
    """The largest connected spot's share of all spots' pixels."""
    left, largest = spots.copy(), 0
    while left.any():
        spot = np.zeros_like(left)
        spot[tuple(np.argwhere(left)[0])] = True
        size = 0
        while size != (size := int(spot.sum())):
            grown = spot.copy()
            grown[1:] |= spot[:-1]
            grown[:-1] |= spot[1:]
            grown[:, 1:] |= spot[:, :-1]
            grown[:, :-1] |= spot[:, 1:]
            spot = grown & left
        largest = max(largest, size)
        left &= ~spot
    return largest / max(1, int(spots.sum()))


def _tone_curve(
    lightness: NDArray[np.floating], chroma: NDArray[np.floating], at: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """The typical a*, b* ``(N, 2)`` at each lightness: medians over bins of L*, interpolated.

    The curve is evaluated at ``at``, by default at ``lightness``.
    """
    bins = np.minimum((lightness * (_BINS / 100)).astype(np.intp), _BINS - 1)
    members = [bins == i for i in range(_BINS)]
    members = [m for m in members if m.sum() >= max(4, 0.002 * len(lightness))] or [np.ones(len(lightness), bool)]
    centers = np.array([np.median(lightness[m]) for m in members])
    medians = np.array([np.median(chroma[m], axis=0) for m in members])
    asked = lightness if at is None else at
    return np.stack([np.interp(asked, centers, medians[:, k]) for k in (0, 1)], axis=1)
