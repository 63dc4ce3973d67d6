"""Geodesics and steps of frames never wait for the host: nothing read back, nothing sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flowatlas import SO3, Euler, Exponential, Midpoint
from flowatlas.sampling import integrate
from flowatlas_molecules import BackboneFrames, backbone_objective, backbone_path

#: What reads values back, or has a shape that depends on them.
_READS = ("_local_scalar_dense", "item", "equal", "nonzero", "masked_select", "unique", "_unique2")
#: How a constant of the host becomes a tensor, which on an accelerator is a copy.
_SENDS = ("lift_fresh", "lift_fresh_copy")


class Watch(TorchDispatchMode):
    """Counts operators that make the host and an accelerator wait for each other."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        masked = name == "index" and any(
            isinstance(one, Tensor) and one.dtype == torch.bool for one in args[1]
        )
        if name in (*_READS, *_SENDS) or masked:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def watched(call: Callable[[], Any]) -> Counter[str]:
    watch = Watch()
    with watch:
        call()
    return watch.found


def frames(seed: int, batch: int = 32, n: int = 256) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "rotation": SO3().random_uniform((batch, n, 3, 3), generator=generator),
        "translation": 10 * torch.randn(batch, n, 3, generator=generator),
    }


X_0, X_1 = frames(0), frames(1)
TIMES = torch.linspace(0.1, 0.9, 32)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: TIMES.sum().item(), "_local_scalar_dense"),
        (lambda: bool((TIMES > 2).any()), "_local_scalar_dense"),
        (lambda: torch.tensor([1.0, 2.0]), "lift_fresh"),
        (lambda: TIMES[TIMES > 0.5], "index"),
        (lambda: (TIMES > 0.5).nonzero(), "nonzero"),
    ],
)
def test_the_watch_sees_what_it_should(call: Callable[[], Any], name: str) -> None:
    assert watched(call)[name] == 1


def test_a_geodesic_of_frames_is_all_on_the_device() -> None:
    manifold = BackboneFrames()
    x, y = (manifold.projx(manifold.join(z["rotation"], z["translation"])) for z in (X_0, X_1))
    assert not watched(lambda: manifold.geodesic(x, y, TIMES))
    assert not watched(lambda: manifold.expmap(x, manifold.logmap(x, y)))
    assert not watched(lambda: manifold.dist(x, y))


def test_a_step_of_training_reads_nothing_back() -> None:
    """It may send a few constants, such as the places of ideal atoms."""
    path = backbone_path()
    assert not watched(lambda: path.sample(X_0, X_1, TIMES, validate=False))
    objective = backbone_objective()
    mask = torch.arange(256) < torch.linspace(40, 256, 32).long().unsqueeze(1)
    generator = torch.Generator().manual_seed(0)

    def field(x: Any, t: Tensor, condition: Any = None, *, mask: Tensor) -> Any:
        return X_0

    found = watched(lambda: objective(field, X_1, mask=mask, generator=generator))
    assert not any(found[name] for name in _READS)
    assert found.total() < 8


@pytest.mark.parametrize("solver", [Euler, Midpoint])
def test_steps_of_solvers_are_all_on_the_device(solver: Any) -> None:
    """What an integration takes from the host, it takes once, however many its steps."""
    path = backbone_path().with_schedule(rotation=Exponential(10.0))

    def follow(steps: int, validate: bool) -> Counter[str]:
        made = solver(steps=steps)
        return watched(lambda: integrate(predict, path, X_0, solver=made, validate=validate))

    def predict(x: Any, t: Tensor) -> Any:
        return X_1

    # Where the interval of this path ends, found on the host once.
    follow(1, True)
    for validate in (True, False):
        assert follow(2, validate) == follow(6, validate)
    # The knots of the grid, and the edge at which the last step begins.
    assert follow(3, False).total() <= 3
