"""Protein backbones by flow matching: the path, the objective, and samples as chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.field import Field
from flowatlas.manifolds import SO3
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, GeodesicPath, MixturePath, ProductPath
from flowatlas.paths.base import PathSample
from flowatlas.sampling import sample
from flowatlas.schedulers import Exponential, Scheduler
from flowatlas.solvers import Euler, Solver
from flowatlas.sources import Gaussian
from flowatlas_molecules.chain_batches import ChainBatches
from flowatlas_molecules.frames import atoms_from_frames
from flowatlas_molecules.manifolds.backbone_frames import ANGSTROM
from flowatlas_molecules.proteins import PaddedChains, to_chains
from flowatlas_molecules.residues import LETTERS
from flowatlas_molecules.structures import Backbone

if TYPE_CHECKING:
    from flowatlas.training import DrawnData

__all__ = [
    "BackboneGeometry",
    "backbone_data",
    "backbone_objective",
    "backbone_path",
    "sample_backbones",
    "time_weight",
]

#: Spread of the translations at t = 0, angstrom.
_SPREAD = 10.0
#: Pairs of atoms closer than this have their distance in the loss, angstrom.
_NEAR = 6.0
#: The time from which errors count alike.
_LATEST = 0.97


def time_weight(t: Tensor) -> Tensor:
    r"""$1 / (1 - \min(t, 0.97))^2$: errors of the endpoint as errors of the velocity, bounded.

    Published models stop at 0.9. What is drawn can be no better than the predictions at the last
    steps, which there count too little for bonds to close.
    """
    return (1 - t.clamp(max=_LATEST)).reciprocal().square()


def backbone_path(*, residues: bool = False) -> ProductPath:
    r"""Frames from noise: rotations along geodesics of SO(3), translations along straight lines.

    $$R_t = R_0 \exp(t \log(R_0^\top R_1)), \quad R_0 \sim U(SO(3)), \qquad
      p_t = (1 - t)\, p_0 + t\, p_1, \quad p_0 \sim N(0, (10\,Å)^2),$$

    with residue types masked until they jump. Networks predict the frames at t = 1, and logits. The
    loss of translations counts twice, at 0.1 per angstrom.

    Data are centred. Sources are not: where the noise is as a whole, a Gaussian of its own, flows
    to the origin whatever the rest does, and tells nothing. `FrameTransformer` takes it off. So
    nothing has to know which residues of a batch are padding.

    Args:
        residues: whether residue types flow along as a third component.

    Reference: Fast protein backbone generation with SE(3) flow matching, Yim et al., 2023,
    arXiv:2310.05297. There rotations are trained from IGSO(3) noise and sampled from the uniform
    law; here both start at the uniform one. Types: Generative Flows on Discrete State-Spaces,
    Campbell et al., 2024, arXiv:2402.04997, here with one time for all.

    Example:
        ```python
        from flowatlas_molecules import backbone_path

        path = backbone_path().with_schedule(rotation=Exponential(10))
        ```
    """
    rotation = GeodesicPath(SO3(), prediction="target", time_weight=time_weight)
    translation = AffinePath(
        source=Gaussian(_SPREAD),
        prediction="target",
        weight=2 * ANGSTROM**2,
        time_weight=time_weight,
    )
    if not residues:
        return ProductPath(rotation=rotation, translation=translation)
    tokens = MixturePath(len(LETTERS), "mask", weight=0.5)
    return ProductPath(rotation=rotation, translation=translation, residue=tokens)


class BackboneGeometry:
    r"""A regulariser: predicted atoms in their places, and near ones at their distances.

    $$\frac{w(t)}{2} \Big( \overline{|\hat x - x|^2} + \overline{(|\hat x_a - \hat x_b| -
      |x_a - x_b|)^2} \Big) \, [t > t_0]$$

    over N, CA and C of the residues that exist, in units of ten angstrom; the second mean is over
    pairs within 6 angstrom in the data.

    Args:
        weight: factor of both.
        start: $t_0$; earlier, the endpoint is too uncertain.

    Raises:
        ConfigError: a negative weight, or a start outside [0, 1).

    Reference: SE(3) diffusion model with application to protein backbone generation, Yim et al.,
    2023, arXiv:2302.02277, section 4 (auxiliary losses); there over four atoms and not weighted by
    time.
    """

    def __init__(self, weight: float = 1.0, start: float = 0.5) -> None:
        if weight < 0 or not 0 <= start < 1:
            raise ConfigError(
                f"weight, start: got {weight} and {start}; a weight is zero or more, and start a "
                "time in [0, 1)."
            )
        self.weight, self.start = weight, start

    def __call__(self, sample: PathSample, prediction: Any) -> Tensor:
        assert isinstance(sample.x_1, Mapping)
        found, true = _three_atoms(prediction), _three_atoms(sample.x_1)
        batch, n = found.shape[:2]
        exists = torch.ones(batch, n, dtype=torch.bool, device=found.device)
        if sample.exists is not None:
            exists = sample.exists["translation"]
        here = exists.repeat_interleave(3, 1).to(found.dtype)
        place = ((found - true).square().sum(-1) * exists.unsqueeze(-1)).sum((1, 2)) / here.sum(1)
        apart, right = _distances(found.flatten(1, 2)), _distances(true.flatten(1, 2))
        near = (right < _NEAR * ANGSTROM) * here.unsqueeze(1) * here.unsqueeze(2)
        pairs = ((apart - right).square() * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1)
        active = (sample.t > self.start).to(found.dtype)
        return self.weight / 2 * active * time_weight(sample.t) * (place + pairs)


def _three_atoms(state: Mapping[str, Tensor]) -> Tensor:
    return ANGSTROM * atoms_from_frames(state["rotation"], state["translation"])[..., :3, :]


def _distances(x: Tensor) -> Tensor:
    """Between every two of `(batch, n, 3)`; smooth where two are one."""
    return ((x.unsqueeze(1) - x.unsqueeze(2)).square().sum(-1) + 1e-8).sqrt()


def backbone_objective(*, residues: bool = False, geometry: float = 3.0) -> FlowMatching:
    """Flow matching on `backbone_path`, with the distances of near atoms late in the flow.

    Args:
        residues: whether residue types flow along.
        geometry: weight of `BackboneGeometry`; 0 leaves it out.
    """
    regularizers = [BackboneGeometry(geometry)] if geometry > 0 else []
    return FlowMatching(backbone_path(residues=residues), regularizers=regularizers)


def backbone_data(
    train: PaddedChains,
    val: PaddedChains | None = None,
    *,
    residues: bool = False,
    batch_size: int = 8,
    seed: int = 0,
) -> DrawnData:
    """Batches of chains of like lengths for `fit`, masks included: see `ChainBatches`.

    Args:
        train: chains to fit.
        val: to measure the loss on.
        residues: whether residue types are part of the state.
        batch_size: chains a step.
        seed: of the order.
    """
    # Lightning, which takes seconds to import.
    from flowatlas.training import DrawnData

    return DrawnData(
        ChainBatches(train, residues=residues),
        None if val is None else ChainBatches(val, residues=residues).all(),
        batch_size=batch_size,
        val_batch_size=16,
        seed=seed,
    )


def sample_backbones(
    field: Field,
    lengths: Sequence[int],
    *,
    residues: bool = False,
    solver: Solver | None = None,
    rotation_schedule: Scheduler | None = None,
    chunk_size: int = 16,
    device: torch.device | str | None = None,
    generator: Any = None,
) -> list[Backbone]:
    """New backbones of given lengths.

    Rotations run ahead of translations, along an exponential schedule, as in the reference of
    `backbone_path`. Chains are drawn in the order of their lengths, `chunk_size` at a time.

    Args:
        field: a trained network.
        lengths: residues of each.
        residues: whether the field predicts residue types; X throughout if not.
        solver: `Euler(steps=100)` if None.
        rotation_schedule: `Exponential(10)` if None; `CondOT()` for none.
        chunk_size: chains integrated at once.
        device: where the field is.
        generator: one, or one for each chain.

    Returns:
        Chains in the order of `lengths`, with ideal bonds within residues and O placed as if
        residues were bonded.

    Raises:
        ConfigError: no lengths, or one that is not positive.

    Example:
        ```python
        from flowatlas_molecules import sample_backbones, write_structure
        from flowatlas_molecules.networks import FrameTransformer

        network = FrameTransformer(width=32, depth=1)  # not trained here
        chains = sample_backbones(network, [40, 60], solver=Euler(steps=2))
        write_structure("sample.pdb", chains[0])
        ```
    """
    if not lengths or min(lengths) < 1:
        raise ConfigError(f"lengths: got {list(lengths)}; one or more positive numbers.")
    schedule = Exponential(10.0) if rotation_schedule is None else rotation_schedule
    path = backbone_path(residues=residues).with_schedule(rotation=schedule)
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    found: dict[int, Backbone] = {}
    for first in range(0, len(order), chunk_size):
        rows = order[first : first + chunk_size]
        n = max(lengths[i] for i in rows)
        mask = torch.arange(n, device=device) < torch.tensor(
            [[lengths[i]] for i in rows], device=device
        )
        shape = {"rotation": (len(rows), n, 3, 3), "translation": (len(rows), n, 3)}
        if residues:
            shape["residue"] = (len(rows), n)
        own = isinstance(generator, Sequence)
        x = sample(
            field,
            path,
            shape=shape,
            mask=mask,
            solver=Euler(steps=100) if solver is None else solver,
            device=device,
            generator=[generator[i] for i in rows] if own else generator,
        )
        bonded = torch.ones(len(rows), n - 1, dtype=torch.bool, device=mask.device)
        bonded &= mask[:, 1:]
        atoms = atoms_from_frames(x["rotation"], x["translation"], bonded=bonded)
        for i, chain in zip(rows, to_chains(atoms, mask, x.get("residue")), strict=True):
            found[i] = chain
    return [found[i] for i in range(len(lengths))]
