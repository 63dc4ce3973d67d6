"""From a field to samples, trajectories and densities."""

from flowatlas.sampling.divergence import Divergence as Divergence
from flowatlas.sampling.divergence import Exact as Exact
from flowatlas.sampling.divergence import Hutchinson as Hutchinson
from flowatlas.sampling.integrate import Solution as Solution
from flowatlas.sampling.integrate import integrate as integrate
from flowatlas.sampling.interpolate import interpolate as interpolate
from flowatlas.sampling.log_prob import log_prob as log_prob
from flowatlas.sampling.log_prob import sample_with_log_prob as sample_with_log_prob
from flowatlas.sampling.replacement import Replacement as Replacement
from flowatlas.sampling.sample import encode as encode
from flowatlas.sampling.sample import sample as sample
from flowatlas.sampling.token_bound import TokenBound as TokenBound
from flowatlas.sampling.token_bound import token_bound as token_bound
