"""What manifolds declare that they can do."""

from __future__ import annotations

from enum import Enum

__all__ = ["Capability"]


class Capability(Enum):
    """What a manifold can do beyond the five required maps; declared, never discovered."""

    UNIFORM = "uniform"
    """`random_uniform` and `uniform_log_prob`: finite volume."""
    TANGENT_BASIS = "tangent_basis"
    """`tangent_basis`: an orthonormal basis at every point; the exact divergence needs it."""
    WRAPPED = "wrapped"
    """`exp_preimages` and `log_det_expmap`: densities pushed through the exponential map."""
