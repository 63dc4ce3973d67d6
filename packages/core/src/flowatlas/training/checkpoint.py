"""Checkpoints without pickle: tensors in safetensors, everything else as JSON beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor, nn

from flowatlas.errors import ConfigError, DataError
from flowatlas.networks import from_config
from flowatlas.networks._files import read_tensors, write_tensors
from flowatlas.networks.hub import load_weights

__all__ = ["SafetensorsCheckpointIO", "load_checkpoint", "load_network", "save_checkpoint"]

_TREE = "flowatlas_checkpoint"
#: Keys of the JSON objects that stand for what JSON does not have.
_TENSOR, _TUPLE, _ITEMS = "__tensor__", "__tuple__", "__items__"

Path_ = str | os.PathLike[str]


def save_checkpoint(checkpoint: Mapping[str, Any], path: Path_) -> None:
    """Write nested dictionaries, lists and tuples of tensors and plain values as one file.

    The file is a safetensors file whose metadata holds the structure as JSON. It takes the place of
    an old one in one step, so that there is a whole checkpoint at `path` at all times.

    Raises:
        ConfigError: a value of another kind; the message names its place.
        DataError: the file cannot be written; what was there before still is.
    """
    tensors: dict[str, Tensor] = {}
    tree = _encode(checkpoint, (), tensors)
    write_tensors(Path(path), tensors, {_TREE: json.dumps(tree)})


def load_checkpoint(path: Path_, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        DataError: missing, truncated, corrupt, or no checkpoint of this kind.
    """
    tensors, metadata = read_tensors(Path(path), "checkpoint", foreign=False)
    if _TREE not in metadata:
        raise DataError(
            f"{path}: no checkpoint, but the weights alone of a network. Load it with "
            "from_pretrained, or give the checkpoint file that fit wrote."
        )
    try:
        checkpoint = _decode(json.loads(metadata[_TREE]), tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: the checkpoint's structure is corrupt ({error!r}). Restore it from a copy."
        ) from error
    if not isinstance(checkpoint, dict):
        raise DataError(f"{path}: the checkpoint is no mapping. Restore it from a copy.")
    placed: dict[str, Any] = _to(checkpoint, torch.device(device))
    return placed


class SafetensorsCheckpointIO(CheckpointIO):
    """`save_checkpoint` and `load_checkpoint` for Lightning's Trainer.

    Example:
        ```python
        trainer = Trainer(plugins=[SafetensorsCheckpointIO()])
        ```
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path_, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; see the function of the same name."""
        if storage_options is not None:
            raise ConfigError(f"storage_options: got {storage_options!r}; there are none.")
        save_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, path: Path_, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; see the function of the same name. Nothing is ever unpickled."""
        device = map_location if isinstance(map_location, str | torch.device) else "cpu"
        return load_checkpoint(path, device)

    def remove_checkpoint(self, path: Path_) -> None:
        """Delete a checkpoint, if it is there."""
        Path(path).unlink(missing_ok=True)


def load_network(
    path: Path_,
    network: nn.Module | None = None,
    *,
    weights: str = "ema",
    **arguments: Any,
) -> nn.Module:
    """The network of a training checkpoint, in evaluation mode.

    Args:
        path: of a checkpoint that `FlowModule` was saved to.
        network: to load the weights into; if None, made as the checkpoint says, which works for the
            networks of `flowatlas.networks`.
        weights: `"ema"` for the averaged ones, `"raw"` for those of the last step.
        **arguments: replace or complete the saved arguments of the network's constructor.

    Raises:
        ConfigError: unknown `weights`, no averaged ones in the file, or a network that the
            checkpoint does not describe.
        DataError: a file that cannot be read, or weights that do not fit.
    """
    if weights not in ("ema", "raw"):
        raise ConfigError(f"weights: got {weights!r}; 'ema' or 'raw'.")
    checkpoint = load_checkpoint(path)
    if weights == "ema":
        if "ema" not in checkpoint:
            raise ConfigError(
                f"weights: {path} has no averaged weights, since it was trained without EMA. Use "
                "weights='raw'."
            )
        tensors = checkpoint["ema"]["weights"]
    else:
        tensors = {
            name.removeprefix("model."): value
            for name, value in checkpoint.get("state_dict", {}).items()
            if name.startswith("model.")
        }
    if network is None:
        config = checkpoint.get("flow", {}).get("network")
        if config is None:
            raise ConfigError(
                f"network: {path} does not say how its network was made; make it and pass it. "
                "Classes derived from flowatlas.networks.Pretrained are described in checkpoints."
            )
        network = from_config(config, str(path), **arguments)
    elif arguments:
        raise ConfigError(f"arguments: got {sorted(arguments)} beside a network; pass one of both.")
    load_weights(network, tensors, Path(path))
    return network.eval()


def _encode(value: Any, place: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if value.is_sparse or value.is_quantized or value.is_meta:
            raise ConfigError(f"{_name(place)}: only dense tensors with values can be saved.")
        key = ".".join(place)
        while key in tensors or not key:
            key += "'"
        tensors[key] = value
        return {_TENSOR: key}
    # Exact types: an enumeration that is also a string would come back as a string.
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is tuple:
        return {_TUPLE: [_encode(v, (*place, str(i)), tensors) for i, v in enumerate(value)]}
    if type(value) is list:
        return [_encode(v, (*place, str(i)), tensors) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        items = [(k, _encode(v, (*place, str(k)), tensors)) for k, v in value.items()]
        plain = all(type(k) is str and k not in (_TENSOR, _TUPLE, _ITEMS) for k, _ in items)
        if plain:
            return dict(items)
        return {_ITEMS: [[_encode(k, (*place, "key"), tensors), v] for k, v in items]}
    raise ConfigError(
        f"{_name(place)}: a {type(value).__module__}.{type(value).__qualname__} cannot be saved, "
        "since checkpoints are never pickled. Save tensors, plain numbers and strings, and "
        "dictionaries, lists and tuples of those."
    )


def _name(place: tuple[str, ...]) -> str:
    return "checkpoint" + "".join(f"[{part!r}]" for part in place)


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_TENSOR}:
        return tensors[value[_TENSOR]]
    if set(value) == {_TUPLE}:
        return tuple(_decode(item, tensors) for item in value[_TUPLE])
    if set(value) == {_ITEMS}:
        return {_decode(k, tensors): _decode(v, tensors) for k, v in value[_ITEMS]}
    return {key: _decode(item, tensors) for key, item in value.items()}


def _to(value: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return value
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to(item, device) for item in value)
    return value
