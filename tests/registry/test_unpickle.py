"""Downloaded checkpoints are read as PyTorch would read them, and nothing in them runs."""

from __future__ import annotations

import collections
import io
import os
import pickle
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from colorcli.errors import ModelError
from colorcli.registry import unpickle
from colorcli.registry.checkpoints import read_checkpoint, read_tensors

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def _save(content: object, path: Path, zipped: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


class Attack:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@FORMATS
def test_tensors_are_those_that_pytorch_reads(tmp_path: Path, zipped: bool) -> None:
    """Covers every type, shape and view, tensors that share memory, an ordered dictionary, numbers and text."""
    base = torch.arange(24, dtype=torch.float32).view(4, 6)
    types = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
    content = collections.OrderedDict(
        whole=base,
        transposed=base.T,
        part=base[1:3, ::2],
        parameter=torch.nn.Parameter(torch.randn(3)),
        scalar=torch.tensor(7),
        empty=torch.empty(0, 3),
        bool=torch.tensor([True, False]),
        bytes=torch.tensor([1, 255], dtype=torch.uint8),
        **{str(kind): torch.arange(-3, 4).to(kind) for kind in types},
        inner={"list": [torch.ones(2), 1, 0.5, "text", None], "tuple": (torch.zeros(1),)},
    )
    path = _save(content, tmp_path / "x.pth", zipped)
    found, expected = unpickle.load(path), torch.load(path, weights_only=True)
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value.detach())
    assert found["inner"]["list"][1:] == expected["inner"]["list"][1:]
    assert torch.equal(found["inner"]["tuple"][0], torch.zeros(1))
    found["whole"].fill_(9)
    assert torch.equal(unpickle.load(path)["whole"], base)


@FORMATS
def test_what_deoldify_keeps_beside_its_tensors_is_inert(tmp_path: Path, zipped: bool) -> None:
    """fastai saves the optimizer's constructor; if its name were allowed, ``functools.partial`` could call anything."""
    state = {"layers.0.weight": torch.ones(2, 3), "layers.0.num_batches_tracked": torch.tensor(4)}
    called = tmp_path / "called"
    optimizer = {"opt_func": partial(os.mkdir, str(called)), "state": [slice(0, 1)], "made": Attack(called)}
    path = _save({"model": state, "opt": optimizer}, tmp_path / "gen.pth", zipped)
    layout = {name: tuple(tensor.shape) for name, tensor in state.items()}
    tensors = read_tensors(path, layout, wrapper="model", ignored=["opt"])
    assert torch.equal(tensors["layers.0.weight"], torch.ones(2, 3))
    assert not called.exists()
    with pytest.raises(ModelError, match=r"holds code \(functools\.partial\), which is never run"):
        read_checkpoint(path)
    with pytest.raises(ModelError, match="something unknown besides model: step"):
        read_tensors(
            _save({"model": state, "step": 1}, tmp_path / "y.pth", zipped), layout, wrapper="model", ignored=["opt"]
        )
    for content in ({"params_ema": state}, {"model": state, "params_ema": state}, {"shadow_params": [*state.values()]}):
        with pytest.raises(ModelError, match=r"z.pth' holds a moving average \((params_ema|shadow_params)\)"):
            read_tensors(_save(content, tmp_path / "z.pth", zipped), layout, wrapper="model")


@FORMATS
@pytest.mark.parametrize("place", ["value", "key", "nested", "state"])
def test_hostile_pickles_run_nothing(tmp_path: Path, zipped: bool, place: str) -> None:
    target = tmp_path / "owned"
    attack: Any = Attack(target)
    content = {
        "value": {"w": attack},
        "key": {"model": {"w": torch.ones(1), "opt": [attack]}},
        "nested": {"model": [[({"w": attack},)]]},
        "state": {"model": collections.OrderedDict(w=attack)},
    }[place]
    path = _save(content, tmp_path / "x.pth", zipped)
    with pytest.raises(ModelError, match=r"holds code \((posix|nt)\.mkdir\)"):
        read_checkpoint(path, ["opt"])
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "the attack is real"


def _zip_of(program: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", b"\0" * 16)
    return path


def _tensor(size: str, stride: str, offset: int = 0, key: bytes = b"X\x01\x00\x00\x000", count: int = 4) -> bytes:
    """A pickle program that makes one tensor: (storage, offset, size, stride)."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + key + b"X\x03\x00\x00\x00cpuK" + bytes([count]) + b"tQ"
    )
    numbers = "".join(f"({''.join(f'I{n}' + chr(10) for n in group.split())}t" for group in (size, stride)).encode()
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([offset]) + numbers + b"\x89NtR."


def test_tensors_cannot_reach_beyond_the_file(tmp_path: Path) -> None:
    """Made-up sizes, strides and storage names lead to an error, never to other memory or files."""
    good = unpickle.load(_zip_of(_tensor("4", "1"), tmp_path / "good.pth"))
    assert good.shape == (4,)
    for name, program in {
        "long": _tensor("5", "1"),
        "offset": _tensor("4", "1", offset=1),
        "stride": _tensor("2 2", "9 1"),
        "negative": _tensor("2", "-1", offset=2),
        "count": _tensor("4", "1", count=200),
        "elsewhere": _tensor("4", "1", key=b"X\x0b\x00\x00\x00../data.pkl"),
        "no storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)) NtR.",
    }.items():
        with pytest.raises(ModelError, match="is damaged"):
            read_checkpoint(_zip_of(program, tmp_path / f"{name}.pth"))


@pytest.mark.parametrize("what", ["memo", "pickle", "storage"])
def test_a_small_file_cannot_fill_the_memory(tmp_path: Path, what: str) -> None:
    """A file of 300 kB from a forum would end everything else that runs on the machine."""
    path = tmp_path / "bomb.pth"
    zeros = bytes(120 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if what == "memo":  # "this is object 16,777,215"
            archive.writestr("x/data.pkl", b"\x80\x02}r\xff\xff\xff\x00.")
        elif what == "pickle":
            archive.writestr("x/data.pkl", b"\x80\x03B" + len(zeros).to_bytes(4, "little") + zeros + b".")
        else:
            archive.writestr("x/data.pkl", _tensor("4", "1"))
            archive.writestr("x/data/0", zeros)
    tracemalloc.start()
    try:
        if what == "memo":
            assert read_checkpoint(path) == {}
        else:
            with pytest.raises(ModelError, match="is damaged"):
                read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a named pipe waits until somebody writes into it, and Ctrl-C alone would end that."""
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="it is not a regular file"):
        read_checkpoint(tmp_path / "pipe.pth")


def test_an_onnx_file_needs_no_import(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(
        ModelError, match=r"an ONNX file; one that colorcli exported needs no import: --model .*mine.onnx"
    ):
        read_checkpoint(tmp_path / "mine.onnx")


def test_complex_numbers_are_no_damage(tmp_path: Path) -> None:
    path = _save({"w": torch.ones(2, dtype=torch.complex64)}, tmp_path / "x.pth", zipped=True)
    with pytest.raises(ModelError, match="holds w, which is not a tensor of floating-point numbers"):
        read_tensors(path, {"w": (2,)})


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    """The opcode BUILD sets attributes even on classes; they must not affect the next file."""
    slots = pickle.dumps((None, {"__init__": None, "storage": 1}), protocol=2)[2:-1]
    program = b"ctorch._utils\n_rebuild_tensor_v2\n" + slots + b"b."
    unpickle.load(_zip_of(program, tmp_path / "bad.pth"))
    assert unpickle.load(_zip_of(_tensor("4", "1"), tmp_path / "good.pth")).shape == (4,)


def test_references_without_end_are_followed_once(tmp_path: Path) -> None:
    """Sixty lists, each holding the previous one twice, take a kilobyte but have 2^60 items."""
    content: list[Any] = [torch.ones(1)]
    for _ in range(60):
        content = [content, content]
    found = read_checkpoint(_save(content, tmp_path / "x.pth", zipped=True))
    assert found[0] is found[1]


@FORMATS
def test_each_kind_of_wrong_file_is_named(tmp_path: Path, zipped: bool) -> None:
    """Users must do something different about a truncated file, a damaged one, a web page, a pickle or another file."""
    good = _save({"w": torch.arange(5000.0)}, tmp_path / "good.pth", zipped).read_bytes()
    page = b"\n<!DOCTYPE html><html><title>Dropbox</title></html>"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as other:
        other.writestr("word/document.xml", "<x/>")
    broken = good.replace(b"FloatStorage", b"FloatSt0rage")
    for content, fault in (
        (good[:-100], "is cut short"),
        (good[: len(good) // 2], "is cut short"),
        (broken, "is damaged"),
        (page, "is not a checkpoint but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is not a checkpoint but a pointer"),
        (pickle.dumps({"w": 1}), "is not a checkpoint but a bare pickle"),
        (archive.getvalue(), "is not a checkpoint: "),
        (b"\xff\xd8\xff\xe0 a photograph", "is not a checkpoint: "),
        (b"", "is not a checkpoint but an empty file"),
    ):
        path = tmp_path / "x.pth"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=fault) as caught:
            read_checkpoint(path)
        assert "x.pth" in str(caught.value)
