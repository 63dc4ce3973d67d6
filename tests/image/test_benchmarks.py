"""Benchmarks of images: settings, what the scores see, and a run from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flowatlas.benchmarks import Task, run
from flowatlas.couplings import WithinCondition
from flowatlas.errors import ConfigError, DataError
from flowatlas.plots import png
from flowatlas.solvers import Euler
from flowatlas_image.benchmarks import IMAGE_METHODS, ImageMethod, ImagePreset
from flowatlas_image.benchmarks.masks import given_pixels
from flowatlas_image.benchmarks.scores import Judge, class_gaussians
from flowatlas_image.benchmarks.sets import CIFAR10, DIGITS, FASHION, MNIST
from flowatlas_image.data import DIGITS as IMAGES
from flowatlas_image.data import LabelledImages
from flowatlas_image.metrics import train_classifier
from flowatlas_image.plots import sheet

TINY = {
    "steps": 120,
    "warmup": 10,
    "lr": 5e-3,
    "width": 16,
    "samples": 120,
    "classifier_steps": 150,
    "curve": (1, 4),
    "completed": 20,
    "max_seconds": None,
    "ema": 0.9,
}


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="coupling: got 'best'"):
        ImageMethod(name="a", summary="b", coupling="best")
    with pytest.raises(ConfigError, match="even for midpoint"):
        ImageMethod(name="a", summary="b", solver="midpoint", evaluations=5)
    with pytest.raises(ConfigError, match="dropout: got 0"):
        ImageMethod(name="a", summary="b", dropout=0.0)
    with pytest.raises(ConfigError, match="given: got 2"):
        ImageMethod(name="a", summary="b", given=2.0)
    with pytest.raises(ConfigError, match="share: got -1"):
        given_pixels(torch.zeros(2, 1, 4, 4), -1)
    with pytest.raises(ConfigError, match="width: got 12"):
        ImagePreset(width=12, batch=1, lr=1.0, steps=1)
    with pytest.raises(ConfigError, match="curve"):
        ImagePreset(width=16, batch=1, lr=1.0, steps=1, curve=(0.5,))


def test_images_are_judged_by_their_distance(tmp_path: Path) -> None:
    preset = replace(DIGITS.preset("demo"), samples=300, classifier_steps=150)
    method = DIGITS.method(DIGITS.couplings["independent"])
    judge = DIGITS.judge(Task(method=method, preset=preset, seed=0, directory=tmp_path))
    real, seen = IMAGES.load().train, []

    class Given:
        """Training images of the classes asked for, some of them as noise."""

        def __init__(self, share: float) -> None:
            self.noisy = round(300 * share)

        def draw(self, count: int, *, labels: torch.Tensor, **_: object) -> LabelledImages:
            seen.append(labels)
            rows = torch.tensor(
                [
                    int((real.labels == label).nonzero()[-1 - i % 50])
                    for i, label in enumerate(labels)
                ]
            )
            pixels = real.pixels[rows].clone()
            generator = torch.Generator().manual_seed(0)
            noise = torch.randint(256, pixels.shape, generator=generator).to(torch.uint8)
            pixels[: self.noisy] = noise[: self.noisy]
            return LabelledImages(pixels, labels)

    values = [judge(Given(share), Euler(1)) for share in (0.0, 0.1, 1.0)]  # type: ignore[arg-type]
    assert 0.6 < values[0] <= 1.0
    assert values[0] > 2 * values[1] > 4 * values[2]
    assert len(seen[0]) == 300
    coupled = {DIGITS.method(name).coupling for name in DIGITS.couplings.values()}
    assert coupled == {"independent", "ot"}


def test_evaluations_are_what_a_solver_asks_for() -> None:
    from flowatlas.paths import AffinePath
    from flowatlas.sampling import integrate

    calls = 0

    def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return -x

    for method in (*IMAGE_METHODS.values(), ImageMethod(name="a", summary="b", solver="midpoint")):
        for n in (1, 2, 10):
            calls = 0
            x = torch.zeros(2, 1, 4, 4)
            integrate(field, AffinePath(point_ndim=0), x, solver=method.build_solver(n))
            assert calls == n, method.name


def test_optimal_transport_stays_within_classes() -> None:
    coupling = IMAGE_METHODS["ot"].build_coupling()
    assert isinstance(coupling, WithinCondition)
    x_0 = torch.tensor([3.0, 1.0, 2.0, 0.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    x_1 = torch.tensor([0.0, 5.0, 9.0, 1.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    label = torch.tensor([0, 0, 1, 1])
    found = coupling.couple(x_0, x_1, condition={"label": label})
    assert isinstance(found, torch.Tensor)
    assert found[:, 0, 0, 0].tolist() == [1.0, 3.0, 2.0, 0.0]


def test_given_pixels_are_strips_along_a_side() -> None:
    """Half of the images have one, a quarter to three quarters wide, each side as often."""
    x = torch.zeros(4000, 2, 8, 10)
    given = given_pixels(x, 0.5, generator=torch.Generator().manual_seed(0))
    assert given.shape == x.shape
    assert torch.equal(given[:, 0], given[:, 1])
    some = given[:, 0].flatten(1).any(1)
    # Five standard errors of a share of 4000 or 2000 are 0.04 and 0.05.
    assert abs(float(some.float().mean()) - 0.5) < 0.04
    strips = given[some, 0]
    share = strips.float().mean((1, 2))
    assert share.min() >= 0.2 and share.max() <= 0.8
    assert abs(float(share.mean()) - 0.5) < 0.02
    corners = torch.stack([strips[:, 0, 0], strips[:, 0, -1], strips[:, -1, 0], strips[:, -1, -1]])
    sides = {"top": (0, 1), "bottom": (2, 3), "left": (0, 2), "right": (1, 3)}
    for side, (a, b) in sides.items():
        held = corners[a] & corners[b] & (corners.sum(0) == 2)
        assert abs(float(held.float().mean()) - 0.25) < 0.05, side
    # A strip is whole: along one of the two axes all its lines are alike.
    level, upright = (strips == strips[:, :, :1]), (strips == strips[:, :1])
    assert bool((level.flatten(1).all(1) | upright.flatten(1).all(1)).all())
    assert not bool(given_pixels(x, 0.0).any())
    assert bool(given_pixels(x, 1.0).flatten(1).any(1).all())


def test_gaussians_have_the_moments_of_their_class() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(100, 156, (400, 1, 2, 2), dtype=torch.uint8, generator=generator)
    labels = torch.arange(400) % 2
    base[labels == 1] += 60
    train = LabelledImages(base, labels)
    wanted = torch.tensor([0, 1]).repeat(4000)
    drawn = class_gaussians(train, wanted, generator)
    for label in (0, 1):
        data, x = train.x_1[labels == label], drawn[wanted == label]
        # Standard error of a mean of 4000 is 0.002; five of them.
        assert (data.mean(0) - x.mean(0)).abs().max() < 0.01
        assert torch.allclose(data.std(0), x.std(0), rtol=0.1)


def test_scores_see_what_is_wrong() -> None:
    parts = IMAGES.load()
    judge = Judge.of(
        train_classifier(parts.train.x_1, parts.train.labels, 10, steps=200), parts.test
    )
    real, _ = parts.train.divided(400, seed=0)
    good = judge.scores(real.x_1, real.labels)
    assert good["accuracy"] > 0.9 and good["precision"] > 0.9 and good["coverage"] > 0.9
    shuffled = judge.scores(real.x_1, (real.labels + 1) % 10)
    assert shuffled["accuracy"] < 0.1 and shuffled["fd"] == good["fd"]
    noisy = judge.scores(real.x_1 + 0.5 * torch.randn_like(real.x_1), real.labels)
    assert noisy["fd"] > 2 * good["fd"] and noisy["swd"] > 1.5 * good["swd"]
    zeros = real.rows(real.labels == 0)
    one = judge.scores(zeros.x_1, zeros.labels)
    assert one["fd"] > 5 * good["fd"] and one["coverage"] < 0.5
    # All of them are like some test image, and few test images are like any of them.
    assert one["precision"] > 0.9 and one["recall"] < 0.6


def test_a_sheet_has_images_in_their_places() -> None:
    images = np.stack([np.full((1, 2, 3), value) for value in (-1.0, 0.0, 1.0)])
    made = sheet(images, 2)
    assert made.shape == (5, 7, 1)
    assert made[0, 0, 0] == 0 and made[1, 4, 0] == 0.5 and made[3, 0, 0] == 1
    assert made[0, 3, 0] == 1 and made[3, 6, 0] == 1


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    """Few steps: far better than noise already, and resumed it is the same."""
    result = run(DIGITS, preset="demo", seed=0, output=tmp_path, settings=TINY)
    found = {key: value or 0.0 for key, value in result.metrics.items()}
    assert 2 * found["exact/fd"] < min(found["gaussian/fd"], found["fd"])
    assert found["fd_guided_4"] < 0.8 * found["fd_guided_1"]
    assert found["accuracy"] > 0.3
    # One evaluation is the same step for every solver; without guidance the samples are others.
    assert found["fd_midpoint_1"] == found["fd_guided_1"] != found["fd_plain_1"]
    assert found["fd_midpoint_4"] != found["fd_guided_4"]
    assert found["exact/accuracy"] > 0.9
    assert result.nfe == 10
    again = run(DIGITS, preset="demo", seed=0, output=tmp_path, settings=TINY, resume=True)
    assert again.metrics == result.metrics
    assert result.arrays is not None
    with np.load(tmp_path / result.arrays) as arrays:
        kept = dict(arrays)
    # What was given is in every completion as it was.
    assert np.array_equal(
        kept["completed"][:, :, :, :4], np.stack([kept["given"][0][:, :, :4]] * 3)
    )
    assert not np.array_equal(kept["completed"][0, :, :, 4:], kept["completed"][1, :, :, 4:])
    figures = DIGITS.figures(kept, "image/digits")
    assert len(figures) == 4
    assert all(png(one)[:4] == b"\x89PNG" for one in figures.values())


def test_a_network_that_is_told_what_is_given(tmp_path: Path) -> None:
    """Completions hold what is given, and samples need nothing that is given."""
    settings = {**TINY, "steps": 40, "samples": 64}
    result = run(DIGITS, method="given", preset="demo", output=tmp_path, settings=settings)
    assert result.arrays is not None
    with np.load(tmp_path / result.arrays) as found:
        assert np.array_equal(
            found["completed"][:, :, :, :4], np.stack([found["given"][0][:, :, :4]] * 3)
        )
        assert np.isfinite(found["samples"]).all()
    network = load_file(tmp_path / Path(result.arrays).with_name("checkpoint.safetensors"))
    weight = next(v for k, v in network.items() if k.endswith("model.inputs.weight"))
    # Pixels beside the state: the network sees both, and has learned to look at what is given.
    assert weight.shape[1] == 2
    assert float(weight[:, 1].abs().mean()) > 0


def test_absent_files_are_said_to_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowatlas.data.files.cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr("flowatlas.data.files._retrieve", _offline)
    for benchmark, preset in ((MNIST, "cpu"), (FASHION, "cpu"), (CIFAR10, "gpu")):
        with pytest.raises(DataError, match=r"images/.* was not found"):
            run(benchmark, preset=preset, output=tmp_path, data_root=tmp_path)


def _offline(url: str, path: Path) -> None:
    raise OSError("no network")
