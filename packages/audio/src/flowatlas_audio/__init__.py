"""Flow matching for audio.

Here now: `decibels`, between amplitudes and their levels. To come: spectrograms, networks,
enhancement, synthesis and their benchmarks.
"""

from importlib.metadata import version as _version

from flowatlas_audio.decibels import amplitude_to_decibels as amplitude_to_decibels
from flowatlas_audio.decibels import decibels_to_amplitude as decibels_to_amplitude

__version__ = _version("flowatlas-audio")
