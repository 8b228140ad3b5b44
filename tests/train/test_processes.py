"""Training in several processes, tested within one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from colorcli.train.data import PhotoSet
from colorcli.train.processes import SynchronizedBatchNorm
from colorcli.train.statistics import _KNOWN, statistics


@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (8, 4)])
def test_batch_norm_of_one_process_is_pytorchs(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, gradients and stored statistics agree, for PyTorch's layers and for direct calls of the function."""
    monkeypatch.setattr("torch.distributed.nn.functional.all_reduce", lambda value: value)
    torch.manual_seed(0)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    ours, theirs = kind(4), kind(4)
    x = torch.randn(shape) * 3 + 1
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    target = torch.randn(shape)
    with SynchronizedBatchNorm(1):
        (ours(a) * target).sum().backward()
        assert torch.allclose(F.batch_norm(x, None, None, training=True), F.batch_norm(x, None, None, training=True))
    (theirs(b) * target).sum().backward()
    assert a.grad is not None and b.grad is not None
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], msg=name)
    ours.eval(), theirs.eval()
    with SynchronizedBatchNorm(1):
        torch.testing.assert_close(ours(x), theirs(x))


def test_the_second_process_is_given_what_the_first_has_counted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each of eight processes would read a million photographs to count the same colours."""
    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "cache"))
    data = PhotoSet([photos], held_back=0)
    first = statistics(data, data.train)
    _KNOWN.clear()
    told: list[Any] = [{"colorfulness": first.colorfulness, "histogram": first.histogram}]

    def broadcast(found: list[Any], src: int) -> None:
        assert src == 0 and found == [None]
        found[:] = told

    monkeypatch.setenv("COLORCLI_CACHE_DIR", str(tmp_path / "another machine"))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.broadcast_object_list", broadcast)
    monkeypatch.setattr(data, "read", lambda *_: pytest.fail("counted twice"))
    assert statistics(data, data.train).histogram is first.histogram
