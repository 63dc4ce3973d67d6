"""What to regress."""

from flowatlas.objectives.flow_matching import Draws as Draws
from flowatlas.objectives.flow_matching import FlowMatching as FlowMatching
from flowatlas.objectives.flow_matching import LossOutput as LossOutput
