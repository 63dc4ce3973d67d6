"""Pictures of flows. matplotlib is imported when one is drawn."""

from flowatlas.plots.angles import angle_pairs as angle_pairs
from flowatlas.plots.bridges import bridges as bridges
from flowatlas.plots.bridges import distance_bars as distance_bars
from flowatlas.plots.bridges import terrain as terrain
from flowatlas.plots.comparison import comparison_map as comparison_map
from flowatlas.plots.curves import kl_curve as kl_curve
from flowatlas.plots.curves import loss_curve as loss_curve
from flowatlas.plots.curves import nfe_curve as nfe_curve
from flowatlas.plots.disc import disc as disc
from flowatlas.plots.ellipses import ellipses as ellipses
from flowatlas.plots.globe import draw_globe as draw_globe
from flowatlas.plots.globe import globe as globe
from flowatlas.plots.images import image_rows as image_rows
from flowatlas.plots.plane import plane as plane
from flowatlas.plots.points import point_cloud as point_cloud
from flowatlas.plots.ramachandran import ramachandran as ramachandran
from flowatlas.plots.rotations import rotations as rotations
from flowatlas.plots.style import png as png
from flowatlas.plots.style import save as save
from flowatlas.plots.surface import surface as surface
from flowatlas.plots.text import text_panel as text_panel
