"""A transformer over the frames of a protein's backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import FourierTimeEmbedding, Pretrained
from flowatlas_molecules.manifolds.backbone_frames import ANGSTROM
from flowatlas_molecules.networks.frame_neighbors import FrameBumps, FrameNeighbors
from flowatlas_molecules.networks.invariant_point_attention import InvariantPointAttention
from flowatlas_molecules.residues import LETTERS

__all__ = ["FrameTransformer"]

#: Distances along the chain beyond this one look alike.
_FAR = 32
#: Steps along the chain to the neighbours whose frames a residue sees as they are.
_BESIDE = (-4, -3, -2, -1, 1, 2, 3, 4)


class FrameTransformer(Pretrained):
    """Predicts the frames at t = 1, and residue types, from frames at t: equivariant.

    States are mappings of `rotation` `(batch, n, 3, 3)`, `translation` `(batch, n, 3)` in angstrom
    and, with `residues`, `residue` `(batch, n)` (tokens 0 to 19, 20 the mask). The prediction has
    the same names: rotations and translations of the kind `"target"`, and logits `(batch, n, 20)`.

    Blocks of invariant point attention, and then of messages from the nearest residues
    (`FrameNeighbors`), turn and move every frame in its own coordinates. So predictions turn with
    the state, do not depend on where it is (they are centred), and tell a chain from its mirror
    image. Residues know their place in the chain and, at both halves of every block, the frames of
    the four residues on either side as seen from their own; pairs know their distance along the
    chain, their distance in space and their relative frames. Updates are in units of what is left
    to say at t, so that nothing moves at t = 1. Work is in units of ten angstrom inside. Padding,
    of any content, changes nothing.

    Args:
        width: of the features of residues.
        pair_width: of the features of pairs; memory grows with it and the square of the length.
        depth: how many blocks.
        heads: of the attention.
        neighbors: residues that are seen one by one in each block, the nearest.
        residues: whether residue types are seen and predicted.

    Raises:
        ConfigError: numbers that are not positive, or heads that do not divide the width.
        ShapeError: a state of other names or shapes.

    Reference: SE(3) diffusion model with application to protein backbone generation, Yim et al.,
    2023, arXiv:2302.02277, for the layout, which here has no pair updates and no separate sequence
    transformer; the frames beside and the nearest ones are ours. Units of updates: Elucidating the
    Design Space of Diffusion-Based Generative Models, Karras et al., 2022, arXiv:2206.00364, whose
    output scale this is for equal spreads of both ends.

    Example:
        ```python
        from flowatlas_molecules.networks import FrameTransformer

        network = FrameTransformer(width=32, depth=1)
        rotation = SO3().random_uniform((2, 20, 3, 3))
        state = {"rotation": rotation, "translation": 10 * torch.randn(2, 20, 3)}
        prediction = network(state, torch.rand(2))
        ```
    """

    def __init__(
        self,
        width: int = 96,
        pair_width: int = 32,
        depth: int = 4,
        heads: int = 8,
        *,
        neighbors: int = 16,
        residues: bool = False,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(f"depth: got {depth}; at least one block.")
        self.residues = residues
        self.names = ("rotation", "translation", *(("residue",) if residues else ()))
        self.time = FourierTimeEmbedding(32)
        self.place = FourierTimeEmbedding(32, max_frequency=64.0)
        self.node = nn.Linear(64, width)
        self.letter = nn.Embedding(len(LETTERS) + 1, width) if residues else None
        self.along = nn.Embedding(2 * _FAR + 1, pair_width)
        self.pair = _Pairs(pair_width)
        self.blocks = nn.ModuleList(
            _Block(width, pair_width, heads, neighbors) for _ in range(depth)
        )
        self.logits = nn.Linear(width, len(LETTERS)) if residues else None

    def forward(
        self,
        x: Mapping[str, Tensor],
        t: Tensor,
        condition: Any = None,
        *,
        mask: Tensor | Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The predicted target.

        Args:
            x: the state at t.
            t: `(batch,)`.
            condition: not used.
            mask: `(batch, n)`, True where a residue exists; all if None.
        """
        self._check(x)
        rotation, translation = x["rotation"], x["translation"]
        here = mask["translation"] if isinstance(mask, Mapping) else mask
        if here is None:
            here = torch.ones(translation.shape[:2], dtype=torch.bool, device=translation.device)
        # Padding may hold anything, NaN too.
        eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        rotation = torch.where(here[..., None, None], rotation, eye)
        translation = torch.where(here[..., None], translation, 0.0) * ANGSTROM
        translation = _centred(translation, here)

        n = translation.shape[1]
        order = torch.arange(n, device=translation.device)
        place = self.place(order.to(translation.dtype) / 256)
        time = self.time(t.to(translation.dtype))
        s = self.node(
            torch.cat([time.unsqueeze(1).expand(-1, n, -1), place.expand(len(t), -1, -1)], -1)
        )
        if self.letter is not None:
            s = s + self.letter(torch.where(here, x["residue"], 0))
        apart = (order[:, None] - order).clamp(-_FAR, _FAR) + _FAR
        z = self.pair(rotation, translation) + self.along(apart)
        left = _left(t.to(translation.dtype))
        for block in self.blocks:
            s, rotation, translation = block(s, z, rotation, translation, here, left)
        translation = _centred(translation, here) / ANGSTROM
        prediction = {"rotation": rotation, "translation": translation}
        if self.logits is not None:
            prediction["residue"] = self.logits(s)
        return prediction

    def _check(self, x: Mapping[str, Tensor]) -> None:
        if not isinstance(x, Mapping) or set(x) != set(self.names):
            got = sorted(x) if isinstance(x, Mapping) else type(x).__name__
            raise ShapeError(
                f"x: got {got}; this network takes a mapping with the names {sorted(self.names)}. "
                "Residue types need FrameTransformer(residues=True)."
            )
        batch, n = x["translation"].shape[:2]
        wanted = {"rotation": (batch, n, 3, 3), "translation": (batch, n, 3), "residue": (batch, n)}
        for name in self.names:
            if tuple(x[name].shape) != wanted[name]:
                raise ShapeError(
                    f"x[{name!r}]: got shape {tuple(x[name].shape)}; need {wanted[name]}."
                )


class _Block(nn.Module):
    """Two rounds of seeing, thinking and moving: all residues by attention, then the near ones."""

    def __init__(self, width: int, pair_width: int, heads: int, neighbors: int) -> None:
        super().__init__()
        self.beside = nn.Linear(13 * len(_BESIDE), width)
        self.before = nn.LayerNorm(width)
        self.attention = InvariantPointAttention(width, pair_width, heads)
        self.perceptron = _perceptron(width, width)
        self.update = _Update(width)
        self.beside_again = nn.Linear(13 * len(_BESIDE), width)
        self.near = FrameNeighbors(width, neighbors)
        self.perceptron_again = _perceptron(2 * width, width)
        self.update_again = _Update(width)

    def forward(
        self,
        s: Tensor,
        z: Tensor,
        rotation: Tensor,
        translation: Tensor,
        mask: Tensor,
        left: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        s = s + self.beside(_beside(rotation, translation, mask))
        s = s + self.attention(self.before(s), z, rotation, translation, mask)
        s = s + self.perceptron(s)
        rotation, translation = self.update(s, 0.0, rotation, translation, mask, left)
        s = s + self.beside_again(_beside(rotation, translation, mask))
        messages, push = self.near(s, rotation, translation, mask)
        s = s + self.perceptron_again(torch.cat([s, messages], -1))
        rotation, translation = self.update_again(s, push, rotation, translation, mask, left)
        return s, rotation, translation


class _Update(nn.Module):
    """A turn and a move of every frame, in its own axes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, 6)
        # At first the prediction is the state.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self,
        s: Tensor,
        push: Tensor | float,
        rotation: Tensor,
        translation: Tensor,
        mask: Tensor,
        left: Tensor,
    ) -> tuple[Tensor, Tensor]:
        turn, move = self.last(self.norm(s)).split(3, -1)
        move = torch.einsum("bnij,bnj->bni", rotation, left * (move + push)) * mask.unsqueeze(-1)
        return rotation @ _turned(left * turn), translation + move


def _perceptron(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * out), nn.SiLU(), nn.Linear(2 * out, out)
    )


def _turned(v: Tensor) -> Tensor:
    """Rotation matrices of the quaternions (1, v), made unit ones."""
    q = torch.cat([torch.ones_like(v[..., :1]), v], -1)
    w, x, y, z = (q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _left(t: Tensor) -> Tensor:
    r"""How far a state can be from its end, $(1 - t) / \sqrt{(1 - t)^2 + t^2}$, `(batch, 1, 1)`.

    The spread of the data given the state if both ends were Gaussian. Updates in these units are
    as large late in the flow as early, where what is left to say is small.
    """
    rest = 1 - t
    return (rest / (rest.square() + t.square()).sqrt())[:, None, None]


class _Pairs(nn.Module):
    """Features of every two frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bumps = FrameBumps()
        self.mix = nn.Sequential(
            nn.Linear(FrameBumps.dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, rotation: Tensor, translation: Tensor) -> Tensor:
        apart = translation.unsqueeze(1) - translation.unsqueeze(2)
        v = torch.einsum("bnji,bnmj->bnmi", rotation, apart)
        relative = torch.einsum("bnji,bmjk->bnmik", rotation, rotation)
        features: Tensor = self.mix(self.bumps(v, relative))
        return features


def _beside(rotation: Tensor, translation: Tensor, mask: Tensor) -> Tensor:
    """Frames of the neighbours along the chain, seen from each; zeros where there is none.

    Attention would have to find them, and mixes what it finds.
    """
    n = mask.shape[1]
    far = max(_BESIDE)
    ends = (0, 0, far, far)
    turn = nn.functional.pad(rotation.flatten(2), ends)
    place = nn.functional.pad(translation, ends)
    exists = nn.functional.pad(mask.unsqueeze(-1).to(rotation.dtype), ends)
    seen = []
    for step in _BESIDE:
        rows = slice(far + step, far + step + n)
        here = exists[:, rows]
        apart = torch.einsum("bnji,bnj->bni", rotation, place[:, rows] - translation)
        relative = rotation.mT @ turn[:, rows].unflatten(-1, (3, 3))
        seen += [apart * here, relative.flatten(2) * here, here]
    return torch.cat(seen, -1)


def _centred(translation: Tensor, mask: Tensor) -> Tensor:
    """Minus the mean over the residues that exist, and zero elsewhere."""
    exists = mask.unsqueeze(-1).to(translation.dtype)
    mean = (translation * exists).sum(1, keepdim=True) / exists.sum(1, keepdim=True).clamp(min=1)
    return (translation - mean) * exists
