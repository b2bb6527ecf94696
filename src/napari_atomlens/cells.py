"""Cells of tables as CSV: a text of somebody else is no formula for a spreadsheet.

``=HYPERLINK(...)`` as the name of a species would run when the file is opened; an apostrophe before
it makes it a text. Our readers take the apostrophe away again.
"""

from __future__ import annotations

import re
from csv import QUOTE_NONNUMERIC

import pandas as pd

from napari_atomlens.errors import printable

#: Texts at these places begin a cell, whatever a spreadsheet takes for the mark between two.
_BEGINS = r"(?:^|(?<=[;\t\r\n]))"
#: What begins a formula, also in full width.
_FORMULA = "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_GUARD = re.compile(f"{_BEGINS}(?='*{_FORMULA})")
_GUARDED = re.compile(f"{_BEGINS}'(?='*{_FORMULA})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def guarded(value: object) -> object:
    """Return a text that no spreadsheet takes for a formula; what is no text stays as it is.

    Examples
    --------
    >>> guarded("=1+1"), guarded("-1.5"), guarded("5-7"), guarded(-1)
    ("'=1+1", '-1.5', '5-7', -1)
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _GUARD.sub("'", printable(value))


def unguarded(text: str) -> str:
    """Return the text that :func:`guarded` was given.

    Examples
    --------
    >>> unguarded("'=1+1")
    '=1+1'
    """
    return _GUARDED.sub("", text)


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV, without its index; no text in it is a formula for a spreadsheet."""
    out = table.copy(deep=False)
    for k, kind in enumerate(table.dtypes):
        if kind in ("object", "str", "category"):
            out.isetitem(k, table.iloc[:, k].astype(object).map(guarded).to_numpy(object))
    out.columns = [guarded(c) for c in table.columns]
    text = str(out.to_csv(index=False))
    # the writer does not see that this ends a line, too
    return str(out.to_csv(index=False, quoting=QUOTE_NONNUMERIC)) if "\r" in text else text
