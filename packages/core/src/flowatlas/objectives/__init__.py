"""What to regress."""

from flowatlas.objectives.base import Draws as Draws
from flowatlas.objectives.base import LossOutput as LossOutput
from flowatlas.objectives.flow_matching import FlowMatching as FlowMatching
