from .project import load_opened

__all__ = [
    "load_opened",
]
