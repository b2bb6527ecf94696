from .lattice import Lattice, LatticeParams
from .measure import measure_lattice
from .shrink import shrink_positions
from .sites import complete_sites, vacant_sites

__all__ = [
    "Lattice",
    "LatticeParams",
    "complete_sites",
    "measure_lattice",
    "shrink_positions",
    "vacant_sites",
]
