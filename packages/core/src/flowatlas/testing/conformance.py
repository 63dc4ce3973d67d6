"""The contract of `Manifold` as a test class."""

from __future__ import annotations

from flowatlas.testing._contraction import ContractionTests
from flowatlas.testing._declarations import DeclarationTests
from flowatlas.testing._geodesics import GeodesicTests
from flowatlas.testing._maps import MapTests
from flowatlas.testing._measure import MeasureTests
from flowatlas.testing._numerics import NumericsTests
from flowatlas.testing._random import RandomTests
from flowatlas.testing._stepping import SteppingTests

__all__ = ["ManifoldConformance"]


class ManifoldConformance(
    MapTests,
    GeodesicTests,
    SteppingTests,
    MeasureTests,
    ContractionTests,
    RandomTests,
    NumericsTests,
    DeclarationTests,
):
    r"""Everything a `Manifold` promises, as tests that pytest collects from a subclass.

    ```python
    class TestCylinder(ManifoldConformance):
        manifold, point_shape = Cylinder(), (3,)
    ```

    Each test is one property, tested on points drawn with a fixed seed: the five maps against each
    other ($\exp_x(\log_x y) = y$, the gradient of half the squared distance is $-\log_x y$, ...),
    derived maps against them, Jacobians against automatic differentiation, densities against
    integrals, steps against their order of convergence, float32 against float64. Tests of a
    capability exist in the subclass only if the manifold declares it; for the others there is a
    test that asking raises `CapabilityError`.

    Attributes:
        manifold: the instance under test.
        point_shape: of one point.
        base_point: one point, `(*point_shape)`, around which to draw others where the manifold has
            no uniform law; the projection of normal noise if None.
        max_length: longest tangents to try where the injectivity radius is infinite.
        tolerance: by dtype, the allowed error of identities, relative to values above 1.
        float32_log: the allowed error of `logmap` in float32, relative and absolute: meeting one
            of the two is enough.
        float32_point: the allowed error of `expmap(x, logmap(x, y))` in float32, relative to
            coordinates above 1.
        density_std: of the wrapped normal by whose integral the volume is measured, if the default
            makes for too large a standard error; at most half the injectivity radius.
        everywhere: True if every tensor of the right shape is a point, as in flat space.
        embedded: whether solvers add stages up in the ambient space, so that `pullback` is the
            identity; True for a positive codimension if None. A subspace of a Lie group has one,
            and Munthe-Kaas steps all the same.
        wrong_shapes: shapes that are no points, for `check_shape` to refuse.
        seed: of everything drawn.

    Override `random_point` to test other points than these.
    """
