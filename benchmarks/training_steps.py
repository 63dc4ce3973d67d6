"""A step of training each system, beside the bare network on points and targets made beforehand.

The bare step is the network, the mean square of its error, gradients and AdamW; what the library
adds is noise, times, the path, its loss and the checks of all of them. Components that are left out
here because they are the same for both, such as averaged weights, cost nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Case, Rival, Settings
from flowatlas import FlowMatching
from flowatlas.networks import Classes

__all__ = ["cases"]

#: The aim: the library adds a twentieth at most.
AT_MOST = 1.05
State = Tensor | dict[str, Tensor]
Condition = Mapping[str, Tensor] | None


def cases(settings: Settings) -> Iterator[Case]:
    """Images, speech, backbones and policies, at the sizes of their `cpu` presets."""
    builders: tuple[Callable[[bool], Case], ...] = (_image, _enhancer, _backbone, _policy)
    for build in builders:
        try:
            yield build(settings.quick)
        except ImportError as error:
            print(f"  {build.__name__.removeprefix('_')} left out: {error}")


def _image(quick: bool) -> Case:
    from flowatlas import AffinePath
    from flowatlas_image.networks import UNet

    batch, width = (4, 8) if quick else (64, 48)
    network = UNet(
        (1, 28, 28), channels=(width, 2 * width), patch=2, condition={"label": Classes(10)}
    )
    x_1 = torch.randn(batch, 1, 28, 28)
    condition = {"label": torch.randint(10, (batch,))}
    return _case("U-Net of digits", network, FlowMatching(AffinePath(point_ndim=0)), x_1, condition)


def _enhancer(quick: bool) -> Case:
    from flowatlas_audio import FrameNetwork
    from flowatlas_audio.enhancer import enhancement_path

    batch, frames, width = (2, 8, 16) if quick else (16, 63, 96)
    network = FrameNetwork(129, width=width, depth=5)
    x_1, noisy = torch.randn(2, batch, frames, 258).unbind()
    return _case(
        "network of enhancement", network, FlowMatching(enhancement_path()), x_1, {"noisy": noisy}
    )


def _backbone(quick: bool) -> Case:
    from flowatlas import SO3, Uniform
    from flowatlas_molecules import backbone_objective
    from flowatlas_molecules.networks import FrameTransformer

    batch, n, width = (1, 8, 16) if quick else (4, 96, 64)
    network = FrameTransformer(width, width // 2, 2, 8)
    x_1 = {
        "rotation": Uniform(SO3()).sample((batch, n, 3, 3)),
        "translation": 10 * torch.randn(batch, n, 3),
    }
    # Distances of near atoms are a loss of the system's own; they are in no bare step.
    return _case("frame transformer", network, backbone_objective(geometry=0.0), x_1, None)


def _policy(quick: bool) -> Case:
    from flowatlas import AffinePath
    from flowatlas_robotics import ChunkMLP

    batch, width = (8, 16) if quick else (256, 256)
    network = ChunkMLP(16, 2, observation=6, width=width, depth=4)
    x_1, condition = torch.randn(batch, 16, 2), {"observation": torch.randn(batch, 6)}
    return _case("policy", network, FlowMatching(AffinePath()), x_1, condition)


def _case(
    name: str, network: nn.Module, objective: FlowMatching, x_1: State, condition: Condition
) -> Case:
    path, generator = objective.path, torch.Generator().manual_seed(0)
    parts = x_1 if isinstance(x_1, dict) else {"x": x_1}
    noise = {
        key: path.components[key].source.sample(
            tuple(value.shape), generator=generator, dtype=torch.float32
        )
        for key, value in parts.items()
    }
    x_0: State = noise if isinstance(x_1, dict) else noise["x"]
    t = torch.rand(len(next(iter(parts.values()))), generator=generator)
    x_t: Any = path.sample(x_0, x_1, t).x_t
    other = copy.deepcopy(network)

    def squares(prediction: Any) -> Tensor:
        found = prediction if isinstance(prediction, dict) else {"x": prediction}
        errors = [(found[key] - value).square().mean() for key, value in parts.items()]
        return torch.stack(errors).sum()

    def ours() -> Any:
        return objective(network, x_1, condition=condition, generator=generator).loss

    def bare() -> Any:
        given = () if condition is None else (condition,)
        return squares(other(x_t, t, *given))

    size = " x ".join(map(str, next(iter(parts.values())).shape))
    rival = Rival("bare", _step(other, bare), AT_MOST, compare=False)
    return Case(f"training step, {name}", size, _step(network, ours), [rival], unit="step")


def _step(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def call() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return call
