"""What a user can do to atoms, each one edit: build the rows, hand them to the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.points import inside_polygon
from napari_atomlens.session.edits.columns import Row, as_row
from napari_atomlens.session.edits.corrections import Change, Corrections
from napari_atomlens.session.edits.journal import ALL_FRAMES

#: What an atom keeps wherever it is put; all else was measured where it was.
KEPT = ("frame", "atom_id", "y_px", "x_px", "y_nm", "x_nm", "species", "edited", "source")
#: Columns whose names begin so compare an atom with others of its species.
COMPARED = ("anomaly", "unusual")
Pixel = tuple[float, float] | None


def _place(y: float, x: float, pixel_size_nm: Pixel) -> dict[str, Any]:
    if not (np.isfinite(y) and np.isfinite(x)):
        raise ParameterError("An atom needs a position.")
    size = pixel_size_nm or (float("nan"), float("nan"))
    return {"y_px": float(y), "x_px": float(x), "y_nm": y * size[0], "x_nm": x * size[1]}


def _unmeasured(c: Corrections) -> dict[str, Any]:
    """Values of an atom of which nothing is measured, but for what it keeps."""
    names = c.journal.columns
    return {n: v for n, v in zip(names, as_row({}, names), strict=True) if n not in KEPT}


def new_row(
    c: Corrections,
    frame: int,
    y: float,
    x: float,
    species: str = "",
    pixel_size_nm: Pixel = None,
    measured: Mapping[str, Any] | None = None,
) -> Row:
    """Return the row of an atom that the user places; measured values where a fit gave some."""
    values = {
        "frame": int(frame), "atom_id": c.new_id(frame), "species": species, "edited": True,
        "source": "user", **dict(measured or {}), **_place(y, x, pixel_size_nm),
    }  # fmt: skip
    return as_row(values, c.journal.columns)


def add(
    c: Corrections,
    frame: int,
    y: float,
    x: float,
    species: str = "",
    pixel_size_nm: Pixel = None,
    measured: Mapping[str, Any] | None = None,
) -> Change:
    """Add an atom at (y, x) in pixels; `measured` are columns that a fit gave."""
    row = new_row(c, frame, y, x, species, pixel_size_nm, measured)
    return c.do("add", frame, (), [row])


def add_rows(c: Corrections, rows: Sequence[Row]) -> Change:
    """Add atoms of :func:`new_row` in one edit."""
    return c.do("add", _frame_of(c, rows), (), rows)


def delete(c: Corrections, atom_ids: Sequence[int], action: str = "delete") -> Change:
    """Delete atoms; with action "reject" they were suggestions of the model."""
    rows = c.rows(atom_ids)
    return c.do(action, _frame_of(c, rows), rows)


def move(
    c: Corrections,
    atom_ids: Sequence[int],
    places: Sequence[Sequence[float]],
    pixel_size_nm: Pixel = None,
    measured: Sequence[Mapping[str, Any]] | None = None,
) -> Change:
    """Move atoms to places (y, x) in pixels."""
    rows = c.rows(atom_ids)
    known = measured or [{}] * len(rows)
    after = []
    for row, place, fitted in zip(rows, places, known, strict=True):
        at = _place(float(place[0]), float(place[1]), pixel_size_nm)
        values = {**_unmeasured(c), **fitted, **at, "edited": True, "source": "user"}
        after.append(c.changed_row(row, **values))
    return c.do("move", _frame_of(c, rows), rows, after)


def refine(
    c: Corrections,
    atom_ids: Sequence[int],
    measured: Sequence[Mapping[str, Any]],
    pixel_size_nm: Pixel = None,
) -> Change:
    """Put atoms where a fit found them; what does not come from the pixels there stays."""
    rows = c.rows(atom_ids)
    compared = {n: v for n, v in _unmeasured(c).items() if n.startswith(COMPARED)}
    after = []
    for row, fitted in zip(rows, measured, strict=True):
        at = _place(float(fitted["y_px"]), float(fitted["x_px"]), pixel_size_nm)
        values = {**compared, **fitted, **at, "edited": True, "source": "user"}
        after.append(c.changed_row(row, **values))
    return c.do("refine", _frame_of(c, rows), rows, after)


def set_species(c: Corrections, atom_ids: Sequence[int], species: str) -> Change:
    """Say of what species atoms are."""
    compared = {n: v for n, v in _unmeasured(c).items() if n.startswith(COMPARED)}
    return _change(c, "species", atom_ids, species=str(species), **compared)


def accept(c: Corrections, atom_ids: Sequence[int]) -> Change:
    """Say that doubtful atoms are there: their probability becomes 1, and they are familiar."""
    return _change(c, "accept", atom_ids, probability=1.0, unfamiliar=0.0)


def reject(c: Corrections, atom_ids: Sequence[int]) -> Change:
    """Say that suggested atoms are not there."""
    return delete(c, atom_ids, "reject")


def _change(c: Corrections, action: str, atom_ids: Sequence[int], **values: Any) -> Change:
    rows = c.rows(atom_ids)
    after = [c.changed_row(r, **values, edited=True, source="user") for r in rows]
    return c.do(action, _frame_of(c, rows), rows, after)


def merge(
    c: Corrections,
    atom_ids: Sequence[int],
    pixel_size_nm: Pixel = None,
    measured: Mapping[str, Any] | None = None,
    place: tuple[float, float] | None = None,
) -> Change:
    """Make one atom out of several, at `place` or at their mean, weighted by amplitude.

    Raises
    ------
    TableError
        If they are fewer than two, or not all in one frame.
    """
    rows = c.rows(dict.fromkeys(int(i) for i in atom_ids))
    frame = _frame_of(c, rows)
    if len(rows) < 2 or frame == ALL_FRAMES:
        raise TableError("Choose two or more atoms of one frame to merge.")
    y, x = place or middle(c, rows)
    brightest = max(rows, key=lambda r: _number(c.value(r, "amplitude"), 0.0))
    row = new_row(c, frame, y, x, str(c.value(brightest, "species")), pixel_size_nm, measured)
    return c.do("merge", frame, rows, [row])


def middle(c: Corrections, rows: Sequence[Row]) -> tuple[float, float]:
    """Mean place (y, x) of atoms, weighted by amplitude where all of them have one."""
    places = np.array([[c.value(r, "y_px"), c.value(r, "x_px")] for r in rows])
    weight = np.array([_number(c.value(r, "amplitude"), 0.0) for r in rows])
    weight = weight if (weight > 0).all() else np.ones(len(rows))
    y, x = weight @ places / weight.sum()
    return float(y), float(x)


def split(
    c: Corrections,
    atom_id: int,
    places: Sequence[Sequence[float]],
    pixel_size_nm: Pixel = None,
    measured: Sequence[Mapping[str, Any]] | None = None,
) -> Change:
    """Make several atoms out of one, at `places` (y, x) in pixels.

    Raises
    ------
    TableError
        If there are fewer than two places.
    """
    if len(places) < 2:
        raise TableError("Splitting an atom takes two places.")
    rows = c.rows([atom_id])
    frame = int(c.value(rows[0], "frame"))
    known = measured or [{}] * len(places)
    species = str(c.value(rows[0], "species"))
    after = [
        new_row(c, frame, float(p[0]), float(p[1]), species, pixel_size_nm, m)
        for p, m in zip(places, known, strict=True)
    ]
    return c.do("split", frame, rows, after)


def exclude(c: Corrections, polygon: Any, frame: int | None = None) -> Change:
    """Exclude a region: its atoms go, and no later run of the model brings any there.

    Parameters
    ----------
    c : Corrections
    polygon : array-like, shape (n, 2)
        Corners (y, x) in pixels.
    frame : int, optional
        Only in this frame; in all frames by default.

    Raises
    ------
    ParameterError
        If it is no polygon.
    """
    corners = np.asarray(polygon, float)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ParameterError("A region needs three corners or more.")
    if not np.isfinite(corners).all():
        raise ParameterError("The corners of the region are no numbers.")
    corners = corners.round(3)  # as it is noted: a border must not move when the file is read
    detail = {"polygon": corners.tolist()}
    rows: list[Row] = []
    for f in c.frames() if frame is None else [frame]:
        now = c.columns(f)
        rows += now.rows(now.ids[inside_polygon(now.positions, corners)])
    return c.do("exclude", ALL_FRAMES if frame is None else frame, rows, (), detail)


def draw_contour(c: Corrections, frame: int, atom_id: int, before: Any, after: Any) -> Change:
    """Note an outline that the user drew or changed; None where there was or is none."""
    detail = {"atom_id": int(atom_id), "before": _outline(before), "after": _outline(after)}
    return c.do("contour", frame, detail=detail)


def _outline(vertices: Any) -> Any:
    if vertices is None:
        return None
    # a flat tuple: a list of lists would take five times the memory
    return tuple(np.asarray(vertices, float).round(3).ravel().tolist())


def mark_seen(c: Corrections, frame: int, seen: bool = True) -> Change:
    """Mark a frame as seen, or as not seen."""
    return c.do("seen" if seen else "unseen", frame)


def _frame_of(c: Corrections, rows: Sequence[Row]) -> int:
    """Frame that all rows share, -1 where they do not."""
    if not rows:
        raise TableError("Choose atoms first.")
    frames = {int(c.value(r, "frame")) for r in rows}
    return frames.pop() if len(frames) == 1 else ALL_FRAMES


def _number(value: Any, unknown: float) -> float:
    return float(value) if value == value else unknown
