"""Products that are asked for what one of their components does not have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowatlas.errors import CapabilityError, ConfigError, FlowAtlasError, IntervalError, ShapeError
from flowatlas.exact import ExactGaussianFlow, ExactSphereFlow, GaussianMixture
from flowatlas.exact import VonMisesFisherMixture as Fisher
from flowatlas.manifolds import Sphere
from flowatlas.networks import ProductMLP
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, DirichletPath, GeodesicPath, MixturePath, ProductPath
from flowatlas.sampling import log_prob, sample, sample_with_log_prob
from flowatlas.solvers import Dopri5, Euler
from flowatlas.sources import Empirical

POLE = torch.tensor([[0.0, 0.0, 1.0]])


class PlaceAndDirection:
    """Independent components with known densities."""

    path = ProductPath(place=AffinePath(), direction=GeodesicPath(Sphere()))
    plane = GaussianMixture(torch.ones(1), torch.tensor([[1.0, -1.0]]), stds=0.5)
    fisher = Fisher(torch.ones(1), POLE, 5.0)

    def __call__(self, x: Any, t: Tensor, condition: Any = None, /, **_: Any) -> dict[str, Tensor]:
        place, direction = ExactGaussianFlow(self.plane), ExactSphereFlow(self.fisher)
        return {"place": place(x["place"], t), "direction": direction(x["direction"], t)}

    def data(self, n: int) -> dict[str, Tensor]:
        g = torch.Generator().manual_seed(0)
        return {"place": self.plane.sample(n, g), "direction": self.fisher.sample(n, g)}


def test_density_of_a_product_is_the_sum_over_its_components() -> None:
    flow = PlaceAndDirection()
    x = flow.data(16)
    exact = flow.plane.log_prob(x["place"]) + flow.fisher.log_prob(x["direction"])
    found = log_prob(flow, flow.path, x, solver=Dopri5(1e-7, 1e-7))
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)
    x_1, value = sample_with_log_prob(flow, flow.path, flow.path.draw(x), solver=Dopri5(1e-7, 1e-7))
    exact = flow.plane.log_prob(x_1["place"]) + flow.fisher.log_prob(x_1["direction"])
    torch.testing.assert_close(value, exact, rtol=0, atol=1e-4)


def anything(x: Any, t: Tensor, condition: Any = None) -> dict[str, Tensor]:
    raise AssertionError("a path without a density was evaluated")


@pytest.mark.parametrize(
    ("path", "value", "error", "match"),
    [
        (MixturePath(4), torch.zeros(2, 3).long(), CapabilityError, r"other: MixturePath is disc"),
        (
            AffinePath(source=Empirical(torch.zeros(5, 3))),
            torch.zeros(2, 3),
            CapabilityError,
            r"Empirical \(component 'other'\) has no density",
        ),
        (
            DirichletPath(4),
            torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]]),
            IntervalError,
            r"component 'other' \(a DirichletPath\) is finite. Pass start=0.99",
        ),
        (
            AffinePath(prediction="target"),
            torch.zeros(2, 3),
            IntervalError,
            "component .other. .a Affine",
        ),
    ],
    ids=["tokens", "empirical", "dirichlet", "target"],
)
def test_a_component_without_a_density_is_named(
    path: Any, value: Tensor, error: type[FlowAtlasError], match: str
) -> None:
    both = ProductPath(place=AffinePath(), other=path)
    with pytest.raises(error, match=match):
        log_prob(anything, both, {"place": torch.zeros(2, 2), "other": value}, solver=Euler(2))


def mixed() -> ProductPath:
    return ProductPath(place=AffinePath(), token=MixturePath(4))


def state(n: int = 2) -> dict[str, Tensor]:
    return {"place": torch.zeros(n, 5, 2), "token": torch.zeros(n, 5).long()}


def still(x: Any, t: Tensor) -> dict[str, Tensor]:
    return {"place": torch.zeros_like(x["place"]), "token": torch.zeros(*x["token"].shape, 4)}


SHAPES = {"place": (2, 5, 2), "token": (2, 5)}


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ({"place": (2, 5, 2)}, r"components \['place'\]; the path has \['place', 'token'\]"),
        ({**SHAPES, "charge": (2, 5)}, "charge"),
        ((2, 5, 2), "a product a mapping"),
        ({"place": (2, 5, 2), "token": (3, 5)}, "share their batch size"),
    ],
    ids=["missing", "extra", "tuple", "batch"],
)
def test_components_are_exactly_those_of_the_path(shape: Any, match: str) -> None:
    with pytest.raises(ShapeError, match=match):
        sample(still, mixed(), shape=shape, solver=Euler(2))


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_data_and_predictions_have_all_components(change: str) -> None:
    x: dict[str, Tensor] = state()
    if change == "missing":
        del x["token"]
    else:
        x["charge"] = torch.zeros(2, 5)
    word = "token" if change == "missing" else "charge"
    with pytest.raises(ShapeError, match=word):
        FlowMatching(mixed())(still, x)
    with pytest.raises(ShapeError, match=word):
        sample(still, mixed(), x_init=x, solver=Euler(2))
    with pytest.raises(ShapeError, match="token"):
        sample(lambda x, t: {"place": x["place"]}, mixed(), shape=SHAPES, solver=Euler(2))


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (torch.ones(2, 4, dtype=torch.bool), r"mask\['place'\]: got shape \(2, 4\)"),
        (torch.ones(2, 5), "dtype"),
        ({"place": torch.ones(2, 5, 2, dtype=torch.bool)}, r"need \(2, 5\), one entry per point"),
        ({"charge": torch.ones(2, 5, dtype=torch.bool)}, r"no component \['charge'\]"),
        ([True], "got list"),
    ],
    ids=["shape", "dtype", "numbers", "name", "list"],
)
def test_masks_fit(mask: Any, match: str) -> None:
    def masked(x: Any, t: Tensor, condition: Any = None, *, mask: Any) -> dict[str, Tensor]:
        return still(x, t)

    with pytest.raises(ShapeError, match=match):
        sample(masked, mixed(), shape=SHAPES, mask=mask, solver=Euler(2))
    with pytest.raises(ShapeError, match=match):
        FlowMatching(mixed())(masked, state(), mask=mask)


class Module(nn.Module):
    def forward(self, x: Any, t: Tensor) -> dict[str, Tensor]:
        return still(x, t)


@pytest.mark.parametrize("field", [still, Module()], ids=["function", "module"])
@pytest.mark.parametrize(
    "options",
    [
        {"condition": {"label": torch.zeros(2)}},
        {"mask": torch.ones(2, 5, dtype=torch.bool)},
        {"fixed": {"token": (torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5).long())}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_arguments_that_the_field_does_not_take_are_named(field: Any, options: Any) -> None:
    name = next(iter(options))
    # Masks come after a place for the condition, which this field does not have either.
    with pytest.raises(CapabilityError, match=rf"^(condition|{name}): given, but \w+ does not"):
        sample(field, mixed(), shape=SHAPES, solver=Euler(2), **options)
    with pytest.raises(CapabilityError, match=rf"^(condition|{name}): given"):
        FlowMatching(mixed())(field, state(), **options)


def test_a_keyword_that_is_missing_is_named() -> None:
    def field(x: Any, t: Tensor, condition: Any = None, *, mask: Any = None) -> dict[str, Tensor]:
        return still(x, t)

    held = {"token": (torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5).long())}
    mask = torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(CapabilityError, match=r"^fixed: given, but field does not"):
        sample(field, mixed(), shape=SHAPES, solver=Euler(2), fixed=held, mask=mask)


def test_errors_of_the_field_itself_come_through() -> None:
    def broken(x: Any, t: Tensor, condition: Any = None) -> Any:
        return x + t  # a mapping and a tensor

    with pytest.raises(TypeError, match="unsupported operand"):
        sample(broken, mixed(), shape=SHAPES, solver=Euler(2))


def test_conditions_that_a_network_was_not_built_for() -> None:
    network = ProductMLP({"place": (5, 2), "token": (5,)}, vocab={"token": 4}, width=8, depth=1)
    with pytest.raises(FlowAtlasError, match="label"):
        sample(
            network,
            mixed(),
            shape=SHAPES,
            solver=Euler(2),
            condition={"label": torch.zeros(2).long()},
        )


def test_a_step_is_one_call_of_the_field() -> None:
    """Arguments are looked at when a call has failed, not by calling twice."""
    calls = []

    def counted(x: Any, t: Tensor, condition: Any = None) -> dict[str, Tensor]:
        calls.append(1)
        return still(x, t)

    sample(counted, mixed(), shape=SHAPES, solver=Euler(3), condition={"a": torch.zeros(2)})
    assert len(calls) == 3


def test_sources_of_components_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="charge"):
        sample(
            still,
            mixed(),
            shape=SHAPES,
            solver=Euler(2),
            source={"charge": AffinePath().source},
        )


def test_continuous_sources_of_tokens_and_adaptive_steps_of_tokens_alone() -> None:
    """Both are found by the table of what composes with what."""
    path = MixturePath(4, AffinePath().source)
    with pytest.raises(ConfigError, match=r"dtype: got torch.int64.*source of tokens"):
        path.draw(torch.zeros(2, 3).long())
    with pytest.raises(CapabilityError, match="tokens alone only jump"):
        sample(lambda x, t: torch.zeros(*x.shape, 4), MixturePath(4), shape=(2, 3), solver=Dopri5())
