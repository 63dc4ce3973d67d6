"""What to regress."""

from flowatlas.objectives.base import Draws as Draws
from flowatlas.objectives.base import LossOutput as LossOutput
from flowatlas.objectives.flow_matching import FlowMatching as FlowMatching
from flowatlas.objectives.multi_marginal import MultiMarginal as MultiMarginal
from flowatlas.objectives.path_energy import PathEnergy as PathEnergy
