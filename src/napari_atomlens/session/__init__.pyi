from .project import held_here, load_opened

__all__ = [
    "held_here",
    "load_opened",
]
