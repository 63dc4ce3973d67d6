"""Where flows start: the law of x_0."""

from flowatlas.sources.base import Source as Source
from flowatlas.sources.dirichlet import Dirichlet as Dirichlet
from flowatlas.sources.empirical import Empirical as Empirical
from flowatlas.sources.gaussian import Gaussian as Gaussian
from flowatlas.sources.harmonic_chain import HarmonicChain as HarmonicChain
from flowatlas.sources.igso3 import IGSO3 as IGSO3
from flowatlas.sources.student_t import StudentT as StudentT
from flowatlas.sources.tokens import Categorical as Categorical
from flowatlas.sources.tokens import Mask as Mask
from flowatlas.sources.tokens import TokenSource as TokenSource
from flowatlas.sources.tokens import UniformTokens as UniformTokens
from flowatlas.sources.uniform import Uniform as Uniform
from flowatlas.sources.vertex_density import VertexDensity as VertexDensity
from flowatlas.sources.wrapped_normal import WrappedNormal as WrappedNormal
