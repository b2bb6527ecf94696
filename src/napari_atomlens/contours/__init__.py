"""Outlines of atoms and their shape."""

from napari_atomlens.contours.outline import describe, label_image, outline

__all__ = ["describe", "label_image", "outline"]
