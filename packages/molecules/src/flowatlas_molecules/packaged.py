"""Real chains that ship inside a dependency: two structures among the examples of tmtools."""

from __future__ import annotations

from pathlib import Path

from flowatlas.errors import ConfigError, DataError
from flowatlas_molecules.frames import connected
from flowatlas_molecules.proteins import ChainSplit
from flowatlas_molecules.structures import Backbone, read_structure

__all__ = ["packaged_chains"]

#: Earthworm haemoglobin has four kinds of globins and three linkers; the penicillin-binding protein
#: is one chain, many times.
_TRAIN = ("2gtl_A", "2gtl_B", "2gtl_M", "2gtl_N", "7ok9_A")
_TEST = ("2gtl_C", "2gtl_D", "2gtl_O")


def packaged_chains(length: int = 32, *, stride: int = 8) -> ChainSplit:
    """Pieces of `length` residues of PDB entries 2GTL and 7OK9, without gaps, types known.

    Training and test pieces are of different chains, but the globins of both are akin: a set to try
    things on, not to claim anything by.

    Args:
        length: in residues.
        stride: from the start of a piece to that of the next.

    Raises:
        ConfigError: a length or stride that leaves nothing.
        DataError: tmtools has no such files.

    Example:
        ```python
        from flowatlas_molecules import packaged_chains

        len(packaged_chains(32).train)  # 136
        ```
    """
    if length < 5 or stride < 1:
        raise ConfigError(f"length, stride: got {length} and {stride}; at least 5 and 1.")
    import tmtools

    folder = Path(tmtools.__file__).parent / "data"
    whole: dict[str, Backbone] = {}
    for file in ("2gtl.pdb", "7ok9.pdb"):
        if not (folder / file).exists():
            raise DataError(f"{folder / file}: is not there. Install tmtools 0.3, which has it.")
        whole |= {chain.name: chain for chain in read_structure(folder / file).chains}
    train = [piece for name in _TRAIN for piece in _pieces(whole[name], length, stride)]
    test = [piece for name in _TEST for piece in _pieces(whole[name], length, stride)]
    if not train or not test:
        raise ConfigError(f"length: got {length}; the chains are too short for such pieces.")
    return ChainSplit(tuple(train), (), tuple(test))


def _pieces(chain: Backbone, length: int, stride: int) -> list[Backbone]:
    bonded = connected(chain.atoms)
    found = []
    for start in range(0, len(chain) - length + 1, stride):
        rows = slice(start, start + length)
        if bonded[start : start + length - 1].all() and "X" not in chain.sequence[rows]:
            found.append(Backbone(chain.atoms[rows], chain.sequence[rows], f"{chain.name}_{start}"))
    return found
