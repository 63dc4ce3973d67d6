"""Training: a shell around objectives, on Lightning, with exact resumes and no pickles."""

from flowatlas.training.checkpoint import SafetensorsCheckpointIO as SafetensorsCheckpointIO
from flowatlas.training.checkpoint import load_checkpoint as load_checkpoint
from flowatlas.training.checkpoint import load_network as load_network
from flowatlas.training.checkpoint import save_checkpoint as save_checkpoint
from flowatlas.training.data import TensorData as TensorData
from flowatlas.training.drawn import DrawnData as DrawnData
from flowatlas.training.ema import EMA as EMA
from flowatlas.training.interpolant import InterpolantFit as InterpolantFit
from flowatlas.training.interpolant import fit_interpolant as fit_interpolant
from flowatlas.training.log import DivergenceError as DivergenceError
from flowatlas.training.log import read_log as read_log
from flowatlas.training.module import FlowModule as FlowModule
from flowatlas.training.optimizer import OptimizerSettings as OptimizerSettings
from flowatlas.training.pools import PairedPools as PairedPools
from flowatlas.training.sampler import KeyedBatchSampler as KeyedBatchSampler
from flowatlas.training.train import FitResult as FitResult
from flowatlas.training.train import fit as fit
