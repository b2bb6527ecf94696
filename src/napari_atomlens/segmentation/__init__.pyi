from .choose import Choice, choose_model, segment
from .contrast import ImageContrast, judge_contrast
from .lattice_or_not import LatticeEvidence, judge_lattice
from .loading import load_network
from .predict import predict_classes
from .probabilities import Probabilities
from .scale import find_spacing
from .squares import (
    Stretch,
    atoms_in_pixels,
    copies_of,
    maps_in_pixels,
    squared,
    stretch_of,
)
from .unequal import seeming_stretch
from .zoo import (
    ModelInfo,
    find_model,
    left_out,
    list_models,
)

__all__ = [
    "load_network",
    "Choice",
    "LatticeEvidence",
    "choose_model",
    "judge_lattice",
    "ImageContrast",
    "judge_contrast",
    "ModelInfo",
    "Probabilities",
    "find_model",
    "find_spacing",
    "left_out",
    "list_models",
    "predict_classes",
    "segment",
    "atoms_in_pixels",
    "copies_of",
    "maps_in_pixels",
    "squared",
    "Stretch",
    "stretch_of",
    "seeming_stretch",
]
