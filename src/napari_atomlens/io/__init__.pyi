from .formats.readers import read
from .projects.folder import load_tables, save_tables

__all__ = [
    "load_tables",
    "read",
    "save_tables",
]
