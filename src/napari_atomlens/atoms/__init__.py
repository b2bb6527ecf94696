"""From class probabilities to atoms with sub-pixel positions."""

from importlib import import_module
from typing import Any

_WHERE = {
    "find_atoms": "find",
    "find_peaks": "peaks",
    "measure_lattice": "lattice",
    "Lattice": "lattice",
    "LatticeParams": "lattice",
    "shrink_positions": "shrink",
}
__all__ = [
    "Lattice",
    "LatticeParams",
    "find_atoms",
    "find_peaks",
    "measure_lattice",
    "shrink_positions",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(name)
