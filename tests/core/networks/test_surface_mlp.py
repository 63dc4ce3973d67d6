"""The network on a mesh: tangents, features, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import Mesh
from flowatlas.networks import SurfaceMLP

MESH = Mesh.icosphere(1)


def model(eigenfunctions: int = 6) -> SurfaceMLP:
    torch.manual_seed(0)
    made = SurfaceMLP(MESH, width=16, depth=2, scales=(1.0,), eigenfunctions=eigenfunctions)
    for weights in made.parameters():
        nn.init.normal_(weights, std=0.3)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_velocities_are_tangent_and_train(dtype: torch.dtype) -> None:
    made = model()
    x = MESH.random_uniform((32, 3), generator=torch.Generator().manual_seed(0), dtype=dtype)
    t = torch.linspace(0, 1, 32, dtype=dtype)
    v = made(x, t)
    assert v.dtype == dtype
    assert v.norm(dim=1).mean() > 0.1
    torch.testing.assert_close(MESH.proju(x, v), v, atol=1e-5, rtol=1e-5)
    v.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())


def test_the_network_sees_the_surface() -> None:
    """Values of the eigenfunctions at a vertex are those of the spectrum, of mean square one."""
    made = model()
    corners = made.functions[MESH.locate(MESH.vertices)[0]]
    expected = MESH.spectrum(6).functions * MESH.area**0.5
    _, place = MESH.locate(MESH.vertices)
    found = (place.unsqueeze(1) @ corners.double()).squeeze(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert model(0).functions.shape[-1] == 0
    assert "functions" not in made.state_dict()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="eigenfunctions"):
        SurfaceMLP(MESH, eigenfunctions=-1)
    with pytest.raises(ShapeError, match=r"need \(batch, 3\)"):
        model()(torch.zeros(4, 2, 3), torch.zeros(4))
    with pytest.raises(ShapeError, match="t"):
        model()(MESH.vertices, torch.zeros(4))
