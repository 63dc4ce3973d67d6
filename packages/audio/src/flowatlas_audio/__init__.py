"""Flow matching for audio.

Waves in files, front ends (`ComplexSpectrogram`, `LogMel`), noise and mixtures, the
network `FrameNetwork`, speech enhancement by a flow (`Enhancer`), its metrics, and the benchmark
`audio/enhancement`.
"""

from importlib.metadata import version as _version

from flowatlas_audio import noise as noise
from flowatlas_audio.bank import MixtureBank as MixtureBank
from flowatlas_audio.decibels import amplitude_to_decibels as amplitude_to_decibels
from flowatlas_audio.decibels import decibels_to_amplitude as decibels_to_amplitude
from flowatlas_audio.enhancer import Enhanced as Enhanced
from flowatlas_audio.enhancer import Enhancer as Enhancer
from flowatlas_audio.enhancer import enhancement_path as enhancement_path
from flowatlas_audio.enhancer import regression_path as regression_path
from flowatlas_audio.mel import LogMel as LogMel
from flowatlas_audio.mel import griffin_lim as griffin_lim
from flowatlas_audio.mel import mel_filters as mel_filters
from flowatlas_audio.metrics import estoi as estoi
from flowatlas_audio.metrics import pesq as pesq
from flowatlas_audio.metrics import si_sdr as si_sdr
from flowatlas_audio.mixtures import Mixtures as Mixtures
from flowatlas_audio.mixtures import mixtures as mixtures
from flowatlas_audio.network import FrameNetwork as FrameNetwork
from flowatlas_audio.noise import mix as mix
from flowatlas_audio.ratings import Dnsmos as Dnsmos
from flowatlas_audio.ratings import dnsmos as dnsmos
from flowatlas_audio.spectrogram import ComplexSpectrogram as ComplexSpectrogram
from flowatlas_audio.speech import Clips as Clips
from flowatlas_audio.speech import clips as clips
from flowatlas_audio.subtraction import spectral_subtraction as spectral_subtraction
from flowatlas_audio.torchaudio_import import load_torchaudio as load_torchaudio
from flowatlas_audio.waves import Wave as Wave
from flowatlas_audio.waves import read_wave as read_wave
from flowatlas_audio.waves import write_wave as write_wave

__version__ = _version("flowatlas-audio")
