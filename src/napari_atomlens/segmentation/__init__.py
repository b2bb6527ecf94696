"""From pixels to class probabilities."""

from importlib import import_module
from typing import Any

_WHERE = {
    "list_models": "zoo",
    "find_model": "zoo",
    "ModelInfo": "zoo",
    "segment": "predict",
    "Probabilities": "predict",
    "find_spacing": "scale",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(name)
