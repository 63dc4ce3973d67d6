"""Clouds of points: neighbours, shapes and files, and flows from few points to many."""

from flowatlas_robotics.clouds.draws import even_clouds as even_clouds
from flowatlas_robotics.clouds.draws import uniform_clouds as uniform_clouds
from flowatlas_robotics.clouds.files import read_points as read_points
from flowatlas_robotics.clouds.files import write_points as write_points
from flowatlas_robotics.clouds.flow import UpsamplingFlow as UpsamplingFlow
from flowatlas_robotics.clouds.flow import aligned as aligned
from flowatlas_robotics.clouds.interpolation import interpolate as interpolate
from flowatlas_robotics.clouds.meshes import Surface as Surface
from flowatlas_robotics.clouds.meshes import read_surface as read_surface
from flowatlas_robotics.clouds.metrics import chamfer_distance as chamfer_distance
from flowatlas_robotics.clouds.metrics import earth_movers_distance as earth_movers_distance
from flowatlas_robotics.clouds.metrics import surface_distance as surface_distance
from flowatlas_robotics.clouds.neighbours import farthest_points as farthest_points
from flowatlas_robotics.clouds.neighbours import nearest as nearest
from flowatlas_robotics.clouds.neighbours import spacing as spacing
from flowatlas_robotics.clouds.shapes import random_surface as random_surface
from flowatlas_robotics.clouds.system import UpsampledClouds as UpsampledClouds
from flowatlas_robotics.clouds.system import UpsamplingSystem as UpsamplingSystem
from flowatlas_robotics.clouds.upsampler import PointUpsampler as PointUpsampler
