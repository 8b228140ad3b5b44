"""The contract that every system's network meets: lightness in, chroma out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from colorcli.color import tensors as colors
from colorcli.networks.size import SizeRule


class Colorizer(nn.Module):
    """A network that turns lightness into chroma.

    A system's network computes its output in its paper's own space (RGB, UV, ab divided by 110, bins): ``native``
    returns that output, ``target`` what it should be for a known colour photograph, and ``to_chroma`` converts it. This
    class implements the latter two for a*, b*; ``RGBColorizer`` does for RGB. Colouring only calls what ``answering``
    returns.

    Attributes:
        controls: names of the network's controls, such as ``"z"`` and ``"class_index"``: keyword arguments of its
            methods, declared in ``pipeline.controls``.
        size_rule: the input sizes that it takes.
        presets: keyword arguments for the constructor, by preset.
        native_space: space of the native output: ``"ab"``, ``"rgb"``, ``"uv"`` or ``"bins"``.
        ab_scale: CIELAB units per unit of a native output in ``"ab"``.
        slow_parts: names of submodules that start from pretrained weights and learn at a slower rate.
        frozen_parts: backbones by submodule: submodules that are never trained and hold that backbone's weights. These
            are stored apart from the model's own, so that several models can share them.
        fitted: whether ``fit`` sets some of its buffers before training.
        adjustable: names of constructor arguments on which no weight depends: attributes that may be set later.
        shared_sha256: SHA-256 of the backbone files that the frozen parts were loaded from, by part.
    """

    controls: ClassVar[tuple[str, ...]] = ()
    size_rule: ClassVar[SizeRule] = SizeRule()
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    native_space: ClassVar[str] = "ab"
    ab_scale: ClassVar[float] = 1.0
    slow_parts: ClassVar[tuple[str, ...]] = ()
    adjustable: ClassVar[tuple[str, ...]] = ()
    fitted: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.frozen_parts: dict[str, str] = {}
        self.shared_sha256: dict[str, str] = {}

    def freeze(self, part: str, backbone: str) -> None:
        """Declare submodule ``part`` frozen, with the weights of ``backbone``: no gradients, always in eval mode."""
        self.frozen_parts[part] = backbone
        self.get_submodule(part).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Colorizer:
        """See ``torch.nn.Module.train``; frozen parts stay in inference mode."""
        super().train(mode)
        for part in self.frozen_parts:
            self.get_submodule(part).eval()
        return self

    def fit(self, lightness: Tensor) -> None:
        """Set what is counted once, before training, from a sample of training photographs ``(N, 1, H, W)``."""
        raise NotImplementedError

    def native(self, lightness: Tensor, **controls: Any) -> Tensor:
        """The network's own output ``(N, C, h, w)`` in its ``native_space``; arguments as for ``chroma``."""
        raise NotImplementedError

    def target(self, rgb: Tensor) -> Tensor:
        """What ``native`` should return for a photograph ``(N, 3, H, W)`` in sRGB 0..1, in the same space and units."""
        return colors.srgb_to_lab(rgb)[:, 1:] / self.ab_scale

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        """Convert a native output to CIELAB a*, b* ``(N, 2, h, w)``; ``lightness`` as for ``chroma``."""
        return answer * self.ab_scale

    def as_rgb(self, answer: Tensor, lightness: Tensor) -> Tensor:
        """A native output as sRGB ``(N, 3, h, w)``, nominally 0..1; ``lightness`` has the output's size.

        Chroma is joined with ``lightness``; an output in RGB keeps its own lightness.
        """
        return colors.lab_to_srgb(torch.cat((lightness, self.to_chroma(answer, lightness)), 1))

    def chroma(self, lightness: Tensor, **controls: Any) -> Tensor:
        """Predict chroma.

        Args:
            lightness: float ``(N, 1, H, W)``, CIE L*, 0..100.
            controls: tensors by the names in ``controls``; one that is omitted or None has no effect.

        Returns:
            float ``(N, 2, h, w)``, CIELAB a* and b*; h and w may be smaller than H and W.
        """
        return self.to_chroma(self.native(lightness, **controls), lightness)

    def rgb(self, lightness: Tensor, **controls: Any) -> Tensor:
        """The network's own RGB, for size rules that enlarge it instead of its chroma; arguments as for ``chroma``.

        Only networks whose ``native_space`` is ``"rgb"`` have it.

        Returns:
            float ``(N, 3, h, w)``, sRGB 0..1.
        """
        return self.as_rgb(self.native(lightness, **controls), lightness).clamp(0, 1)

    def answering(self, rule: SizeRule) -> Callable[..., Tensor]:
        """The method that colours photographs under this size rule: ``chroma``, or ``rgb`` if the rule enlarges RGB."""
        return self.rgb if rule.in_rgb else self.chroma

    def entropy(self, lightness: Tensor, **controls: Any) -> Tensor:
        """How unsure a network is that answers with logits of bins; arguments as for ``chroma``.

        Returns:
            float ``(N, 1, h, w)``: the entropy of the bins as a share of the largest, 0..1.
        """
        logits = self.native(lightness, **controls)
        log_p = logits.log_softmax(1)
        return -(log_p.exp() * log_p).sum(1, keepdim=True) / math.log(logits.shape[1])

    def prepare(self) -> None:
        """Prepare for inference, dropping what only training needs, such as gradients."""
        self.eval().requires_grad_(False)


class RGBColorizer(Colorizer):
    """A network whose native output is sRGB, nominally 0..1, including lightness."""

    native_space = "rgb"

    def target(self, rgb: Tensor) -> Tensor:
        return rgb

    def to_chroma(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return colors.srgb_to_lab(answer.clamp(0, 1))[:, 1:]

    def as_rgb(self, answer: Tensor, lightness: Tensor) -> Tensor:
        return answer
