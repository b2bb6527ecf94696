from .find import find_atoms
from .lattice import (
    Lattice,
    LatticeParams,
    measure_lattice,
)
from .peaks import find_peaks
from .shrink import shrink_positions

__all__ = [
    "Lattice",
    "LatticeParams",
    "find_atoms",
    "find_peaks",
    "measure_lattice",
    "shrink_positions",
]
