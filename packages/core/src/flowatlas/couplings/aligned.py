"""Couplings that move the points of a set, and turn it, until it is close to the data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowatlas._arguments import count
from flowatlas._random import Generators
from flowatlas.couplings._kabsch import kabsch
from flowatlas.couplings.base import Coupling
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.field import Condition, Mask
from flowatlas.state import State

__all__ = ["Aligned"]


class Aligned(Coupling):
    r"""The permutation and the rotation of each source sample that are closest to its data.

    $$\min_{\pi, R} \sum_n \big| R (x_0^{\pi(n)} - \bar x_0) - (x_1^n - \bar x_1) \big|^2$$

    for clouds of points in flat space. Where neither the numbering of the points nor the
    orientation of the cloud means anything, pairs as drawn cross for no reason: most of what a
    network learns is which point goes where. The permutation is an optimal assignment, the rotation
    Kabsch's, never a reflection; with both, they take turns from the numbering as drawn until it no
    longer changes, or `rounds` are over. No turn lengthens the pairs; the end is a local optimum.

    The source cloud turns about its own centre, which stays where it was. Points that `mask` leaves
    out (padding, or given points) do not count, and stay as they are.

    The law of $x_0$ is kept as a law of *sets up to rotation*, if the source is the same for all
    points and knows no direction, as `Gaussian` is. Point by point it is not: if the first point
    of the data is mostly on the left, so is the first of the aligned source, which a sampler does
    not draw. Use this coupling with networks that are equivariant under what is aligned
    (permutations within the blocks, rotations), whose loss does not see the difference, or with
    data that are numbered and turned at random.

    Args:
        permute: whether points may change places.
        rotate: whether clouds are turned.
        blocks: the entry of the condition, `(batch, points)`, that says what may change places:
            points of equal value, such as atoms of one element. All of them if None.
        component: which part of a state that is a mapping; the others stay as they are.
        rounds: of permutation and rotation in turn, at most.

    Raises:
        ConfigError: neither permutation nor rotation, or blocks without permutation; when called,
            no condition for the blocks.

    Reference: Equivariant flow matching, Klein, Kramer and Noe, 2023, arXiv:2306.15030, and
    Equivariant Flow Matching with Hybrid Probability Transport, Song et al., 2023,
    arXiv:2312.07168; from memory, without equation numbers. The first also choose which sample
    meets which by the aligned distance; here samples stay as they were drawn.

    Example:
        ```python
        positions = torch.randn(16, 9, 3)
        elements = torch.randint(3, (16, 9))
        objective = FlowMatching(AffinePath(), coupling=Aligned(blocks="elements"))
        loss = objective(model, positions, condition={"elements": elements}).loss
        ```
    """

    def __init__(
        self,
        *,
        permute: bool = True,
        rotate: bool = True,
        blocks: str | None = None,
        component: str | None = None,
        rounds: int = 10,
    ) -> None:
        if not (permute or rotate):
            raise ConfigError(
                "permute, rotate: got False for both, which aligns nothing; set one of them, or "
                "use Independent()."
            )
        if blocks is not None and not permute:
            raise ConfigError(
                f"blocks: got {blocks!r} with permute=False; blocks say which points may change "
                "places. Leave them out, or set permute=True."
            )
        self.permute, self.rotate = permute, rotate
        self.blocks, self.component = blocks, component
        self.rounds = count("rounds", rounds)

    def couple(
        self,
        x_0: State,
        x_1: State,
        *,
        condition: Condition | None = None,
        mask: Mask | None = None,
        generator: Generators = None,
    ) -> State:
        start, end = self._cloud(x_0, "x_0"), self._cloud(x_1, "x_1")
        if start.shape != end.shape:
            raise ShapeError(
                f"x_0: got shape {tuple(start.shape)} beside x_1 of shape {tuple(end.shape)}; they "
                "must be equal. Draw x_0 with path.draw(x_1)."
            )
        moves = self._moves(mask, start)
        aligned = self._align(start, end, moves, self._groups(condition, moves))
        if isinstance(x_0, Mapping):
            assert self.component is not None
            return {**x_0, self.component: aligned}
        return aligned

    def _align(self, x_0: Tensor, x_1: Tensor, moves: Tensor, groups: Tensor | None) -> Tensor:
        with torch.no_grad():
            a, b = _centred(x_0, moves, "x_0"), _centred(x_1, moves, "x_1")
            order, turn = self._best(a, b, _allowed(moves, groups) if self.permute else None)
        order, turn = order.to(x_0.device), turn.to(x_0)
        moved = x_0.gather(1, order.unsqueeze(-1).expand_as(x_0))
        keep = moves.unsqueeze(-1)
        if self.rotate:
            inside = torch.where(keep, moved, 0.0)
            centre = inside.sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp(min=1)
            moved = (inside - centre) @ turn.mT + centre
        return torch.where(keep, moved, x_0)

    def _best(self, a: Tensor, b: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Places to take points from, `(batch, points)`, and rotations, `(batch, d, d)`."""
        size, points, dim = a.shape
        order = torch.arange(points).expand(size, points)
        turn = torch.eye(dim, dtype=a.dtype).expand(size, dim, dim)
        active = torch.arange(size)
        for turns in range(self.rounds if self.permute and self.rotate else 1):
            before = order[active]
            if allowed is not None:
                found = _assigned(a[active] @ turn[active].mT, b[active], allowed[active])
                order = order.index_put((active,), found)
            if self.rotate:
                x = a[active].gather(1, order[active].unsqueeze(-1).expand(-1, -1, dim))
                turn = turn.index_put((active,), kabsch(x, b[active]))
            # The first turn may find the numbering right, but not yet the rotation.
            active = active[(order[active] != before).any(1) | (turns == 0)]
            if not len(active):
                break
        return order, turn

    def _cloud(self, x: State, name: str) -> Tensor:
        if isinstance(x, Tensor):
            if self.component is not None:
                raise ShapeError(
                    f"{name}: got a tensor, and component={self.component!r}, which is for states "
                    "that are mappings; leave it out."
                )
            value = x
        else:
            if self.component is None or self.component not in x:
                raise ShapeError(
                    f"{name}: got a mapping with the names {sorted(x)}, and component="
                    f"{self.component!r}; name the one to align: Aligned(component='positions')."
                )
            value = x[self.component]
        if value.ndim != 3 or not value.is_floating_point():
            raise ShapeError(
                f"{name}: got shape {tuple(value.shape)} of {value.dtype}; clouds of points are "
                "floating-point numbers of shape (batch, points, d)."
            )
        return value

    def _moves(self, mask: Mask | None, x: Tensor) -> Tensor:
        if isinstance(mask, Mapping):
            mask = mask.get("x" if self.component is None else self.component)
        if mask is None:
            return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if mask.shape != x.shape[:2]:
            raise ShapeError(
                f"mask: got shape {tuple(mask.shape)}; need {tuple(x.shape[:2])}, one entry per "
                "point."
            )
        return mask

    def _groups(self, condition: Condition | None, moves: Tensor) -> Tensor | None:
        if self.blocks is None:
            return None
        if condition is None or self.blocks not in condition:
            got = "none" if condition is None else f"the names {sorted(condition)}"
            raise ConfigError(
                f"condition: got {got}; Aligned(blocks={self.blocks!r}) permutes points of equal "
                f"condition[{self.blocks!r}]. Pass it to the objective."
            )
        value = condition[self.blocks]
        if value.shape != moves.shape:
            raise ShapeError(
                f"condition[{self.blocks!r}]: got shape {tuple(value.shape)}; blocks need "
                f"{tuple(moves.shape)}, one value per point."
            )
        return value

    def __repr__(self) -> str:
        given = [
            f"{name}={value!r}"
            for name, value, usual in (
                ("permute", self.permute, True),
                ("rotate", self.rotate, True),
                ("blocks", self.blocks, None),
                ("component", self.component, None),
            )
            if value != usual
        ]
        return f"Aligned({', '.join(given)})"


def _centred(x: Tensor, moves: Tensor, name: str) -> Tensor:
    """The points that move less their mean, zeros elsewhere, in float64 on the CPU."""
    keep = moves.unsqueeze(-1)
    x = torch.where(keep, x, 0.0).to("cpu", torch.float64)
    if not bool(torch.isfinite(x).all()):
        bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten()[:5].tolist()
        raise GeometryError(
            f"{name}: rows {bad}, ... contain NaN or infinity in points that exist; correct them, "
            "or leave them out by the mask."
        )
    keep = keep.cpu()
    mean = x.sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp(min=1)
    return torch.where(keep, x - mean, 0.0)


def _allowed(moves: Tensor, groups: Tensor | None) -> Tensor:
    """Which place may take its point from which, `(batch, points, points)`."""
    free = moves.unsqueeze(1) & moves.unsqueeze(2)
    if groups is not None:
        free = free & (groups.unsqueeze(1) == groups.unsqueeze(2))
    return (free | torch.eye(moves.shape[1], dtype=torch.bool, device=moves.device)).cpu()


def _assigned(a: Tensor, b: Tensor, allowed: Tensor) -> Tensor:
    """For each place of `b` the point of `a` it gets, `(batch, points)`, at the least cost."""
    from scipy.optimize import linear_sum_assignment

    # Of the square only the product depends on the pairing.
    cost = torch.where(allowed, -(b @ a.mT), torch.inf).numpy()
    found = [torch.from_numpy(linear_sum_assignment(one)[1]) for one in cost]
    return torch.stack(found) if found else torch.zeros(a.shape[:2], dtype=torch.int64)
