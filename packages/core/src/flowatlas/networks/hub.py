"""Networks as directories: `config.json` beside `model.safetensors`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import nn

from flowatlas import plugins
from flowatlas.errors import ConfigError, DataError
from flowatlas.networks._config import decode, encode
from flowatlas.networks._files import read_json, read_tensors, write_json, write_tensors

__all__ = ["Pretrained", "from_config", "from_pretrained"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Pretrained(nn.Module):
    """A module that can be saved and rebuilt, as huggingface_hub's mixin does it.

    The arguments of the constructor are its configuration. They may be plain values, manifolds,
    features, time embeddings and kinds of conditions, and sequences and mappings of those; other
    objects are left out of the file and must be passed again to `from_pretrained`.

    ```python
    class Mine(Pretrained):
        def __init__(self, width: int, manifold: Manifold) -> None:
            super().__init__()
            self.layer = nn.Linear(width, width)

    Mine(64, Sphere()).save_pretrained("mine")
    Mine.from_pretrained("mine")
    ```
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        # Not through nn.Module, which is not initialised yet.
        made.__dict__["_arguments"] = (args, kwargs)
        return made

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, fit for JSON, and the names of class and package."""
        args, kwargs = self._arguments
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        del bound.arguments["self"]
        arguments = {name: encode(value, name) for name, value in bound.arguments.items()}
        package = type(self).__module__.partition(".")[0]
        return {"class": type(self).__name__, "package": package, **arguments}

    def save_pretrained(self, save_directory: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`; each replaces an old one in one step.

        Returns:
            The directory.

        Raises:
            DataError: a file cannot be written.
            ConfigError: a constructor argument that no file can hold.
        """
        directory = Path(save_directory)
        config = self.config
        write_tensors(directory / WEIGHTS, self.state_dict())
        write_json(directory / CONFIG, config)
        return directory

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **arguments: Any,
    ) -> Self:
        """Rebuild a saved network, with its weights, on the CPU and in evaluation mode.

        Args:
            pretrained_model_name_or_path: a directory, or a repository of the Hugging Face Hub
                (which needs the huggingface_hub package).
            revision: of the repository: a branch, tag or commit.
            cache_dir: where downloads are kept.
            token: for private repositories.
            local_files_only: never touch the network.
            **arguments: replace or complete the saved arguments of the constructor.

        Raises:
            ConfigError: the file is of another class, names a manifold that is not installed, or
                has arguments that the constructor does not know.
            DataError: a file is missing, corrupt, or does not fit the network.
        """
        place = str(pretrained_model_name_or_path)
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "local_files_only": local_files_only,
        }
        config_path, weights_path = (_locate(place, name, hub) for name in (CONFIG, WEIGHTS))
        config = read_json(config_path, "configuration")
        network = cls.from_config(config, str(config_path), **arguments)
        tensors, _ = read_tensors(weights_path, "weights file", foreign=True)
        load_weights(network, tensors, weights_path)
        return network.eval()

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], where: str = "config", **arguments: Any
    ) -> Self:
        """A new network with the arguments that `config` holds; `arguments` come before those.

        Raises:
            ConfigError: as `from_pretrained`; `where` is what the message calls the configuration.
        """
        saved = {k: value for k, value in config.items() if k not in ("class", "package")}
        if config.get("class", cls.__name__) != cls.__name__:
            raise ConfigError(
                f"{where}: it describes a {config['class']!r}, not a {cls.__name__!r}. Call "
                f"{config['class']}.from_pretrained, or flowatlas.networks.from_pretrained for "
                "whichever it is."
            )
        known = set(inspect.signature(cls.__init__).parameters) - {"self"}
        for origin, given in ((where, saved), ("arguments", arguments)):
            extra = sorted(set(given) - known)
            if extra:
                raise ConfigError(
                    f"{origin}: {cls.__name__} has no arguments {extra}; it takes {sorted(known)}. "
                    "Correct the names; a file from a newer FlowAtlas needs that version."
                )
        decoded = {
            name: decode(value, f"{where}: {name}")
            for name, value in saved.items()
            if name not in arguments
        }
        return cls(**decoded, **arguments)


def from_config(config: Mapping[str, Any], where: str = "config", **arguments: Any) -> Pretrained:
    """A new network of whichever class `config` names; see `Pretrained.from_config`.

    Classes are those that installed packages declare in the entry-point group `flowatlas.networks`,
    each under its own name.

    Raises:
        ConfigError: no package has the class, and as `Pretrained.from_config`.
        PluginError: the package that has it cannot be imported, or two have it.
    """
    return _class_of(config, where).from_config(config, where, **arguments)


def from_pretrained(pretrained_model_name_or_path: str | Path, **arguments: Any) -> Pretrained:
    """A saved network of whichever class it is; see `from_config`, `Pretrained.from_pretrained`."""
    hub_names = ("revision", "cache_dir", "token", "local_files_only")
    hub = {name: arguments[name] for name in hub_names if name in arguments}
    path = _locate(str(pretrained_model_name_or_path), CONFIG, hub)
    kind = _class_of(read_json(path, "configuration"), str(path))
    return kind.from_pretrained(pretrained_model_name_or_path, **arguments)


def _class_of(config: Mapping[str, Any], where: str) -> type[Pretrained]:
    name, package = str(config.get("class")), config.get("package")
    if name not in plugins.names(plugins.NETWORKS):
        # Files of the first versions do not say which package their class is of.
        owner = str(package).replace("_", "-") if package else "the package that declares it"
        raise ConfigError(
            f"{where}: no installed package has a network {name!r}."
            f"{plugins.close_matches(name, plugins.names(plugins.NETWORKS))} Install {owner} "
            f"(entry-point group {plugins.NETWORKS!r}), or call from_pretrained of the class."
        )
    kind = plugins.load(plugins.NETWORKS, name, type)
    if not issubclass(kind, Pretrained):
        raise plugins.PluginError(
            f"{where}: what is declared as network {name!r} is {kind.__qualname__}, which is no "
            "Pretrained. Its package is at fault."
        )
    return kind


def load_weights(network: nn.Module, tensors: Mapping[str, Any], path: str | Path) -> None:
    """Load `tensors` into `network`.

    Raises:
        DataError: names or shapes differ; the message, which speaks of `path`, lists them.
    """
    expected = network.state_dict()
    missing = sorted(set(expected) - set(tensors))
    extra = sorted(set(tensors) - set(expected))
    wrong = [
        f"{name}: {tuple(tensors[name].shape)} in the file, {tuple(value.shape)} in the network"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if missing or extra or wrong:
        listed = [
            f"{what}: {', '.join([*names[:5], *(['...'] if len(names) > 5 else [])])}"
            for what, names in (("missing", missing), ("unknown", extra), ("shapes", wrong))
            if names
        ]
        raise DataError(
            f"{path}: the weights do not fit the network. {'; '.join(listed)}. Build the network "
            "with the arguments it was trained with, which its config.json or checkpoint holds."
        )
    network.load_state_dict(dict(tensors))


def _locate(place: str, filename: str, hub: Mapping[str, Any]) -> Path:
    """The local path of a file of a directory or a repository."""
    if Path(place).is_dir():
        path = Path(place) / filename
        if not path.is_file():
            held = sorted(p.name for p in Path(place).iterdir())
            raise DataError(
                f"{place}: it has no {filename}, which save_pretrained writes. It holds: "
                f"{', '.join(held[:10]) or 'nothing'}."
            )
        return path
    if place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise DataError(
            f"{place}: no such directory. Give one that save_pretrained wrote, or a repository of "
            "the Hugging Face Hub as 'owner/name'."
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise DataError(
            f"{place}: no such directory, and a repository of the Hugging Face Hub needs "
            "pip install huggingface_hub."
        ) from error
    try:
        return Path(hf_hub_download(place, filename, **hub))
    except Exception as error:
        # Offline, absent, private and malformed are a dozen classes of three libraries.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{place}: no such directory, and {filename} cannot be had from the Hugging Face Hub "
            f"({reason}). Check the name and the network, or download the repository and give its "
            "directory."
        ) from error
