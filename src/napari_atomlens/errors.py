"""The errors that napari-atomlens raises on purpose, each one a clear sentence.

A widget shows ``str(error)`` to the user as it is; scripts catch the type.
"""

from __future__ import annotations


class AtomLensError(Exception):
    """Base class of every error raised on purpose by napari-atomlens."""


class ImageError(AtomLensError, ValueError):
    """The pixels cannot be analysed (wrong shape, empty, constant, not real numbers ...)."""


class CalibrationError(AtomLensError, ValueError):
    """The lattice spacing or the pixel size is missing, absurd or could not be found."""


class ModelError(AtomLensError, ValueError):
    """A model is unknown, damaged, or does not fit this version."""


class FormatError(AtomLensError, ValueError):
    """A file is damaged, of an unknown format, or does not hold an image."""


class ParameterError(AtomLensError, ValueError):
    """A parameter lies outside of its bounds."""


class TableError(AtomLensError, ValueError):
    """A table lacks columns that are needed, or holds values that are no numbers."""
