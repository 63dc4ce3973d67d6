"""Networks that are fields of images."""

from flowatlas_image.networks.dit import DiT as DiT
from flowatlas_image.networks.patches import PatchEmbedding as PatchEmbedding
from flowatlas_image.networks.unet import UNet as UNet
