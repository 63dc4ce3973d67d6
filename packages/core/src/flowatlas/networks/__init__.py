"""Small networks that are fields: perceptrons, a transformer, features, saving and loading."""

from flowatlas.networks.condition import Classes as Classes
from flowatlas.networks.condition import Vector as Vector
from flowatlas.networks.features import Features as Features
from flowatlas.networks.features import Identity as Identity
from flowatlas.networks.features import Logs as Logs
from flowatlas.networks.features import MultiScale as MultiScale
from flowatlas.networks.features import Periodic as Periodic
from flowatlas.networks.hub import Pretrained as Pretrained
from flowatlas.networks.hub import from_config as from_config
from flowatlas.networks.hub import from_pretrained as from_pretrained
from flowatlas.networks.interpolant import Interpolant as Interpolant
from flowatlas.networks.mlp import MLP as MLP
from flowatlas.networks.product import ProductMLP as ProductMLP
from flowatlas.networks.sequence import SequenceTransformer as SequenceTransformer
from flowatlas.networks.surface import SurfaceMLP as SurfaceMLP
from flowatlas.networks.time_embedding import FourierTimeEmbedding as FourierTimeEmbedding
from flowatlas.networks.time_embedding import TimeEmbedding as TimeEmbedding
