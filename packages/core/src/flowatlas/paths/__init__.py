"""How x_0 becomes x_1, and everything that depends on the kind of space."""

from flowatlas.paths.affine import AffinePath as AffinePath
from flowatlas.paths.base import Path as Path
from flowatlas.paths.base import PathSample as PathSample
from flowatlas.paths.base import StatePath as StatePath
from flowatlas.paths.catflow import CatFlowPath as CatFlowPath
from flowatlas.paths.continuous import ContinuousPath as ContinuousPath
from flowatlas.paths.dirichlet import DirichletPath as DirichletPath
from flowatlas.paths.discrete import DiscretePath as DiscretePath
from flowatlas.paths.geodesic import GeodesicPath as GeodesicPath
from flowatlas.paths.interval import Interval as Interval
from flowatlas.paths.jumps import Jumps as Jumps
from flowatlas.paths.mixture import MixturePath as MixturePath
from flowatlas.paths.premetrics import Biharmonic as Biharmonic
from flowatlas.paths.premetrics import Diffusion as Diffusion
from flowatlas.paths.premetrics import Premetric as Premetric
from flowatlas.paths.product import ProductPath as ProductPath
from flowatlas.paths.spectral import Arrival as Arrival
from flowatlas.paths.spectral import SpectralPath as SpectralPath
from flowatlas.paths.token_schedule import PerPosition as PerPosition
from flowatlas.paths.token_schedule import PerToken as PerToken
from flowatlas.paths.token_schedule import TokenSchedule as TokenSchedule
