"""The transformer over tokens: padding, positions, conditions, and the way to a file and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas import FlowMatching, MixturePath, TauLeaping, sample
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import (
    Classes,
    FourierTimeEmbedding,
    SequenceTransformer,
    Vector,
    from_pretrained,
)

VOCAB = 5


def randomised(model: SequenceTransformer) -> SequenceTransformer:
    """Networks start at zero; here every weight is drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.double()


def small(**settings: Any) -> SequenceTransformer:
    return SequenceTransformer(VOCAB, width=16, depth=2, heads=2, **settings)


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(VOCAB + 1, (batch, length), generator=torch.Generator().manual_seed(1))


def test_logits_start_at_zero_and_every_weight_learns() -> None:
    model = small(condition={"kind": Classes(2), "size": Vector(3)}, fixed=True)
    x, t = tokens(4, 9), torch.rand(4)
    assert model(x, t).shape == (4, 9, VOCAB)
    assert (model(x, t) == 0).all()
    model = randomised(model)
    given = {"kind": torch.tensor([0, 1, 2, 0]), "size": torch.randn(4, 3).double()}
    given["size"][1] = torch.nan
    model(x, t.double(), given, fixed=x == 0).square().sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unused


@pytest.mark.parametrize("window", [1, 5])
def test_padding_is_not_seen(window: int) -> None:
    """A padded sequence has the logits of the sequence alone, and any padding those of any."""
    model, x = randomised(small(window=window)), tokens(6, 12)
    t = torch.rand(6, dtype=torch.float64)
    mask = torch.arange(12) < torch.tensor([12, 7, 1, 3, 0, 9]).unsqueeze(1)
    out = model(x, t, mask=mask)
    assert torch.equal(out, model(torch.where(mask, x, -100), t, mask=mask))
    for i in range(6):
        length = int(mask[i].sum())
        if length:
            alone = model(x[i : i + 1, :length], t[i : i + 1])
            torch.testing.assert_close(out[i : i + 1, :length], alone)
    assert (out[~mask] == 0).all()
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_attention_sees_differences_of_positions() -> None:
    """A shift of the sequence shifts the logits: padding on the left changes nothing."""
    model, x = randomised(small()), tokens(3, 8)
    t = torch.rand(3, dtype=torch.float64)
    later = torch.cat([torch.zeros(3, 4, dtype=torch.int64), x], 1)
    mask = (torch.arange(12) >= 4).expand(3, 12)
    torch.testing.assert_close(model(later, t, mask=mask)[:, 4:], model(x, t))
    assert (model(x.flip(1), t).flip(1) - model(x, t)).abs().max() > 1e-3  # but order matters


def test_every_token_sees_every_other() -> None:
    model, x = randomised(small(window=1)), tokens(1, 20)
    t = torch.rand(1, dtype=torch.float64)
    out = model(x, t)
    for place in (0, 19):
        other = x.clone()
        other[0, place] = (other[0, place] + 1) % VOCAB
        assert ((model(other, t) - out).abs().amax(-1) > 1e-8).all()


def test_one_time_for_each_sample() -> None:
    model, x = randomised(small()), tokens(4, 6)
    t = torch.rand(4, dtype=torch.float64)
    out = model(x, t)
    torch.testing.assert_close(model(x[1:3], t[1:3]), out[1:3])
    assert (model(x, 1 - t) - out).abs().amax((1, 2)).min() > 1e-4
    with pytest.raises(ShapeError, match="t: got shape"):
        model(x, t[0])


def test_null_condition_and_given_tokens() -> None:
    model, x = randomised(small(condition={"kind": Classes(3)}, fixed=True)), tokens(4, 6)
    t, kind = torch.rand(4, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    none = model.null_condition({"kind": kind})
    torch.testing.assert_close(model(x, t, none), model(x, t))
    assert (model(x, t, {"kind": kind}) - model(x, t)).abs().max() > 1e-3
    marks = torch.zeros(4, 6, dtype=torch.bool)
    torch.testing.assert_close(model(x, t, fixed=marks), model(x, t))
    marks[:, 0] = True
    assert (model(x, t, fixed=marks) - model(x, t)).abs().max() > 1e-3


def test_to_a_file_and_back(tmp_path: Path) -> None:
    model = small(
        time_embedding=FourierTimeEmbedding(8), condition={"kind": Classes(3)}, fixed=True, window=3
    )
    model = randomised(model).float()
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    assert isinstance(again, SequenceTransformer) and again.config == model.config
    x, t = tokens(4, 6), torch.rand(4)
    assert torch.equal(again(x, t), model(x, t))


def test_half_precision_is_close() -> None:
    model, x = randomised(small()), tokens(2, 300)
    t = torch.tensor([0.3, 0.8])
    exact = model(x, t.double())
    half = model.bfloat16()(x, t)
    assert half.dtype == torch.bfloat16
    assert (half - exact).abs().mean() < 0.08 * exact.abs().mean()


def test_it_learns_what_stands_next_to_what() -> None:
    """Sequences that count up from anywhere: each token decides all others."""
    path, g = MixturePath(VOCAB), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = SequenceTransformer(VOCAB, width=32, depth=2, heads=2)
    objective = FlowMatching(path)
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    for _ in range(80):
        first = torch.randint(VOCAB, (32, 1), generator=g)
        loss = objective(model, (first + torch.arange(8)) % VOCAB, generator=g).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = sample(model, path, shape=(100, 8), solver=TauLeaping(40), generator=g)
    right = ((x[:, 1:] - x[:, :-1]) % VOCAB == 1).float().mean()
    assert right > 0.9


def test_what_does_not_fit_says_so() -> None:
    wrong: tuple[dict[str, int], ...] = (
        {"width": 18},
        {"heads": 0},
        {"depth": 0},
        {"window": 4},
        {"window": 0},
    )
    for settings in wrong:
        sizes: dict[str, Any] = {"width": 16, "heads": 4, **settings}
        with pytest.raises(ConfigError, match=next(iter(settings))):
            SequenceTransformer(VOCAB, **sizes)
    model, t = small(), torch.rand(2)
    with pytest.raises(ShapeError, match="integers"):
        model(torch.rand(2, 3), t)
    with pytest.raises(ShapeError, match="batch, length"):
        model(tokens(2, 6).view(2, 2, 3), t)
    with pytest.raises(ShapeError, match="mask: got shape"):
        model(tokens(2, 6), t, mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ConfigError, match="fixed=True"):
        model(tokens(2, 6), t, fixed=tokens(2, 6) > 2)
