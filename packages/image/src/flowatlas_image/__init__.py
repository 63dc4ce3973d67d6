"""Flow matching for images: sets of images, networks, metrics and benchmarks.

`data` has sets with classes and image files, `networks` a U-Net and a DiT, `metrics` how far
samples are from the data, `benchmarks` the systems `image/*`.
"""

from importlib.metadata import version as _version

from flowatlas_image.data import read_png as read_png
from flowatlas_image.data import write_png as write_png
from flowatlas_image.networks import DiT as DiT
from flowatlas_image.networks import UNet as UNet
from flowatlas_image.scaling import from_pixels as from_pixels
from flowatlas_image.scaling import to_pixels as to_pixels
from flowatlas_image.system import ImageSystem as ImageSystem

__version__ = _version("flowatlas-image")
