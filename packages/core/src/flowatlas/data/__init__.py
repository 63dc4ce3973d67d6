"""Named data sets: found, verified, read and split."""

from flowatlas.data.dataset import DataSet as DataSet
from flowatlas.data.earth import degrees as degrees
from flowatlas.data.earth import unit_vectors as unit_vectors
from flowatlas.data.files import ROOT_VARIABLE as ROOT_VARIABLE
from flowatlas.data.files import cache_directory as cache_directory
from flowatlas.data.files import find as find
from flowatlas.data.files import verify as verify
from flowatlas.data.kernel_mixture import KernelMixture as KernelMixture
from flowatlas.data.registry import dataset as dataset
from flowatlas.data.registry import dataset_names as dataset_names
from flowatlas.data.registry import load as load
from flowatlas.data.registry import verify_file as verify_file
from flowatlas.data.rotations import rotation_mixture as rotation_mixture
from flowatlas.data.splits import Split as Split
from flowatlas.data.splits import is_copy as is_copy
from flowatlas.data.splits import split as split
from flowatlas.data.toy import Checkerboard as Checkerboard
from flowatlas.data.toy import EightGaussians as EightGaussians
from flowatlas.data.toy import TwoMoons as TwoMoons
from flowatlas.data.wrapped_mixture import WrappedMixture as WrappedMixture
