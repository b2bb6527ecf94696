"""Rigid drift of the sample between frames, from the atoms and from the pixels."""

from __future__ import annotations

import pandas as pd

from napari_atomlens.tables import check_table
from napari_atomlens.tracking.linking import link_arrays, prepare_links
from napari_atomlens.tracking.params import LinkParams


def estimate_drift(atoms: pd.DataFrame, guess: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rigid drift of a movie, from the atoms.

    Every frame is laid onto the mean of the frames before it, so that errors do not add up
    along the movie where a lattice stays in view.

    Parameters
    ----------
    atoms : pandas.DataFrame
        With ``frame``, ``y_px`` and ``x_px``.
    guess : pandas.DataFrame, optional
        Drift known from elsewhere (:func:`image_drift`), right within half a spacing.

    Returns
    -------
    pandas.DataFrame
        Per frame: ``frame``, ``drift_y_px``, ``drift_x_px`` relative to the first frame, and
        ``drift_err_px``, the standard error of the last step per axis (NaN where the drift
        could not be found and the movement of the frames before was continued).
    """
    table = prepare_links(atoms)
    return link_arrays(table, LinkParams(motion="last"), guess).drift


def remove_drift(table: pd.DataFrame, drift: pd.DataFrame) -> pd.DataFrame:
    """Add ``y_corr_px`` and ``x_corr_px``, the positions less the drift; raw ones stay."""
    table = check_table(table, ("frame", "y_px", "x_px"))
    drift = check_table(drift, ("frame", "drift_y_px", "drift_x_px"), "drift")
    at = drift.set_index("frame").reindex(table["frame"])
    return table.assign(
        y_corr_px=table["y_px"].to_numpy() - at["drift_y_px"].to_numpy(),
        x_corr_px=table["x_px"].to_numpy() - at["drift_x_px"].to_numpy(),
    )
