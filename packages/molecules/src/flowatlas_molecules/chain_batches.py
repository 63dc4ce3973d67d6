"""Training batches of chains that are about equally long."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas_molecules.proteins import PaddedChains

__all__ = ["ChainBatches"]


class ChainBatches:
    """Draws chains of one group of like lengths, and crops them to the longest: for `DrawnData`.

    What a network over pairs of residues costs grows with the square of the padded length. Chains
    are sorted by length into groups of equal size; a batch takes a group, in proportion to its
    size, and chains of it with replacement. So every chain is drawn equally often.

    Args:
        chains: of any lengths.
        residues: whether residue types are part of the state.
        groups: how many; fewer if there are fewer chains.

    Raises:
        ConfigError: no group.

    Example:
        ```python
        from flowatlas_molecules import ChainBatches, packaged_chains, pad_chains

        chains = pad_chains([*packaged_chains(32).train, *packaged_chains(64).train])
        draw = ChainBatches(chains, groups=2)
        batch = draw(8, torch.Generator().manual_seed(0))
        batch["mask"].shape  # (8, 32) or (8, 64)
        ```
    """

    def __init__(self, chains: PaddedChains, *, residues: bool = False, groups: int = 8) -> None:
        if groups < 1:
            raise ConfigError(f"groups: got {groups}; one or more.")
        names = ("rotation", "translation", *(("residue",) if residues else ()))
        self.state = {name: chains.state[name] for name in names}
        self.mask = chains.mask
        order = chains.lengths.argsort(stable=True)
        self.groups = order.tensor_split(min(groups, len(chains)))

    def all(self) -> dict[str, Any]:
        """Every chain, as it was padded."""
        return {"x_1": self.state, "mask": self.mask}

    def __call__(self, count: int, generator: torch.Generator) -> dict[str, Any]:
        """A batch of `count` chains."""
        sizes = torch.tensor([float(len(group)) for group in self.groups])
        group = self.groups[int(torch.multinomial(sizes, 1, generator=generator))]
        rows = group[torch.randint(len(group), (count,), generator=generator)]
        return self._of(rows)

    def _of(self, rows: Tensor) -> dict[str, Any]:
        mask = self.mask[rows]
        n = int(mask.sum(1).max())
        return {
            "x_1": {name: value[rows, :n] for name, value in self.state.items()},
            "mask": mask[:, :n],
        }
