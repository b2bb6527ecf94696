from .predict import (
    Probabilities,
    segment,
)
from .scale import find_spacing
from .zoo import (
    ModelInfo,
    find_model,
    list_models,
)

__all__ = [
    "ModelInfo",
    "Probabilities",
    "find_model",
    "find_spacing",
    "list_models",
    "segment",
]
