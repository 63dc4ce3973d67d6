"""Flows known in closed form or by quadrature: ground truth for everything that is learned.

An objective is right when its minimiser is the exact field, a solver when it converges at its order
to the exact map, a likelihood when it equals the exact density.
"""

from flowatlas.exact.base import ExactFlow as ExactFlow
from flowatlas.exact.empirical_flow import EmpiricalFlow as EmpiricalFlow
from flowatlas.exact.gaussian_flow import ExactGaussianFlow as ExactGaussianFlow
from flowatlas.exact.gaussian_mixture import GaussianMixture as GaussianMixture
from flowatlas.exact.mixture_flow import ExactMixtureFlow as ExactMixtureFlow
from flowatlas.exact.product_flow import ExactProductFlow as ExactProductFlow
from flowatlas.exact.sphere_flow import ExactSphereFlow as ExactSphereFlow
from flowatlas.exact.token_chain import ExactTokenChain as ExactTokenChain
from flowatlas.exact.torus_flow import ExactTorusFlow as ExactTorusFlow
from flowatlas.exact.von_mises_fisher import VonMisesFisherMixture as VonMisesFisherMixture
from flowatlas.exact.wrapped_normal import WrappedNormalMixture as WrappedNormalMixture
