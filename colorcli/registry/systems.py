"""The table of systems: names of networks and their classes.

Other packages add systems through the entry-point group ``colorcli.networks``, with values of the same form as those
below, ``module:Class``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from colorcli.errors import ModelError
from colorcli.text import near

if TYPE_CHECKING:
    from colorcli.networks.colorizer import Colorizer

GROUP = "colorcli.networks"

# The ten systems of the papers. They are listed here rather than in the package's metadata, so that a checkout works
# without installation and never sees a stale table.
BUILT_IN = (
    EntryPoint("bigcolor", "colorcli.networks.bigcolor:BigColor", GROUP),
    EntryPoint("biggan-encoder", "colorcli.networks.biggan_encoder:BigGANEncoder", GROUP),
    EntryPoint("conv-fc-gan", "colorcli.networks.conv_fc_gan:ConvFCGAN", GROUP),
    EntryPoint("convnet", "colorcli.networks.convnet:ConvNet", GROUP),
    EntryPoint("deep-koalarization", "colorcli.networks.inception_gan:DeepKoalarization", GROUP),
    EntryPoint("efficientnet", "colorcli.networks.efficientnet:EfficientNet", GROUP),
    EntryPoint("inception-gan", "colorcli.networks.inception_gan:InceptionGAN", GROUP),
    EntryPoint("pix2pix", "colorcli.networks.pix2pix:Pix2Pix", GROUP),
    EntryPoint("vgg16-dahl", "colorcli.networks.vgg16_dahl:VGG16Dahl", GROUP),
    EntryPoint("zhang2016", "colorcli.networks.zhang2016:Zhang2016", GROUP),
)


# Widely used systems with open weights, which none of those papers describes.
OUTSIDE = (
    EntryPoint("ddcolor", "colorcli.networks.ddcolor:DDColor", GROUP),
    EntryPoint("deoldify", "colorcli.networks.deoldify:DeOldify", GROUP),
    EntryPoint("siggraph17", "colorcli.networks.siggraph17:Siggraph17", GROUP),
)


class Systems:
    """The registered systems. Networks are imported on first use."""

    def __init__(self, points: Iterable[EntryPoint] = ()) -> None:
        self._points: dict[str, EntryPoint] = {}
        for point in points:
            self.register(point)

    def register(self, point: EntryPoint) -> None:
        """Add a system.

        Raises:
            ModelError: the name is taken by another network; the table is left unchanged.
        """
        known = self._points.get(point.name)
        # The same network twice means two installations (a checkout and a wheel), which is harmless.
        if known is not None and known.value != point.value:
            raise ModelError(
                f"Two networks are called '{point.name}': {_origin(known)} and {_origin(point)}; uninstall one of them."
            )
        self._points.setdefault(point.name, point)

    def names(self) -> list[str]:
        """The names of all systems, sorted."""
        return sorted(self._points)

    def module(self, system: str) -> str | None:
        """The module of a system's network, which is not imported; None if there is no such system."""
        point = self._points.get(system)
        return None if point is None else point.module

    def network_class(self, system: str) -> type[Colorizer]:
        """The network class of a system. Imports torch.

        Raises:
            ModelError: there is no such system, it cannot be imported, or it is not a ``Colorizer``.
        """
        point = self._points.get(system)
        if point is None:
            raise ModelError(f"There is no system '{system}'{near(system, self.names())}")
        from colorcli.networks.colorizer import Colorizer

        try:
            found = point.load()
        except Exception as error:
            reason = f"The network '{system}' ({_origin(point)}) cannot be imported: {error}."
            if "torchvision::" in str(error):  # PyTorch looked for operators that torchvision should have brought
                reason += " PyTorch and torchvision do not match; reinstall both from one index."
            raise ModelError(reason) from error
        if not (inspect.isclass(found) and issubclass(found, Colorizer)):
            raise ModelError(f"The network '{system}' ({_origin(point)}) is not a subclass of Colorizer.")
        return found


@cache
def systems() -> Systems:
    """The papers' systems, other open ones, and those of installed plug-ins.

    Raises:
        ModelError: two packages claim the same name.
    """
    return Systems((*BUILT_IN, *OUTSIDE, *entry_points(group=GROUP)))


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name}" if point.dist is not None else point.value
