"""Colouring as in the papers' released demonstration scripts, for comparison.

One photograph at a time, in eager PyTorch, with scikit-image's colour conversions in double precision; chroma is
enlarged bilinearly, and colours out of gamut are clipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import color

from colorcli.registry import registry


class Script:
    """A network as it is after training: NCHW memory layout, 32-bit floats, PyTorch's own number of threads."""

    def __init__(self, model: str, device: str = "cpu") -> None:
        card = registry.find(model)
        self.size = card.size
        self.controls = card.controls
        self.device = device
        self.network = registry.build(card, registry.read_weights(card)).eval().to(device)

    def network_inputs(self, lightness: np.ndarray[Any, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """A batch of one from L* ``(H, W)``, and a random code if the network takes one."""
        batch = torch.from_numpy(np.asarray(lightness, np.float32))[None, None].to(self.device)
        return batch, {"z": 0.8 * torch.randn(1, 68, device=self.device)} if "z" in self.controls else {}

    def __call__(self, source: Path, target: Path) -> None:
        """Colour one photograph."""
        picture = Image.open(source).convert("RGB")
        height, width = self.size.working_shape(picture.height, picture.width)
        lightness = color.rgb2lab(np.asarray(picture))[..., 0]
        small = color.rgb2lab(np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)))[..., 0]
        batch, controls = self.network_inputs(small)
        with torch.no_grad():
            chroma = self.network.chroma(batch, **controls)
        chroma = torch.nn.functional.interpolate(chroma, lightness.shape, mode="bilinear").cpu()
        lab = np.concatenate((lightness[..., None], chroma[0].permute(1, 2, 0).numpy()), axis=2)
        codes = np.clip(color.lab2rgb(lab) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(codes).save(target, quality=95)

    def folder(self, source: Path, target: Path) -> int:
        """Colour the photographs of a folder one after the other and return their number."""
        target.mkdir(exist_ok=True)
        paths = sorted(source.iterdir())
        for path in paths:
            self(path, target / path.name)
        return len(paths)
