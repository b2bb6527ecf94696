from . import (
    adapt,
    analyze,
    assess,
    batch,
    crystal,
    demo,
    measure,
    models,
    movie,
    silicon,
    train,
    watch,
)

__all__ = [
    "adapt",
    "analyze",
    "assess",
    "batch",
    "crystal",
    "demo",
    "measure",
    "models",
    "movie",
    "silicon",
    "train",
    "watch",
]
