"""The public Python interface, stable under semantic versioning: ``colorcli.load(name)`` and what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colorcli.color.enlarge import chroma_of
from colorcli.environment import calm_threads
from colorcli.errors import UsageError
from colorcli.pipeline.controls import choose, complete, controls, options
from colorcli.pipeline.opening import open_model
from colorcli.sessions.session import ModelInfo, Session

if TYPE_CHECKING:
    from colorcli.images.photo import Photo, Pixels

calm_threads()


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
        relative: str | None = None,
        sample: int = 0,
        strength: float = 1.0,
        vividness: float = 0.5,
        size: int | None = None,
        **asked: Any,
    ) -> Pixels:
        """Colour one photograph; its lightness stays its own.

        The pixels are those that ``colorcli colorize`` writes of the same photograph, with the same model, backend,
        controls and relative path.

        Args:
            photo: a path, a photograph read by ``colorcli.images.read.read_photo``, or sRGB-encoded pixels
                ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16.
            relative: the photograph's path inside its folder, with ``/``, which the random code depends on; None means
                the file's name, and for pixels none.
            sample: index of the colouring, from 0.
            strength: multiplies the chroma, 0..2.
            vividness: from paler and nearer to the truth on average (0) to more vivid (1); 0.5 changes nothing.
            size: working size in pixels, 32..4096; None takes the model's own.
            asked: the model's controls, by the names of the command's options: ``sigma`` (0.8 unless given; 3 and more
                give diverse colours), ``seed`` (0 unless given) and ``class_name`` (an ImageNet class by name or
                number; the network chooses unless given). Every model takes ``hints`` (a file, a folder, or dots such
                as ``{"x": 0.4, "y": 0.2, "color": "#b03020"}``) and ``reference`` (a colour photograph whose class and
                palette to take).

        Returns:
            sRGB-encoded RGB ``(H, W, 3)`` of the photograph's own depth.

        Raises:
            colorcli.errors.PhotoError: the file cannot be read, is far too long for its width, or the network's answer
                is no result: not finite, of another shape, or without colour.
            colorcli.errors.UsageError: a parameter is out of range, or a control is not one of the model's.
        """
        from colorcli.pipeline.coloring import color

        settings = choose(self.info, asked)
        if sample:
            self._require_random()
        if any(isinstance(value, tuple) for value in settings.values()):
            raise UsageError("A control with several values gives several colourings; ask for one at a time.")
        pixels, name, other = _pixels(photo)
        path = name if relative is None else relative
        made = color(
            self._session,
            pixels,
            settings,
            relative=path,
            sample=sample,
            size=size,
            strength=strength,
            vividness=vividness,
            other=other,
        )
        return made.pixels

    def chroma(self, lightness: NDArray[np.float32], **given: NDArray[Any] | None) -> NDArray[np.float32]:
        """The network alone: lightness in, chroma out.

        Args:
            lightness: float ``(N, 1, H, W)``, CIE L* 0..100; H and W as ``info.size_rule`` allows.
            given: values of the model's controls, one for each member of the batch, such as ``z``, float ``(N, 68)``,
                already scaled by sigma; or ``class_index``, int ``(N,)``, -1 where the network's own classifier
                decides. None asks for nothing.

        Returns:
            float32 ``(N, 2, h, w)``, CIELAB a* and b*.

        Raises:
            colorcli.errors.UsageError: a shape is another, or a control is not one of the model's.
        """
        batch = np.ascontiguousarray(lightness, np.float32)
        if batch.ndim != 4 or batch.shape[1] != 1:
            raise UsageError(f"lightness must have the shape (N, 1, H, W), not {batch.shape}.")
        asked = {name: value for name, value in given.items() if value is not None}
        for name in asked:
            if name not in self.info.controls:
                takes = ", ".join(self.info.controls) or "none"
                raise UsageError(f"{self.info.name} does not take the control {name}; its controls: {takes}.")
        neutral = complete(self.info.controls, {}, batch)
        ready = {name: np.ascontiguousarray(asked.get(name, value), value.dtype) for name, value in neutral.items()}
        for name, value in ready.items():
            if value.shape != neutral[name].shape:
                raise UsageError(
                    f"{name} must have the shape {neutral[name].shape} for this lightness, not {value.shape}."
                )
        answers = self._session.chroma(batch, ready)
        return np.stack([chroma_of(answer) for answer in answers]) if len(answers) else answers[:, :2]

    def _require_random(self) -> None:
        if not any(one.random for one in controls(self.info.controls)):
            steers = options(self.info.controls)
            raise UsageError(f"{self.info.name} gives every sample the same colours; what steers it: {steers}.")


def _pixels(photo: Photo | Path | str | Pixels) -> tuple[Pixels, str, NDArray[np.uint8] | None]:
    """The pixels of whatever was given, the name that keys its random code, and where it keeps its own colour."""
    from colorcli.images.photo import Photo
    from colorcli.images.read import read_photo

    if isinstance(photo, np.ndarray):
        right_shape = photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] == 3)
        if photo.dtype not in (np.uint8, np.uint16) or not right_shape or not photo.size:
            raise UsageError(
                f"pixels must be uint8 or uint16, (H, W) or (H, W, 3), not {photo.dtype} of shape {photo.shape}."
            )
        return photo, "", None
    if not isinstance(photo, Photo):
        photo = read_photo(Path(photo))
    return photo.pixels, photo.path.name, photo.other
