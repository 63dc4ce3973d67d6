"""Dirichlet paths: from the uniform law on the simplex to its vertices."""

from __future__ import annotations

import copy
import math
from functools import cached_property

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.errors import ConfigError, IntervalError, ShapeError
from flowatlas.manifolds.simplex import Simplex, root
from flowatlas.paths._bicubic import Table
from flowatlas.paths._dirichlet import flow_table, move, rate_table
from flowatlas.paths._edges import first_finite
from flowatlas.paths.base import PathSample
from flowatlas.paths.canonical import Canonical, Probabilities
from flowatlas.paths.continuous import ContinuousPath, TimeWeight
from flowatlas.paths.interval import Interval
from flowatlas.schedulers import CondOT, Scheduler
from flowatlas.sources.dirichlet import Dirichlet
from flowatlas.state import broadcast_time

__all__ = ["DirichletPath"]

#: End of the flow: the rest of the way, from Dir(1 + (alpha_max - 1) e_i) to e_i, is one draw.
LAST = 1 - 1e-6


class DirichletPath(ContinuousPath):
    r"""$x_t \sim \mathrm{Dir}(1 + (\alpha_t - 1)\, e_i)$, with i the category of $x_1$.

    $\alpha_t = 1 + (\alpha_{max} - 1) \kappa_t$ starts at 1, where the law is uniform and does not
    know i. Its support is the whole simplex at every t < 1, however many categories there are,
    whereas that of the straight line from uniform points shrinks to a corner: whoever sees such a
    point half way knows i at once, and whatever is decided is decided before.

    States are probabilities `(batch, *points, K)` and data their vertices, `path.one_hot(tokens)`
    (a point that is none is read as the category of its largest entry). The network is a
    classifier, its loss the cross-entropy. The velocity is linear in the probabilities p it gives
    to the categories,

    $$\frac{dx}{dt} = \dot\alpha_t \big( p \circ C - x \textstyle\sum_j p_j C_j \big),
      \qquad C_j = C(x_j, \alpha_t),$$

    with C of `velocity_coefficient`. `velocity` returns the tangent $\dot x / \sqrt x$ of
    `Simplex`; `path.manifold.pushforward(x, v)` is dx/dt.

    At t = 1 the law is Dir(1 + (alpha_max - 1) e_i), not yet e_i. The last step of a sampler draws
    the category from the classifier and returns its vertex. This is exact for every `alpha_max` if
    the classifier is, and independent between the points of a sample given the state, as in masked
    diffusion: a larger `alpha_max` leaves less to it. `end="argmax"` takes the most probable
    category instead, which sharpens the law where the classifier is still undecided.

    $x_t$ is the flow of the conditional velocity from $x_0$, so that both ends determine it.

    Args:
        categories: K, at least 2.
        alpha_max: alpha at t = 1.
        scheduler: convex; kappa_t = t if None.
        prediction: `"logits"`, or `"target"` for probabilities, $E[x_1 | x_t]$.
        end: `"draw"` or `"argmax"`.
        weight: factor of this component's loss.
        time_weight: function of t, `(batch,)` to `(batch,)`, that multiplies the loss.

    Raises:
        ConfigError: fewer than two categories, an `alpha_max` of 1 or less, a schedule that is not
            convex, an unknown prediction kind or end.

    Reference: Dirichlet Flow Matching with Applications to DNA Sequence Design, Stark et al., 2024,
    arXiv:2402.05841; their t is our alpha - 1, and they end with the argmax. They take
    C from finite differences of the incomplete beta function, here it is integrated.

    Example:
        ```python
        path = DirichletPath(20)
        tokens = torch.randint(20, (64, 100))
        loss = FlowMatching(path)(model, path.one_hot(tokens)).loss
        x = sample(model, path, shape=(64, 100, 20), solver=Midpoint(steps=50))
        tokens = x.argmax(-1)
        ```
    """

    kinds = ("logits", "target")

    def __init__(
        self,
        categories: int,
        alpha_max: float = 8.0,
        scheduler: Scheduler | None = None,
        *,
        prediction: str = "logits",
        end: str = "draw",
        weight: float = 1.0,
        time_weight: TimeWeight | None = None,
    ) -> None:
        if not 1 < alpha_max < math.inf:
            raise ConfigError(
                f"alpha_max: got {alpha_max}; it must be finite and above 1, where the path starts."
            )
        if end not in ("draw", "argmax"):
            raise ConfigError(f"end: got {end!r}; it must be 'draw' or 'argmax'.")
        scheduler = CondOT() if scheduler is None else scheduler
        if not scheduler.convex:
            raise ConfigError(
                f"scheduler: {scheduler!r} is not convex (sigma = 1 - alpha), so it is no speed "
                "along the path. Use CondOT, Polynomial or Exponential."
            )
        self._simplex = Simplex(categories)
        super().__init__(
            self._simplex,
            Dirichlet(1.0),
            prediction=prediction,
            scheduler=scheduler,
            weight=weight,
            time_weight=time_weight,
            loss=None,
        )
        self.categories = categories
        self.alpha_max = float(alpha_max)
        self.end = end
        self._combined = False
        self._rate = rate_table(categories, self.alpha_max)

    @cached_property
    def _flow(self) -> Table:
        """From x_0 to x_t, for training alone: made when it is first asked for."""
        return flow_table(self.categories, self.alpha_max)

    def one_hot(self, tokens: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Data of token ids: `Simplex.one_hot`.

        Raises:
            GeometryError: tokens outside the vocabulary.
        """
        return self._simplex.one_hot(tokens, dtype=dtype)

    def velocity_coefficient(self, x: Tensor, alpha: Tensor | float) -> Tensor:
        r"""$C(x, \alpha)$ of the conditional velocity $dx / d\alpha = C(x_i, \alpha) (e_i - x)$.

        $$C(x, \alpha) = - \frac{\partial_\alpha I_x(\alpha, K - 1)\, B(\alpha, K - 1)}
          {(1 - x)^{K-1} x^{\alpha - 1}}$$

        From a table that is right to 2e-6, relative, for every x in (0, 1), K from 2 to 512.

        Args:
            x: probabilities, any shape, in [0, 1].
            alpha: in [1, alpha_max], broadcastable to `x`.

        Returns:
            Shaped as `x`.

        Raises:
            IntervalError: alpha outside its interval.

        Reference: Stark et al., 2024, arXiv:2402.05841.
        """
        alpha = torch.as_tensor(alpha, dtype=x.dtype, device=x.device)
        if alpha.numel():
            low, high = (bound.item() for bound in torch.aminmax(alpha))
            slack = 1e-5 * self.alpha_max
            # Written so that NaN fails.
            if not (low >= 1 - slack and high <= self.alpha_max + slack):
                raise IntervalError(
                    f"alpha: got values in [{low:g}, {high:g}]; it runs from 1, the uniform law, "
                    f"to alpha_max = {self.alpha_max:g}. Build the path with a larger alpha_max."
                )
        return x * self._rate(x, alpha.log())

    def _alpha(self, t: Tensor, x: Tensor, *, ahead: bool = True) -> tuple[Tensor, Tensor]:
        """alpha and its time derivative, so that they multiply `x`."""
        changed = self.inference_scheduler if ahead else None
        c = (changed or self.scheduler)(_shared(broadcast_time(t, x)))
        span = self.alpha_max - 1
        return 1 + span * c.alpha, span * c.d_alpha

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self._check(x_1, "x_1")
        alpha, speed = self._alpha(t, x_1, ahead=False)
        log_alpha = alpha.log()
        chosen = x_1.argmax(-1, keepdim=True)
        start = _logit(x_0.gather(-1, chosen))
        logit = start + self._flow(start, log_alpha)
        x_t = _moved(x_0, chosen, start, logit)
        rate = speed * self._rate(torch.sigmoid(logit), log_alpha)
        # C (e_i - x), divided by sqrt(x), with C = x_i G.
        roots = root(x_t)
        own = roots.gather(-1, chosen)
        return x_t, (-own.square() * rate * roots).scatter_add(-1, chosen, own * rate)

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """The cross-entropy of each point, which a classifier has in place of a squared error."""
        assert isinstance(sample.x_1, Tensor)
        if self.prediction == "logits":
            log_p = torch.log_softmax(prediction, -1)
        else:
            log_p = prediction.clamp(min=torch.finfo(prediction.dtype).tiny).log()
        chosen = sample.x_1.argmax(-1, keepdim=True)
        return -log_p.gather(-1, chosen).squeeze(-1)

    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        p = self._probabilities(prediction)
        if to == "target":
            return p
        self._check(x, "x")
        self.conversion_interval(to).check(t, f"{to} from {self.prediction} prediction")
        alpha, speed = self._alpha(t, x)
        # In place where no gradient needs the value: most of the time goes to new memory.
        pull = self._rate(x, alpha.log()).mul_(p)
        # sum_j p_j C_j, for C = x G.
        mean = (x * pull).sum(-1, keepdim=True)
        return (pull - mean).mul_(root(x)).mul_(speed)

    def _probabilities(self, prediction: Tensor) -> Tensor:
        if self._combined:
            return on_simplex(prediction)
        return prediction if self.prediction == "target" else torch.softmax(prediction, -1)

    def canonical(self, prediction: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Probabilities of x_1, in which velocity and score are linear."""
        return self._probabilities(prediction)

    def as_canonical(self) -> ContinuousPath:
        """The same path for a field that returns combined probabilities.

        Those that are negative, as guidance makes some, are taken to the closest that are not.
        """
        changed = copy.copy(self)
        changed.prediction, changed._combined = "target", True
        return changed

    def tilt(self, gradient: Tensor, x: Tensor, t: Tensor) -> Tensor:
        r"""What adding `gradient` g to the score adds to the probabilities.

        $$\sqrt x \, g / (\alpha - 1)$$

        The score of $\mathrm{Dir}(1 + (\alpha - 1) e_i)$ is $(\alpha - 1) / x_i$ in coordinate i,
        so that of the path is $(\alpha - 1) \, p_i / x_i$, and the probabilities follow from it;
        along the simplex a constant in all coordinates does not count.

        Reference: Stark et al., 2024, arXiv:2402.05841, for classifier guidance.
        """
        alpha, _ = self._alpha(t, x)
        return root(x) * gradient / (alpha - 1)

    @property
    def tilts(self) -> bool:
        return True

    @property
    def tilt_start(self) -> float:
        schedule = self.inference_scheduler or self.scheduler
        return first_finite(lambda t: 1 / ((self.alpha_max - 1) * schedule(t).alpha))

    @property
    def arithmetic(self) -> Canonical:
        return Probabilities()

    def conversion_interval(self, to: str) -> Interval:
        return Interval(0.0, LAST if to == "velocity" else 1.0)

    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        p = self._probabilities(prediction)
        if self.end == "argmax":
            chosen = p.argmax(-1, keepdim=True)
        else:
            u = rand(p.shape[:-1], generator=generator, dtype=p.dtype, device=p.device)
            level = p.cumsum(-1)
            # In units of the whole, which rounding leaves beside one.
            chosen = (level <= u.unsqueeze(-1) * level[..., -1:]).sum(-1, keepdim=True)
            chosen = chosen.clamp(max=self.categories - 1)
        start = _logit(x.gather(-1, chosen))
        now, then = (self._alpha(time, x)[0].expand_as(start) for time in (t, s))
        inside = _moved(x, chosen, start, move(self._rate, start, now, then))
        vertex = torch.zeros_like(x).scatter(-1, chosen, 1.0)
        return torch.where(broadcast_time(s >= 1, x), vertex, inside)

    def _check(self, x: Tensor, name: str) -> None:
        if x.shape[-1] != self.categories:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; this path is over {self.categories} "
                "categories, on the last axis."
            )


def _shared(t: Tensor) -> Tensor:
    """One time in place of equal ones, for which tables are read along one line."""
    if torch.compiler.is_compiling() or len(t) < 2:
        return t
    low, high = torch.aminmax(t.detach())
    return t[:1] if bool(low == high) else t


def _logit(x: Tensor) -> Tensor:
    """log(x / (1 - x)), finite at 0 and 1."""
    tiny, eps = torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).eps
    return torch.logit(x.clamp(tiny, 1 - eps / 2))


def _moved(x: Tensor, chosen: Tensor, start: Tensor, logit: Tensor) -> Tensor:
    """`x` with one coordinate moved from one logit to another, the others in proportion."""
    scale = torch.sigmoid(-logit) / torch.sigmoid(-start)
    return (x * scale).scatter(-1, chosen, torch.sigmoid(logit))


def on_simplex(p: Tensor) -> Tensor:
    """The closest probabilities to some numbers whose last axis adds up to one."""
    ordered = p.sort(-1, descending=True).values
    rank = torch.arange(1, p.shape[-1] + 1, dtype=p.dtype, device=p.device)
    excess = (ordered.cumsum(-1) - 1) / rank
    inside = (ordered > excess).sum(-1, keepdim=True)
    return (p - excess.gather(-1, inside - 1)).clamp(min=0)
