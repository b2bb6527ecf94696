from .formats.readers import read
from .projects.atoms import pixel_size_in, read_atoms

__all__ = [
    "pixel_size_in",
    "read",
    "read_atoms",
]
