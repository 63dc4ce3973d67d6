"""Flows over several kinds of space at once, whose joint law is a mixture of products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact._mixture import checked_weights
from flowatlas.exact.base import ExactFlow
from flowatlas.exact.token_chain import ExactTokenChain
from flowatlas.paths.product import ProductPath

__all__ = ["ExactProductFlow"]

#: Tokens are weighed at most this close to the data, where those of the source have no mass left:
#: a solver asks there while they are frozen. The limit of the ratios is the same.
LAST = 1 - 1e-9


class ExactProductFlow:
    r"""The marginal flow of a product path to a mixture of products.

    Given the class k, of weight $w_k$, the components of $x_1$ are independent, and each follows a
    flow that is known by itself, with the density $p_t^c(x^c \mid k)$, and velocity
    $u_t^c(x^c \mid k)$ or token posterior $p(x_1^{c,i} \mid x_t^c, k)$. All that the components of
    a state tell of each other they tell through the class:

    $$r_k(x, t) = \frac{w_k \prod_c p_t^c(x^c \mid k)}{\sum_j w_j \prod_c p_t^c(x^c \mid j)}, \qquad
      u_t^c(x) = \sum_k r_k(x, t)\, u_t^c(x^c \mid k), \qquad
      p(x_1^{c,i} \mid x) = \sum_k r_k(x, t)\, p(x_1^{c,i} \mid x^c, k).$$

    The instance is a field, which predicts what a perfect network does: velocities, and logits of
    tokens. Whatever a sampler errs is its own.

    Args:
        path: sources and schedules, which are to be those of the flows.
        weights: `(classes,)`, positive; they are normalised.
        flows: by component, a flow for each class.

    Raises:
        ConfigError: components or classes that are missing, or a path that predicts something else
            than velocities and logits.

    Example:
        ```python
        path = ProductPath(place=AffinePath(), token=MixturePath(vocab=2))
        left, right = (
            ExactGaussianFlow(GaussianMixture(torch.ones(1), torch.tensor([[m]]), stds=0.5))
            for m in (-1.0, 1.0)
        )
        zero, one = (
            ExactTokenChain(path.discrete["token"], torch.tensor(p))
            for p in ([0.9, 0.1], [0.2, 0.8])
        )
        flow = ExactProductFlow(path, torch.ones(2), place=[left, right], token=[zero, one])
        x = sample(flow, path, shape={"place": (64, 1), "token": (64, 1)}, solver=Euler(steps=50))
        ```
    """

    def __init__(
        self, path: ProductPath, weights: Tensor, **flows: Sequence[ExactFlow | ExactTokenChain]
    ) -> None:
        self.path = path
        self.weights = checked_weights(weights, torch.float64)
        self.classes = self.weights.numel()
        if set(flows) != set(path.components):
            raise ConfigError(
                f"flows: got the components {sorted(flows)}; the path has "
                f"{sorted(path.components)}."
            )
        for name, each in flows.items():
            if len(each) != self.classes:
                raise ConfigError(
                    f"{name}: got {len(each)} flows for {self.classes} classes; give one for each."
                )
        for name, component in path.components.items():
            kind = getattr(component, "prediction", None)
            if kind not in ("velocity", "logits"):
                raise ConfigError(
                    f"path: component {name!r} predicts {kind!r}; exact flows are velocities and "
                    "logits. Use prediction='velocity' or 'logits'."
                )
        self.flows = {name: tuple(each) for name, each in flows.items()}

    def __call__(
        self, x: Mapping[str, Tensor], t: Tensor, condition: Any = None, /, **masks: Any
    ) -> dict[str, Tensor]:
        """The velocity of each continuous component, and logits of each discrete one."""
        return self._mean(x, t, self.responsibilities(x, t))

    def apart(
        self, x: Mapping[str, Tensor], t: Tensor, condition: Any = None, /, **masks: Any
    ) -> dict[str, Tensor]:
        """The same field for components that do not see each other.

        Each has its own marginal flow: its samples have the right marginals, and no dependence.
        """
        found: dict[str, Tensor] = {}
        for name in self.flows:
            found[name] = self._mean(x, t, self.responsibilities(x, t, (name,)), (name,))[name]
        return found

    def responsibilities(
        self, x: Mapping[str, Tensor], t: Tensor, seen: Iterable[str] | None = None
    ) -> Tensor:
        """Probability of each class given the state at time t.

        Args:
            x: the state.
            t: `(batch,)`.
            seen: components that are looked at; all of them if None. At t = 1 this is what some
                components of the data tell of the others.

        Returns:
            `(batch, classes)`, in float64.
        """
        terms = self._log_terms(x, t, seen)
        # A leap may lead where no class does; all that is known then is how common they are.
        lost = torch.isinf(terms.amax(-1, keepdim=True))
        terms = torch.where(lost, self.weights.log().to(terms.device), terms)
        return torch.softmax(terms, -1)

    def log_prob(self, x: Mapping[str, Tensor], t: Tensor) -> Tensor:
        """Log of the joint law of x_t, `(batch,)` in float64.

        It is a density in the continuous components and a probability in the tokens, in nats.
        """
        return torch.logsumexp(self._log_terms(x, t, None, last=1.0), -1)

    def _log_terms(
        self,
        x: Mapping[str, Tensor],
        t: Tensor,
        seen: Iterable[str] | None,
        *,
        last: float = LAST,
    ) -> Tensor:
        """Log of weight times density of each class, `(batch, classes)`."""
        self.path.check_names(x, "x")
        names = tuple(self.flows) if seen is None else tuple(seen)
        unknown = sorted(set(names) - set(self.flows))
        if unknown:
            raise ShapeError(f"seen: no component {unknown}; there are {sorted(self.flows)}.")
        time = t.double()
        total = self.weights.log().to(t.device).expand(t.shape[0], -1)
        for name in names:
            discrete = name in self.path.discrete
            state = x[name] if discrete else x[name].double()
            at = time.clamp(max=last) if discrete else time
            each = [flow.log_prob(state, at) for flow in self.flows[name]]
            total = total + torch.stack([_per_sample(value) for value in each], -1)
        return total

    def _mean(
        self,
        x: Mapping[str, Tensor],
        t: Tensor,
        shares: Tensor,
        names: Iterable[str] | None = None,
    ) -> dict[str, Tensor]:
        """The mean over the classes of what their flows say."""
        found: dict[str, Tensor] = {}
        for name in self.flows if names is None else names:
            value = x[name]
            if name in self.path.discrete:
                chances = [chain.posterior(value, t) for chain in self._chains(name)]
                found[name] = _weighted(shares, chances).log().to(t.dtype)
            else:
                velocities = [flow(value.double(), t.double()) for flow in self.flows[name]]
                found[name] = _weighted(shares, velocities).to(value.dtype)
        return found

    def _chains(self, name: str) -> list[ExactTokenChain]:
        return [chain for chain in self.flows[name] if isinstance(chain, ExactTokenChain)]

    def __repr__(self) -> str:
        return f"ExactProductFlow(classes={self.classes}, components={sorted(self.flows)})"


def _per_sample(log_prob: Tensor) -> Tensor:
    """The sum over the points of each sample."""
    return log_prob.double().flatten(1).sum(1) if log_prob.ndim > 1 else log_prob.double()


def _weighted(shares: Tensor, each: Sequence[Tensor]) -> Tensor:
    """Sum over the classes of `(batch, classes)` shares times tensors `(batch, ...)`."""
    return torch.einsum("bk,bk...->b...", shares, torch.stack(list(each), 1))
