"""The layers of the measured lattice of one layer of atoms, whatever docks are open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Points, Vectors

from napari_atomlens.lattice.lattice import MEASURED, Lattice
from napari_atomlens.session.follows import lattice_tables
from napari_atomlens.widgets.layers import styles
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.convert_lattice import (
    LatticeDrawing,
    LatticeView,
    draw_lattice,
    real_atoms,
)
from napari_atomlens.widgets.layers.of_tables import LayersOfTables
from napari_atomlens.widgets.layers.roles import ARROWS, BURGERS, CORES, MAP, VACANCIES

if TYPE_CHECKING:
    from napari_atomlens.widgets.layers.layer_set import LayerSet

ROLES = (MAP, ARROWS, VACANCIES, CORES, BURGERS)
#: Columns that the atoms get.
COLUMNS = ("sublattice", "site_y_px", "site_x_px", *MEASURED)


class MeasuredLayers(LayersOfTables):
    """Map, arrows, vacancies and dislocations.

    Parameters
    ----------
    layers : LayerSet
        Of the layer of atoms.

    Attributes
    ----------
    found : Lattice or None
        What is shown.
    view : LatticeView
    drawing : LatticeDrawing or None

    Notes
    -----
    Signal: ``changed`` (the tables are others now, and so are the layers).
    """

    def __init__(self, layers: LayerSet) -> None:
        super().__init__(layers)
        self.found: Lattice | None = None
        self.drawing: LatticeDrawing | None = None
        self.view = LatticeView()

    # ----------------------------------------------------------------- the session

    def take(
        self, found: Lattice, view: LatticeView, drawing: LatticeDrawing, revision: int
    ) -> Iterator[None]:
        """Put a new lattice into the session, and draw it: one layer a step.

        Parameters
        ----------
        found : Lattice
        view : LatticeView
        drawing : LatticeDrawing
            Of both.
        revision : int
            Of the session when the measuring began.

        Yields
        ------
        None
            After each step. The rest is left where another drawing came meanwhile.
        """
        session = editor_of(self._layers.source).session
        self._follow(session)
        self.found, self.view, self.drawing = found, view, drawing
        with self._own_tables(), self._layers.own_changes():
            session.put_all(lattice_tables(found), found.params, revision)
            self._note(found)
        yield from self._draw_in_steps(
            (
                lambda: self._draw_map(drawing),
                lambda: self._draw_arrows(drawing),
                lambda: self._draw_vacancies(drawing),
                lambda: self._draw_cores(drawing),
            ),
            lambda: self.drawing is drawing,
        )

    def _on_table_changed(self, name: str) -> None:
        """Draw what somebody else has made anew; the sites come last."""
        session = self._session
        if name != "sites" or self._own or session is None:
            return
        self.found = Lattice(
            session.table("sites"), session.table("lattices"), session.table("sublattices"),
            session.table("distances"), session.table("holes"), session.table("dislocations"),
            params=session.provenance(name),
        )  # fmt: skip
        with self._layers.own_changes():
            self._note(self.found)
            self.show(self.view)
        self.changed.emit()

    def _note(self, found: Lattice) -> None:
        """Give each atom what was measured on it, in the session and in its layer."""
        source: Points = self._layers.source
        editor, atoms = editor_of(source), real_atoms(found.atoms)
        editor.session.measured.note(atoms[["atom_id", *MEASURED]], atoms)
        features = source.features.reset_index(drop=True)
        # of an atom that was edited since, nothing is known
        ids = pd.Index(atoms["atom_id"].to_numpy())
        rows = ids.get_indexer(features["atom_id"].to_numpy()) if ids.is_unique else None
        if rows is None or source not in self._layers.viewer_layers:
            return
        there = np.flatnonzero(rows >= 0)
        measured, points = atoms[["y_px", "x_px"]].to_numpy(float), np.asarray(source.data)
        same = (measured[rows[there]] == points[there, -2:]).all(axis=1)
        at, rows = there[same], rows[there[same]]
        new = {column: _spread(atoms[column].to_numpy(), rows, at, len(points))
               for column in COLUMNS}  # fmt: skip
        with editor.own_changes():
            source.features = features.assign(**new)

    # ------------------------------------------------------------------- the layers

    def show(self, view: LatticeView) -> None:
        """Make, update or remove layers for another view."""
        self.view = view
        if self.found is not None:
            self.draw(draw_lattice(self.found, view, self._layers.source.ndim))

    def draw(self, drawing: LatticeDrawing) -> None:
        """Show what a drawing holds, and remove what it does not."""
        self.drawing = drawing
        self._draw_map(drawing)
        self._draw_arrows(drawing)
        self._draw_vacancies(drawing)
        self._draw_cores(drawing)

    def _noted(self, drawing: LatticeDrawing) -> dict[str, Any]:
        return {
            "spacing_px": drawing.spacing_px,
            "parameters": {} if self.found is None else self.found.params,
        }

    def _draw_map(self, drawing: LatticeDrawing) -> None:
        drawn = drawing.map
        if drawn is None:
            self._layers.remove(MAP)
            return
        size = _scaled(0.8, drawing.spacing_px)
        style = styles.MapStyle(size, "value", drawn.colormap, drawn.limits)
        self._show_points(
            MAP, drawn.points, drawn.features, size, self._noted(drawing), style,
            {"face_colormap": drawn.colormap, "face_contrast_limits": drawn.limits},
            f"{drawn.name} · {self._layers.image_name}",
        )  # fmt: skip

    def _draw_arrows(self, drawing: LatticeDrawing) -> None:
        if drawing.arrows is None:
            self._layers.remove(ARROWS)
            return
        width = _scaled(0.09, drawing.spacing_px, 1.0)
        self._layers.show(
            ARROWS, Vectors, drawing.arrows, features=drawing.arrow_features,
            note=self._noted(drawing),
            name=f"{drawing.arrows_name} × {drawing.factor:g} · {self._layers.image_name}",
            style=styles.ArrowStyle(drawing.factor, width).as_kwargs(),
        )  # fmt: skip
        layer = self._layers.layer(ARROWS)
        if layer is not None and (layer.length, layer.edge_width) != (drawing.factor, width):
            layer.length, layer.edge_width = drawing.factor, width

    def _draw_vacancies(self, drawing: LatticeDrawing) -> None:
        if drawing.vacancies is None:
            self._layers.remove(VACANCIES)
            return
        size = _scaled(0.55, drawing.spacing_px)
        self._show_points(
            VACANCIES, drawing.vacancies, drawing.vacancy_features, size, self._noted(drawing),
            styles.VacancyStyle(size), {},
        )  # fmt: skip

    def _draw_cores(self, drawing: LatticeDrawing) -> None:
        if drawing.cores is None or drawing.burgers is None:
            self._layers.remove(CORES)
            self._layers.remove(BURGERS)
            return
        self._layers.show(
            BURGERS, Vectors, drawing.burgers, features=drawing.core_features,
            note=self._noted(drawing),
            style=styles.BurgersStyle(_scaled(0.12, drawing.spacing_px, 1.0)).as_kwargs(),
        )  # fmt: skip
        size = _scaled(1.4, drawing.spacing_px)
        self._show_points(
            CORES, drawing.cores, drawing.core_features, size, self._noted(drawing),
            styles.CoreStyle(size), {},
        )  # fmt: skip

    def _show_points(
        self,
        role: str,
        points: np.ndarray,
        features: pd.DataFrame,
        size: float,
        note: dict[str, Any],
        style: styles.LayerStyle,
        colours: dict[str, Any],
        name: str = "",
    ) -> None:
        """Show points; the size, and the colours where there is a point, follow each result."""
        look = style.as_kwargs()
        for fixed in ("size", *colours):
            look.pop(fixed)
        if self._layers.layer(role) is not None:
            self._layers.layer(role).current_size = size
        self._layers.show(
            role, Points, points, features=features, note=note, style=look, name=name, size=size,
            **(colours if len(points) else {}),
        )  # fmt: skip


def _scaled(part: float, spacing_px: float, unknown: float = 5.0) -> float:
    """Length as a part of the spacing of the atoms."""
    return part * spacing_px if np.isfinite(spacing_px) else unknown


def _spread(values: np.ndarray, rows: np.ndarray, at: np.ndarray, n: int) -> np.ndarray:
    """Values of some rows at the places `at` of n, unknown elsewhere."""
    out = np.full(n, -1 if values.dtype.kind == "i" else np.nan, values.dtype)
    out[at] = values[rows]
    return out
