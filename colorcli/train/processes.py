"""Several processes that train one network together, on one machine or many, through Hugging Face Accelerate.

Each works through its share of every batch; gradients are averaged before every optimizer step, so that the losses are
those of one process with the whole batch (where batch norm uses stored statistics).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from colorcli.environment import install_command
from colorcli.errors import UsageError


def leads() -> bool:
    """Whether this process is alone, or the first of those that ``accelerate launch`` (or torchrun) has started."""
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """The processes that train together, as one of them sees them.

    Attributes:
        device: of this process.
        share: (index, count).
    """

    def __init__(self, device: torch.device, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.device = device if accelerator is None else accelerator.device
        self.share = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)

    @classmethod
    def alone(cls) -> Processes:
        """One process on the CPU."""
        return cls(torch.device("cpu"))

    @classmethod
    def found(cls, device: torch.device) -> Processes:
        """The processes that ``accelerate launch`` (or torchrun) has started; without it, this one alone on ``device``.

        Raises:
            UsageError: there are several, and Accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls(device)
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise UsageError(f"Training in several processes needs Accelerate: {install_command('train')}") from error
        return cls(device, Accelerator(cpu=device.type == "cpu"))

    @property
    def first(self) -> bool:
        """Whether this process is the one that keeps the record."""
        return self.share[0] == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make every process's gradients the mean over all processes."""
        if self._accelerator is None:
            return
        known = [p.grad for p in parameters if p.grad is not None]
        # One transfer instead of hundreds.
        flat = torch.cat([gradient.flatten() for gradient in known])
        flat = self._accelerator.reduce(flat, reduction="mean")
        for gradient, mean in zip(known, flat.split([g.numel() for g in known]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def close(self) -> None:
        """Part from the others once all have come here: one that leaves early takes the connection with it."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each number over all processes, which give the same names."""
        if self._accelerator is None:
            return values
        mine = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        return dict(zip(values, self._accelerator.reduce(mine, reduction="mean").tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self._accelerator is None:
            return flag
        raised: Tensor = self._accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum")
        return bool(raised > 0)

    def tell(self, value: int) -> int:
        """The first process's value, in all of them; they also wait for each other here."""
        if self._accelerator is None:
            return value
        mine = torch.tensor(float(value if self.first else 0), device=self.device)
        return int(self._accelerator.reduce(mine, reduction="sum"))
