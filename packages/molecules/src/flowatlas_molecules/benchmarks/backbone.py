"""`molecules/backbone`: new protein backbones, beside real chains that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from flowatlas.benchmarks import Fitted, Judge, Metric, Outcome, SystemBenchmark, Task
from flowatlas.benchmarks.contract import Array
from flowatlas.solvers import Solver
from flowatlas_molecules.backbone_flow import backbone_data, backbone_objective
from flowatlas_molecules.backbone_system import BackboneSystem
from flowatlas_molecules.backbone_torsions import backbone_torsions, chain_from_torsions
from flowatlas_molecules.benchmarks.backbone_settings import (
    METHODS,
    PRESETS,
    BackboneMethod,
    BackbonePreset,
)
from flowatlas_molecules.metrics import backbone_metrics, composition_distance
from flowatlas_molecules.networks import FrameTransformer
from flowatlas_molecules.packaged import packaged_chains
from flowatlas_molecules.plots import backbone_angles, chain_gallery
from flowatlas_molecules.proteins import ChainSplit, load_chains, pad_chains, split_by_cluster
from flowatlas_molecules.structures import Backbone

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BACKBONE", "BackboneBenchmark"]


BackboneTask = Task[BackboneMethod, BackbonePreset]


class BackboneBenchmark(SystemBenchmark[BackboneMethod, BackbonePreset, BackboneSystem]):
    """Train on real chains, draw new ones of the lengths of held-out ones, and measure both."""

    name = "molecules/backbone"
    summary = "new protein backbones of 40 to 128 residues"
    data = "395 gap-free PDB chains, a stand-in for the PDB; demo: pieces of two structures"
    licence = "as at the origins; the coordinates are PDB entries"
    protocol = (
        "Chains are split by sequence cluster, 15 % of them held out as test. Samples have lengths "
        "drawn from those of test chains. Every number is printed beside that of the held-out "
        "chains, of as many training chains, and of chains of ideal bonds whose torsions are drawn "
        "independently from training residues. Residue types, where they flow along, are compared "
        "with those of the held-out chains by total variation. Designability needs the weights of "
        "a folding network and is not measured."
    )
    baselines = {  # noqa: RUF012
        "heldout": "held-out real chains",
        "train": "training chains",
        "torsions": "independent torsions",
    }
    measure = "share of neighbouring CA 3.8 Å apart, over that of held-out chains"
    methods = METHODS
    presets = PRESETS
    metrics = (
        Metric("ca_valid", "CA 3.8 Å apart", "higher"),
        Metric("ca_spacing", "CA spacing, Å", "", 2),
        Metric("peptide_bond", "C-N error, Å"),
        Metric("clashes", "clashes / 100", "lower", 2),
        Metric("helix", "helix", ""),
        Metric("strand", "strand", ""),
        Metric("handedness", "right-handed", ""),
        Metric("compactness", "Rg / expected", ""),
        Metric("tm_diversity", "1 - TM", ""),
        Metric("composition", "residues, TV", "lower"),
        Metric("seconds_training", "training, s", "", 0),
    )

    def train(self, task: BackboneTask) -> Fitted[BackboneSystem]:
        # Lightning takes seconds to import, and lists of benchmarks do not need it.
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays

        preset, method = task.preset, task.method
        chains = _chains(task)
        torch.manual_seed(task.seed)
        network = FrameTransformer(
            preset.width,
            preset.pair_width,
            preset.depth,
            preset.heads,
            neighbors=preset.neighbors,
            residues=method.residues,
        )
        fitted = fit_network(
            network,
            backbone_objective(residues=method.residues, geometry=method.geometry),
            backbone_data(
                pad_chains(chains.train),
                pad_chains(chains.val) if chains.val else None,
                residues=method.residues,
                batch_size=preset.batch,
                seed=task.seed,
            ),
            task,
        )
        model = load_fitted(fitted.checkpoint, preset, network)
        assert isinstance(model, FrameTransformer)
        return Fitted(
            system=BackboneSystem(
                network=model,
                lengths=tuple(len(chain) for chain in chains.test),
                rotation_rate=method.rotation_rate,
                steps=method.solver_steps,
            ),
            steps=fitted.step,
            seconds=fitted.seconds,
            losses=loss_arrays(fitted.log),
        )

    def score(self, fitted: Fitted[BackboneSystem], task: BackboneTask) -> Outcome:
        preset, system = task.preset, fitted.system
        chains = _chains(task)
        samples = system.draw(preset.samples, seed=task.seed)
        system.export(samples, task.directory / "samples")
        order = np.random.default_rng(task.seed).permutation(len(chains.train))
        sets = {
            "": samples,
            "heldout/": list(chains.test),
            "train/": [chains.train[i] for i in order[: preset.samples]],
            "torsions/": _of_torsions(chains.train, [len(one) for one in samples], task.seed),
        }
        metrics = {
            prefix + name: value
            for prefix, group in sets.items()
            for name, value in backbone_metrics(group, pairs=preset.pairs, seed=task.seed).items()
        }
        if system.network.residues:
            for prefix in ("", "train/"):
                found = composition_distance(sets[prefix], chains.test)
                metrics[f"{prefix}composition"] = found
        metrics["seconds_training"] = fitted.seconds
        metrics["parameters"] = float(sum(p.numel() for p in system.network.parameters()))
        notes = {
            "chains": f"{len(chains.train)} train, {len(chains.val)} val, {len(chains.test)} test",
            "steps": f"{fitted.steps} of {preset.steps}",
            "files": "samples/*.pdb beside the checkpoint",
        }
        return Outcome(
            metrics=metrics,
            nfe=system.steps,
            arrays={
                **fitted.losses,
                **_pictured("sample", samples),
                **_pictured("real", chains.test),
            },
            notes=notes,
        )

    @property
    def couplings(self) -> Mapping[str, str]:
        # Noise and chains are not paired: residues have an order, and chains a length.
        return {"independent": "frames"}

    def judge(self, task: BackboneTask) -> Judge[BackboneSystem]:
        chains = _chains(task)
        real = _spaced(chains.test)

        def judged(system: BackboneSystem, solver: Solver) -> float:
            drawn = system.draw(task.preset.samples, seed=task.seed, solver=solver)
            return min(1.0, _spaced(drawn) / real)

        return judged

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve

        pictures = {
            "samples above, held-out chains below": chain_gallery(
                [_split(arrays, "sample"), _split(arrays, "real")],
                names=["samples", "held-out chains"],
                title=title,
            ),
            "backbone torsions": backbone_angles(
                arrays["real_angles"], arrays["sample_angles"], title=title
            ),
        }
        if len(arrays["loss"]):
            pictures["loss"] = loss_curve(
                arrays["loss_steps"],
                arrays["loss"],
                validation=(arrays["validation_steps"], arrays["validation"]),
                title=title,
            )
        return pictures


def _chains(task: BackboneTask) -> ChainSplit:
    preset = task.preset
    if preset.packaged:
        return packaged_chains(preset.max_length)
    chains, clusters = load_chains(
        min_length=preset.min_length, max_length=preset.max_length, data_root=task.data_root
    )
    return split_by_cluster(chains, clusters, seed=task.seed)


def _spaced(chains: Sequence[Backbone]) -> float:
    return backbone_metrics(chains, pairs=1)["ca_valid"]


def _of_torsions(real: Sequence[Backbone], lengths: Sequence[int], seed: int) -> list[Backbone]:
    """Chains of ideal bonds whose residues have the torsions of real ones, independently."""
    found = [backbone_torsions(chain.atoms) for chain in real]
    angles = torch.cat([one.angles[one.exists.all(-1)] for one in found])
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(len(angles), (n,), generator=generator) for n in lengths]
    return [
        Backbone(chain_from_torsions(angles[row].double()), "X" * len(row), "torsions")
        for row in rows
    ]


def _pictured(name: str, chains: Sequence[Backbone], count: int = 4) -> dict[str, Array]:
    """CA of a few chains, end to end, and the angles of all."""
    few = chains[:count]
    found = [backbone_torsions(chain.atoms) for chain in chains]
    angles = torch.cat([one.angles[one.exists.all(-1)][:, :2] for one in found])
    return {
        f"{name}_ca": torch.cat([chain.atoms[:, 1] for chain in few]).float().numpy(),
        f"{name}_lengths": np.array([len(chain) for chain in few]),
        f"{name}_angles": angles.float().numpy(),
    }


def _split(arrays: Mapping[str, Array], name: str) -> list[Array]:
    return np.split(arrays[f"{name}_ca"], np.cumsum(arrays[f"{name}_lengths"])[:-1])


BACKBONE = BackboneBenchmark()
