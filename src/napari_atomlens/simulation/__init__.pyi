from .scenes import (
    Scene,
    seed_for,
    simulate,
)

__all__ = [
    "Scene",
    "seed_for",
    "simulate",
]
