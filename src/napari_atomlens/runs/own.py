"""Positions of the user's own, refined on the pixels by the fit of all columns together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_atomlens import points, tables
from napari_atomlens.atoms.find import shapes, unknown_or, within_frame
from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.errors import TableError
from napari_atomlens.io.projects.atoms import in_pixels, pixel_size_in, read_atoms
from napari_atomlens.params import number_between, of_kind
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.runs.frame import add_nm
from napari_atomlens.runs.source import Given, open_told
from napari_atomlens.segmentation.pixels import frame_and_mask

#: Positions so far outside of the image, in spacings, are none of it.
_OUTSIDE = 0.5


def refine_atoms(
    source: Given,
    atoms: pd.DataFrame | str | Path | ArrayLike,
    *,
    image: str | int | None = None,
    pixel_size_nm: float | tuple[float, float] | None = None,
    spacing_px: float = 0.0,
    fit: FitParams = FitParams(),
    progress: ProgressLike = None,
) -> pd.DataFrame:
    """Refine given positions on the original pixels; none is added, and none is left out.

    Parameters
    ----------
    source : path, Image or array-like
        Image or movie, as :func:`napari_atomlens.analyze` takes it.
    atoms : DataFrame, path, or array-like of shape (n, 2)
        First guess, within about a third of a spacing: a table with ``y_px`` and ``x_px`` or the
        same in nm, a file that :func:`napari_atomlens.read_atoms` reads, or (y, x) in pixels.
    image, pixel_size_nm
        As :func:`napari_atomlens.analyze` takes them.
    spacing_px : float
        Distance between nearest columns; 0 takes that of the positions.
    fit : FitParams
    progress : Progress or callable, optional
        Asked between frames, and within, whether to stop.

    Returns
    -------
    pandas.DataFrame
        Atoms table in the order of the positions. Where the fit ran away or the position is
        outside of the image, ``source`` is "user" and the position is that which was given.

    Raises
    ------
    TableError
        If positions are missing, outside of every frame, or in nm with no pixel size.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, scene = al.simulate("honeycomb", (96, 96), 10.0)
    >>> found = al.refine_atoms(image, al.analyze(image, spacing_px=10.0).atoms.round())
    >>> bool((found["y_err_px"] < 0.5).mean() > 0.9)
    True
    """
    fit, watch = of_kind(FitParams, fit), as_progress(progress)
    given_spacing = number_between("spacing_px", spacing_px, 0, 2000)
    opened = open_told(source, pixel_size_nm, image=image)
    table = _table(atoms, opened.pixel_size_nm)
    parts = []
    for frame, mine in table.groupby("frame", sort=True):
        watch.check()
        if not 0 <= int(str(frame)) < opened.shape[0]:
            raise TableError(f"Frame {frame} does not exist; there are {opened.shape[0]}.")
        refined = _refined(opened.movie[int(str(frame))], mine, given_spacing, fit, watch)
        parts.append(refined.set_axis(mine.index))
    out = pd.concat(parts).loc[table.index].reset_index(drop=True)
    out["atom_id"] = table["atom_id"] if "atom_id" in table else np.arange(len(out))
    return add_nm(out, opened.pixel_size_nm or pixel_size_in(table))


def _table(
    atoms: pd.DataFrame | str | Path | ArrayLike, size: tuple[float, float] | None
) -> pd.DataFrame:
    """Return positions as a table in pixels."""
    if isinstance(atoms, (str, Path)):
        atoms = read_atoms(atoms)
    if not isinstance(atoms, pd.DataFrame):
        try:
            places = np.asarray(atoms, float)
        except (TypeError, ValueError, OverflowError):
            places = np.zeros(0)
        if places.ndim != 2 or places.shape[1] != 2:
            raise TableError("Positions are an array of shape (n, 2): y and x in pixels.")
        atoms = pd.DataFrame(places, columns=["y_px", "x_px"])
    atoms = tables.check_table(atoms, ())
    table = in_pixels(atoms, size) if {"y_nm", "x_nm"} <= set(atoms) else atoms
    table = tables.check_table(table)
    if not len(table):
        raise TableError("The table of atoms is empty.")
    table = table.reset_index(drop=True)
    return table if "frame" in table else table.assign(frame=0)


def _refined(
    pixels: np.ndarray, given: pd.DataFrame, spacing: float, params: FitParams, watch: ProgressLike
) -> pd.DataFrame:
    """Refine the positions of one frame."""
    frame, there = frame_and_mask(pixels)
    places = given[["y_px", "x_px"]].to_numpy(float)
    spacing = spacing or (points.spacing(places) if len(places) > 1 else 0.0)
    if not spacing > 1:
        raise TableError("The distance between nearest columns must be given for so few atoms.")
    edge = np.asarray(frame.shape) - 1 + _OUTSIDE * spacing
    inside = ((places > -_OUTSIDE * spacing) & (places < edge)).all(1)
    if not inside.any():
        raise TableError(
            "No position lies in the image; are they in nm, or is y before x? See al.read_atoms."
        )
    n, use = len(places), np.flatnonzero(inside)
    rows, cols = np.clip(np.rint(places[use]).astype(int), 0, np.asarray(frame.shape) - 1).T
    dark = float(np.median(frame[rows, cols])) < float(np.median(frame))
    found = fit_columns(
        -frame if dark else frame, places[use], spacing, params, recorded=there, progress=watch
    )
    sign = -1.0 if dark else 1.0
    there_ok = within_frame(found, frame.shape)
    # a place may be that of the fit where the image is not quite what the fit knows
    held, ok = found.places() & there_ok, found.ok & there_ok
    values = {
        "y_px": np.where(held, found.y, places[use, 0]),
        "x_px": np.where(held, found.x, places[use, 1]),
        "amplitude": sign * found.amplitude, "sigma_px": found.sigma,
        "background": sign * found.background, "chi2": unknown_or(found.chi2, len(use)),
        "y_err_px": found.y_err, "x_err_px": found.x_err, "fit_ok": ok, "held": held,
        **shapes(found),
    }  # fmt: skip
    spread: dict[str, object] = {}
    for name, value in values.items():
        whole = np.zeros(n, bool) if name in ("fit_ok", "held") else np.full(n, np.nan)
        whole[use] = value
        spread[name] = whole
    for name, axis in (("y_px", 0), ("x_px", 1)):
        spread[name] = np.where(inside, np.asarray(spread[name]), places[:, axis])
    held = np.asarray(spread.pop("held"))
    kept = {c: given[c].to_numpy() for c in ("species", "frame") if c in given}
    about = {
        "seen_y_px": places[:, 0], "seen_x_px": places[:, 1], "probability": 1.0,
        "edited": False, "source": np.where(held, "fit", "user"),
    }  # fmt: skip
    return tables.make("atoms", {**about, **kept, **spread}, n)
