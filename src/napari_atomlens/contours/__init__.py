"""Outlines of atoms, their shape, what is unusual about it, and classes."""

from importlib import import_module
from typing import Any

# not lazily: the function has the name of its module
from napari_atomlens.contours.outline import describe, label_image, outline

_WHERE = {
    "describe_contours": "descriptors",
    "DescribeParams": "descriptors",
    "find_anomalies": "anomalies",
    "AnomalyParams": "anomalies",
    "describe_sites": "evidence",
    "complete_sites": "sites",
    "classify_sites": "classes",
    "ClassParams": "classes",
    "ClassBook": "classbook",
}
__all__ = ["describe", "label_image", "outline", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(name)
