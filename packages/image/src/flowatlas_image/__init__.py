"""Flow matching for images.

Here now: `scaling`, between 8-bit pixels and the range that networks and sources expect. To come:
data sets, networks, samplers and benchmarks for images.
"""

from importlib.metadata import version as _version

from flowatlas_image.scaling import from_pixels as from_pixels
from flowatlas_image.scaling import to_pixels as to_pixels

__version__ = _version("flowatlas-image")
