"""The contract every system's network meets: lightness in, chroma out."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from colorcli.networks.size import SizeRule


class Colorizer(nn.Module):
    """A network that turns lightness into chroma.

    Subclasses name the controls they take in ``controls`` (any of ``"z"`` and ``"class_index"``), their input
    sizes in ``size_rule``, and keyword arguments for their constructor in ``presets``. A subclass's own
    ``forward`` is native to its paper (RGB, UV, logits); ``chroma`` is what the rest of the program uses.
    """

    controls: ClassVar[tuple[str, ...]] = ()
    size_rule: ClassVar[SizeRule] = SizeRule()
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    def chroma(self, lightness: Tensor, *, z: Tensor | None = None, class_index: Tensor | None = None) -> Tensor:
        """Predict chroma.

        Args:
            lightness: float ``(N, 1, H, W)``, CIE L*, 0..100.
            z: float ``(N, 68)``, already scaled by sigma; None means zeros.
            class_index: int64 ``(N,)``, ImageNet class 0..999, or -1 where the network's own classifier decides;
                None means -1 for all.

        Returns:
            float ``(N, 2, h, w)``, CIELAB a* and b*; h and w may be smaller than H and W.
        """
        raise NotImplementedError

    def prepare(self) -> None:
        """Get ready for inference; what training needs may be thrown away."""
        self.eval()
