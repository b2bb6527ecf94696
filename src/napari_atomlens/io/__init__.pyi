from .formats.readers import read

__all__ = [
    "read",
]
