"""Height over the ground, and the map of Mount Rainier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas.data.files import find
from flowatlas.data.lidar import RAINIER, height_above
from flowatlas.errors import DataError


def test_height_over_a_slope_and_a_hill() -> None:
    """Exact over a plane, and of second order in the distance of points over a curved surface."""
    g = torch.Generator().manual_seed(0)
    error = []
    for n in (1000, 4000):
        plan = 2 * torch.rand(n, 2, generator=g, dtype=torch.float64) - 1
        x = 1.6 * torch.rand(200, 2, generator=g, dtype=torch.float64) - 0.8
        slope = torch.cat([plan, (0.3 * plan[:, :1] - plan[:, 1:] + 2)], 1)
        level = 0.3 * x[:, 0] - x[:, 1] + 2
        found = height_above(slope, torch.cat([x, level.unsqueeze(1) + 0.25], 1))
        torch.testing.assert_close(found, torch.full((200,), 0.25).double(), rtol=0, atol=1e-6)
        hill = torch.cat([plan, torch.cos(2 * plan[:, :1])], 1)
        over = torch.cat([x, torch.cos(2 * x[:, :1])], 1)
        error.append(float(height_above(hill, over.view(10, 20, 3)).abs().mean()))
    assert error[0] < 0.01
    assert error[1] < 0.4 * error[0]


def test_the_map(data_root: Path) -> None:
    if not (data_root / str(RAINIER.file)).exists():
        pytest.skip("the lidar file is not in the data root")
    x = RAINIER.read(find(RAINIER, data_root))
    assert x.shape == (34183, 3)
    assert float(x.mean(0).abs().max()) < 1e-9
    assert 4 < float(x[:, 0].max() - x[:, 0].min()) < 5  # kilometres
    # The ground between points is known to some metres.
    assert float(height_above(x[::2], x[1:2000:2]).abs().mean()) < 0.005


def test_a_file_that_is_no_map(tmp_path: Path) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, xyz=np.zeros((3, 3)))
    with pytest.raises(DataError, match="classification"):
        RAINIER.read(path)
    np.savez(path, xyz=np.zeros((3, 2)), classification=np.zeros(3))
    with pytest.raises(DataError, match="expected points"):
        RAINIER.read(path)
