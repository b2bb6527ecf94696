from .adaptation import Adapted, Step, adapt, adapting, discard, keep
from .fourier import fourier_labels, fourier_recipe
from .labelled import (
    Labelled,
    label_frame,
)
from .loop import train
from .params import AdaptParams, FourierParams, TrainParams

__all__ = [
    "Step",
    "adapting",
    "AdaptParams",
    "Adapted",
    "FourierParams",
    "Labelled",
    "TrainParams",
    "adapt",
    "discard",
    "fourier_labels",
    "fourier_recipe",
    "keep",
    "label_frame",
    "train",
]
