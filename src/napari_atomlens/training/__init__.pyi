from .adaptation import Adapted, Step, adapt, adapting
from .by_chemistry import chemistry_labels
from .fourier import fourier_labels, fourier_recipe
from .keeping import check_new, discard, is_kept, keep
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
    "check_new",
    "chemistry_labels",
    "discard",
    "fourier_labels",
    "fourier_recipe",
    "is_kept",
    "keep",
    "label_frame",
    "train",
]
