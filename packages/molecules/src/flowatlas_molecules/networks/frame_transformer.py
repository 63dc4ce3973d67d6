"""A transformer over the frames of a protein's backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import FourierTimeEmbedding, Pretrained
from flowatlas_molecules.manifolds.backbone_frames import ANGSTROM
from flowatlas_molecules.networks.invariant_point_attention import InvariantPointAttention
from flowatlas_molecules.residues import LETTERS

__all__ = ["FrameTransformer"]

#: Distances along the chain beyond this one look alike.
_FAR = 32
#: Steps along the chain to the neighbours whose frames a residue sees as they are.
_BESIDE = (-4, -3, -2, -1, 1, 2, 3, 4)
#: Centres of the bumps that stand for distances, angstrom.
_BUMPS = 16


class FrameTransformer(Pretrained):
    """Predicts the frames at t = 1, and residue types, from frames at t: equivariant.

    States are mappings of `rotation` `(batch, n, 3, 3)`, `translation` `(batch, n, 3)` in angstrom
    and, with `residues`, `residue` `(batch, n)` (tokens 0 to 19, 20 the mask). The prediction has
    the same names: rotations and translations of the kind `"target"`, and logits `(batch, n, 20)`.

    Blocks of invariant point attention and a perceptron turn and move every frame in its own
    coordinates. So predictions turn with the state, do not depend on where it is (they are
    centred), and tell a chain from its mirror image. Residues know their place in the chain and, in
    every block, the frames of the four residues on either side as seen from their own; pairs know
    their distance along the chain, their distance in space and their relative frames. Work is in
    units of ten angstrom inside. Padding, of any content, changes nothing.

    Args:
        width: of the features of residues.
        pair_width: of the features of pairs; memory grows with it and the square of the length.
        depth: how many blocks.
        heads: of the attention.
        residues: whether residue types are seen and predicted.

    Raises:
        ConfigError: numbers that are not positive, or heads that do not divide the width.
        ShapeError: a state of other names or shapes.

    Reference: SE(3) diffusion model with application to protein backbone generation, Yim et al.,
    2023, arXiv:2302.02277, for the layout, which here has no pair updates, no separate sequence
    transformer, and the frames beside.

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
        self.pair = nn.Sequential(
            nn.Linear(_BUMPS + 12, pair_width),
            nn.SiLU(),
            nn.Linear(pair_width, pair_width),
            nn.LayerNorm(pair_width),
        )
        self.blocks = nn.ModuleList(_Block(width, pair_width, heads) for _ in range(depth))
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
        z = self.pair(_pair_features(rotation, translation)) + self.along(apart)
        for block in self.blocks:
            s, rotation, translation = block(s, z, rotation, translation, here)
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
    """Attention, perceptron, and a turn and a move of every frame."""

    def __init__(self, width: int, pair_width: int, heads: int) -> None:
        super().__init__()
        self.beside = nn.Linear(13 * len(_BESIDE), width)
        self.before = nn.LayerNorm(width)
        self.attention = InvariantPointAttention(width, pair_width, heads)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.update = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 6))
        last = self.update[-1]
        assert isinstance(last, nn.Linear)
        # At first the prediction is the state.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, s: Tensor, z: Tensor, rotation: Tensor, translation: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        s = s + self.beside(_beside(rotation, translation, mask))
        s = s + self.attention(self.before(s), z, rotation, translation, mask)
        s = s + self.perceptron(s)
        turn, move = self.update(s).split(3, -1)
        move = torch.einsum("bnij,bnj->bni", rotation, move) * mask.unsqueeze(-1)
        return s, rotation @ _turned(turn), translation + move


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


def _pair_features(rotation: Tensor, translation: Tensor) -> Tensor:
    """Distance, direction and relative rotation of every two frames, `(batch, n, n, 28)`."""
    apart = translation.unsqueeze(1) - translation.unsqueeze(2)
    direction = torch.einsum("bnji,bnmj->bnmi", rotation, apart)
    distance = (direction.square().sum(-1, keepdim=True) + 1e-6).sqrt()
    centres = torch.linspace(0.2, 4.0, _BUMPS, dtype=distance.dtype, device=distance.device)
    bumps = torch.exp(-(((distance - centres) / 0.25) ** 2))
    relative = torch.einsum("bnji,bmjk->bnmik", rotation, rotation).flatten(-2)
    return torch.cat([bumps, direction / (1 + distance), relative], -1)


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
