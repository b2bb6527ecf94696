"""Sites that a dock has found or described, as atoms of their session, and the unusual ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Points

from napari_atomlens import tables
from napari_atomlens.session.edits.actions import COMPARED
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import ANOMALIES, ATOMS

if TYPE_CHECKING:
    from napari_atomlens.widgets.layers.layer_set import LayerSet

#: Source of a site that holds no atom.
VACANT = "lattice"
#: Columns of the anomalies that their layer shows.
SHOWN = (
    "frame", "atom_id", "kind", "anomaly_score", "anomaly_p", "anomaly_q", "anomaly_reason",
    "source",
)  # fmt: skip
#: Distance of nearest sites where nothing is known.
SPACING_PX = 12.0


def show_sites(
    layers: LayerSet,
    sites: pd.DataFrame,
    frame: int,
    spacing_px: float,
    provenance: Mapping[str, Any],
) -> Points | None:
    """Put sites of one frame under the edits of the session, and show its atoms.

    Parameters
    ----------
    layers : LayerSet
        Of the image.
    sites : pandas.DataFrame
        Atoms table with whatever was measured; vacant sites are left out.
    frame : int
    spacing_px : float
        Distance of nearest sites.
    provenance : mapping

    Returns
    -------
    napari.layers.Points or None
        None where there is no atom.
    """
    session = layers.session
    assert session is not None  # images have one
    there = layers.layer(ATOMS)
    if there is not None:
        session = editor_of(there).session
    atoms = sites[(sites["source"] != VACANT).to_numpy()].reset_index(drop=True)
    session.measured.drop(COMPARED)  # of another analysis
    session.measured.note(atoms, atoms)
    session.rerun(atoms[list(tables.ATOMS)], [frame], spacing_px)
    if there is None:
        there = _show_atoms(layers, spacing_px)
    if there is not None:
        layers.note(ATOMS, spacing_px=spacing_px, provenance=dict(provenance))
        layers.drawn(ATOMS)
    return there


def _show_atoms(layers: LayerSet, spacing_px: float) -> Points | None:
    session = layers.session
    assert session is not None
    table = session.features()
    features = convert.features_from_atoms(table, session.species())
    colours = styles.class_colours(features["species"].cat.categories)
    style = styles.AtomStyle(size=styles.atom_size(spacing_px), border_color_cycle=colours)
    layer = layers.show(
        ATOMS, Points, convert.points_from_atoms(table, layers.source.ndim), features=features,
        style=style.as_kwargs(),
    )  # fmt: skip
    if layer is not None:
        editor_of(layer, session=session).show_defaults()
    return layer


def show_anomalies(layers: LayerSet, flagged: pd.DataFrame, spacing_px: float) -> Points | None:
    """Show sites unlike the others in squares, coloured by how unlike they are.

    Parameters
    ----------
    layers : LayerSet
        Of the image, or of the atoms where there is no image.
    flagged : pandas.DataFrame
        The unusual sites only.
    spacing_px : float
        Distance of nearest sites, NaN where it is not known.
    """
    flagged = flagged.sort_values("anomaly_score", ascending=False, ignore_index=True)
    features = flagged[[c for c in SHOWN if c in flagged]]
    ndim = layers.source.ndim
    spacing = spacing_px if np.isfinite(spacing_px) and spacing_px > 0 else SPACING_PX
    colour: dict[str, Any] = {}
    if len(flagged):
        colour = {"border_color": "anomaly_score", "border_colormap": "plasma"}
    return layers.show(
        ANOMALIES, Points, convert.points_from_atoms(flagged, ndim), features=features,
        style={"symbol": "square", "face_color": "transparent", "border_width": 0.09},
        note={"spacing_px": spacing}, size=0.95 * spacing, **colour,
    )  # fmt: skip
