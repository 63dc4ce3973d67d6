"""Networks over frames."""

from flowatlas_molecules.networks.frame_transformer import FrameTransformer as FrameTransformer
from flowatlas_molecules.networks.invariant_point_attention import (
    InvariantPointAttention as InvariantPointAttention,
)
