"""Which x_0 meets which x_1."""

from flowatlas.couplings.aligned import Aligned as Aligned
from flowatlas.couplings.base import Coupling as Coupling
from flowatlas.couplings.base import Pairing as Pairing
from flowatlas.couplings.gibbs import GibbsWeighted as GibbsWeighted
from flowatlas.couplings.independent import Independent as Independent
from flowatlas.couplings.minibatch_ot import MinibatchOT as MinibatchOT
from flowatlas.couplings.paired import Paired as Paired
from flowatlas.couplings.sinkhorn import Sinkhorn as Sinkhorn
from flowatlas.couplings.within_condition import WithinCondition as WithinCondition
