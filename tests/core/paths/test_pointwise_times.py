"""A time for each point: what every point then does is what it does as a sample of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import IntervalError, ShapeError
from flowatlas.manifolds import SO3, Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.paths import (
    AffinePath,
    DirichletPath,
    GeodesicPath,
    MixturePath,
    Path,
    PathSample,
    PerPosition,
    PerToken,
    ProductPath,
)
from flowatlas.schedulers import Cosine, Cubic, Polynomial

BATCH, POINTS = 4, 3

PATHS: dict[str, tuple[Any, tuple[int, ...]]] = {
    **{kind: (AffinePath(Cosine(), prediction=kind), (2,)) for kind in AffinePath.kinds},
    "weighted": (AffinePath(time_weight=lambda t: 1 + t), (2,)),
    "numbers": (AffinePath(point_ndim=0), ()),
    "matrices": (AffinePath(point_ndim=2), (2, 2)),
    "sphere": (GeodesicPath(Sphere()), (3,)),
    "rotations": (GeodesicPath(SO3(), scheduler=Polynomial(2), prediction="target"), (3, 3)),
    "masked": (MixturePath(5, time_weight=lambda t: 1 + t), ()),
    "denoised": (MixturePath(5, "uniform", Cubic(1.0, 0.5), prediction="denoiser"), ()),
    "rates": (MixturePath(5, "uniform", loss="generalized_kl"), ()),
}


def drawn(path: Any, point: tuple[int, ...], g: torch.Generator) -> Tensor:
    if isinstance(path, MixturePath):
        return torch.randint(5, (BATCH, POINTS), generator=g)
    x = torch.randn(BATCH, POINTS, *point, generator=g, dtype=torch.float64)
    return path.manifold.projx(x)  # type: ignore[no-any-return]


def alone(x: Any) -> Any:
    """Every point as a sample of one point."""
    return None if x is None else x.flatten(0, 1).unsqueeze(1)


@pytest.mark.parametrize("name", PATHS)
def test_points_are_as_samples_of_their_own(name: str) -> None:
    path, point = PATHS[name]
    assert path.pointwise_times
    g = torch.Generator().manual_seed(0)
    x_1, t = drawn(path, point, g), 0.05 + 0.9 * torch.rand(BATCH, POINTS, generator=g).double()
    x_0 = path.draw(x_1, generator=g)
    noise = {"x": torch.rand(BATCH, POINTS, generator=g)} if isinstance(path, MixturePath) else {}
    sample: PathSample = path.sample(x_0, x_1, t, noise=noise)
    apart: PathSample = path.sample(
        alone(x_0), alone(x_1), t.flatten(), noise={k: alone(v) for k, v in noise.items()}
    )
    torch.testing.assert_close(alone(sample.x_t), apart.x_t)
    torch.testing.assert_close(alone(sample.dx_t), apart.dx_t)

    if isinstance(path, MixturePath):
        prediction = torch.randn(BATCH, POINTS, 5, generator=g).double()
    else:
        prediction = sample.x_1 if path.prediction == "target" else sample.dx_t  # type: ignore[assignment]
        prediction = prediction + 0.0 if path.prediction == "target" else 1.5 * prediction
    loss, other = (
        path.losses(prediction, sample)["x"],
        path.losses(alone(prediction), apart)["x"],
    )
    torch.testing.assert_close(loss.flatten(), other.flatten())
    if not isinstance(path, MixturePath):
        torch.testing.assert_close(
            alone(path.velocity(sample.x_t, t, prediction)),
            path.velocity(apart.x_t, t.flatten(), alone(prediction)),
        )


def test_equal_times_of_points_are_the_time_of_the_sample() -> None:
    path, g = AffinePath(), torch.Generator().manual_seed(0)
    x_1 = torch.randn(BATCH, POINTS, 2, generator=g)
    x_0, t = path.draw(x_1, generator=g), torch.rand(BATCH, generator=g)
    one = path.sample(x_0, x_1, t).x_t
    torch.testing.assert_close(path.sample(x_0, x_1, t.unsqueeze(1).expand(-1, POINTS)).x_t, one)


def test_a_loss_with_a_noise_level_for_each_point() -> None:
    """Of a product; the model gets the times as they are, and padding is left out as ever."""
    path = ProductPath(place=AffinePath(), token=MixturePath(5))
    g = torch.Generator().manual_seed(0)
    x_1 = {
        "place": torch.randn(BATCH, POINTS, 2, generator=g),
        "token": torch.randint(5, (BATCH, POINTS), generator=g),
    }
    t = torch.rand(BATCH, POINTS, generator=g)
    mask = torch.ones(BATCH, POINTS, dtype=torch.bool)
    mask[:, -1] = False
    seen = []

    def model(x: Any, t: Tensor, condition: Any = None, *, mask: Any = None) -> dict[str, Tensor]:
        seen.append(t)
        return {"place": torch.zeros_like(x["place"]), "token": torch.zeros(BATCH, POINTS, 5)}

    output = FlowMatching(path)(model, x_1, t=t, mask=mask, generator=g)
    assert torch.equal(seen[0], t) and torch.equal(output.t, t)
    assert output.per_sample.shape == (BATCH,) and torch.isfinite(output.loss)


OTHERS: dict[str, tuple[Path, tuple[int, ...]]] = {
    "DirichletPath": (DirichletPath(4), (BATCH, POINTS, 4)),
    "by position": (MixturePath(4, scheduler=PerPosition([Polynomial(1)] * 3)), (BATCH, POINTS)),
    "by token": (MixturePath(4, scheduler=PerToken([Polynomial(1)] * 4)), (BATCH, POINTS)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_paths_that_do_not_declare_them_refuse_them(name: str) -> None:
    path, shape = OTHERS[name]
    assert not path.pointwise_times
    x = torch.full(shape, 0.25) if len(shape) > 2 else torch.zeros(shape, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"t: got shape \(4, 3\).*no times by point"):
        path.sample(x, x, torch.rand(BATCH, POINTS))  # type: ignore[attr-defined]
    product = ProductPath(place=AffinePath(), other=path)
    both = {"place": torch.zeros(BATCH, POINTS, 2), "other": x}
    with pytest.raises(ShapeError, match="component 'other'"):
        product.sample(both, both, torch.rand(BATCH, POINTS))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 3, 2), (4, 1), (3, 4), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    x = torch.zeros(BATCH, POINTS, 2)
    with pytest.raises(ShapeError, match=r"or \(4, 3\), one per point"):
        AffinePath().sample(x, x, torch.zeros(shape))


def test_values_are_looked_at() -> None:
    x, t = torch.zeros(BATCH, POINTS, 2), torch.zeros(BATCH, POINTS)
    t[2, 1] = 1.2
    with pytest.raises(IntervalError):
        AffinePath().sample(x, x, t)
