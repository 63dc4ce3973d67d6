"""Real protein chains: the set of the data folder, split by cluster, and padded batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowatlas.data import DataSet, find
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import SE3
from flowatlas_molecules.frames import frames_from_atoms
from flowatlas_molecules.residues import LETTERS, tokens
from flowatlas_molecules.structures import Backbone

__all__ = [
    "CHAINS",
    "ChainSplit",
    "PaddedChains",
    "load_chains",
    "pad_chains",
    "split_by_cluster",
    "to_chains",
]

_SHA256 = "47385d3cc1ebd187eb82958d602e3e8fce18de22701a910ad38f2764cc7088fd"


@dataclass(frozen=True, slots=True)
class PaddedChains:
    """Chains of a batch, padded to the longest.

    Attributes:
        state: `rotation` `(batch, n, 3, 3)`, `translation` `(batch, n, 3)` in angstrom, centred on
            the mean of CA, and `residue` `(batch, n)`, tokens. Padding has frames at the origin
            and tokens 0.
        mask: `(batch, n)`, True where a residue exists.
    """

    state: dict[str, Tensor]
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def lengths(self) -> Tensor:
        """Residues of each chain, `(batch,)`."""
        return self.mask.sum(1)


@dataclass(frozen=True, slots=True)
class ChainSplit:
    """Chains of different clusters.

    Attributes:
        train: to fit.
        val: to choose by.
        test: to compare samples with.
    """

    train: tuple[Backbone, ...]
    val: tuple[Backbone, ...]
    test: tuple[Backbone, ...]


def pad_chains(chains: Sequence[Backbone], *, length: int | None = None) -> PaddedChains:
    """Frames and residue types of chains of different lengths.

    Args:
        chains: without residues of unknown type.
        length: to pad to; the longest chain's if None.

    Raises:
        ConfigError: no chains, or one longer than `length`.
        DataError: a residue that is none of the twenty.

    Example:
        ```python
        from flowatlas_molecules import Backbone, chain_from_torsions, pad_chains

        helix = torch.tensor([-57.0, -47.0, 180.0]).deg2rad()
        chains = [Backbone(chain_from_torsions(helix.expand(n, 3)), n * "A") for n in (20, 30)]
        batch = pad_chains(chains)
        batch.mask.shape  # (2, 30)
        ```
    """
    if not chains:
        raise ConfigError("chains: got none; a batch needs at least one.")
    longest = max(len(chain) for chain in chains)
    n = longest if length is None else length
    if longest > n:
        raise ConfigError(f"length: got {n}, and a chain has {longest} residues. Crop or raise it.")
    rotation = torch.eye(3).repeat(len(chains), n, 1, 1)
    translation = torch.zeros(len(chains), n, 3)
    residue = torch.zeros(len(chains), n, dtype=torch.int64)
    mask = torch.zeros(len(chains), n, dtype=torch.bool)
    for i, chain in enumerate(chains):
        rows = slice(0, len(chain))
        turn, place = frames_from_atoms(chain.atoms)
        rotation[i, rows] = turn
        translation[i, rows] = place - place.mean(0)
        residue[i, rows] = tokens(chain.sequence)
        mask[i, rows] = True
    state = {"rotation": rotation, "translation": translation, "residue": residue}
    return PaddedChains(state, mask)


def to_chains(atoms: Tensor, mask: Tensor, residue: Tensor | None = None) -> list[Backbone]:
    """Single chains from a padded batch, for writing and scoring.

    Args:
        atoms: `(batch, n, 4, 3)`, angstrom.
        mask: `(batch, n)`.
        residue: tokens `(batch, n)`; X throughout if None.
    """
    chains = []
    for i, here in enumerate(mask):
        ids = None if residue is None else residue[i][here].tolist()
        sequence = "X" * int(here.sum()) if ids is None else "".join(LETTERS[k] for k in ids)
        chains.append(Backbone(atoms[i][here], sequence, f"sample_{i:03d}"))
    return chains


def load_chains(
    *,
    min_length: int = 40,
    max_length: int = 128,
    data_root: str | os.PathLike[str] | None = None,
) -> tuple[list[Backbone], list[int]]:
    """Whole chains without gaps, of lengths from `min_length` to `max_length`, and their clusters.

    Chains with a residue that is none of the twenty are left out.

    Args:
        min_length: in residues.
        max_length: in residues.
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Raises:
        DataError: the file is missing or not the right one.
    """
    arrays = _arrays(find(CHAINS, data_root))
    ends = np.cumsum(arrays["length"].astype(np.int64))
    chains, clusters = [], []
    for i, end in enumerate(ends):
        n = int(arrays["length"][i])
        rows = slice(int(end) - n, int(end))
        sequence = str(arrays["sequence"][i])
        whole = (
            arrays["gap_free"][i] and arrays["mask"][rows].all() and set(sequence) <= set(LETTERS)
        )
        if min_length <= n <= max_length and whole:
            atoms = torch.from_numpy(arrays["xyz_n_ca_c_o"][rows]).float()
            chains.append(Backbone(atoms, sequence, str(arrays["id"][i])))
            clusters.append(int(arrays["cluster"][i]))
    return chains, clusters


def split_by_cluster(
    chains: Sequence[Backbone],
    clusters: Sequence[int],
    *,
    seed: int = 0,
    val: float = 0.1,
    test: float = 0.15,
) -> ChainSplit:
    """Split so that no cluster is on two sides.

    Args:
        chains: to split.
        clusters: of each chain.
        seed: of the order in which clusters are dealt out.
        val: share of the chains, roughly: whole clusters until it is reached. No cluster with more
            than a twentieth of the chains is held out.
        test: likewise.

    Raises:
        ConfigError: lists of different lengths, or shares that leave nothing to train on.
    """
    if len(chains) != len(clusters):
        raise ConfigError(f"clusters: got {len(clusters)} for {len(chains)} chains; one for each.")
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ConfigError(f"val, test: got {val} and {test}; shares that add up to less than 1.")
    members: dict[int, list[int]] = {}
    for i, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(i)
    groups = sorted(members)
    order = np.random.default_rng(seed).permutation(len(groups))
    parts: dict[str, list[int]] = {"val": [], "test": [], "train": []}
    wanted = {"val": val * len(chains), "test": test * len(chains)}
    for k in order:
        group = members[groups[k]]
        small = len(group) <= max(1, len(chains) // 20)
        open_ = [name for name in wanted if small and len(parts[name]) < wanted[name]]
        parts[open_[0] if open_ else "train"] += group
    return ChainSplit(*(tuple(chains[i] for i in parts[name]) for name in ("train", "val", "test")))


def _arrays(path: Path | None) -> dict[str, Any]:
    assert path is not None
    names = ("length", "gap_free", "mask", "sequence", "id", "cluster", "xyz_n_ca_c_o")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: is no readable set of chains ({error}). Restore the original file; its "
            f"sha256 is {_SHA256}."
        ) from error


def _read_frames(path: Path | None) -> Tensor:
    arrays = _arrays(path)
    atoms = torch.from_numpy(arrays["xyz_n_ca_c_o"][arrays["mask"]]).double()
    return SE3.join(*frames_from_atoms(atoms))


CHAINS = DataSet(
    name="proteins/chains",
    summary="frames of 190501 residues in 1231 PDB chains of 40-256 residues, angstrom",
    manifold=SE3,
    read=_read_frames,
    origin="PDB chains (octavian-ganea/equidock_public@ac2c754399bf, chaconlab/korpm and others)",
    licence="as at the origins; the coordinates are PDB entries",
    file="proteins/pdb_chains.npz",
    sha256=_SHA256,
)
