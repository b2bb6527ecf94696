"""Training of the networks on simulated images."""

from typing import Any

__all__ = ["TrainParams", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from napari_atomlens.training import loop

        return getattr(loop, name)
    raise AttributeError(name)
