"""Policies that answer an observation with a chunk of actions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks.hub import Pretrained
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas.sampling import sample
from flowatlas.solvers import Euler, Solver
from flowatlas.sources import Source
from flowatlas.time_samplers import TimeSampler
from flowatlas_robotics.horizon import Episodes, Horizon, Windows, windows
from flowatlas_robotics.network import ChunkMLP
from flowatlas_robotics.normalizer import Normalizer

__all__ = ["ChunkPolicy", "FlowPolicy", "RegressionPolicy"]

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
        observation: sizes of what is seen, by name.
        action: size of an action.
        horizon: steps seen, predicted and executed.
        width: of the network's hidden layers.
        depth: how many there are.
        evaluations: of the network for a chunk, unless a call says otherwise; 4 if None.
        scaling: of the normaliser, `"limits"` or `"standard"`.
        prediction: what the network says, `"velocity"` or `"target"`, the chunk itself. A velocity
            has all of the noise to undo in it, which a small network learns late; a flow by targets
            ends, with one evaluation more, on a chunk as the network makes it.

    Raises:
        ConfigError: sizes or numbers below 1, an observation called "action", another prediction.

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
    ) -> None:
        super().__init__()
        if prediction not in self.predictions:
            raise ConfigError(
                f"prediction: got {prediction!r}; {type(self).__name__} may predict "
                f"{' or '.join(self.predictions)}."
            )
        self.path = AffinePath(source=self.source, prediction=prediction)
        if "action" in observation or not observation:
            raise ConfigError(
                f"observation: got {sorted(observation)}; it needs at least one name, and none of "
                "them may be 'action'."
            )
        default = int(min(4, self.max_evaluations))
        self.evaluations = self._allowed(default if evaluations is None else evaluations)
        self.horizon = Horizon(*horizon)
        self.sizes, self.action = dict(observation), action
        self.normalizer = Normalizer({**observation, "action": action}, scaling)
        self.network = ChunkMLP(
            self.horizon.prediction,
            action,
            observation=self.horizon.observation * sum(observation.values()),
            width=width,
            depth=depth,
        )

    @abstractmethod
    def objective(self) -> FlowMatching:
        """What the network is trained by."""

    def fit_normalizer(self, episodes: Episodes) -> None:
        """Choose the scales of observations and actions by all steps of demonstrations."""
        self.normalizer.fit({**episodes.observation, "action": episodes.action})

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
        """Observations as the network's condition.

        Args:
            observation: by name, `(batch, T_o, size)`.

        Raises:
            ConfigError: a name is missing.
            ShapeError: a shape that does not fit.
        """
        missing = sorted(set(self.sizes) - set(observation))
        if missing:
            raise ConfigError(
                f"observation: {missing} missing; got {sorted(observation)}, and the policy was "
                f"built for {sorted(self.sizes)}. Pass all of them."
            )
        parts, seen = [], self.horizon.observation
        batch = next(iter(observation.values())).shape[:1]
        for name, size in self.sizes.items():
            value = observation[name]
            if value.shape != (*batch, seen, size):
                raise ShapeError(
                    f"observation[{name!r}]: got shape {tuple(value.shape)}; it must be "
                    f"(batch, {seen}, {size}), the last {seen} steps, oldest first."
                )
            parts.append(self.normalizer.normalize(name, value).flatten(1))
        return {"observation": torch.cat(parts, 1)}

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
            observation: by name, `(batch, T_o, size)`, oldest first; names that the policy was not
                built for are ignored.
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
        """
        chosen = self._solver(evaluations, solver)
        condition = self.encode(observation)
        seen = condition["observation"]
        z = sample(
            self.network,
            self.path,
            shape=(len(seen), self.horizon.prediction, self.action),
            condition=condition,
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


class _Origin(Source):
    """The point 0."""

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)


class _AtStart(TimeSampler):
    """t = 0."""

    def quantile(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def log_prob(self, t: Tensor) -> Tensor:
        return torch.where(t == 0, torch.inf, -torch.inf)


class RegressionPolicy(ChunkPolicy):
    r"""The mean chunk, by least squares: what a flow is compared with.

    It is the flow whose source is the point 0 and that knows only t = 0: its velocity there is
    $E[a | o]$, and one Euler step adds it to 0. Network, normaliser and training are those of
    `FlowPolicy`. Where several answers are right, their mean may be none.

    Args: those of `ChunkPolicy`.

    Raises:
        ConfigError: more than one evaluation, here or at a call.

    Example:
        ```python
        from flowatlas_robotics import RegressionPolicy

        assert RegressionPolicy({"state": 2}, action=2, width=32, depth=2).evaluations == 1
        ```
    """

    source = _Origin()
    # A flow by targets ends with an evaluation at t = 1, of which this network knows nothing.
    predictions = ("velocity",)
    max_evaluations = 1

    def objective(self) -> FlowMatching:
        return FlowMatching(self.path, time_sampler=_AtStart())
