"""The errors that napari-atomlens raises on purpose, each one a clear sentence.

A widget shows ``str(error)`` to the user as it is; scripts catch the type.
"""

from __future__ import annotations

import re

#: A sentence for the user is cut after so many letters.
LONGEST = 480


def printable(text: str) -> str:
    r"""Return a text that every console and file can hold.

    The names of files that are not UTF-8 have letters in Python that stand for single bytes.

    Examples
    --------
    >>> printable("scan\udcff.tif")
    'scan\ufffd.tif'
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


class AtomLensError(Exception):
    """Base class of every error raised on purpose by napari-atomlens.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> try:
    ...     al.preset("unobtainium")
    ... except al.AtomLensError as error:
    ...     print(error)
    There are no rules 'unobtainium'; there are ...
    """

    def __str__(self) -> str:
        """Return the sentence: one line, whatever was given is quoted in it, and no page."""
        text = " ".join(printable(super().__str__()).split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


class ImageError(AtomLensError, ValueError):
    """The pixels cannot be analysed (wrong shape, empty, constant, not real numbers ...).

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> al.assess(np.zeros(10))
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.ImageError: ...
    """


class CalibrationError(AtomLensError, ValueError):
    """The lattice spacing or the pixel size is missing, absurd or could not be found.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> al.analyze_silicon(np.eye(64), pixel_size_nm=-1)
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.CalibrationError: The pixel size must be positive, but it is -1 nm.
    """


class ModelError(AtomLensError, ValueError):
    """A model is unknown, damaged, or does not fit this version.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> al.segment(np.eye(64), model="no such")
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.ModelError: ...
    """


class FormatError(AtomLensError, ValueError):
    """A file is damaged, of an unknown format, or does not hold an image.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.read("no such file.dm4")
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.FormatError: ...
    """


class ParameterError(AtomLensError, ValueError):
    """A parameter lies outside of its bounds.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.LinkParams(max_gap=-2)
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.ParameterError: max_gap is -2, but must lie between -1 and 1000000.
    """


class MatchError(AtomLensError, ValueError):
    """A crystal does not fit the columns of an image.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("square", (128, 128), 12.0)[1].atoms()
    >>> al.match_crystal(atoms, "graphene", pixel_size_nm=0.02)
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.MatchError: graphene does not fit ...
    """


class TableError(ParameterError):
    """A table lacks columns that are needed, or holds values that are no numbers.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> al.Corrections(pd.DataFrame({"y_px": [1.0], "x_px": [2.0]}))
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.TableError: ...
    """
