"""Tokens few enough to enumerate: the exact posterior, and the exact law at every time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.paths.mixture import MixturePath
from flowatlas.sources.tokens import TokenSource

__all__ = ["ExactTokenChain"]

#: Weights of joint states that are held at once.
CHUNK = 1 << 22


class ExactTokenChain:
    r"""The mixture path to a given joint law of n tokens, by summation over all of its states.

    With $q(x_1)$ the joint law and $x_0$ independent of it,

    $$p_t(x) = \sum_{x_1} q(x_1) \prod_i L_i(x_1^i), \qquad
      p(x_1^i = j \mid x) = \frac{1}{p_t(x)} \sum_{x_1 : x_1^i = j} q(x_1) \prod_k L_k(x_1^k)$$

    where $L_i(j) = (1 - \kappa_t(j)) p_0(x^i) + \kappa_t(j) [x^i = j]$. The instance is a field: it
    predicts what a perfect network of the path's prediction kind does, so that whatever a sampler
    errs is its own. At states that the path never has, where a leap may lead, the posterior is
    taken to be the marginal of q.

    Args:
        path: its source, schedule and prediction kind.
        joint: `(vocab, ..., vocab)`, an axis for each token: probabilities that sum to one.

    Raises:
        ShapeError: axes that are not as long as the vocabulary.
        ConfigError: probabilities that are negative or do not sum to one.
        CapabilityError: a path whose source has no known law.

    Example:
        ```python
        joint = torch.tensor([[0.4, 0.1], [0.1, 0.4]])  # two tokens that like to be equal
        path = MixturePath(vocab=2, source="uniform")
        chain = ExactTokenChain(path, joint)
        x = sample(chain, path, shape=(1000, 2), solver=TauLeaping(steps=20))
        exact = chain.law(0.5)  # of x_t at t = 0.5, (2, 2)
        ```
    """

    def __init__(self, path: MixturePath, joint: Tensor) -> None:
        if joint.ndim == 0 or set(joint.shape) != {path.vocab}:
            raise ShapeError(
                f"joint: got shape {tuple(joint.shape)}; each token has an axis of length "
                f"{path.vocab}, the size of the path's vocabulary."
            )
        self.joint = joint.double()
        if not bool((self.joint >= 0).all()) or abs(self.joint.sum().item() - 1) > 1e-6:
            raise ConfigError(
                f"joint: probabilities are zero or more and sum to one; got a minimum of "
                f"{self.joint.min().item():g} and a sum of {self.joint.sum().item():g}."
            )
        if not isinstance(path.source, TokenSource):
            raise CapabilityError(
                f"path: the law of {type(path.source).__name__} is not known token by token. Use "
                "'mask', 'uniform' or Categorical(probs)."
            )
        self.path, self.source = path, path.source
        self.tokens = joint.ndim

    def __call__(self, x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
        """Logits `(batch, n, vocab)` of what the path's network is to predict."""
        own = self.path.prediction == "denoiser"
        return self._marginals(x, t, leave_out=own).log().to(t.dtype)

    def posterior(self, x: Tensor, t: Tensor) -> Tensor:
        """p(x_1 | x_t) of each token.

        Args:
            x: `(batch, n)`.
            t: `(batch,)`.

        Returns:
            `(batch, n, vocab)`, in float64.
        """
        return self._marginals(x, t, leave_out=False)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """Log probability of the state at time t, `(batch,)`, in nats and float64."""
        likelihoods = self._likelihoods(x, t)
        parts = [self._weights(part).flatten(1).sum(1) for part in self._split(likelihoods)]
        return torch.cat(parts).log()

    def law(self, t: float) -> Tensor:
        """Probabilities of all states at time t, an axis for each token: the mask is the last."""
        states = torch.arange(self.path.states)
        x = torch.cartesian_prod(*[states] * self.tokens).view(-1, self.tokens)
        time = torch.full((len(x),), t, dtype=torch.float64)
        return self.log_prob(x, time).exp().view((self.path.states,) * self.tokens)

    def _likelihoods(self, x: Tensor, t: Tensor) -> Tensor:
        """L_i(j), `(batch, n, vocab)`."""
        if x.ndim != 2 or x.shape[1] != self.tokens:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; need (batch, {self.tokens}).")
        c = self.path.scheduler.table(t.double(), x)
        same = x.unsqueeze(-1) == torch.arange(self.path.vocab, device=x.device)
        return c.sigma * self.source.mass(x).double().unsqueeze(-1) + c.alpha * same

    def _weights(self, likelihoods: Tensor) -> Tensor:
        """q(x_1) prod L, `(batch, vocab, ..., vocab)`."""
        weights = self.joint.to(likelihoods.device).unsqueeze(0)
        for i in range(self.tokens):
            shape = [len(likelihoods)] + [1] * self.tokens
            shape[i + 1] = self.path.vocab
            weights = weights * likelihoods[:, i].view(shape)
        return weights

    def _marginals(self, x: Tensor, t: Tensor, *, leave_out: bool) -> Tensor:
        """Posterior of each token; without its own likelihood if `leave_out`."""
        # Samples share their times and most of their states.
        rows = torch.cat([x.double(), t.double().unsqueeze(1)], 1)
        _, index = torch.unique(_codes(rows), return_inverse=True)
        first = torch.full((int(index.max()) + 1,), len(x)).to(index)
        first.scatter_reduce_(0, index, torch.arange(len(x)).to(index), "amin")
        likelihoods = self._likelihoods(x[first], t[first])
        parts = [self._of_part(part, leave_out) for part in self._split(likelihoods)]
        return torch.cat(parts)[index]

    def _of_part(self, likelihoods: Tensor, leave_out: bool) -> Tensor:
        weights, found = self._weights(likelihoods), []
        for i in range(self.tokens):
            if leave_out:
                others = likelihoods.clone()
                others[:, i] = 1.0
                weights = self._weights(others)
            found.append(_marginal(weights, i))
        found_all, prior = torch.stack(found, 1), self._prior.to(likelihoods.device)
        total = found_all.sum(-1, keepdim=True)
        return torch.where(total > 0, found_all / total.clamp(min=1e-300), prior)

    @property
    def _prior(self) -> Tensor:
        return torch.stack([_marginal(self.joint.unsqueeze(0), i)[0] for i in range(self.tokens)])

    def _split(self, likelihoods: Tensor) -> tuple[Tensor, ...]:
        size = max(1, CHUNK // self.joint.numel())
        return tuple(likelihoods[i : i + size] for i in range(0, len(likelihoods), size))


def _marginal(weights: Tensor, token: int) -> Tensor:
    """`(batch, vocab)`: the sum over all axes but the batch and that of the token."""
    return weights.movedim(token + 1, 1).flatten(2).sum(2) if weights.ndim > 2 else weights


def _codes(rows: Tensor) -> Tensor:
    """A number for each row, equal for equal rows."""
    code = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for column in rows.unbind(1):
        values, place = torch.unique(column, return_inverse=True)
        code = torch.unique(code * len(values) + place, return_inverse=True)[1]
    return code
