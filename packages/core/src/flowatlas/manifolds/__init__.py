"""Where points live: manifolds as batched functions of points and tangents."""

from flowatlas.manifolds.base import Manifold as Manifold
from flowatlas.manifolds.capability import Capability as Capability
from flowatlas.manifolds.euclidean import Euclidean as Euclidean
from flowatlas.manifolds.flat_spd import LogCholeskySPD as LogCholeskySPD
from flowatlas.manifolds.flat_spd import LogEuclideanSPD as LogEuclideanSPD
from flowatlas.manifolds.geoopt_adapter import GeooptManifold as GeooptManifold
from flowatlas.manifolds.lorentz import Lorentz as Lorentz
from flowatlas.manifolds.mesh import Mesh as Mesh
from flowatlas.manifolds.product import ProductManifold as ProductManifold
from flowatlas.manifolds.quaternions import UnitQuaternions as UnitQuaternions
from flowatlas.manifolds.se3 import SE3 as SE3
from flowatlas.manifolds.simplex import Simplex as Simplex
from flowatlas.manifolds.so3 import SO3 as SO3
from flowatlas.manifolds.spd import SPD as SPD
from flowatlas.manifolds.spectrum import Spectrum as Spectrum
from flowatlas.manifolds.sphere import Sphere as Sphere
from flowatlas.manifolds.torus import FlatTorus as FlatTorus
