"""Points as graphs: neighbours, and PyG batches."""

from flowatlas_molecules.graphs.batches import chains_from_graphs as chains_from_graphs
from flowatlas_molecules.graphs.batches import graphs_from_chains as graphs_from_chains
from flowatlas_molecules.graphs.batches import graphs_from_padded as graphs_from_padded
from flowatlas_molecules.graphs.batches import padded_from_graphs as padded_from_graphs
from flowatlas_molecules.graphs.neighbors import complete_graph as complete_graph
from flowatlas_molecules.graphs.neighbors import knn_graph as knn_graph
from flowatlas_molecules.graphs.neighbors import radius_graph as radius_graph
