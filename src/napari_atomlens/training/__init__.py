"""Training of the networks on simulated images."""

from typing import Any

_PUBLIC = {
    "TrainParams": "loop", "train": "loop", "AdaptParams": "adapt", "adapt": "adapt",
    "Adapted": "adapt", "keep": "adapt", "discard": "adapt", "label_frame": "labelled",
    "Labelled": "labelled", "fourier_labels": "fourier",
}  # fmt: skip

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(f"napari_atomlens.training.{_PUBLIC[name]}"), name)
    raise AttributeError(name)
