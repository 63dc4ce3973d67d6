"""`molecules/perov-5`: crystal structures from compositions, beside the crystals themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from flowatlas.benchmarks import Fitted, Metric, Outcome, Published, SystemBenchmark, Task
from flowatlas.benchmarks.contract import Array
from flowatlas.solvers import Euler
from flowatlas_molecules.benchmarks.crystal_settings import (
    METHODS,
    PRESETS,
    CrystalMethod,
    CrystalPreset,
)
from flowatlas_molecules.crystal_flow import crystal_data, crystal_objective, crystal_path
from flowatlas_molecules.crystal_metrics import (
    close_share,
    copied_structures,
    crystal_metrics,
    displacements,
)
from flowatlas_molecules.crystal_plots import cell_gallery, length_histogram, match_curve
from flowatlas_molecules.crystal_sets import (
    PEROVSKITES_TEST,
    PEROVSKITES_VAL,
    ideal_perovskites,
    load_perovskites,
)
from flowatlas_molecules.crystal_system import CrystalSystem
from flowatlas_molecules.crystals import Crystal, pad_crystals, to_crystals
from flowatlas_molecules.manifolds.lattice import LatticePrior
from flowatlas_molecules.networks import PeriodicNetwork

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PEROV", "PerovBenchmark"]

#: Evaluations of the curve.
_CURVE = (1, 2, 4, 8, 16, 32, 64)
#: Crystals in the gallery.
_SHOWN = 6


CrystalTask = Task[CrystalMethod, CrystalPreset]


class PerovBenchmark(SystemBenchmark[CrystalMethod, CrystalPreset, CrystalSystem]):
    """Train on crystals, predict those of held-out compositions, and count what matches."""

    name = "molecules/perov-5"
    summary = "structures of perovskites from their compositions"
    data = (
        "perov-5: trained on the official validation file (3787 crystals), tested on the official "
        "test file (3785); demo: 540 cubic cells made of ionic radii"
    )
    licence = "MIT (CDVAE)"
    protocol = (
        "One prediction for each of as many test crystals as `samples` says, drawn by the seed. A "
        "match is pymatgen's StructureMatcher at site .5, angle 10 degrees and length .3; RMSE is "
        "the mean over matches of the root mean square displacement, in units of the cube root of "
        "the volume per atom. `copied` exchanges the elements of the training crystal whose "
        "composition is nearest in the periodic table; `source` is what the flow starts from."
    )
    baselines = {"copied": "nearest composition, copied", "source": "source"}  # noqa: RUF012
    methods = METHODS
    presets = PRESETS
    metrics = (
        Metric("match_rate", "matched", "higher"),
        Metric("rmse", "RMSE", digits=4),
        Metric("close", "within .1", "higher"),
        Metric("valid", "valid", "higher"),
        Metric("volume_error", "volume error"),
        Metric("seconds_training", "training, s", "", 0),
    )
    published = tuple(
        Published(
            metric=metric,
            method=method,
            value=value,
            spread=None,
            reference=reference,
            comparable=False,
            note="trained on the official training file (11356 crystals), all of the test file",
        )
        for method, reference, values in (
            ("FlowMM", "Miller et al., 2024, arXiv:2406.04713", (0.5315, 0.0992)),
            ("DiffCSP", "Jiao et al., 2023, arXiv:2309.04475", (0.5202, 0.0760)),
        )
        for metric, value in zip(("match_rate", "rmse"), values, strict=True)
    )

    def train(self, task: CrystalTask) -> Fitted[CrystalSystem]:
        # Lightning takes seconds to import, and lists of benchmarks do not need it.
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays

        preset, method = task.preset, task.method
        train, test = _crystals(task)
        batch = pad_crystals(train)
        prior = LatticePrior.fitted(batch.state["lattice"])
        torch.manual_seed(task.seed)
        network = PeriodicNetwork(preset.width, preset.depth, preset.frequencies)
        fitted = fit_network(
            network,
            crystal_objective(prior, permute=method.permute),
            crystal_data(batch, batch_size=preset.batch, seed=task.seed),
            task,
        )
        model = load_fitted(fitted.checkpoint, preset, network)
        assert isinstance(model, PeriodicNetwork)
        return Fitted(
            system=CrystalSystem(
                network=model,
                prior=prior,
                compositions=tuple(tuple(one.elements.tolist()) for one in test),
                slope=method.slope,
                steps=method.solver_steps,
            ),
            steps=fitted.step,
            seconds=fitted.seconds,
            losses=loss_arrays(fitted.log),
        )

    def score(self, fitted: Fitted[CrystalSystem], task: CrystalTask) -> Outcome:
        preset, system = task.preset, fitted.system
        train, test = _crystals(task)
        samples = system.draw(len(test), seed=task.seed)
        system.export(samples, task.directory / "samples")
        compositions = [one.elements for one in test]
        sets = {
            "": samples,
            "copied/": copied_structures(compositions, train),
            "source/": _source(test, system.prior, task.seed),
        }
        metrics = {
            prefix + name: value
            for prefix, group in sets.items()
            for name, value in crystal_metrics(group, test).items()
        }
        few = test[: preset.curve_samples]
        rates = []
        for steps in _CURVE:
            found = system.draw(len(few), seed=task.seed, solver=Euler(steps=steps))
            off = displacements(found, few)
            matched, close = (~off.isnan()).double().mean().item(), close_share(off)
            metrics |= {f"match_rate_{steps}": matched, f"close_{steps}": close}
            rates.append((matched, close))
        metrics["seconds_training"] = fitted.seconds
        metrics["parameters"] = float(sum(p.numel() for p in system.network.parameters()))
        arrays = {
            **fitted.losses,
            **_pictured("sample", samples),
            **_pictured("real", test),
            "evaluations": np.array(_CURVE),
            "rates": np.array(rates),
            "levels": np.array([metrics["copied/match_rate"], metrics["copied/close"]]),
        }
        notes = {
            "crystals": f"{len(train)} train, {len(test)} test, of which {len(few)} for the curve",
            "steps": f"{fitted.steps} of {preset.steps}",
            "files": "samples/*.cif beside the checkpoint",
        }
        return Outcome(metrics=metrics, nfe=system.steps, arrays=arrays, notes=notes)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve

        pictures = {
            "predicted crystals above, the crystals below": cell_gallery(
                [_shown(arrays, "sample"), _shown(arrays, "real")],
                names=["predicted", "real"],
                title=title,
            ),
            "match rate": match_curve(
                arrays["evaluations"], arrays["rates"], arrays["levels"], title=title
            ),
            "lengths of cells": length_histogram(
                arrays["sample_lattice"][:, :3], arrays["real_lattice"][:, :3], title=title
            ),
        }
        if len(arrays["loss"]):
            pictures["loss"] = loss_curve(arrays["loss_steps"], arrays["loss"], title=title)
        return pictures


def _crystals(task: CrystalTask) -> tuple[list[Crystal], list[Crystal]]:
    """Those to train on, and as many of the others as are predicted."""
    numbers = np.random.default_rng(task.seed)
    if task.preset.ideal:
        every = ideal_perovskites()
        order = numbers.permutation(len(every))
        held = order[: task.preset.samples]
        return [every[i] for i in order[task.preset.samples :]], [every[i] for i in held]
    train = load_perovskites(PEROVSKITES_VAL, data_root=task.data_root)
    test = load_perovskites(PEROVSKITES_TEST, data_root=task.data_root)
    order = numbers.permutation(len(test))[: task.preset.samples]
    return train, [test[i] for i in order]


def _source(test: Sequence[Crystal], prior: LatticePrior, seed: int) -> list[Crystal]:
    """What the flow starts from: atoms anywhere, in cells of the prior."""
    batch = pad_crystals(test)
    generator = torch.Generator().manual_seed(seed)
    x = crystal_path(prior).draw(batch.state, generator=generator)
    return to_crystals(x, batch.elements, batch.mask)


def _pictured(name: str, crystals: Sequence[Crystal]) -> dict[str, Array]:
    """Cells of all, atoms of a few."""
    few = pad_crystals(crystals[:_SHOWN])
    return {
        f"{name}_lattice": torch.stack([one.lattice for one in crystals]).float().numpy(),
        f"{name}_fractional": few.state["fractional"].numpy(),
        f"{name}_elements": few.elements.numpy(),
    }


def _shown(arrays: Mapping[str, Array], name: str) -> list[Crystal]:
    elements = torch.from_numpy(arrays[f"{name}_elements"])
    fractional = torch.from_numpy(arrays[f"{name}_fractional"])
    lattice = torch.from_numpy(arrays[f"{name}_lattice"])[: len(elements)]
    return to_crystals({"fractional": fractional, "lattice": lattice}, elements, elements > 0)


PEROV = PerovBenchmark()
