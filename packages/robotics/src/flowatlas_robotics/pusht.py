"""Push-T: people push a block shaped as a T onto its mark with a round finger.

Reference: Diffusion Policy: Visuomotor Policy Learning via Action Diffusion, Chi et al., 2023,
arXiv:2303.04137, whose demonstrations these are; the task is that of Implicit Behavioral Cloning,
Florence et al., 2021, arXiv:2109.00137. The simulator is gym-pusht.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.data.files import find
from flowatlas.errors import DataError, ShapeError
from flowatlas.manifolds import Euclidean
from flowatlas_robotics.horizon import Episodes

__all__ = [
    "GOAL",
    "PUSHT",
    "load_pusht",
    "mirrored_pusht",
    "pusht_coverage",
    "pusht_environment",
    "pusht_state",
]

Array = NDArray[Any]
#: Where the block shall be: x, y, in pixels of a square of 512, and its angle.
GOAL = (256.0, 256.0, math.pi / 4)
#: Corners of the block in its own frame: four of the bar, four of the stem.
_CORNERS = np.array(
    [[-60, 0], [60, 0], [60, 30], [-60, 30], [-15, 30], [15, 30], [15, 120], [-15, 120]], float
)
#: The corners in the order in which one walks around the block.
_OUTLINE = [0, 1, 2, 5, 6, 7, 4, 3]
#: Which corner takes the place of which when the block is seen in a mirror.
_MIRRORED = [1, 0, 3, 2, 5, 4, 7, 6]
_SIDE = 512.0


def pusht_state(poses: Array) -> Array:
    """The eight corners of the block and the finger, from what the simulator observes.

    Corners have no jump where the angle does.

    Args:
        poses: `(..., 5)`: x, y of the finger; x, y, angle of the block.

    Returns:
        `(..., 18)`: x, y of each corner, and of the finger.

    Raises:
        ShapeError: another size of the last axis.

    Example:
        ```python
        import numpy as np

        from flowatlas_robotics import pusht_state

        assert pusht_state(np.zeros((7, 5))).shape == (7, 18)
        ```
    """
    poses = np.asarray(poses, float)
    if poses.ndim < 1 or poses.shape[-1] != 5:
        raise ShapeError(f"poses: got shape {poses.shape}; it must be (..., 5).")
    cos, sin = np.cos(poses[..., 4:]), np.sin(poses[..., 4:])
    x = poses[..., 2:3] + cos * _CORNERS[:, 0] - sin * _CORNERS[:, 1]
    y = poses[..., 3:4] + sin * _CORNERS[:, 0] + cos * _CORNERS[:, 1]
    corners = np.stack([x, y], -1).reshape(*poses.shape[:-1], 16)
    return np.concatenate([corners, poses[..., :2]], -1)


def pusht_coverage(state: Array) -> Array:
    """Which share of its mark the block covers.

    Args:
        state: `(..., 18)`, as `pusht_state` makes it.

    Returns:
        `(...)`, in [0, 1].

    Raises:
        DataError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError as error:
        raise _not_installed() from error
    marked = pusht_state(np.array([0.0, 0.0, *GOAL]))
    mark = shapely.polygons(marked[:16].reshape(8, 2)[_OUTLINE])
    outline = state[..., :16].reshape(*state.shape[:-1], 8, 2)[..., _OUTLINE, :]
    covered = shapely.area(shapely.intersection(shapely.polygons(outline), mark))
    return np.asarray(covered / shapely.area(mark))


def pusht_environment(*, render: bool = False) -> gymnasium.Env[Any, Any]:
    """The simulator, observed as `pusht_state` says; `reset(seed=...)` chooses the start.

    An action is where the finger shall go, x and y in pixels. `info` has the `coverage` of the mark
    and `is_success`: more than 0.95 of it.

    Args:
        render: whether `render()` gives a picture.

    Raises:
        DataError: gym-pusht is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import gym_pusht  # noqa: F401  registers the environment
    except ImportError as error:
        raise _not_installed() from error
    made: gymnasium.Env[Any, Any] = gymnasium.make(
        "gym_pusht/PushT-v0",
        render_mode="rgb_array" if render else None,
        visualization_width=192,
        visualization_height=192,
        disable_env_checker=True,
    )
    space = gymnasium.spaces.Box(-np.inf, np.inf, (18,), np.float64)
    return gymnasium.wrappers.TransformObservation(made, pusht_state, space)


def load_pusht(data_root: str | os.PathLike[str] | None = None) -> Episodes:
    """The 206 demonstrations, with the observation "state" of 18 numbers.

    Args:
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Raises:
        DataError: the file is missing or not the right one.
    """
    path = find(PUSHT, data_root)
    assert path is not None
    poses, action, ends = _arrays(path)
    state = torch.from_numpy(pusht_state(poses)).float()
    return Episodes({"state": state}, torch.from_numpy(action), torch.from_numpy(ends))


def mirrored_pusht(episodes: Episodes) -> Episodes:
    """The episodes, and after them each as seen in the mirror through the mark.

    Block, mark and square look the same in the line x + y = 512, and so does the task.

    Args:
        episodes: as `load_pusht` gives them.
    """
    state = episodes.observation["state"]
    corners = _reflected(state[:, :16].reshape(-1, 8, 2))[:, _MIRRORED].reshape(-1, 16)
    seen = torch.cat([corners, _reflected(state[:, 16:])], 1)
    steps = len(episodes.action)
    return Episodes(
        {"state": torch.cat([state, seen])},
        torch.cat([episodes.action, _reflected(episodes.action)]),
        torch.cat([episodes.ends, episodes.ends + steps]),
    )


def _reflected(points: Tensor) -> Tensor:
    return _SIDE - points.flip(-1)


def _arrays(path: Path) -> tuple[Array, Array, Array]:
    """Poses `(steps, 5)`, actions `(steps, 2)` and the ends of episodes."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            poses, action, ends = arrays["state"], arrays["action"], arrays["episode_ends"]
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: has no readable arrays 'state', 'action' and 'episode_ends' ({error}). "
            "Restore the original file; its sha256 is in `flowatlas data list`."
        ) from error
    if poses.shape != (len(action), 5) or action.shape[1:] != (2,) or ends[-1:] != [len(action)]:
        raise DataError(
            f"{path}: poses {poses.shape}, actions {action.shape} and ends {ends.shape} do not fit "
            "together. Restore the original file."
        )
    return poses, action.astype(np.float32), ends.astype(np.int64)


def _rows(path: Path | None) -> Tensor:
    assert path is not None
    poses, action, _ = _arrays(path)
    return torch.from_numpy(np.concatenate([poses, action], 1)).double()


def _not_installed() -> DataError:
    return DataError("gym-pusht: it is not installed. pip install 'flowatlas-robotics[pusht]'.")


#: The 206 demonstrations of Push-T.
PUSHT = DataSet(
    name="robotics/pusht",
    summary="Push-T, 25650 steps of 206 episodes: finger x, y, block x, y, angle, action x, y",
    manifold=Euclidean,
    read=_rows,
    origin="humanoid-collective/diffusion_policy_soup@091389f2ee98 (pusht_cchi_v7_replay.zarr)",
    licence="MIT",
    file="robotics/pusht_lowdim.npz",
    sha256="614c1fb249d82a39bf368837139f8793e5665c92eaedd8f62ee7f7e444bd3ec7",
)
