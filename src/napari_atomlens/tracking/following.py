"""All of it in one go: atoms of a movie in; tracks, dumbbells, changes and drift out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from napari_atomlens import cells, tables
from napari_atomlens.cards import Card
from napari_atomlens.files import write_whole
from napari_atomlens.params import of_kind
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.tracking.changes import ChangeParams, find_changes
from napari_atomlens.tracking.dumbbells import measure_dumbbells
from napari_atomlens.tracking.linking import link, track_events, tracks_table
from napari_atomlens.tracking.params import DumbbellParams, LinkParams
from napari_atomlens.tracking.scan import correct_scan


@dataclass(repr=False, eq=False)
class MovieResult(Card):
    """What happened in a movie.

    Attributes
    ----------
    atoms : pandas.DataFrame
        The atoms with ``track_id`` and the places without drift and scan distortion.
    tracks, dumbbells : pandas.DataFrame
        Tables of :mod:`napari_atomlens.tables`.
    drift : pandas.DataFrame
        Drift per frame.
    changes : pandas.DataFrame
        Changes of dumbbells (:func:`napari_atomlens.tracking.find_changes`).
    events : pandas.DataFrame
        What happened to atoms (:func:`napari_atomlens.tracking.track_events`).

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> truth = al.simulate("honeycomb", (96, 96), 12.0)[1]
    >>> atoms = pd.concat([truth.atoms(frame=t) for t in range(5)], ignore_index=True)
    >>> followed = al.follow(atoms)
    >>> followed
    Movie of 5 frames
      tracks: 98
      dumbbells: 0
      changes: 0
      drift: 0.00 px
    """

    atoms: pd.DataFrame
    tracks: pd.DataFrame
    dumbbells: pd.DataFrame
    drift: pd.DataFrame
    changes: pd.DataFrame
    events: pd.DataFrame

    @property
    def message(self) -> str:
        """A sentence where identities may be off by a vector of the lattice, else empty."""
        return str(self.atoms.attrs.get("doubt", ""))

    def _title(self) -> str:
        return f"Movie of {self.atoms['frame'].nunique():,} frames"

    def _facts(self) -> dict[str, object]:
        far = self.drift[["drift_y_px", "drift_x_px"]].abs().max().max() if len(self.drift) else 0
        return {
            "tracks": f"{self.tracks['track_id'].nunique():,}",
            "dumbbells": f"{self.dumbbells['dumbbell_id'].nunique():,}",
            "changes": f"{len(self.changes):,}",
            "drift": f"{far:.2f} px",
            "message": self.message,
        }


def follow(
    atoms: pd.DataFrame,
    contours: pd.DataFrame | None = None,
    *,
    linking: LinkParams = LinkParams(),
    dumbbells: DumbbellParams = DumbbellParams(),
    changes: ChangeParams = ChangeParams(),
    drift: pd.DataFrame | None = None,
    pixel_size_nm: float | tuple[float, float] | None = None,
    progress: ProgressLike = None,
) -> MovieResult:
    """Follow everything in a movie.

    Parameters
    ----------
    atoms, contours : pandas.DataFrame
        Tables of the movie.
    linking, dumbbells, changes
        Parameters of the stages.
    drift : pandas.DataFrame, optional
        First guess of the drift.
    pixel_size_nm : float or tuple of float, optional
        Fills the nanometre columns.
    progress : Progress or callable, optional
        Told what is being done, and asked between the stages whether to stop; what is left
        then stays empty.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> truth = al.simulate("honeycomb", (96, 96), 12.0)[1]
    >>> atoms = pd.concat([truth.atoms(frame=t) for t in range(5)], ignore_index=True)
    >>> moved = atoms.assign(y_px=atoms["y_px"] + 0.1 * atoms["frame"])
    >>> round(float(al.follow(moved).drift["drift_y_px"].iloc[-1]), 1)
    0.4
    """
    watch, changes = as_progress(progress), of_kind(ChangeParams, changes)
    watch.say("Linking atoms…")
    linked = link(atoms, linking, drift=drift)
    moved = pd.DataFrame(linked.attrs.get("drift", {"frame": []}))
    pairs = tables.make("dumbbells", {}, 0)
    if not watch.stopped and changes.remove_scan:
        watch.say("Removing distortion of the scan…")
        linked = correct_scan(linked)
    if not watch.stopped:
        watch.say("Measuring dumbbells…")
        known = moved if len(moved) else None
        pairs = measure_dumbbells(
            linked, contours, dumbbells, pixel_size_nm=pixel_size_nm, drift=known
        )
    found = find_changes(pairs.iloc[:0], changes)
    if not watch.stopped and len(pairs):
        watch.say("Looking for changes…")
        found = find_changes(pairs, changes)
    return MovieResult(linked, tracks_table(linked), pairs, moved, found, track_events(linked))


#: Tables of :class:`MovieResult` that are written, in the order of the workflow.
SAVED = ("tracks", "dumbbells", "changes", "events", "drift")


def save_followed(
    followed: MovieResult, folder: str | Path, provenance: dict[str, object] | None = None
) -> list[Path]:
    """Write what happened in a movie as CSV files, and how it was found as JSON.

    Parameters
    ----------
    followed : MovieResult
    folder : path
        Made if it is missing. Each file is complete or as it was before.
    provenance : dict, optional
        Parameters, versions, what was analysed; written as ``provenance.json``.

    Returns
    -------
    list of pathlib.Path
        The files, tables first.
    """
    where = Path(folder)
    written = [
        write_whole(where / f"{name}.csv", cells.csv_text(getattr(followed, name)))
        for name in SAVED
    ]
    if provenance is not None:
        text = json.dumps(provenance, indent=2, default=str) + "\n"
        written.append(write_whole(where / "provenance.json", text))
    return written
