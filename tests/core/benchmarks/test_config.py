"""Settings: unknown keys and unfit values are errors that say what is allowed."""

from __future__ import annotations

import pytest
import torch

from flowatlas.benchmarks.config import changed
from flowatlas.benchmarks.point_method import METHODS, PointMethod, method_names, named_method
from flowatlas.benchmarks.point_preset import PointPreset
from flowatlas.benchmarks.runner import apply_settings
from flowatlas.benchmarks.settings import PRESETS
from flowatlas.errors import ConfigError
from flowatlas.manifolds import SO3, Euclidean, Lorentz, Manifold, Sphere

PRESET = PointPreset(width=8, depth=1, batch=16, lr=1e-3, steps=10)


def test_text_is_converted_to_the_type_of_the_setting() -> None:
    made = changed(
        PRESET,
        {
            "steps": "20",
            "lr": "3e-4",
            "max_seconds": "none",
            "baselines": "false",
            "scales": "1,0.1",
        },
    )
    assert (made.steps, made.lr, made.max_seconds) == (20, 3e-4, None)
    assert made.baselines is False and made.scales == (1.0, 0.1)
    assert changed(PRESET, {"lr": 1}).lr == 1.0


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"widht": 3}, "Did you mean width"),
        ({"steps": "many"}, "must be of type int"),
        ({"steps": 1.5}, "must be of type int"),
        ({"steps": 0}, "1 or more"),
        ({"lr": "-1"}, "positive"),
        ({"ema": 1.0}, r"\[0, 1\)"),
        ({"scales": "a,b"}, "numbers separated by commas"),
        ({"scales": "1,-1"}, "positive lengths"),
        ({"device": "tpu"}, "cpu, cuda or auto"),
        ({"baselines": "maybe"}, "bool"),
    ],
)
def test_unfit_settings_are_errors(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        changed(PRESET, values)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"path": "geodesics"}, "one of affine, geodesic"),
        ({"path": "geodesic"}, "Gaussian lives in flat space"),
        ({"source": "uniform"}, "flat space has no uniform law"),
        ({"prediction": "score", "coupling": "ot"}, "independent"),
        ({"solver_steps": 0}, "1 or more"),
        ({"solver": "dopri"}, "euler"),
    ],
)
def test_methods_check_their_fields_against_each_other(
    values: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        changed(METHODS["condot"], values)
    with pytest.raises(ConfigError, match="convex"):
        changed(METHODS["geodesic"], {"scheduler": "cosine"})


def test_methods_know_where_they_work() -> None:
    assert "condot" in method_names(Euclidean()) and "geodesic" in method_names(SO3())
    with pytest.raises(ConfigError, match="not for"):
        METHODS["condot"].build_path(Sphere())
    with pytest.raises(ConfigError, match="fitted"):
        METHODS["geodesic-fitted"].build_path(Sphere())
    with pytest.raises(ConfigError, match="Did you mean condot"):
        named_method("condott")


@pytest.mark.parametrize("name", METHODS)
def test_every_named_method_builds(name: str) -> None:
    method = METHODS[name]
    spaces: tuple[Manifold, ...] = (Euclidean(), Sphere(), Lorentz())
    manifold = next(space for space in spaces if method.fits(space))
    if method.source not in ("fitted", "wrapped"):
        path = method.build_path(manifold)
        assert method.build_objective(path, torch.full((4, 3), 3**-0.5)).path is path
    assert method.nfe == 2 * method.solver_steps
    assert isinstance(method, PointMethod)


def test_marginal_regression_draws_late_times() -> None:
    method = METHODS["geodesic-marginal"]
    objective = method.build_objective(method.build_path(Sphere()), torch.full((4, 3), 3**-0.5))
    t = torch.tensor([0.0, 0.5, 0.99])
    late = objective.time_sampler.log_prob(t).exp()
    torch.testing.assert_close(late, 0.5 * (1 - t) ** -0.5)
    uniform = changed(method, {"times": "uniform"})
    law = uniform.build_objective(uniform.build_path(Sphere()), torch.full((4, 3), 3**-0.5))
    assert torch.equal(law.time_sampler.log_prob(t), torch.zeros(3))


def test_settings_reach_preset_or_method_and_unknown_ones_are_errors() -> None:
    preset, method = apply_settings(
        PRESET, METHODS["condot"], {"steps": "7", "solver": "rk4", "solver_steps": "5"}
    )
    assert preset.steps == 7 and method.nfe == 20
    with pytest.raises(ConfigError, match=r"Did you mean solver.*Allowed"):
        apply_settings(PRESET, METHODS["condot"], {"solvr": "rk4"})
    with pytest.raises(ConfigError, match="no setting"):
        apply_settings(PRESET, METHODS["condot"], {"name": "mine"})


def test_cpu_presets_stay_within_their_budget() -> None:
    for name, presets in PRESETS.items():
        cpu = presets["cpu"]
        assert cpu.width <= 512 and cpu.depth <= 6 and cpu.threads == 1, name
        assert cpu.max_seconds is not None and cpu.max_seconds <= 300, name
        if "demo" in presets:
            seconds = presets["demo"].max_seconds
            assert seconds is not None and seconds <= 30, name
