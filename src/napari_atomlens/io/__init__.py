"""Files in and out: images and movies of microscopes, and analysed projects."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_atomlens.io.image import Image
    from napari_atomlens.io.project import load_tables, save_tables
    from napari_atomlens.io.readers import read
    from napari_atomlens.io.workspace import load_workspace, save_workspace

_PUBLIC = {
    "read": "napari_atomlens.io.readers",
    "Image": "napari_atomlens.io.image",
    "save_tables": "napari_atomlens.io.project",
    "load_tables": "napari_atomlens.io.project",
    "save_workspace": "napari_atomlens.io.workspace",
    "load_workspace": "napari_atomlens.io.workspace",
}

__all__ = ["read", "Image", "save_tables", "load_tables", "save_workspace", "load_workspace"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
