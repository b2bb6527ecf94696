from .find import find_atoms
from .peaks import find_peaks

__all__ = [
    "find_atoms",
    "find_peaks",
]
