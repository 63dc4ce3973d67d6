"""Coupled within a condition, the source knows nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from flowatlas.couplings import (
    Aligned,
    Coupling,
    GibbsWeighted,
    Independent,
    MinibatchOT,
    Paired,
    WithinCondition,
)
from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.manifolds import Euclidean
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath

FLAT = Euclidean()


def labelled(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normal noise; data of label 0 on the left, of label 1 on the right."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (n,), generator=g)
    x_1 = 0.3 * torch.randn(n, 2, generator=g)
    x_1[:, 0] += 4.0 * label - 2
    return torch.randn(n, 2, generator=g), x_1, label


def test_the_source_of_a_label_is_the_source() -> None:
    """Kolmogorov and Smirnov accept N(0, 1) for each label, and refuse it for plain transport."""
    n, batches = 64, 40
    parts: dict[str, list[Tensor]] = {"within": [], "plain": []}
    labels, before, after = [], 0.0, 0.0
    for seed in range(batches):
        x_0, x_1, label = labelled(n, seed)
        labels.append(label)
        condition = {"label": label}
        for name, coupling in (
            ("within", WithinCondition(MinibatchOT(FLAT), "label")),
            ("plain", MinibatchOT(FLAT)),
        ):
            found = coupling.couple(x_0, x_1, condition=condition)
            assert isinstance(found, Tensor)
            # A permutation of the batch in either case.
            assert torch.equal(found.sort(0).values, x_0.sort(0).values)
            parts[name].append(found)
        before += (x_0 - x_1).square().sum(1).mean().item()
        after += (parts["within"][-1] - x_1).square().sum(1).mean().item()
    assert after < 0.95 * before
    label = torch.cat(labels)
    for name, fits in (("within", True), ("plain", False)):
        x_0 = torch.cat(parts[name])
        for value in (0, 1):
            p = scipy.stats.kstest(x_0[label == value, 0].numpy(), "norm").pvalue
            # 1e-4 for each: a false alarm once in five thousand; seeds are fixed.
            assert (p > 1e-4) if fits else (p < 1e-20)
            mean, count = x_0[label == value].mean(0), int((label == value).sum())
            assert bool((mean.abs() < 4.5 / count**0.5).all()) is fits


def test_groups_are_coupled_by_themselves() -> None:
    x_0, x_1, label = labelled(50, 0)
    found = WithinCondition(MinibatchOT(FLAT), "label").couple(
        x_0, x_1, condition={"label": label, "other": x_1}
    )
    assert isinstance(found, Tensor)
    for value in (0, 1):
        rows = label == value
        index = MinibatchOT(FLAT).pair(x_0[rows], x_1[rows])
        assert torch.equal(found[rows], x_0[rows][index])


def test_rows_are_the_unit_of_a_condition() -> None:
    x_0, x_1, label = labelled(40, 1)
    two = torch.stack([label, torch.zeros_like(label)], 1)
    one = WithinCondition(MinibatchOT(FLAT), "c").couple(x_0, x_1, condition={"c": label})
    assert torch.equal(
        WithinCondition(MinibatchOT(FLAT), "c").couple(x_0, x_1, condition={"c": two}),  # type: ignore[arg-type]
        one,  # type: ignore[arg-type]
    )
    # Values that are all different leave nothing to couple.
    alone = WithinCondition(MinibatchOT(FLAT), "c").couple(x_0, x_1, condition={"c": x_1})
    assert torch.equal(alone, x_0)  # type: ignore[arg-type]


class Recorder(Coupling):
    """Returns what it gets, and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def couple(
        self,
        x_0: Any,
        x_1: Any,
        *,
        condition: Any = None,
        mask: Any = None,
        generator: Any = None,
    ) -> Any:
        self.calls.append((x_0, x_1, condition, mask, generator))
        return x_0


def test_everything_goes_to_its_group() -> None:
    n = torch.arange(6)
    label = torch.tensor([1, 0, 1, 2, 0, 1])
    generators = [torch.Generator().manual_seed(i) for i in range(6)]
    inner = Recorder()
    state = {"a": n.float()[:, None], "b": n}
    found = WithinCondition(inner, "label").couple(
        state, state, condition={"label": label, "n": n}, mask={"b": n > 2}, generator=generators
    )
    assert isinstance(found, dict) and torch.equal(found["b"], n)
    assert torch.equal(found["a"], state["a"])
    for (x_0, x_1, condition, mask, generator), rows in zip(
        inner.calls, ([1, 4], [0, 2, 5], [3]), strict=True
    ):
        assert x_0["b"].tolist() == x_1["b"].tolist() == condition["n"].tolist() == rows
        assert mask["b"].tolist() == [i > 2 for i in rows]
        assert generator == [generators[i] for i in rows]


def test_any_coupling_within() -> None:
    x = torch.randn(8, 4, 3, generator=torch.Generator().manual_seed(0))
    label = {"label": torch.arange(8) % 3}
    for inner in (Aligned(), GibbsWeighted(FLAT, 1.0), Independent(), Paired()):
        coupling = WithinCondition(inner, "label")
        assert coupling.independent is inner.independent
        assert coupling.couple(x, x.flip(0), condition=label).shape == x.shape  # type: ignore[union-attr]
    # Sets are aligned one by one, so that groups change nothing.
    assert torch.equal(
        WithinCondition(Aligned(), "label").couple(x, x.flip(0), condition=label),  # type: ignore[arg-type]
        Aligned().couple(x, x.flip(0)),  # type: ignore[arg-type]
    )
    empty = torch.zeros(0, 4, 3)
    label = {"label": torch.zeros(0)}
    assert WithinCondition(Aligned(), "label").couple(empty, empty, condition=label) is empty


def test_in_an_objective() -> None:
    x_0, x_1, label = labelled(64, 3)

    def model(x: Tensor, t: Tensor, condition: Any = None, /, **_: Any) -> Tensor:
        return torch.zeros_like(x)

    losses = [
        FlowMatching(AffinePath(), coupling=coupling)(
            model, x_1, x_0=x_0, condition={"label": label}
        ).loss
        for coupling in (MinibatchOT(FLAT), WithinCondition(MinibatchOT(FLAT), "label"), None)
    ]
    assert losses[0] < losses[1] < losses[2]


def test_errors() -> None:
    x_0, x_1, label = labelled(8, 0)
    with pytest.raises(ConfigError, match="coupling"):
        WithinCondition(MinibatchOT, "label")  # type: ignore[arg-type]
    coupling = WithinCondition(MinibatchOT(FLAT), "label")
    for condition in (None, {"lable": label}):
        with pytest.raises(ConfigError, match="'label'"):
            coupling.couple(x_0, x_1, condition=condition)
    with pytest.raises(CapabilityError, match="WithinCondition"):
        FlowMatching(AffinePath(prediction="score"), coupling=coupling)
    FlowMatching(AffinePath(prediction="score"), coupling=WithinCondition(Independent(), "label"))
