"""The mixed toy: its measures have the floor they say, see what is wrong, and a run ends well."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import run
from flowatlas.benchmarks.mixed import TOY, MixedMethod, MixedPreset, distances
from flowatlas.data.mixed import mixed_toy
from flowatlas.errors import ConfigError
from flowatlas.plots import png

LAW = mixed_toy()


def test_exact_draws_have_the_floor_and_shuffled_ones_do_not() -> None:
    g = torch.Generator().manual_seed(0)
    (x, _), (test, _) = LAW.sample(4000, g), LAW.sample(2000, g)
    floor = distances(x, LAW, test)
    # Root mean squares of 66 and 17 correlated means of 4000: about N^-1/2, surely below twice.
    for name in ("dependence", "alone"):
        assert 0.3 / math.sqrt(4000) < floor[name] < 2 / math.sqrt(4000)
    # Chi-square of 63 degrees over 2N, within five standard deviations.
    assert abs(floor["kl_token"] - 63 / 8000) < 5 * math.sqrt(126) / 8000
    assert abs(floor["energy"]) < 0.005 and floor["tv_class"] < 0.03
    order = torch.randperm(4000, generator=g)
    apart = distances({**x, "direction": x["direction"][order]}, LAW, test)
    assert apart["dependence"] > 10 * floor["dependence"]
    assert apart["alone"] == pytest.approx(floor["alone"])
    assert apart["energy"] > 0.01
    wrong = distances({**x, "token": (x["token"] + 1) % 4}, LAW, test)
    assert wrong["kl_token"] > 0.05 and wrong["alone"] > 10 * floor["alone"]
    fewer = {name: value[x["place"][:, 0] > 0] for name, value in x.items()}
    assert distances(fewer, LAW, test)["tv_class"] > 0.1


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="source: got 'masks'"):
        MixedMethod(name="a", summary="b", source="masks")
    with pytest.raises(ConfigError, match="width: got 0"):
        MixedPreset(width=0, depth=1, batch=1, lr=1.0, steps=1)


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    """Few steps: better than independent components already, and resumed it is the same."""
    settings = {"steps": 150, "width": 48, "lr": 5e-3, "samples": 512, "solver_steps": 15}
    result = run(TOY, method="mask", preset="demo", seed=0, output=tmp_path, settings=settings)
    found = {k: v or 0.0 for k, v in result.metrics.items()}
    assert found["dependence"] < 0.6 * found["apart/dependence"]
    assert found["exact/dependence"] < 0.5 * found["dependence"] or found["dependence"] < 0.1
    assert found["field/dependence"] < 0.12
    assert result.nfe == 30
    again = run(
        TOY, method="mask", preset="demo", seed=0, output=tmp_path, settings=settings, resume=True
    )
    assert again.metrics == result.metrics
    assert result.arrays is not None
    with np.load(tmp_path / result.arrays) as arrays:
        figures = TOY.figures(dict(arrays), "mixed/toy")
    assert len(figures) == 3
    assert all(png(one)[:4] == b"\x89PNG" for one in figures.values())
