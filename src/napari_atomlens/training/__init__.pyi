from .adaptation import (
    Adapted,
    AdaptParams,
    Step,
    adapt,
    adapting,
    discard,
    keep,
)
from .fourier import (
    FourierParams,
    fourier_labels,
    fourier_recipe,
)
from .labelled import (
    Labelled,
    label_frame,
)
from .loop import (
    TrainParams,
    train,
)

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
