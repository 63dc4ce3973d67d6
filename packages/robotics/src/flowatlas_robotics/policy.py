"""Policies that answer an observation with a chunk of actions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.networks.hub import Pretrained
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas.sampling import sample
from flowatlas.solvers import Euler, Solver
from flowatlas.sources import Source
from flowatlas_robotics.horizon import Episodes, Horizon, Windows, windows
from flowatlas_robotics.network import ChunkMLP, SeeingMLP
from flowatlas_robotics.normalizer import Normalizer
from flowatlas_robotics.observation import ObservationEncoder

__all__ = ["ChunkPolicy", "FlowPolicy"]

#: None (the global generator), one generator, or one per sample.
Generators = torch.Generator | Sequence[torch.Generator] | None


class ChunkPolicy(Pretrained):
    """Network, path, normaliser and horizon as one thing that is trained, saved and asked.

    A subclass says from where chunks are made, and how that is learned.

    ```python
    from flowatlas_robotics import ChunkPolicy

    class Mine(ChunkPolicy):
        source = Gaussian(std=0.5)

        def objective(self):
            return FlowMatching(self.path, time_sampler=Beta(1.5, 1.0))
    ```

    Args:
        observation: sizes of states that are seen, by name.
        action: size of an action.
        horizon: steps seen, predicted and executed.
        width: of the network's hidden layers.
        depth: how many there are.
        evaluations: of the network for a chunk, unless a call says otherwise; 4 if None.
        scaling: of the normaliser, `"limits"` or `"standard"`.
        prediction: what the network says, `"velocity"` or `"target"`, the chunk itself. A velocity
            has all of the noise to undo in it, which a small network learns late; a flow by targets
            ends on a chunk as the network makes it.
        clouds: axes of clouds of points that are seen, by name.
        cloud_width: length of the vector that is made of each cloud, and of the layers before it.

    Raises:
        ConfigError: sizes or numbers below 1, no observation or one called "action", another
            prediction.

    Attributes:
        source: the law of noise; a standard Gaussian if None.
        predictions: that are allowed.
        max_evaluations: at most.
    """

    source: Source | None = None
    predictions: tuple[str, ...] = ("velocity", "target")
    max_evaluations: float = math.inf

    def __init__(
        self,
        observation: Mapping[str, int],
        action: int,
        *,
        horizon: Sequence[int] = (2, 16, 8),
        width: int = 512,
        depth: int = 4,
        evaluations: int | None = None,
        scaling: str = "limits",
        prediction: str = "velocity",
        clouds: Mapping[str, int] | None = None,
        cloud_width: int = 64,
    ) -> None:
        super().__init__()
        clouds = clouds or {}
        if prediction not in self.predictions:
            raise ConfigError(
                f"prediction: got {prediction!r}; {type(self).__name__} may predict "
                f"{' or '.join(self.predictions)}."
            )
        self.path = AffinePath(source=self.source, prediction=prediction)
        if "action" in {*observation, *clouds} or not {*observation, *clouds}:
            raise ConfigError(
                f"observation, clouds: got {sorted(observation)} and {sorted(clouds)}; at least "
                "one name is needed, and none of them may be 'action'."
            )
        default = int(min(4, self.max_evaluations))
        self.evaluations = self._allowed(default if evaluations is None else evaluations)
        self.horizon = Horizon(*horizon)
        encoder = ObservationEncoder(
            self.horizon.observation, observation, clouds, width=cloud_width
        )
        self.sizes, self.clouds, self.action = dict(observation), dict(clouds), action
        sizes = {**observation, **clouds, "action": action}
        self.normalizer = Normalizer(sizes, scaling, tuple(clouds))
        self.network = SeeingMLP(
            encoder,
            ChunkMLP(
                self.horizon.prediction,
                action,
                observation=encoder.features,
                width=width,
                depth=depth,
            ),
        )

    @abstractmethod
    def objective(self) -> FlowMatching:
        """What the network is trained by."""

    def fit_normalizer(self, episodes: Episodes) -> None:
        """Choose the scales of observations and actions by all steps of demonstrations.

        Raises:
            ConfigError: demonstrations that miss an observation of the policy.
        """
        names = self._names(episodes.observation)
        seen = {name: episodes.observation[name] for name in names}
        self.normalizer.fit({**seen, "action": episodes.action})

    def batches(self, episodes: Episodes) -> dict[str, object]:
        """All windows of demonstrations, normalised: what `TensorData` serves to `fit`.

        Returns:
            `"x_1"` of shape (windows, T_p, action) and `"condition"`.
        """
        cut: Windows = windows(episodes, self.horizon)
        return {
            "x_1": self.normalizer.normalize("action", cut.action),
            "condition": self.encode(cut.observation),
        }

    def encode(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Observations as the network's condition: those that the policy was built for, scaled.

        Args:
            observation: by name, `(batch, T_o, size)`, clouds `(batch, T_o, points, axes)`.

        Raises:
            ConfigError: a name is missing.
            ShapeError: a shape that does not fit, a cloud without points.
            GeometryError: NaN or infinity.
        """
        names, steps = self._names(observation), self.horizon.observation
        batch = observation[names[0]].shape[:1]
        seen = {}
        for name in names:
            value = observation[name]
            if name in self.clouds:
                points = value.shape[2] if value.ndim == 4 else 0
                told, shape = "points, ", (*batch, steps, max(1, points), self.clouds[name])
            else:
                told, shape = "", (*batch, steps, self.sizes[name])
            if value.shape != shape:
                raise ShapeError(
                    f"observation[{name!r}]: got shape {tuple(value.shape)}; it must be "
                    f"(batch, {steps}, {told}{shape[-1]}), the last {steps} steps, oldest first."
                )
            seen[name] = self.normalizer.normalize(name, value)
            if not torch.isfinite(seen[name]).all():
                raise GeometryError(
                    f"observation[{name!r}]: contains NaN or infinity. Leave out points that were "
                    "not seen; do not act on sensors that failed."
                )
        return seen

    def _names(self, observation: Mapping[str, Tensor]) -> list[str]:
        names = [*self.sizes, *self.clouds]
        missing = sorted(set(names) - set(observation))
        if missing:
            raise ConfigError(
                f"observation: {missing} missing; got {sorted(observation)}, and the policy was "
                f"built for {sorted(names)}. Pass all of them."
            )
        return names

    @torch.no_grad()
    def predict_action(
        self,
        observation: Mapping[str, Tensor],
        *,
        evaluations: int | None = None,
        solver: Solver | None = None,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """The actions to execute now, and all that were predicted.

        Args:
            observation: by name, `(batch, T_o, size)`, clouds `(batch, T_o, points, axes)` with
                any number of points, oldest first; names that the policy was not built for are
                ignored.
            evaluations: Euler steps; those of the constructor if None.
            solver: any other way along the path, instead of `evaluations`.
            generator: one, or one per sample: then a chunk does not depend on its batch.

        Returns:
            `"action"` of shape (batch, T_a, action), `"action_pred"` of shape (batch, T_p, action),
            in the units of the demonstrations.

        Raises:
            ConfigError: a name is missing; the normaliser was not fitted; both evaluations and a
                solver.
            ShapeError: a shape that does not fit.
            GeometryError: an observation with NaN or infinity.
        """
        chosen = self._solver(evaluations, solver)
        seen = self.network.encoder(self.encode(observation))
        z = sample(
            self.network.chunks,
            self.path,
            shape=(len(seen), self.horizon.prediction, self.action),
            condition={"observation": seen},
            solver=chosen,
            dtype=seen.dtype,
            device=seen.device,
            generator=generator,
        )
        chunk = self.normalizer.denormalize("action", z)
        return {"action": chunk[:, self.horizon.executed], "action_pred": chunk}

    def _solver(self, evaluations: int | None, solver: Solver | None) -> Solver:
        if solver is None:
            return Euler(self._allowed(self.evaluations if evaluations is None else evaluations))
        if evaluations is not None or math.isfinite(self.max_evaluations):
            raise ConfigError(
                f"solver: got {solver!r} and evaluations {evaluations}; give one of them, and none "
                f"to a policy that takes {self.max_evaluations} at most."
            )
        return solver

    def _allowed(self, evaluations: int) -> int:
        if not 1 <= evaluations <= self.max_evaluations:
            raise ConfigError(
                f"evaluations: got {evaluations}; {type(self).__name__} takes 1 to "
                f"{self.max_evaluations}."
            )
        return evaluations


class FlowPolicy(ChunkPolicy):
    r"""Chunks of actions by a flow from noise: $x_t = (1 - t) \varepsilon + t a$.

    Where several answers are right, samples are right answers, each in its share.

    Args: those of `ChunkPolicy`.

    Reference: Diffusion Policy, Chi et al., 2023, arXiv:2303.04137, for horizons and
    normalisation; Flow Matching for Generative Modeling, Lipman et al., 2023, arXiv:2210.02747,
    for the path. Times are uniform here.

    Example:
        ```python
        from flowatlas_robotics import Episodes, FlowPolicy

        steps = torch.randn(60, 2)
        policy = FlowPolicy({"state": 2}, action=2, width=32, depth=2)
        policy.fit_normalizer(Episodes({"state": steps}, steps, torch.tensor([30, 60])))
        answer = policy.predict_action({"state": torch.zeros(5, 2, 2)})
        assert answer["action"].shape == (5, 8, 2)
        ```
    """

    def objective(self) -> FlowMatching:
        return FlowMatching(self.path)
