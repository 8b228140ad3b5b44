"""Colours by example: the class and the palette of a colour photograph.

The example is read once, into a value that journals, picks and labels hold as JSON: the ImageNet class that the bundled
classifier sees in it, and its palette, which is mean and covariance of a* and b*. A network that takes a class colours
as that class, as the third program of BigColor does (Kim et al. 2022); the chroma of every network is then moved to the
palette by the least change that gives it that mean and covariance: optimal transport between normal distributions
(Pitié and Kokaram 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorcli.errors import PhotoError, UsageError
from colorcli.sessions.classes import class_names
from colorcli.text import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from colorcli.images.photo import Pixels

_CLASSIFIER = "efficientnet-lite0-gray"
_SIDE = 224
_LEAST_COLOUR = 2.0
"""Standard deviation and mean of chroma, in CIELAB units, below which an example has no palette."""

# No colour is spread more than this many times: noise in a nearly gray answer would become colour.
_MOST_GAIN = 4.0
_BOUND = 200.0


def read(given: Any) -> dict[str, Any]:
    """Turn an example photograph, or a value that was read before, into that value.

    Returns:
        ``{"class_index": 0..999, "palette": [mean a*, mean b*, variance of a*, covariance, variance of b*]}``.

    Raises:
        UsageError: the file cannot be read, or has no colour.
    """
    if isinstance(given, Mapping):
        if not valid(dict(given)):
            raise UsageError("reference must be a photograph, or a value that an earlier run recorded.")
        return dict(given)
    from colorcli.images.read import read_photo

    path = Path(given)
    try:
        photo = read_photo(path)
    except PhotoError as error:
        raise UsageError(f"The reference cannot be used: {error}.") from error
    palette = _palette(photo.pixels)
    if palette is None:
        raise UsageError(f"The reference {printable(str(path))} has no colour; give a colour photograph.")
    return {"class_index": _class_of(photo.pixels), "palette": palette}


def valid(value: object) -> bool:
    """Whether a value, for example from a file of picks, is a reference as ``read`` returns it."""
    if not isinstance(value, Mapping) or set(value) != {"class_index", "palette"}:
        return False
    index, palette = value["class_index"], value["palette"]
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(class_names()):
        return False
    if not isinstance(palette, list) or len(palette) != 5:
        return False
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in palette):
        return False
    a, b, aa, ab, bb = palette
    inside = max(abs(a), abs(b)) < _BOUND and min(aa, bb) >= 0 and max(aa, bb) < _BOUND**2
    # colours along one line have a covariance that rounding can take just beyond its bound
    return bool(inside and ab * ab <= aa * bb * 1.001 + 0.001)


def shown(value: Mapping[str, Any]) -> str:
    """The reference in words."""
    a, b, *_ = value["palette"]
    index = value["class_index"]
    return f"{class_names()[index]} ({index}), mean a* {a:.0f}, b* {b:.0f}"


def transfer(chroma: NDArray[np.float32], value: Mapping[str, Any]) -> NDArray[np.float32]:
    """Move chroma ``(2, h, w)`` to the palette: float32 of the same shape."""
    import numpy as np

    a, b, aa, ab, bb = value["palette"]
    points = chroma.reshape(2, -1).astype(np.float64)
    mean, covariance = points.mean(axis=1, keepdims=True), np.cov(points) + 1e-3 * np.eye(2)
    root = _root(covariance)
    inverse = np.linalg.inv(root)
    change = inverse @ _root(root @ np.array([[aa, ab], [ab, bb]]) @ root) @ inverse
    largest = float(np.linalg.norm(change, 2))
    change *= min(1.0, _MOST_GAIN / largest) if largest > 0 else 1.0
    moved: NDArray[np.float64] = change @ (points - mean) + np.array([[a], [b]])
    return np.asarray(moved.reshape(chroma.shape), np.float32)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The square root of a symmetric, non-negative matrix."""
    import numpy as np

    values, vectors = np.linalg.eigh(matrix)
    rooted: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return rooted


def _palette(pixels: Pixels) -> list[float] | None:
    import numpy as np

    from colorcli.color.spaces import srgb_to_lab

    if pixels.ndim == 2:
        return None
    step = max(1, min(pixels.shape[:2]) // 256)
    rgb = pixels[::step, ::step].astype(np.float64) / np.iinfo(pixels.dtype).max
    chroma = srgb_to_lab(rgb)[..., 1:].reshape(-1, 2)
    mean, covariance = chroma.mean(axis=0), np.cov(chroma.T)
    if np.hypot(*mean) + np.sqrt(np.trace(covariance)) < _LEAST_COLOUR:
        return None
    return [round(float(one), 4) for one in (*mean, covariance[0, 0], covariance[0, 1], covariance[1, 1])]


def _class_of(pixels: Pixels) -> int:
    """The bundled classifier's answer on the photograph's lightness, as for photographs that are coloured."""
    try:
        import torch
    except ImportError as error:
        raise UsageError(
            "--reference needs PyTorch, which runs the classifier of the example, and PyTorch is not installed."
        ) from error
    from colorcli.color.spaces import lightness_to_gray
    from colorcli.images.resize import working_lightness
    from colorcli.networks.backbones import EfficientNetLite0
    from colorcli.registry import registry

    network = EfficientNetLite0(in_channels=1)
    tensors, _ = registry.read_backbone(_CLASSIFIER)
    network.load_state_dict(registry.fit(tensors, registry.shapes(network), _CLASSIFIER))
    gray = lightness_to_gray(working_lightness(pixels, _SIDE, _SIDE)).astype("float32")
    with torch.inference_mode():
        scores = network.eval().logits(network(torch.from_numpy(gray)[None, None]))
    return int(scores[0].argmax())
