"""The public Python interface, stable under semantic versioning: ``colorcli.load(name)`` and what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colorcli.errors import UsageError
from colorcli.export.opening import open_model
from colorcli.sessions.classes import find_class
from colorcli.sessions.session import ModelInfo, Session, random_code

if TYPE_CHECKING:
    from colorcli.images.photo import Photo, Pixels


def load(
    name: str,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    compile: bool = False,
) -> Model:
    """A model ready to colour photographs.

    Args:
        name: ``bigcolor``, ``bigcolor@lite``, a run folder, a .safetensors file with its model.toml beside it, or an
            ONNX file that ``colorcli export`` has made.
        backend: ``auto``, ``pytorch`` or ``onnx``; ``auto`` takes ONNX Runtime on a CPU where there is a copy.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        threads: CPU threads; None leaves the choice to the backend.
        compile: have PyTorch compile the network first, which takes a minute or so.

    Raises:
        colorcli.errors.ModelError: there is no such model, or its weights are not what its card says.
        colorcli.errors.DeviceError: the device is not there, or the network cannot be compiled for it.
    """
    return Model(
        open_model(name, backend=backend, device=device, precision=precision, threads=threads, compile=compile)
    )


class Model:
    """A loaded model. Not thread-safe: one thread runs it.

    Attributes:
        info: name, system, licence, weights' SHA-256, controls and sizes.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.info: ModelInfo = session.info

    def colorize(
        self,
        photo: Photo | Path | str | Pixels,
        *,
        sigma: float | None = None,
        seed: int | None = None,
        sample: int = 0,
        class_name: str | None = None,
        strength: float = 1.0,
        size: int | None = None,
    ) -> Pixels:
        """Colour one photograph; its lightness stays its own.

        Args:
            photo: a path, a photograph read by ``colorcli.images.read.read_photo``, or sRGB-encoded pixels
                ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16.
            sigma: scale of the random code z, 0.8 unless given; 3 and more give diverse colours.
            seed: of z, 0 unless given. Together with the file's name (for pixels: no name) and ``sample`` it
                determines the colours.
            sample: index of the colouring, from 0.
            class_name: ImageNet class, by name or number; None leaves the choice to the network.
            strength: multiplies the chroma, 0..2.
            size: working size in pixels; None takes the model's own.

        Returns:
            sRGB-encoded RGB ``(H, W, 3)`` of the photograph's own depth.

        Raises:
            colorcli.errors.PhotoError: the file cannot be read, or is far too long for its width.
            colorcli.errors.UsageError: a parameter is out of range, or a control is not one of the model's.
        """
        from colorcli.color.join import join
        from colorcli.images.tiles import blend, windows

        if not 0 <= strength <= 2:
            raise UsageError(f"strength goes from 0 to 2, not {strength:g}.")
        pixels, name = _pixels(photo)
        layout = windows(pixels, self.info.size_rule, size or self.info.size_rule.size)
        batch = np.stack(layout.lightness)[:, None]
        z, index = self._code(sigma, seed, name, sample), self._class(class_name)
        parts = self._session.chroma(batch, z=_repeated(z, len(batch)), class_index=_repeated(index, len(batch)))
        chroma = blend(list(parts), layout)
        bits = 8 * pixels.dtype.itemsize
        return join(pixels, chroma, bits=bits, strength=strength)

    def chroma(
        self,
        lightness: NDArray[np.float32],
        *,
        z: NDArray[np.float32] | None = None,
        class_index: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """The network alone: lightness in, chroma out.

        Args:
            lightness: float ``(N, 1, H, W)``, CIE L* 0..100; H and W as ``info.size_rule`` allows.
            z: float ``(N, 68)``, already scaled by sigma; None means zeros.
            class_index: ``(N,)``, ImageNet class 0..999, or -1 where the network's own classifier decides.

        Returns:
            float32 ``(N, 2, h, w)``, CIELAB a* and b*.

        Raises:
            colorcli.errors.UsageError: the shape is another, or a control is not one of the model's.
        """
        batch = np.ascontiguousarray(lightness, np.float32)
        if batch.ndim != 4 or batch.shape[1] != 1:
            raise UsageError(f"lightness has the shape (N, 1, H, W), not {batch.shape}.")
        for control, value in (("z", z), ("class_index", class_index)):
            if value is not None:
                self._require(control)
        return self._session.chroma(
            batch,
            z=None if z is None else np.ascontiguousarray(z, np.float32),
            class_index=None if class_index is None else np.ascontiguousarray(class_index, np.int64),
        )

    def _code(self, sigma: float | None, seed: int | None, name: str, sample: int) -> NDArray[np.float32] | None:
        if sigma is not None or seed is not None or sample:
            self._require("z")
        if sigma is not None and sigma < 0:
            raise UsageError(f"sigma is not negative, unlike {sigma:g}.")
        if "z" not in self.info.controls:
            return None
        return random_code(seed or 0, name, sample, 0.8 if sigma is None else sigma)[None]

    def _class(self, class_name: str | None) -> NDArray[np.int64] | None:
        if class_name is None:
            return None
        self._require("class_index")
        return np.array([find_class(class_name)], np.int64)

    def _require(self, control: str) -> None:
        if control not in self.info.controls:
            takes = ", ".join(self.info.controls) or "none"
            raise UsageError(f"{self.info.name} does not take the control {control}; its controls: {takes}.")


def _repeated(control: NDArray[Any] | None, count: int) -> NDArray[Any] | None:
    """One photograph's control, for each of its windows."""
    return None if control is None else np.repeat(control, count, axis=0)


def _pixels(photo: Photo | Path | str | Pixels) -> tuple[Pixels, str]:
    """The pixels of whatever was given, and the name that keys its random code."""
    from colorcli.images.photo import Photo
    from colorcli.images.read import read_photo

    if isinstance(photo, np.ndarray):
        right_shape = photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] == 3)
        if photo.dtype not in (np.uint8, np.uint16) or not right_shape or not photo.size:
            raise UsageError(
                f"pixels are uint8 or uint16, (H, W) or (H, W, 3), not {photo.dtype} of shape {photo.shape}."
            )
        return photo, ""
    if not isinstance(photo, Photo):
        photo = read_photo(Path(photo))
    return photo.pixels, photo.path.name
