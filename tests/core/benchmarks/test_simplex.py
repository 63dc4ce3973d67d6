"""The simplex toy: its fields are exact for exact classifiers, and a small run has its floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flowatlas.benchmarks import report, run
from flowatlas.benchmarks.simplex import TOY, SimplexPreset, divergence, vertex_field
from flowatlas.errors import ConfigError
from flowatlas.manifolds import Simplex
from flowatlas.paths import AffinePath
from flowatlas.paths.continuous import ContinuousPath

SIMPLEX = Simplex(5)


def paths() -> dict[str, ContinuousPath]:
    return {name: method.build_path(SIMPLEX) for name, method in TOY.methods.items()}


def sure(tokens: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A classifier that knows: its other categories have a probability of e^-80."""

    def classifier(x: Tensor, t: Tensor) -> Tensor:
        return 80 * SIMPLEX.one_hot(tokens, dtype=x.dtype)

    return classifier


@pytest.mark.parametrize("name", TOY.methods)
def test_a_sure_classifier_gives_the_conditional_velocity(name: str) -> None:
    """Of each path, through whatever that path wants to be predicted."""
    path = paths()[name]
    tokens = torch.arange(12).view(4, 3) % 5
    x_1 = SIMPLEX.one_hot(tokens, dtype=torch.float64)
    x_0 = path.draw(x_1, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.0, 0.3, 0.6, 0.95], dtype=torch.float64)
    sample = path.sample(x_0, x_1, t)
    assert isinstance(sample.x_t, Tensor) and isinstance(sample.dx_t, Tensor)
    SIMPLEX.check_point(sample.x_t)
    prediction = vertex_field(path, SIMPLEX, sure(tokens))(sample.x_t, t)
    v = path.velocity(sample.x_t, t, prediction)
    torch.testing.assert_close(v, sample.dx_t, rtol=1e-5, atol=1e-6)


def test_the_straight_path_lives_on_the_simplex() -> None:
    path = paths()["linear"]
    assert isinstance(path, AffinePath) and repr(path.source) == "Dirichlet(1)"


def test_divergence() -> None:
    law = torch.tensor([0.5, 0.25, 0.25])
    assert divergence(torch.tensor([[0, 1], [0, 2]]), law) == pytest.approx(0, abs=1e-7)
    assert divergence(torch.zeros(8).long(), law) == pytest.approx(0.6931, abs=1e-4)


def test_presets_refuse_other_sizes() -> None:
    for sizes in ((), (1.0,), (2.5,)):
        with pytest.raises(ConfigError, match="sizes"):
            SimplexPreset(width=1, depth=1, batch=1, lr=1.0, steps=1, sizes=sizes)


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    """150 steps with four categories: far better than the guess, and not below the floor."""
    settings = {"sizes": "4", "steps": 150, "width": 32, "lr": 1e-2, "samples": 512}
    for name in TOY.methods:
        result = run(TOY, method=name, preset="demo", seed=0, output=tmp_path, settings=settings)
        found: dict[str, float] = {k: v or 0.0 for k, v in result.metrics.items()}
        assert found["uniform/kl_4"] > 0.5
        assert 0 < found["kl_4"] < 0.1
        assert found["floor/kl_4"] == pytest.approx(3 / (2 * 2048))
        # The mean of twenty sets: a chi-square of 60 degrees, within a factor of two.
        assert found["exact/kl_4"] == pytest.approx(found["floor/kl_4"], rel=1.0)
    assert "KL, K = 4" in report(tmp_path).html.read_text()
