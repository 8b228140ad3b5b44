"""Colours that a person gives at points of a photograph.

Hints are read once, into a value that journals, picks and labels hold as JSON: a list of dots
``[x, y, "#rrggbb", radius]`` for every photograph, or a mapping from a photograph's relative path, with or without its
extension, to its own list. x and y are shares of width and height, from the top left; the radius is a share of the
short side.

A network that takes hints gets them as a map. For all others ``spread`` moves the given colour over the chroma as far
as the photograph's lightness stays alike, as in colorization by optimization (Levin et al. 2004), with distances in
place of a solved system; beyond it nothing changes.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli import fields
from colorcli.errors import UsageError
from colorcli.files import is_debris, walk
from colorcli.text import printable, reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from colorcli.images.tiles import Windows

Dot = list[Any]
"""``[x, y, "#rrggbb", radius]``."""

RADIUS = 0.0125
"""Radius of a dot that gives none, as a share of the short side: about 3 of 256 pixels, as a brush of siggraph17."""

MOST_DOTS = 1000
"""For one photograph; a painted picture is not a set of hints."""

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_FIELDS = {"x", "y", "color", "radius"}
# A colour reaches this share of the short side over even lightness, and is stopped by an edge of about 12 L*. Smaller
# steps than the tolerance count as grain.
_REACH = 0.35
_EDGE = 12.0
_TOLERANCE = 1.0
# Channels of a picture of hints count as coloured when they differ by more than this, out of 255.
_COLOURED = 12


def read(given: Any) -> Any:
    """Turn what a person gave into hints: a JSON file, a PNG with coloured dots, a folder of such files, or the value.

    A file's JSON is ``[{"x": 0.4, "y": 0.2, "color": "#b03020"}, …]`` with ``radius`` optional, or an object of such
    lists by relative path. A PNG has its dots where it is opaque and coloured; it stands for a photograph of any size.
    A folder holds one file a photograph, with the photograph's relative path and ``.json`` or ``.png`` added or in
    place of its extension.

    Raises:
        UsageError: the file is missing, or holds no hints.
    """
    if isinstance(given, Path | str):
        path = Path(given)
        value: Any = _of_folder(path) if path.is_dir() else _of_file(path)
        name = printable(str(path))
    else:
        value, name = given, "The value"
    try:
        value = _tidy(value)
    except ValueError as error:
        raise UsageError(f"{name} holds no hints: {error}.") from error
    if not value:
        raise UsageError(f"{name} holds no hints: it has no dots.")
    return value


def valid(value: object) -> bool:
    """Whether a value, for example from a file of picks, is hints as ``read`` returns them."""
    try:
        return bool(value) and _tidy(value) == value
    except ValueError:
        return False


def own(value: Any, relative: str) -> list[Dot] | None:
    """The dots of one photograph, or None. ``relative`` is its path relative to the input, in POSIX form."""
    if not isinstance(value, Mapping):
        return value or None
    stem = relative[: -len(Path(relative).suffix)] if Path(relative).suffix else relative
    return value.get(relative, value.get(stem)) or None


def shown(value: Any) -> str:
    """The hints in words."""
    if isinstance(value, Mapping):
        return f"for {len(value)} photographs"
    return f"{len(value)} dots" if len(value) != 1 else "1 dot"


def as_map(value: list[Dot] | None, layout: Windows, window: int) -> NDArray[np.float32]:
    """The hints of one window, float32 ``(3, height, width)``: a*, b*, and 1 where they are given; 0 elsewhere."""
    import numpy as np

    height, width = layout.shape
    whole = (layout.length, width) if layout.axis == 0 else (height, layout.length)
    result = np.zeros((3, height, width), np.float32)
    start = layout.starts[window]
    rows, columns = np.ogrid[:height, :width]
    for x, y, radius, chroma in _placed(value or [], *whole):
        top, left = (start, 0) if layout.axis == 0 else (0, start)
        inside = (rows + top - y) ** 2 + (columns + left - x) ** 2 <= radius**2
        result[:2, inside], result[2, inside] = np.array(chroma, np.float32)[:, None], 1
    return result


def spread(chroma: NDArray[np.float32], lightness: NDArray[np.float32], value: list[Dot] | None) -> NDArray[np.float32]:
    """Move the colours of the hints over a photograph's chroma, up to edges of its lightness.

    Args:
        chroma: a*, b* ``(2, h, w)``.
        lightness: CIE L* of the whole photograph at any size ``(H, W)``.
        value: the photograph's dots.

    Returns:
        The chroma, float32 ``(2, h, w)``: the dots' colours at the dots, and unchanged to the last bit away from them.
    """
    import numpy as np
    from PIL import Image

    if not value:
        return chroma
    height, width = chroma.shape[1:]
    seen = np.asarray(Image.fromarray(lightness).resize((width, height), Image.Resampling.BOX), np.float32)
    total, weights = np.zeros((2, height, width), np.float32), np.zeros((height, width), np.float32)
    most = np.zeros((height, width), np.float32)
    for x, y, radius, colour in _placed(value, height, width):
        near = _weights(seen, x, y, radius)
        # squared, so that between two hints the nearer one prevails
        weights += near**2
        total += near**2 * np.array(colour, np.float32)[:, None, None]
        most = np.maximum(most, near)
    touched = most > 0
    result = chroma.copy()
    result[:, touched] += most[touched] * (total[:, touched] / weights[touched] - chroma[:, touched])
    return result


def _weights(lightness: NDArray[np.float32], x: float, y: float, radius: float) -> NDArray[np.float32]:
    """A dot's weight at each pixel, 1..0, by the length of the shortest path to it; steps across edges are long."""
    import numpy as np

    height, width = lightness.shape
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    inside[min(height - 1, max(0, round(y))), min(width - 1, max(0, round(x)))] = True
    distance = np.full((height, width), np.inf)
    distance[inside] = 0
    heap = [(0.0, int(row), int(column)) for row, column in np.argwhere(inside)]
    step, level = 1 / min(height, width), lightness.tolist()
    while heap:
        far, row, column = heapq.heappop(heap)
        if far > distance[row, column]:
            continue
        for below, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            r, c = row + below, column + right
            if 0 <= r < height and 0 <= c < width:
                jump = max(0.0, abs(level[r][c] - level[row][column]) - _TOLERANCE)
                reached = far + step + jump * _REACH / _EDGE
                if reached < _REACH and reached < distance[r, c]:
                    distance[r, c] = reached
                    heapq.heappush(heap, (reached, r, c))
    share = np.clip(1 - distance / _REACH, 0, 1)
    # smooth at both ends
    return (share * share * (3 - 2 * share)).astype(np.float32)


def _placed(dots: Sequence[Dot], height: int, width: int) -> Iterator[tuple[float, float, float, tuple[float, float]]]:
    """Centre, radius (of at least one pixel) and a*, b* of each dot, in pixels of a picture of this size."""
    from colorcli.color.spaces import srgb_to_lab

    for x, y, colour, radius in dots:
        rgb = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        _, a, b = srgb_to_lab([rgb])[0]
        yield x * width - 0.5, y * height - 0.5, max(0.75, radius * min(height, width)), (float(a), float(b))


def _of_folder(folder: Path) -> dict[str, Any]:
    def unreadable(relative: str, error: OSError) -> None:
        place = printable(str(folder / relative))
        raise UsageError(f"The folder {place} cannot be read: {error.strerror or error}.") from error

    found: dict[str, Any] = {}
    for relative in walk(folder, regular=True, unreadable=unreadable):
        path = folder / relative
        if path.suffix.lower() not in (".json", ".png") or is_debris(path.name):
            continue
        name = relative[: -len(path.suffix)]
        if name in found:
            raise UsageError(f"{printable(str(folder))} has two files of hints for {printable(name)}; keep one.")
        value = _of_file(path)
        if isinstance(value, Mapping):
            raise UsageError(
                f"{printable(str(path))} names photographs; in a folder, each file must hold one photograph's dots."
            )
        found[name] = value
    if not found:
        raise UsageError(f"{printable(str(folder))} holds no hints: it has no JSON or PNG files.")
    return found


def _of_file(path: Path) -> Any:
    from colorcli.errors import PhotoError

    name = printable(str(path))
    try:
        if path.suffix.lower() != ".json":
            from colorcli.images.read import read_photo

            photo = read_photo(path)
            return _dots_of_picture(photo.pixels, photo.alpha, name)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The hints {name} cannot be read: {error.strerror or error}.") from error
    except PhotoError as error:
        raise UsageError(f"The hints {name} are not a picture that can be read: {error}.") from error
    except ValueError as error:
        raise UsageError(f"The hints {name} are not JSON: {reason(error)}.") from error
    try:
        if isinstance(content, dict):
            return {key: [_dot_of(one) for one in _list(dots)] for key, dots in content.items()}
        return [_dot_of(one) for one in _list(content)]
    except ValueError as error:
        raise UsageError(
            f'{name} holds no hints: a dot must be like {{"x": 0.4, "y": 0.2, "color": "#b03020"}} ({error}).'
        ) from error


def _list(dots: Any) -> Sequence[Any]:
    if not isinstance(dots, list | tuple):
        raise ValueError(f"dots must be a list, not {fields.shown(dots)}")  # noqa: TRY004
    return dots


def _dot_of(record: Any) -> Dot:
    if not isinstance(record, Mapping):
        raise ValueError(f"{fields.shown(record)} is not an object")  # noqa: TRY004
    if unknown := set(record) - _FIELDS:
        raise ValueError(f"there is no field {sorted(unknown)[0]}")
    if missing := [name for name in ("x", "y", "color") if name not in record]:
        raise ValueError(f"one has no {missing[0]}")
    return [record["x"], record["y"], record["color"], record.get("radius", RADIUS)]


def _tidy(value: Any) -> Any:
    """Hints in their one form, in which equal hints are equal. Raises ValueError."""
    if isinstance(value, Mapping):
        return {str(name): _tidy_dots(dots) for name, dots in sorted(value.items()) if dots}
    return _tidy_dots(value)


def _tidy_dots(dots: Any) -> list[Dot]:
    if len(_list(dots)) > MOST_DOTS:
        raise ValueError(f"a photograph can have {MOST_DOTS} dots at most")
    tidied = []
    for dot in dots:
        x, y, colour, radius = _whole(dot)
        x, y, radius = (_share(number) for number in (x, y, radius))
        if not isinstance(colour, str) or not _COLOUR.fullmatch(colour.lower()):
            raise ValueError(f"a colour must be like #b03020, not {colour}")
        tidied.append([x, y, colour.lower(), radius])
    return tidied


def _whole(dot: Any) -> Dot:
    """A dot as a person or a file of picks gives it."""
    if isinstance(dot, list | tuple) and len(dot) == len(_FIELDS):
        return list(dot)
    return _dot_of(dot)


def _share(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        raise ValueError(f"x, y and radius must be from 0 to 1, not {number}")
    return round(float(number), 5)


def _dots_of_picture(pixels: NDArray[Any], alpha: NDArray[Any] | None, name: str) -> list[Dot]:
    """A dot for each patch of coloured, opaque pixels."""
    import numpy as np

    top = float(np.iinfo(pixels.dtype).max)
    if pixels.ndim == 2:
        raise UsageError(f"{name} holds no hints: it has no colour.")
    rgb = pixels.astype(np.float32) * (255 / top)
    marked = np.ptp(rgb, axis=2) > _COLOURED
    if alpha is not None:
        marked &= alpha > np.iinfo(alpha.dtype).max // 2
    height, width = marked.shape
    if marked.mean() > 0.5:
        raise UsageError(f"{name} holds no hints: most of it is coloured; paint dots on a gray or transparent ground.")
    dots = []
    for rows, columns in _patches(marked):
        colour = np.median(rgb[rows, columns], axis=0).round().astype(int)
        radius = np.sqrt(len(rows) / np.pi) / min(height, width)
        x, y = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
        dots.append([float(x), float(y), "#{:02x}{:02x}{:02x}".format(*colour), min(1.0, float(radius))])
        if len(dots) > MOST_DOTS:
            raise UsageError(f"{name} has more than {MOST_DOTS} dots; paint fewer, and larger, ones.")
    return dots


def _patches(marked: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows and columns of each connected patch, from the top."""
    import numpy as np

    left = set(map(tuple, np.argwhere(marked).tolist()))
    for first in sorted(left):
        if first not in left:
            continue
        left.remove(first)
        patch = [first]
        for row, column in patch:
            for near in ((row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)):
                if near in left:
                    left.remove(near)
                    patch.append(near)
        rows, columns = np.array(patch).T
        yield rows, columns
