"""Training of the networks on simulated images, and adapting them to corrected ones."""

from typing import Any

_PUBLIC = {
    **dict.fromkeys(("TrainParams", "train"), "loop"),
    **dict.fromkeys(("AdaptParams", "Adapted", "adapt", "discard", "keep"), "adaptation"),
    **dict.fromkeys(("Labelled", "label_frame"), "labelled"),
    **dict.fromkeys(("FourierParams", "fourier_labels", "fourier_recipe"), "fourier"),
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(f"napari_atomlens.training.{_PUBLIC[name]}"), name)
    raise AttributeError(name)
