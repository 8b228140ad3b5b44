"""Several processes that train one network together, on one machine or many, through Hugging Face Accelerate.

Each works through its share of every batch; gradients are averaged before every optimizer step, and batch norm takes
its statistics over all shares, so that the losses are those of one process with the whole batch.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.overrides import TorchFunctionMode

from colorcli.environment import needs
from colorcli.errors import UsageError

_BUCKET = 25 << 20
"""Bytes of gradients that travel together: as many as overlap well with the rest of the backward pass."""


def world_size() -> int:
    """How many processes ``accelerate launch`` (or torchrun) has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is alone, or the main one of those that ``accelerate launch`` (or torchrun) started."""
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """The processes that train together, seen from one of them.

    Attributes:
        device: of this process.
        rank: index of this process.
        world_size: number of processes.
    """

    def __init__(self, device: torch.device, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.device = device if accelerator is None else accelerator.device
        self.rank: int = 0 if accelerator is None else accelerator.process_index
        self.world_size: int = 1 if accelerator is None else accelerator.num_processes

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
        if world_size() < 2:
            return cls(device)
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise UsageError(f"Training in several processes {needs('accelerate', 'train')}") from error
        return cls(device, Accelerator(cpu=device.type == "cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the record."""
        return self.rank == 0

    @contextlib.contextmanager
    def averaging_gradients(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """Average gradients over all processes, sending them while the backward pass within is running."""
        if self._accelerator is None:
            yield
            return
        buckets = _Buckets(self.world_size)
        hooks = [
            parameter.register_post_accumulate_grad_hook(buckets.add)  # type: ignore[no-untyped-call]
            for parameter in parameters
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        buckets.finish()

    def synchronized_batch_norm(self) -> AbstractContextManager[Any]:
        """Context in which training batch norm uses the statistics of all processes' photographs."""
        return contextlib.nullcontext() if self._accelerator is None else SynchronizedBatchNorm(self.world_size)

    def close(self) -> None:
        """Disconnect once all processes are here; leaving earlier would break the others' connection."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Mean of each number over all processes, which must have the same names."""
        if self._accelerator is None:
            return values
        mine = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        return dict(zip(values, self._accelerator.reduce(mine, reduction="mean").tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process."""
        if self._accelerator is None:
            return flag
        raised: Tensor = self._accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum")
        return bool(raised > 0)

    def broadcast(self, value: int) -> int:
        """The main process's value; all processes wait for each other here."""
        if self._accelerator is None:
            return value
        mine = torch.tensor(float(value if self.is_main else 0), device=self.device)
        return int(self._accelerator.reduce(mine, reduction="sum"))


class _Buckets:
    """Gradient buckets: full ones are reduced at once, and all are awaited at the end."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._filling: list[Tensor] = []
        self._sent: list[tuple[list[Tensor], Tensor, Any]] = []

    def add(self, parameter: Tensor) -> None:
        """Add a parameter's finished gradient. The order is the same in all processes."""
        assert parameter.grad is not None
        self._filling.append(parameter.grad)
        if sum(gradient.nbytes for gradient in self._filling) >= _BUCKET:
            self._send()

    def _send(self) -> None:
        flat = torch.cat([gradient.flatten() for gradient in self._filling])
        self._sent.append((self._filling, flat, distributed.all_reduce(flat, async_op=True)))
        self._filling = []

    def finish(self) -> None:
        """Wait for all reductions, and store the means."""
        if self._filling:
            self._send()
        for gradients, flat, work in self._sent:
            work.wait()
            sizes = [gradient.numel() for gradient in gradients]
            parts = torch.split(flat / self._processes, sizes)
            for gradient, mean in zip(gradients, parts, strict=True):
                gradient.copy_(mean.view_as(gradient))


class SynchronizedBatchNorm(TorchFunctionMode):
    """Within, ``F.batch_norm`` that learns takes mean and variance over all processes, which have equal shares.

    It stands below every layer that normalizes, also those of BigGAN that are none of PyTorch's own, and works on a
    CPU, unlike ``nn.SyncBatchNorm``.
    """

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._processes = processes

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.batch_norm:
            given = _BATCH_NORM.bind(*args, **(kwargs or {}))
            given.apply_defaults()
            values = given.arguments
            if values.pop("training"):
                return self._normalize(**values)
        return function(*args, **(kwargs or {}))

    def _normalize(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        x = input.float()
        over = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        mean = self._mean(x.mean(over))
        centred = x - mean.view(shape)
        variance = self._mean(centred.square().mean(over))
        if running_mean is not None and running_var is not None:
            count = self._processes * x.numel() / x.shape[1]
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
        out = centred * (variance + eps).rsqrt().view(shape)
        if weight is not None:
            out = out * weight.view(shape)
        if bias is not None:
            out = out + bias.view(shape)
        return out.to(input.dtype)

    def _mean(self, value: Tensor) -> Tensor:
        """Differentiable mean over processes."""
        from torch.distributed.nn.functional import all_reduce

        total: Tensor = all_reduce(value)  # type: ignore[no-untyped-call]
        return total / self._processes


_BATCH_NORM = inspect.signature(F.batch_norm)
