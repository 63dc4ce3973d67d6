"""A trained flow of images: kept, found again, and drawn from by the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowatlas import load_system
from flowatlas.cli import main
from flowatlas.errors import ConfigError, DataError
from flowatlas.networks import MLP, Classes
from flowatlas.solvers import Euler
from flowatlas_image import ImageSystem, UNet, read_png
from flowatlas_image.data import LabelledImages


def system(fixed: bool = False, **changes: object) -> ImageSystem:
    """An untrained one, of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet((1, 4, 6), channels=(8,), condition={"label": Classes(3)}, fixed=fixed)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    made = ImageSystem(network=network.eval(), classes=("one", "two/2", "a cat"), steps=3)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_it_comes_back_and_draws_the_same(tmp_path: Path) -> None:
    made = system(scale=2.0, solver_name="midpoint")
    again = load_system(made.save(tmp_path / "made"))
    assert isinstance(again, ImageSystem)
    drawn = made.draw(5, seed=2)
    assert drawn.labels.tolist() == [0, 1, 2, 0, 1]
    assert drawn.pixels.shape == (5, 1, 4, 6)
    assert torch.equal(again.draw(5, seed=2).pixels, drawn.pixels)
    # What is stored and what is asked for matters.
    for other in (
        made.draw(5, seed=3),
        replace(made, scale=1.0).draw(5, seed=2),
        replace(made, solver_name="euler").draw(5, seed=2),
        replace(made, steps=2).draw(5, seed=2),
        made.draw(5, seed=2, labels=[1] * 5),
        made.draw(5, seed=2, solver=Euler(3)),
        made.draw(5, seed=2, scale=1.5),
    ):
        assert not torch.equal(other.pixels, drawn.pixels)


def test_files_are_images(tmp_path: Path) -> None:
    made = system()
    drawn = made.draw(12)
    files = made.export(drawn, tmp_path / "new")
    assert [file.name for file in files[:3]] == ["000_one.png", "001_two-2.png", "002_a-cat.png"]
    assert torch.equal(read_png(files[7], channels=1), drawn.pixels[7])
    whole = read_png(tmp_path / "new" / "sheet.png", channels=1)
    # Ten in a row, a line between: the eleventh is the first of the second row.
    assert whole.shape == (1, 9, 69)
    assert torch.equal(whole[:, 5:9, :6], drawn.pixels[10])
    assert made.figure(drawn, "twelve").get_axes()


@pytest.mark.parametrize("fixed", [False, True])
def test_completions_keep_what_is_given(fixed: bool) -> None:
    made = system(fixed=fixed)
    images = made.draw(4, seed=1)
    given = torch.zeros(4, 1, 4, 6, dtype=torch.bool)
    given[..., :3] = True
    done = made.complete(images, given)
    assert torch.equal(done.pixels[given], images.pixels[given])
    assert not torch.equal(done.pixels, images.pixels)
    assert torch.equal(made.complete(images, given).pixels, done.pixels)
    assert not torch.equal(made.complete(images, given, seed=1).pixels, done.pixels)
    # What is given matters for the rest.
    others = LabelledImages(255 - images.pixels, images.labels)
    assert not torch.equal(made.complete(others, given).pixels[~given], done.pixels[~given])


def test_what_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="classes: got none"):
        system(classes=())
    with pytest.raises(ConfigError, match="scale: got -1"):
        system(scale=-1.0)
    for labels in ([0, 1], [0, 1, 3], [-1, 0, 0]):
        with pytest.raises(ConfigError, match="labels: got shape"):
            system().draw(3, labels=labels)
    made = system().save(tmp_path / "a")
    (made / "network" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no model.safetensors"):
        load_system(made)
    made = system().save(tmp_path / "b")
    MLP((2,)).save_pretrained(made / "network")
    with pytest.raises(ConfigError, match="a flow of images needs a UNet or a DiT"):
        load_system(made)


def test_trained_and_sampled_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, images, picture = tmp_path / "made", tmp_path / "images", tmp_path / "all.png"
    train = ["train", "image/digits", "--preset", "demo", "--quiet", "--output", str(made)]
    tiny = ["--set", "steps=2", "width=8", "ema=0", "scale=1.0", "solver=midpoint"]
    assert main([*train, *tiny]) == 0
    assert main([*train, *tiny]) == 2
    assert "holds a trained system" in capsys.readouterr().err
    found = load_system(made)
    assert isinstance(found, ImageSystem)
    assert (found.scale, found.solver_name, found.steps) == (1.0, "midpoint", 5)
    words = ["sample", str(made), "--count", "11", "--steps", "2", "--output", str(images)]
    assert main([*words, "--plot", str(picture)]) == 0
    assert read_png(images / "010_0.png", channels=1).shape == (1, 8, 8)
    assert len(list(images.glob("*.png"))) == 12
    assert picture.stat().st_size > 2000
