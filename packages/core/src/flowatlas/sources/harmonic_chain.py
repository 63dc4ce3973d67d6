"""Beads on springs: a source for chains such as proteins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.sources.base import Source

__all__ = ["HarmonicChain"]


class HarmonicChain(Source):
    r"""$p(x) \propto \exp\big(-\tfrac k2 \sum_i |x_{i+1} - x_i|^2\big)$, with the centre at zero.

    The modes of a chain of N beads are cosines,
    $v_{im} = \sqrt{2/N} \cos(\pi m (i + \tfrac12) / N)$ with
    $\lambda_m = 2 - 2 \cos(\pi m / N)$ for m = 1 to N - 1, and $x = \sum_m z_m v_m / \sqrt{k
    \lambda_m}$ with standard normal z. Neighbours are $\sqrt{D / k}$ apart (root mean square, in D
    dimensions): k = 3 / 3.8^2 makes the spacing of the alpha carbons of a protein, in Angstrom.

    Translations are left out: the law lives on chains whose mean is zero, a space of dimension
    D (N - 1), and the density is with respect to the volume there,

    $$\log p(x) = -E(x) + \tfrac D2 \Big[(N - 1) \log \frac{k}{2 \pi} + \log N\Big],$$

    since the $\lambda_m$ multiply to N. A field on such chains must not move the mean. The law is
    Gaussian but not isotropic: noise and score prediction do not accept it.

    Every bead of a sample exists: chains of unequal lengths are drawn one length at a time, not
    padded and masked, for their modes differ.

    Args:
        stiffness: k, in one over the squared units of the data.

    Raises:
        ConfigError: a stiffness that is not positive and finite.

    Reference: EigenFold: Generative Protein Structure Prediction with Diffusion Models, Jing et
    al., 2023, arXiv:2304.02198 (from memory); AlphaFold Meets Flow Matching for Generating Protein
    Ensembles, Jing et al., 2024, arXiv:2402.04845 (from memory).

    Example:
        ```python
        source = HarmonicChain(3 / 3.8**2)
        x_0 = source.sample((8, 64, 3), generator=torch.Generator().manual_seed(0))
        source.log_prob(x_0).shape  # (8,)
        ```
    """

    has_density = True
    point_ndim = 2

    def __init__(self, stiffness: float = 1.0) -> None:
        if not 0 < stiffness < math.inf:
            raise ConfigError(f"stiffness: got {stiffness}; it must be positive and finite.")
        self.stiffness = float(stiffness)

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        shape = tuple(shape)
        self._check(shape)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        working = torch.promote_types(dtype, torch.float32)
        size = (*shape[:-2], shape[-2] - 1, shape[-1])
        z = randn(size, generator=generator, dtype=working, device=device)
        return (self._modes(shape[-2], z) @ z).to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x.shape)
        beads, dimension = x.shape[-2:]
        centre = x.detach().mean(-2).abs().amax() if x.numel() else x.new_zeros(())
        allowed = 1e-3 * max(1.0, float(x.detach().abs().amax())) if x.numel() else 1.0
        if not centre <= allowed:
            raise GeometryError(
                f"x: the centre of a chain is {centre.item():.2e} from zero; {self!r} has a "
                "density on centred chains alone. Pass x - x.mean(-2, keepdim=True)."
            )
        energy = self.stiffness / 2 * (x[..., 1:, :] - x[..., :-1, :]).square().sum((-2, -1))
        level = (beads - 1) * math.log(self.stiffness / (2 * math.pi)) + math.log(beads)
        return dimension / 2 * level - energy

    def _modes(self, beads: int, like: Tensor) -> Tensor:
        """Eigenvectors over the roots of the eigenvalues of the energy, `(beads, beads - 1)`."""
        i = torch.arange(beads, dtype=torch.float64).unsqueeze(1) + 0.5
        m = torch.arange(1, beads, dtype=torch.float64)
        vectors = math.sqrt(2 / beads) * torch.cos(math.pi / beads * m * i)
        # 2 - 2 cos a = 4 sin^2(a / 2), which does not cancel for long chains.
        root = 2 * torch.sin(math.pi / (2 * beads) * m) * math.sqrt(self.stiffness)
        return (vectors / root).to(like)

    def _check(self, shape: Sequence[int]) -> None:
        if len(shape) < 2 or shape[-2] < 2 or shape[-1] < 1:
            raise ShapeError(
                f"shape: got {tuple(shape)}; points of {self!r} are chains (..., beads, dimension) "
                "with two beads or more."
            )

    def __repr__(self) -> str:
        return f"HarmonicChain({self.stiffness:g})"
