"""What makes backbones look like proteins, without the weights of anybody's network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas_molecules.dihedrals import dihedrals
from flowatlas_molecules.residues import LETTERS
from flowatlas_molecules.structures import Backbone

__all__ = [
    "backbone_metrics",
    "composition_distance",
    "handedness",
    "radius_of_gyration",
    "secondary_structure",
    "superposed_rmsd",
    "tm_score",
]

#: Distance of neighbouring CA across a trans bond, and what still counts as it, angstrom.
_SPACING, _TOLERANCE = 3.80, 0.2
_PEPTIDE_BOND = 1.329
#: CA that are no neighbours are further apart than this in real chains, angstrom.
_CLASH = 3.6


def superposed_rmsd(x: Tensor, y: Tensor) -> Tensor:
    r"""Root mean square deviation after the best rotation and translation; mirrors do not count.

    $$\min_{R \in SO(3),\, s} \sqrt{\tfrac1n \textstyle\sum_i |R x_i + s - y_i|^2}$$

    Args:
        x: `(..., n, 3)`.
        y: `(..., n, 3)`.

    Returns:
        `(...)`, in the unit of the points.

    Raises:
        ShapeError: sets of different shapes, or points that are not in space.

    Reference: A solution for the best rotation to relate two sets of vectors, Kabsch, Acta Cryst.
    A32 (1976); the sign of the last singular value: Umeyama, 1991 (from memory).
    """
    if x.shape != y.shape or x.ndim < 2 or x.shape[-1] != 3 or x.shape[-2] == 0:
        raise ShapeError(
            f"x, y: got shapes {tuple(x.shape)} and {tuple(y.shape)}; both are (..., n, 3)."
        )
    x, y = (z.double() - z.double().mean(-2, keepdim=True) for z in (x, y))
    u, _, v = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(u[..., 0])
    sign[..., 2] = torch.linalg.det(u @ v).sign()
    turned = x @ (u * sign.unsqueeze(-2)) @ v
    rmsd: Tensor = (turned - y).square().sum(-1).mean(-1).sqrt()
    return rmsd


def radius_of_gyration(ca: Tensor) -> Tensor:
    """Root mean square distance of points `(..., n, 3)` from their centre, `(...)`."""
    return (ca - ca.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt()


def secondary_structure(chain: Backbone) -> tuple[float, float]:
    """Shares of residues in helices and in strands, by the P-SEA rules on CA alone.

    Reference: P-SEA: a new efficient assignment of secondary structure from C-alpha trace of
    proteins, Labesse et al., Comput. Appl. Biosci. 13 (1997); as biotite implements it.
    """
    from biotite.structure import AtomArray, annotate_sse

    # Below five residues it has no dihedrals to read.
    if len(chain) < 5:
        return 0.0, 0.0
    array = AtomArray(len(chain))
    array.coord = chain.atoms[:, 1].detach().cpu().float().numpy()
    array.atom_name[:] = "CA"
    array.res_name[:] = "GLY"
    array.res_id[:] = np.arange(1, len(chain) + 1)
    array.chain_id[:] = "A"
    found = annotate_sse(array)
    return float((found == "a").mean()), float((found == "b").mean())


def handedness(chains: Sequence[Backbone]) -> float:
    """Share of right-handed turns among those of helical dihedral, 50 degrees within 20 of CA.

    Near 1 for real proteins, one half without a preference, and near 0 for mirror images; NaN if
    there are none.
    """
    right = left = 0
    for chain in chains:
        if len(chain) >= 4:
            ca = chain.atoms[:, 1]
            angle = torch.rad2deg(dihedrals(ca.unfold(0, 4, 1).mT))
            right += int(((angle - 50).abs() < 20).sum())
            left += int(((angle + 50).abs() < 20).sum())
    return right / (right + left) if right + left else math.nan


def tm_score(a: Backbone, b: Backbone) -> float:
    """TM score of the best alignment of two chains, by the mean of both lengths' norms.

    One for the same fold, about 0.2 for unrelated ones; above 0.5 the folds are mostly the same.

    Reference: TM-align: a protein structure alignment algorithm based on the TM-score, Zhang and
    Skolnick, Nucleic Acids Research 33 (2005); as tmtools wraps it.
    """
    import tmtools

    x, y = (c.atoms[:, 1].detach().cpu().double().numpy() for c in (a, b))
    # Letters do not change the alignment, but there must be some.
    found = tmtools.tm_align(x, y, "A" * len(x), "A" * len(y))
    return float((found.tm_norm_chain1 + found.tm_norm_chain2) / 2)


def composition_distance(chains: Sequence[Backbone], others: Sequence[Backbone]) -> float:
    r"""Total variation between the residue types of two sets, $\tfrac12 \sum_a |p_a - q_a|$.

    Zero for equal shares of the twenty amino acids, one for none in common; NaN if a set has none
    of them. Residues of unknown type do not count.
    """
    shares = []
    for some in (chains, others):
        found = Counter("".join(chain.sequence for chain in some))
        counts = np.array([found[letter] for letter in LETTERS], dtype=float)
        shares.append(counts / counts.sum() if counts.any() else np.full(len(LETTERS), math.nan))
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def backbone_metrics(
    chains: Sequence[Backbone], *, pairs: int = 60, seed: int = 0
) -> dict[str, float]:
    """Numbers that mean something beside those of real chains.

    Args:
        chains: whole ones: gaps would count as wrong spacings.
        pairs: of different chains whose TM score is taken, at most.
        seed: of the choice of pairs.

    Returns:
        By name:

        - `ca_valid`: share of neighbouring CA whose distance is 3.8 within 0.2 angstrom.
        - `ca_spacing`: their mean distance, angstrom.
        - `peptide_bond`: mean absolute deviation of C-N bonds from 1.329 angstrom.
        - `clashes`: pairs of CA that are no neighbours and nearer than 3.6 angstrom, per 100
          residues.
        - `helix`, `strand`: shares of residues.
        - `handedness`: of turns that are nearly helical.
        - `compactness`: mean of the radius of gyration over that of proteins of the length, 2.2
          n^0.38 angstrom.
        - `tm_diversity`: one minus the mean TM score of pairs; NaN for a single chain.

    Raises:
        ConfigError: no chains, or one of a single residue.

    Reference: the radius of gyration of folded chains: Skolnick et al., J. Mol. Biol. 265 (1997)
    (from memory).
    """
    if not chains or min(len(chain) for chain in chains) < 2:
        raise ConfigError("chains: got none, or one of a single residue; nothing can be measured.")
    atoms = [chain.atoms.detach().cpu().double() for chain in chains]
    ca = [one[:, 1] for one in atoms]
    spacing = torch.cat([one.diff(dim=0).norm(dim=-1) for one in ca])
    bond = torch.cat([(one[1:, 0] - one[:-1, 2]).norm(dim=-1) for one in atoms])
    near = sum(int((torch.cdist(one, one) < _CLASH).triu(2).sum()) for one in ca)
    content = [secondary_structure(chain) for chain in chains]
    ratio = [float(radius_of_gyration(one)) / (2.2 * len(one) ** 0.38) for one in ca]
    return {
        "ca_valid": ((spacing - _SPACING).abs() < _TOLERANCE).double().mean().item(),
        "ca_spacing": spacing.mean().item(),
        "peptide_bond": (bond - _PEPTIDE_BOND).abs().mean().item(),
        "clashes": 100 * near / sum(map(len, ca)),
        "helix": float(np.mean([helix for helix, _ in content])),
        "strand": float(np.mean([strand for _, strand in content])),
        "handedness": handedness(chains),
        "compactness": float(np.mean(ratio)),
        "tm_diversity": 1 - _mean_tm_score(chains, pairs, seed),
    }


def _mean_tm_score(chains: Sequence[Backbone], pairs: int, seed: int) -> float:
    n = len(chains)
    every = [(i, j) for i in range(n) for j in range(i)]
    if not every or pairs < 1:
        return math.nan
    chosen = np.random.default_rng(seed).permutation(len(every))[:pairs]
    return float(np.mean([tm_score(chains[every[k][0]], chains[every[k][1]]) for k in chosen]))
