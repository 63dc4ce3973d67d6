"""Networks over frames, clouds of atoms, and crystals."""

from flowatlas_molecules.networks.egnn import EGNN as EGNN
from flowatlas_molecules.networks.frame_neighbors import FrameNeighbors as FrameNeighbors
from flowatlas_molecules.networks.frame_transformer import FrameTransformer as FrameTransformer
from flowatlas_molecules.networks.invariant_point_attention import (
    InvariantPointAttention as InvariantPointAttention,
)
from flowatlas_molecules.networks.periodic import PeriodicNetwork as PeriodicNetwork
from flowatlas_molecules.networks.point_network import PointGraph as PointGraph
from flowatlas_molecules.networks.point_network import PointNetwork as PointNetwork
from flowatlas_molecules.networks.tensor_field_network import (
    TensorFieldNetwork as TensorFieldNetwork,
)
