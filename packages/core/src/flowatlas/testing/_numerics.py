"""Shapes, transforms, derivatives at singular points, precision, compilation."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.testing._setup import Inputs, Setup

__all__ = ["NumericsTests"]


class NumericsTests(Setup):
    """What every map owes to the code that calls it."""

    def test_maps_take_any_leading_axes(self) -> None:
        """(), (B,) and (B, N), with the results of one point at a time."""
        for lead in ((), (3,), (2, 3)):
            i = self.inputs(*lead)
            flat = [value.reshape(-1, *value.shape[len(lead) :]) for value in i]
            for name, fn in self.maps().items():
                result = fn(i)
                expected = (*lead, *self.event(name))
                shape = tuple(result.shape)
                self.check(shape == expected, f"{name}: shape {shape} for leading axes {lead}")
                self.check(result.dtype == i.x.dtype, f"{name}: dtype {result.dtype}")
                singles = [fn(Inputs(*one)) for one in zip(*flat, strict=True)]
                alone = torch.stack(singles).reshape(expected)
                self.close(result, alone, f"{name} of a batch is not that of its points")

    def test_maps_take_an_empty_batch(self) -> None:
        """No points in, no points out; check_point finds nothing wrong with them."""
        i = Inputs(*(value[:0] for value in self.inputs(2)))
        self.manifold.check_point(i.x, "x")
        for name, fn in self.maps().items():
            shape = tuple(fn(i).shape)
            self.check(shape == (0, *self.event(name)), f"{name}: shape {shape} for no points")

    def test_maps_keep_float32_and_their_inputs(self) -> None:
        """float32 in, float32 out; arguments are not overwritten and nothing random is drawn."""
        i = self.inputs(4, dtype=torch.float32)
        before = [value.clone() for value in i]
        state = torch.get_rng_state()
        for name, fn in self.maps().items():
            result = fn(i)
            self.check(result.dtype == torch.float32, f"{name}: dtype {result.dtype}")
            self.finite([result], name)
        for value, copy in zip(i, before, strict=True):
            self.check(torch.equal(value, copy), "a map overwrites its arguments")
        self.check(torch.equal(state, torch.get_rng_state()), "a map draws random numbers")

    def test_maps_work_under_vmap(self) -> None:
        """torch.func.vmap over the batch gives the batched result."""
        i = self.inputs(4)
        for name, fn in self.maps().items():
            mapped = torch.func.vmap(lambda *args, fn=fn: fn(Inputs(*args)))(*i)
            self.close(mapped, fn(i), f"{name} under vmap")

    def test_derivatives_forward_reverse_and_by_differences_agree(self) -> None:
        """Along curves on the manifold, jvp equals vjp and central differences."""
        i = self.inputs(6)
        w = [self.tangent(p, 0.5 * self.radius, stream=200 + k) for k, p in enumerate((i.x, i.y))]
        noise = [
            torch.randn(i.u.shape, generator=self.generator(k), dtype=i.u.dtype) for k in (1, 2)
        ]
        slope = torch.rand(6, generator=self.generator(8), dtype=i.x.dtype)

        def curve(e: Tensor) -> Inputs:
            x = self.manifold.expmap(i.x, e * w[0])
            u, v = (
                self.manifold.proju(x, a + e * n) for a, n in zip((i.u, i.v), noise, strict=True)
            )
            return Inputs(x, self.manifold.expmap(i.y, e * w[1]), u, v, i.s + e * slope)

        zero = torch.zeros((), dtype=i.x.dtype)
        primals, tangents = jvp(curve, (zero,), (torch.ones_like(zero),))
        h = 1e-5
        for name, fn in self.maps().items():
            value, forward = jvp(lambda *a, fn=fn: fn(Inputs(*a)), tuple(primals), tuple(tangents))
            cotangent = torch.randn(value.shape, generator=self.generator(9), dtype=value.dtype)
            pull = torch.func.vjp(lambda *a, fn=fn: fn(Inputs(*a)), *primals)[1]
            reverse = sum((g * t).sum() for g, t in zip(pull(cotangent), tangents, strict=True))
            assert isinstance(reverse, Tensor)
            self.close(reverse, (forward * cotangent).sum(), f"{name}: jvp and vjp differ")
            difference = (fn(curve(zero + h)) - fn(curve(zero - h))) / (2 * h)
            self.close(forward, difference, f"{name}: the derivative is not the slope", 1e-6)

    def test_gradients_are_finite_at_singular_points(self) -> None:
        """Every map at x = y and u = 0: value, gradient and forward derivative."""
        for dtype in (torch.float32, torch.float64):
            i = self.inputs(50, dtype=dtype)
            singular = i._replace(y=i.x.clone(), u=0 * i.u)
            directions = tuple(
                torch.randn(value.shape, generator=self.generator(k), dtype=dtype)
                for k, value in enumerate(singular)
            )
            for name, fn in self.maps().items():
                leaves = [value.clone().requires_grad_() for value in singular]
                result = fn(Inputs(*leaves))
                self.finite([result], f"{name} at x = y, u = 0 in {dtype}")
                if result.requires_grad:
                    found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
                    gradients = [g for g in found if g is not None]
                    self.finite(gradients, f"the gradient of {name} at x = y, u = 0 in {dtype}")
                _, forward = jvp(lambda *a, fn=fn: fn(Inputs(*a)), tuple(singular), directions)
                self.finite([forward], f"the derivative of {name} at x = y, u = 0 in {dtype}")

    def test_derivative_of_log_after_exp_is_the_identity(self) -> None:
        """At u = 0, next to it and far from it, to the precision of the dtype."""
        for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-2)):
            x = self.point(20, dtype=dtype)
            w = self.tangent(x, 1.0, stream=101)
            for length in (0.0, 1e-12, 1e-7, 1e-4, 1e-2, 0.5 * self.radius):
                _, derivative = jvp(
                    lambda u, x=x: self.manifold.logmap(x, self.manifold.expmap(x, u)),
                    (self.tangent(x, length),),
                    (w,),
                )
                what = f"the derivative of log(exp(u)) is not the identity at {length:g}, {dtype}"
                self.close(derivative, w, what, tolerance)

    def test_float32_logarithm_is_accurate(self) -> None:
        """Against float64 on the same inputs, from 1e-6 to the injectivity radius - 1e-3."""
        relative, absolute = self.float32_log
        for length in self.lengths:
            x, y = self.float32_pair(length)
            exact = self.manifold.logmap(x.double(), y.double())
            error = self.size(self.manifold.logmap(x, y).double() - exact)
            size = self.size(exact)
            allowed = (relative * size).clamp(min=absolute)
            worst = (error / allowed).max().item()
            self.check(
                worst <= 1,
                f"float32 logmap at distance {length:g} has error {error.max().item():.1e}, "
                f"{worst:.1f} times what is allowed",
            )

    def test_float32_round_trip_is_accurate(self) -> None:
        """|exp_x(log_x y) - y| in float32, from 1e-6 to the injectivity radius - 1e-3."""
        for length in self.lengths:
            x, y = self.float32_pair(length)
            back = self.manifold.expmap(x, self.manifold.logmap(x, y))
            what = f"float32 exp(log(y)) is not y at distance {length:g}"
            self.close(back, y, what, self.float32_point)

    def size(self, u: Tensor) -> Tensor:
        """Euclidean norm of the coordinates of each tangent."""
        return u.reshape(len(u), -1).square().sum(1).sqrt()

    def float32_pair(self, length: float) -> tuple[Tensor, Tensor]:
        """Points at a distance, computed in float64 and rounded."""
        x = self.point(500)
        y = self.manifold.expmap(x, self.tangent(x, length))
        return x.float(), y.float()

    def test_maps_compile_into_one_graph(self) -> None:
        """torch.compile(fullgraph=True) of the maps that training and sampling call."""
        i = self.inputs(4)

        def step(x: Tensor, y: Tensor, u: Tensor, s: Tensor) -> tuple[Tensor, ...]:
            return (
                self.manifold.expmap(x, u),
                self.manifold.logmap(x, y),
                *self.manifold.geodesic(x, y, s),
                self.manifold.proju(x, u),
                self.manifold.retract(x, u),
            )

        torch.compiler.reset()
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        results = compiled(i.x, i.y, i.u, i.s)
        for one, other in zip(results, step(i.x, i.y, i.u, i.s), strict=True):
            self.close(one, other, "compiled maps differ from eager ones")
