"""Makes a colouring paler or more vivid without running the network again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEUTRAL = 0.5
"""The vividness at which the network's chroma is unchanged."""

# The factor on chroma at vividness 1; at 0, its inverse.
_MOST = 1.8
# At vividness 1, chroma is also multiplied by this power of itself, so that almost neutral colours stay so. Chosen on
# development photographs, where it costs less in CIEDE2000 than a larger factor for the same colourfulness.
_POWER = 0.3
# The chroma (CIELAB units) at which the power has no effect, and the smallest chroma that it is computed for.
_PIVOT, _LEAST = 20.0, 0.2


def vivid(chroma: NDArray[np.float32], vividness: float) -> NDArray[np.float32]:
    """Chroma ``(2, h, w)`` in CIELAB units, made paler (towards 0) or more vivid (towards 1) by a smooth curve.

    Regression is palest where it is least certain: on average, paler colours are closer to the truth and more vivid
    ones look more like photographs. Hue does not change.

    Args:
        chroma: a*, b* as the network returned them.
        vividness: 0..1; 0.5 changes nothing.

    Raises:
        ValueError: vividness is outside 0..1.
    """
    if not 0 <= vividness <= 1:
        raise ValueError(f"vividness must be from 0 to 1, not {vividness}")
    if vividness == NEUTRAL:
        return chroma
    above = 2 * vividness - 1
    factor = np.float32(_MOST**above)
    if above > 0:
        amount = np.maximum(np.hypot(chroma[0], chroma[1]), np.float32(_LEAST))
        factor = factor * (amount / np.float32(_PIVOT)) ** np.float32(_POWER * above)
    return np.asarray(chroma * factor, np.float32)
