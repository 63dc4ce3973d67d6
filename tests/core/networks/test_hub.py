from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
import torch
from torch import nn

from flowatlas import plugins
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import FlatTorus, Manifold, Sphere
from flowatlas.networks import (
    MLP,
    Classes,
    FourierTimeEmbedding,
    MultiScale,
    Periodic,
    Pretrained,
    ProductMLP,
    Vector,
    from_config,
    from_pretrained,
)
from flowatlas.plugins import PluginError

Network = TypeVar("Network", bound=nn.Module)


def randomised(model: Network) -> Network:
    """Networks start at zero; here every weight is drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def full() -> MLP:
    return randomised(
        MLP(
            (2,),
            manifold=FlatTorus(3.0),
            width=16,
            depth=2,
            features=Periodic(3.0, harmonics=2),
            time_embedding=FourierTimeEmbedding(16, max_frequency=8.0),
            condition={"label": Classes(3), "size": Vector(2)},
        )
    )


def test_round_trip(tmp_path: Path) -> None:
    model = full()
    directory = model.save_pretrained(tmp_path / "net")
    assert sorted(p.name for p in directory.iterdir()) == ["config.json", "model.safetensors"]
    x, t = torch.rand(5, 2) * 3, torch.rand(5)
    for again in (MLP.from_pretrained(directory), from_pretrained(str(directory))):
        assert isinstance(again, MLP)
        assert again.config == model.config
        assert not again.training
        assert torch.equal(again(x, t), model(x, t))
    config = json.loads((directory / "config.json").read_text())
    assert config["manifold"] == {"name": "FlatTorus", "args": {"period": 3.0}}


def test_round_trip_of_mappings(tmp_path: Path) -> None:
    model = randomised(
        ProductMLP(
            {"token": (4,), "place": (4, 3)},
            manifolds={"place": Sphere()},
            features={"place": MultiScale(3, count=2)},
            vocab={"token": 5},
            outputs={"place": "target"},
            width=8,
        )
    )
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    place = Sphere().projx(torch.randn(3, 4, 3))
    x, t = {"token": torch.randint(6, (3, 4)), "place": place}, torch.rand(3)
    assert isinstance(again, ProductMLP)
    torch.testing.assert_close(again(x, t), model(x, t), rtol=0, atol=0)


def test_a_copy_can_be_saved(tmp_path: Path) -> None:
    import copy

    model = copy.deepcopy(full())
    model.save_pretrained(tmp_path)
    assert MLP.from_pretrained(tmp_path).config == full().config


class Foreign(Sphere):
    """A manifold that FlowAtlas does not know."""


class Opaque(Sphere):
    def __init__(self, thing: object) -> None:
        self.hidden = thing


def test_unknown_manifold_is_refused_and_can_be_passed(tmp_path: Path) -> None:
    MLP((3,), manifold=Foreign(), width=8).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"'Foreign'.*allowed are.*Sphere"):
        MLP.from_pretrained(tmp_path)
    assert isinstance(MLP.from_pretrained(tmp_path, manifold=Foreign()), MLP)


PLUGIN = """
from torch import nn

from flowatlas.manifolds import Sphere as Ours
from flowatlas.networks import Pretrained

class Probe(Pretrained):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, width)

class Globe(Ours):
    def __init__(self, radius):
        self.radius = radius

class Sphere(Ours):
    pass

class FlatTorus(Ours):
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A third party's module, whose package declares manifolds and networks, some broken."""
    site = tmp_path / "site"
    info = site / "globes-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "globes.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: globes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{plugins.MANIFOLDS}]\n"
        "a-broken-one = a_module_that_is_not_there:X\n"
        "hollow-globe = globes:Globe\n"
        "their-sphere = globes:Sphere\n"
        f"[{plugins.NETWORKS}]\n"
        "Broken = a_module_that_is_not_there:X\n"
        "Globe = globes:Globe\n"
        "Probe = globes:Probe\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield importlib.import_module("globes")
    del sys.modules["globes"]


def test_manifolds_of_plugins_are_found_by_their_entry_points(plugin: Any, tmp_path: Path) -> None:
    for name, manifold in (
        ("hollow-globe", plugin.Globe(radius=2.0)),
        ("their-sphere", plugin.Sphere()),
    ):
        model = randomised(MLP((3,), manifold=manifold, width=8, depth=1))
        again = from_pretrained(model.save_pretrained(tmp_path / name))
        assert isinstance(again, MLP)
        found = again.config["manifold"]
        assert found["name"] == name
        x, t = Sphere().projx(torch.randn(4, 3)), torch.rand(4)
        assert torch.equal(again(x, t), model(x, t))
        assert type(again.head.manifold) is type(manifold)
    assert again.config["manifold"]["args"] == {}


def test_networks_of_plugins_are_found_by_their_entry_points(plugin: Any, tmp_path: Path) -> None:
    model = plugin.Probe(3)
    assert model.config == {"class": "Probe", "package": "globes", "width": 3}
    again = from_pretrained(model.save_pretrained(tmp_path))
    assert type(again) is plugin.Probe
    assert torch.equal(again.state_dict()["layer.weight"], model.layer.weight)
    assert type(from_config(model.config, width=5)) is plugin.Probe


def test_networks_that_no_package_has_or_a_broken_one(plugin: Any, tmp_path: Path) -> None:
    full().save_pretrained(tmp_path)
    edit(tmp_path, **{"class": "UNt", "package": "globes_two"})
    with pytest.raises(ConfigError, match=r"config.json: no installed.* 'UNt'.* Install globes-tw"):
        from_pretrained(tmp_path)
    edit(tmp_path, **{"class": "Prob", "package": None})
    with pytest.raises(ConfigError, match=r"Did you mean Probe\? Install the package that decl"):
        from_pretrained(tmp_path)
    with pytest.raises(PluginError, match=r"Broken: .*'globes'.*a_module_that_is_not_there"):
        from_config({"class": "Broken"})
    with pytest.raises(PluginError, match=r"'Globe' is Globe, which is no Pretrained"):
        from_config({"class": "Globe"})


def test_a_namesake_is_not_taken_for_ours(plugin: Any, tmp_path: Path) -> None:
    MLP((3,), manifold=plugin.FlatTorus(), width=8).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"how the FlatTorus was made.*pass manifold="):
        MLP.from_pretrained(tmp_path)


def test_manifold_that_cannot_be_described_must_be_passed(tmp_path: Path) -> None:
    MLP((3,), manifold=Opaque(object()), width=8).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="pass manifold="):
        MLP.from_pretrained(tmp_path)
    assert isinstance(MLP.from_pretrained(tmp_path, manifold=Opaque(0)), MLP)


@pytest.mark.parametrize("name", ["Manifold", "os.system", "Linear", 3])
def test_only_listed_names_are_made(tmp_path: Path, name: object) -> None:
    full().save_pretrained(tmp_path)
    edit(tmp_path, manifold={"name": name, "args": {}})
    with pytest.raises(ConfigError, match="allowed are"):
        MLP.from_pretrained(tmp_path)


def edit(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


def test_configurations_that_do_not_fit(tmp_path: Path) -> None:
    full().save_pretrained(tmp_path)
    edit(tmp_path, widht=3)
    with pytest.raises(ConfigError, match="widht"):
        MLP.from_pretrained(tmp_path)
    full().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="widht"):
        MLP.from_pretrained(tmp_path, widht=3)
    with pytest.raises(ConfigError, match="describes a 'MLP'"):
        ProductMLP.from_pretrained(tmp_path)
    edit(tmp_path, manifold={"name": "FlatTorus", "args": {"radius": 1}})
    with pytest.raises(ConfigError, match="FlatTorus cannot be made"):
        MLP.from_pretrained(tmp_path)
    edit(tmp_path, **{"class": "Transformer"})
    with pytest.raises(ConfigError, match="Transformer"):
        from_pretrained(tmp_path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    full().save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"shapes: .*trunk"):
        MLP.from_pretrained(tmp_path, width=32)
    with pytest.raises(DataError, match=r"missing: .*unknown|missing: .*trunk.blocks.2"):
        MLP.from_pretrained(tmp_path, depth=4)


def bad_files(good: bytes) -> dict[str, bytes]:
    flipped = bytearray(good)
    flipped[-5] ^= 1
    return {
        "truncated": good[: len(good) // 2],
        "flipped": bytes(flipped),
        "empty": b"",
        "text": b"not a model at all, " * 20,
        "pickled": pickle.dumps({"a": 1}),
    }


@pytest.mark.parametrize("kind", ["truncated", "flipped", "empty", "text", "pickled"])
def test_bad_weights_are_refused(tmp_path: Path, kind: str) -> None:
    full().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(bad_files(path.read_bytes())[kind])
    with pytest.raises(DataError, match=r"model.safetensors.*(corrupt|pickle)"):
        MLP.from_pretrained(tmp_path)


def test_a_torch_checkpoint_is_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(tmp_path / 'boom')!r}, 'w')",)

    full().save_pretrained(tmp_path)
    torch.save({"a": Bomb()}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="never unpickles"):
        MLP.from_pretrained(tmp_path)
    assert not (tmp_path / "boom").exists()


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no config.json"):
        MLP.from_pretrained(tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        MLP.from_pretrained(tmp_path / "absent")
    full().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        MLP.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    edit_free = full().config
    (tmp_path / "config.json").write_text(json.dumps(edit_free))
    with pytest.raises(DataError, match=r"no model.safetensors"):
        MLP.from_pretrained(tmp_path)


def test_repositories_go_through_huggingface_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    full().save_pretrained(tmp_path)
    asked = []

    def download(repo: str, filename: str, **options: Any) -> str:
        asked.append((repo, filename, options["revision"], options["local_files_only"]))
        return str(tmp_path / filename)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    MLP.from_pretrained("someone/torus", revision="v1", local_files_only=True)
    both = [("someone/torus", name, "v1", True) for name in ("config.json", "model.safetensors")]
    assert asked == both
    asked.clear()
    # Whichever class it is: the configuration is asked for once more, and as it was told to.
    from_pretrained("someone/torus", revision="v1", local_files_only=True)
    assert asked == [both[0], *both]
    # What cannot be a repository is not asked for.
    asked.clear()
    for place in ("./torus", "/torus", "torus", "some/where/torus"):
        with pytest.raises(DataError, match=r"no such directory. Give one"):
            MLP.from_pretrained(place)
    assert asked == []

    def offline(*args: object, **options: object) -> NoReturn:
        raise OSError("no network")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(DataError, match="no network"):
        from_pretrained("someone/torus")


def test_networks_need_neither_lightning_nor_the_hub() -> None:
    code = (
        "import sys, flowatlas.networks as n; n.MLP((2,)).config; "
        "print(sorted({'lightning', 'huggingface_hub', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Mine(Pretrained):
    """The example of the docstring."""

    def __init__(self, width: int, manifold: Manifold) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.manifold = manifold


def test_classes_of_others(tmp_path: Path) -> None:
    made = Mine(4, manifold=Sphere())
    made.save_pretrained(tmp_path)
    again = Mine.from_pretrained(tmp_path)
    assert torch.equal(again.layer.weight, made.layer.weight)
    assert isinstance(again.manifold, Sphere)


def test_arguments_that_no_file_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="width"):
        Mine(4, manifold=Sphere()).from_config({"width": 4}, manifold=object(), nothing=1)
    bad = MLP((3,), width=8, features=MultiScale(3))
    bad._arguments[1]["width"] = torch.nn.ReLU()
    with pytest.raises(ConfigError, match="ReLU cannot be written"):
        bad.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []
