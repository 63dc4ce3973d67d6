"""Random points and tangents: their laws, their shapes, their generators."""

from __future__ import annotations

import math

import torch

from flowatlas.manifolds.capability import Capability
from flowatlas.testing._setup import Setup, identity, requires

__all__ = ["RandomTests"]


class RandomTests(Setup):
    """random_uniform, random_tangent, and reproducibility."""

    @requires(Capability.TANGENT_BASIS)
    def test_random_tangent_has_identity_covariance(self) -> None:
        """Mean zero and covariance one in the basis, for normal draws and for signs.

        Each entry is within five standard errors. Products of two coefficients have a variance of
        at most 2 for normal draws and for signs projected by an orthogonal projection.
        """
        count = 20000
        x = self.point(3)
        for rademacher in (False, True):
            for k, one in enumerate(x):
                many = one.expand(count, *self.point_shape)
                u = self.manifold.random_tangent(
                    many, generator=self.generator(k), rademacher=rademacher
                )
                axes = self.manifold.tangent_basis(one.unsqueeze(0)).movedim(1, 0)
                c = torch.stack(
                    [self.manifold.inner(many, u, axis.expand_as(u)) for axis in axes], -1
                )
                label = f"random_tangent(rademacher={rademacher})"
                mean = c.mean(0)
                zero = torch.zeros_like(mean)
                self.close(mean, zero, f"{label} is biased", 5 / math.sqrt(count))
                eye = identity(self.dimension, x)
                bound = 5 * math.sqrt(2 / count)
                self.close(c.mT @ c / count, eye, f"{label} is not isotropic", bound)

    def test_random_tangent_is_tangent(self) -> None:
        """Of the right shape and dtype, fixed by proju, with E |u|^2 = dimension.

        The mean is within five standard errors, those being estimated from the draws.
        """
        count = 20000
        for rademacher in (False, True):
            x = self.point(1).expand(count, *self.point_shape)
            u = self.manifold.random_tangent(x, generator=self.generator(), rademacher=rademacher)
            expected = (count, *self.tangent_shape)
            self.check(u.shape == expected, f"random_tangent of shape {tuple(u.shape)}")
            self.check(u.dtype == x.dtype, f"random_tangent of dtype {u.dtype}")
            self.close(self.manifold.proju(x, u), u, "random_tangent is not tangent")
            square = self.manifold.inner(x, u, u)
            error = square.std().item() / math.sqrt(count) + 1e-9
            gap = abs(square.mean().item() - self.dimension)
            self.check(gap < 5 * error, f"E |u|^2 is off {self.dimension} by {gap:.3f}")

    def test_tangent_from_noise_takes_the_declared_shape(self) -> None:
        """noise_shape(x) numbers make a tangent, linearly."""
        x = self.point(4, 5)
        shape = self.manifold.noise_shape(x)
        a, b = (torch.randn(shape, generator=self.generator(k), dtype=x.dtype) for k in (1, 2))
        u, v, both = (self.manifold.tangent_from_noise(x, n) for n in (a, b, 2 * a - 3 * b))
        self.check(u.shape == (4, 5, *self.tangent_shape), f"tangent of shape {tuple(u.shape)}")
        self.close(both, 2 * u - 3 * v, "tangent_from_noise is not linear")

    def test_random_tangent_obeys_its_generators(self) -> None:
        """The same generator gives the same draw; one per sample makes samples independent."""
        x = self.point(4, 3)

        def tangent(batch: slice, *seeds: int) -> torch.Tensor:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            return self.manifold.random_tangent(x[batch], generator=generators)

        state = torch.get_rng_state()
        together = tangent(slice(None), 1, 2, 3, 4)
        self.close(tangent(slice(2, 4), 3, 4), together[2:], "a sample depends on its batch", 0.0)
        first, again = (self.manifold.random_tangent(x, generator=self.generator(9)) for _ in "ab")
        self.close(first, again, "the same generator gives another tangent", 0.0)
        unused = torch.equal(state, torch.get_rng_state())
        self.check(unused, "the global generator was used beside the given one")

    @requires(Capability.UNIFORM)
    def test_random_uniform_obeys_its_arguments(self) -> None:
        """Shape, dtype and generators, per sample too; the result is on the manifold."""
        shape = (4, 3, *self.point_shape)
        state = torch.get_rng_state()
        for dtype in (torch.float32, torch.float64):
            x = self.manifold.random_uniform(shape, generator=self.generator(), dtype=dtype)
            self.check(x.shape == shape and x.dtype == dtype, f"got {tuple(x.shape)}, {x.dtype}")
            self.manifold.check_point(x, "random_uniform")

        def points(*seeds: int) -> torch.Tensor:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            return self.manifold.random_uniform(
                (len(seeds), 3, *self.point_shape), generator=generators
            )

        self.close(points(3, 4), points(1, 2, 3, 4)[2:], "a sample depends on its batch", 0.0)
        unused = torch.equal(state, torch.get_rng_state())
        self.check(unused, "the global generator was used beside the given one")
