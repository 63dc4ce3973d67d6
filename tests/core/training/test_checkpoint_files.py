from __future__ import annotations

import errno
import math
import os
import pickle
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from flowatlas.errors import ConfigError, DataError
from flowatlas.networks._files import write_tensors
from flowatlas.training import SafetensorsCheckpointIO, load_checkpoint, save_checkpoint


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.text(max_size=4) | st.integers() | st.sampled_from(["__tensor__", "__tuple__", "a.b"])
tensors = st.sampled_from(
    [
        torch.arange(6.0).reshape(2, 3),
        torch.tensor(3),
        torch.zeros(0, 2),
        torch.tensor([True, False]),
        torch.ones(3, dtype=torch.bfloat16),
        torch.arange(12).reshape(3, 4).T,
    ]
)
trees = st.recursive(
    plain | tensors,
    lambda t: (
        st.lists(t, max_size=3)
        | st.lists(t, max_size=3).map(tuple)
        | st.dictionaries(keys, t, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(tree=trees)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "c.safetensors"
    save_checkpoint({"tree": tree}, path)
    assert same(load_checkpoint(path), {"tree": tree})


def test_optimizer_states_and_shared_tensors(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    checkpoint = {"a": model.state_dict(), "b": model.state_dict(), "opt": optimizer.state_dict()}
    io = SafetensorsCheckpointIO()
    io.save_checkpoint(checkpoint, tmp_path / "c")
    loaded = io.load_checkpoint(tmp_path / "c")
    assert same(loaded["opt"], optimizer.state_dict())
    # The integers that number the parameters are integers still.
    assert set(loaded["opt"]["state"]) == {0, 1}
    assert loaded["opt"]["param_groups"][0]["betas"] == (0.9, 0.999)
    loaded["a"]["weight"].add_(1.0)
    assert torch.equal(loaded["b"]["weight"], model.weight)
    io.remove_checkpoint(tmp_path / "c")
    assert not (tmp_path / "c").exists()


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        (Text("a"), "Text"),
        (nn.Linear(1, 1), "Linear"),
        (b"bytes", "bytes"),
        (lambda: 0, "function"),
        (torch.zeros(2, device="meta"), "dense"),
    ],
)
def test_other_values_are_named(tmp_path: Path, value: Any, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"checkpoint\['outer'\]\['1'\].*{kind}"):
        save_checkpoint({"outer": [0, value]}, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def damaged(good: bytes) -> dict[str, bytes]:
    flipped = bytearray(good)
    flipped[-3] ^= 4
    header = bytearray(good)
    header[header.index(b"3}") if b"3}" in good else 0] ^= 1
    return {
        "truncated": good[:-10],
        "header only": good[:20],
        "flipped": bytes(flipped),
        "header": bytes(header),
        "empty": b"",
        "other": b"PNG" * 100,
        "pickled": pickle.dumps({"state_dict": {}}),
    }


@pytest.mark.parametrize("kind", sorted(damaged(b"x" * 64)))
def test_damaged_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint({"state_dict": {"w": torch.randn(50)}, "step": 3}, path)
    path.write_bytes(damaged(path.read_bytes())[kind])
    with pytest.raises(DataError, match=r"c\.safetensors"):
        load_checkpoint(path)


def test_pickles_are_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(tmp_path / 'boom')!r}, 'w')",)

    torch.save({"state_dict": Bomb()}, tmp_path / "c.ckpt")
    with pytest.raises(DataError, match="never unpickles"):
        load_checkpoint(tmp_path / "c.ckpt")
    assert not (tmp_path / "boom").exists()


def test_weights_alone_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="another library"):
        load_checkpoint(tmp_path / "model.safetensors")
    write_tensors(tmp_path / "model.safetensors", {"w": torch.zeros(3)})
    with pytest.raises(DataError, match="weights alone of a network"):
        load_checkpoint(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="cannot be read"):
        load_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint({"step": 1}, path)

    def full(*args: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, when, full)
    with pytest.raises(DataError, match=r"c\.safetensors.*No space left.*intact.*Free disk space"):
        save_checkpoint({"step": 2}, path)
    monkeypatch.undo()
    assert load_checkpoint(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_reader_of_the_old_checkpoint_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint({"w": torch.zeros(5000)}, path)
    content = path.read_bytes()
    with path.open("rb") as file:
        start = file.read(100)
        save_checkpoint({"w": torch.ones(5000)}, path)
        assert start + file.read() == content
    assert load_checkpoint(path)["w"].sum() == 5000


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/c.*cannot be written"):
        save_checkpoint({"step": 1}, tmp_path / "file" / "c")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"):
        save_checkpoint({"step": 1}, tmp_path / "c")
    tmp_path.chmod(0o700)
