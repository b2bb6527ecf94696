"""Patches the atoms of a session into a Points layer, row by row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_atomlens.session.edits import Corrections
from napari_atomlens.session.edits.actions import COMPARED
from napari_atomlens.session.edits.columns import Row, same
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.measured import unknown
from napari_atomlens.session.project import CORRECTIONS
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.base.images import pixel_size_of
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.roles import entry

if TYPE_CHECKING:
    from napari.layers import Points

#: More changed rows than this are put into the layer all at once.
FEW = 200


class ShownAtoms:
    """The half of an editor that shows what the session says.

    Parameters
    ----------
    layer : napari.layers.Points

    Attributes
    ----------
    layer : napari.layers.Points
    layer_id : str
    session : Session
    """

    session: Session

    def __init__(self, layer: Points) -> None:
        self.layer = layer
        self.layer_id = str(layer.unique_id)
        self._busy = False
        self._known = -1

    @property
    def corrections(self) -> Corrections:
        """The atoms of the session with their journal."""
        return self.session.corrections

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm, None where it is unknown."""
        return pixel_size_of(self.layer)

    @property
    def spacing_px(self) -> float:
        """Distance between nearest atoms in pixels; a guess where nothing is known."""
        known = self.session.spacing_px
        if np.isfinite(known) and known > 0:
            return known
        size = float(self.layer.current_size)
        return 3 * size if size > 0 else 12.0

    def species(self) -> list[str]:
        """Names of the species that atoms can be, in the order of the number keys."""
        column = self.layer.features.get("species", pd.Series(dtype=object))
        known = isinstance(column.dtype, pd.CategoricalDtype)
        there = list(column.cat.categories if known else column.astype(str).unique())
        return self.session.species([*entry(self.layer).get("classes", ()), *there])

    def ids(self) -> np.ndarray:
        """Ids of the points of the layer, in its order."""
        return np.asarray(self.layer.features["atom_id"])

    def selected(self) -> list[int]:
        """Ids of the selected atoms."""
        ids = self.ids()
        return [int(ids[i]) for i in sorted(self.layer.selected_data) if i < len(ids)]

    def select(self, atom_ids: list[int]) -> None:
        """Select atoms by their ids."""
        rows = set(np.flatnonzero(np.isin(self.ids(), atom_ids)).tolist())
        if rows != set(self.layer.selected_data):  # napari draws the selection anew each time
            self.layer.selected_data = rows

    def select_rows(self, change: Change) -> None:
        """Select the atoms that an edit has left."""
        self.select([int(self.corrections.value(r, "atom_id")) for r in change.rows])

    @contextlib.contextmanager
    def own_changes(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before
            self._known = len(self.layer.data)

    def show(self, change: Change) -> None:
        """Patch a change into the layer."""
        if not change.gone and not change.rows:
            return
        if len(change.gone) + len(change.rows) > FEW:
            self.show_all()
            return
        layer = self.layer
        with self.own_changes():
            if change.gone:
                rows = np.flatnonzero(np.isin(self.ids(), change.gone))
                layer.selected_data = set(rows.tolist())
                layer.remove_selected()
            if not change.rows:
                return
            there = {int(i): k for k, i in enumerate(self.ids())}
            rows_of = self._by_id(change)
            known = [(there[i], r) for i, r in rows_of if i in there]
            new = [r for i, r in rows_of if i not in there]
            moved, renamed = self._patch_known(known)
            recolour = bool(renamed)
            if new:
                n = len(layer.data)
                recolour = self._append(new) or recolour
                known += [(n + k, r) for k, r in enumerate(new)]
                moved += range(n, n + len(new))
            names = self.corrections.journal.columns
            self._write_features([k for k, _ in known], [r for _, r in known], names)
            self._write_measured(moved)
            self._write_measured(renamed, compared=True)
            if recolour:
                layer.refresh_colors()
            elif moved and not new:
                layer.refresh()
            layer.events.features()

    def _patch_known(self, known: list[tuple[int, Row]]) -> tuple[list[int], list[int]]:
        """Put atoms where they are now; rows that were moved, rows of another species."""
        layer, c = self.layer, self.corrections
        old = layer.features["species"].to_numpy() if "species" in layer.features else None
        moved: list[int] = []
        renamed: list[int] = []
        for k, r in known:
            point = self._point(r)
            if not np.array_equal(layer.data[k], point):
                layer.data[k] = point
                moved.append(k)
            if old is not None and old[k] != c.value(r, "species"):
                renamed.append(k)
        return moved, renamed

    def _append(self, new: list[Row]) -> bool:
        """Add atoms to the layer; whether they need other colours than it gives them."""
        layer, c = self.layer, self.corrections
        if layer.selected_data:
            layer.selected_data = set()  # else napari takes the new ones for their copies
        default = str(layer.feature_defaults["species"].iloc[0])
        layer.add(np.array([self._point(r) for r in new]))
        return any(str(c.value(r, "species")) != default for r in new)

    def _point(self, row: Row) -> list[float]:
        c = self.corrections
        return [float(c.value(row, n)) for n in ("frame", "y_px", "x_px")[-self.layer.ndim :]]

    def _write_features(self, at: list[int], rows: list[Row], names: tuple[str, ...]) -> None:
        """Write rows into the features; a cell that holds the value already is left alone."""
        features = self.layer.features
        for k, name in enumerate(names):
            if name not in features:
                continue
            values = [r[k] for r in rows]
            column = features[name]
            there = column.iloc[at].tolist()
            if all(map(same, values, there)):
                continue
            if isinstance(column.dtype, pd.CategoricalDtype):
                missing = [v for v in dict.fromkeys(values) if v not in column.cat.categories]
                if missing:
                    features[name] = column.cat.add_categories(missing)
            elif column.dtype == bool:
                values = [bool(v) for v in values]
            features.iloc[at, features.columns.get_loc(name)] = values

    def _write_measured(self, at: list[int], compared: bool = False) -> None:
        """Let atoms that are new or elsewhere carry nothing that was measured on others.

        With `compared` only what compares them with others of their species.
        """
        features, c, measured = self.layer.features, self.corrections, self.session.measured
        if not at:
            return
        names = [
            n
            for n in features
            if n not in c.journal.columns and (not compared or str(n).startswith(COMPARED))
        ]
        known = measured.values([str(n) for n in names if n in measured], features.iloc[at])
        for name in names:
            column = features[name]
            values: object = unknown(column.dtype)
            if isinstance(column.dtype, pd.CategoricalDtype):
                values = np.nan
            elif name in known:
                values = known[str(name)]
            features.iloc[at, features.columns.get_loc(name)] = values

    def show_all(self) -> None:
        """Put the whole table into the layer."""
        layer, table = self.layer, self.corrections.atoms()
        layer.metadata[CORRECTIONS] = self.corrections
        table = self.session.measured.join(table)
        features = convert.features_from_atoms(table, self.species())
        with self.own_changes():
            layer.selected_data = set()
            layer.data = convert.points_from_atoms(table, layer.ndim)
            layer.features = features
            self.show_defaults()

    def show_defaults(self) -> None:
        """Let an atom that the user adds start as unknown, not as a copy of another."""
        features = self.layer.features
        values = convert.user_values(convert.common_species(features))
        # columns of the user's own may be whole numbers or flags, which have no NaN
        blank = {"i": -1, "u": 0, "b": False}
        row: dict[object, Any] = {
            c: [values.get(c, blank.get(getattr(features[c].dtype, "kind", "O"), np.nan))]
            for c in features
        }
        row["species"] = pd.Categorical(row["species"], features["species"].cat.categories)
        self.layer.feature_defaults = pd.DataFrame(row)

    def _by_id(self, change: Change) -> list[tuple[int, Row]]:
        return [(int(self.corrections.value(r, "atom_id")), r) for r in change.rows]
