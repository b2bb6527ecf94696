"""Keeps a Points layer and the atoms of its session in step, whoever of the two is changed.

The session is the truth, the layer is a view. What the user does with napari's own tools
(add, drag, delete, the features table) is noticed and becomes an edit like any other; what
the session says is patched into the layer, row by row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.session.autosave import Autosave
from napari_atomlens.session.edits import Conflict, Corrections, actions
from napari_atomlens.session.edits.actions import COMPARED
from napari_atomlens.session.edits.columns import Row, as_row, same
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.measured import unknown
from napari_atomlens.session.outlines import is_users
from napari_atomlens.session.project import CORRECTIONS, PROJECT, OpenProject
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.roles import KEY

if TYPE_CHECKING:
    from napari.layers import Points
    from napari.utils.events import Event

P = ParamSpec("P")
EDITOR = "napari-atomlens-editor"
#: More changed rows than this are put into the layer all at once.
FEW = 200


def editor_of(
    layer: Points, machine: pd.DataFrame | None = None, session: Session | None = None
) -> Editor:
    """Return the editor of a Points layer; made where there is none.

    Parameters
    ----------
    layer : napari.layers.Points
    machine : pandas.DataFrame, optional
        Atoms table as the model gave it; by default what the layer shows.
    session : Session, optional
        Whose atoms the layer shows.
    """
    known = layer.metadata.get(EDITOR)
    # a copy of a layer shares the metadata of the original
    if isinstance(known, Editor) and known.layer_id == str(layer.unique_id):
        return known
    return Editor(layer, machine, session)


class Editor:
    """The layer of the atoms of one session.

    Parameters
    ----------
    layer : napari.layers.Points
        Atoms, (y, x) or (t, y, x) in pixels.
    machine : pandas.DataFrame, optional
        Atoms table as the model gave it; by default what the layer shows.
    session : Session, optional
        Whose atoms the layer shows; by default that of its image, unless another layer shows
        the atoms of that one.

    Attributes
    ----------
    session : Session
    """

    def __init__(
        self, layer: Points, machine: pd.DataFrame | None = None, session: Session | None = None
    ) -> None:
        self.layer = layer
        self.layer_id = str(layer.unique_id)
        self._busy = self._noting = False
        self._going: list[int] = []
        self._known = -1
        known = layer.metadata.get(CORRECTIONS)
        taken = self._is_taken(known)
        self.session = session or self._session_of_image()
        SESSIONS.add(self.layer_id, self.session)
        if isinstance(known, Corrections) and machine is None and not taken:
            self.session.corrections = known
        elif session is None or machine is not None:
            self._begin(self._read_layer() if machine is None else machine)
        layer.metadata[CORRECTIONS] = self.corrections
        layer.metadata[EDITOR] = self
        self._follow_project()
        self.session.keep_edits(self._about())
        self._adopt_colours()
        if machine is None and session is None:
            self._show_all()
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        self.session.edit_begins.connect(self._on_edit_begins)
        self.session.edited.connect(self._on_edited)
        self.session.atoms_reset.connect(self._show_all)
        self._known = len(layer.data)

    def __deepcopy__(self, memo: dict[int, object]) -> None:
        """Copied layers get an editor of their own."""
        return None

    def _is_taken(self, known: object) -> bool:
        other = self.layer.metadata.get(EDITOR)
        return isinstance(other, Editor) and other.corrections is known

    def _session_of_image(self) -> Session:
        """Session of the image of the layer, or a new one where another layer has it."""
        entry = self._entry()
        source = str(entry.get("source_id", ""))
        found = SESSIONS.get(source) if source and entry.get("role") == "atoms" else None
        if found is not None and not found.has_atoms:
            return found
        return Session(str(entry.get("source_name", self.layer.name)))

    def _begin(self, table: pd.DataFrame) -> None:
        """Let the session have the atoms of the layer."""
        spacing = float(self._entry().get("spacing_px", float("nan")))
        mine = is_users(table)
        c = Corrections(table[~mine], spacing_px=spacing)
        if mine.any():  # of a time without a journal: a new run must not lose them
            names = [str(n) for n in table.columns]
            values = table[mine].itertuples(index=False, name=None)
            rows = [as_row(dict(zip(names, v, strict=True)), c.journal.columns) for v in values]
            actions.add_rows(c, rows)
        self.session.corrections = c

    def close(self) -> None:
        """Stop listening; what was edited can be restored unless it is saved."""
        self.layer.events.data.disconnect(self._on_data)
        self.layer.events.features.disconnect(self._on_features)
        self.session.edit_begins.disconnect(self._on_edit_begins)
        self.session.edited.disconnect(self._on_edited)
        self.session.atoms_reset.disconnect(self._show_all)
        self.autosave.pause()
        self.layer.metadata.pop(EDITOR, None)

    def _entry(self) -> dict[str, Any]:
        found = self.layer.metadata.get(KEY)
        return found if isinstance(found, dict) else {}

    def _about(self) -> dict[str, object]:
        """What a later session must know to show the atoms again."""
        layer = self.layer
        return {
            "layer": str(layer.name), "ndim": int(layer.ndim),
            "scale": [float(s) for s in layer.scale],
            "translate": [float(s) for s in layer.translate],
            "units": [str(u) for u in layer.units], "axis_labels": list(layer.axis_labels),
            "entry": {k: v for k, v in self._entry().items() if k != "runs"},
            "size": float(layer.current_size),
        }  # fmt: skip

    # ------------------------------------------------------------------- what there is

    @property
    def corrections(self) -> Corrections:
        """The atoms of the session with their journal."""
        return self.session.corrections

    @property
    def autosave(self) -> Autosave:
        """What writes the edits of the session to the disk."""
        return self.session.autosave or self.session.keep_edits(self._about())

    @property
    def problem(self) -> str:
        """Why the latest edit was not made, or not saved; "" where all is well."""
        return self.session.problem

    @property
    def is_read_only(self) -> bool:
        """Whether the project that the layer came from is open in another window."""
        self._follow_project()
        return self.session.is_read_only

    def _follow_project(self) -> None:
        project = self.layer.metadata.get(PROJECT)
        self.session.project = project if isinstance(project, OpenProject) else None

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm, None where it is unknown."""
        return convert.pixel_size_nm(self.layer.scale, self.layer.units)

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
        return self.session.species([*self._entry().get("classes", ()), *there])

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

    # -------------------------------------------------------------------- what is done

    def perform(
        self,
        action: Callable[Concatenate[Corrections, P], Change],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Change | None:
        """Make an edit; None, and the sentence in :attr:`problem`, where it cannot be made."""
        self._follow_project()
        return self.session.edit(action, *args, **kwargs)

    def undo(self) -> Change | None:
        """Take the last edit back."""
        self._follow_project()
        return self.session.undo()

    def redo(self) -> Change | None:
        """Do the last undone edit again."""
        self._follow_project()
        return self.session.redo()

    def rerun(self, machine: pd.DataFrame, frames: list[int], spacing_px: float) -> list[Conflict]:
        """Put new output of the model under the edits, and show it."""
        return self.session.rerun(machine, frames, spacing_px)

    def _on_edit_begins(self, whole: bool) -> None:
        """Say first what the user did to the layer."""
        if whole:
            self.sync()
        else:
            self.check()

    def _on_edited(self, change: Change) -> None:
        if not self._noting:  # else the layer shows it already
            self.show(change)

    # ------------------------------------------------------------ corrections to layer

    @contextlib.contextmanager
    def own_changes(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before
            self._known = len(self.layer.data)

    def check(self) -> None:
        """Notice points that came without an event, as pasted ones do."""
        if not self._busy and not self._noting and len(self.layer.data) != self._known:
            self.sync()

    def _adopt_colours(self) -> None:
        """Let the colours follow the species again: a project only knows the colours."""
        layer = self.layer
        if (
            self._entry().get("role") == "atoms"
            and "species" in layer.features
            and str(getattr(layer, "border_color_mode", "")) == "direct"
        ):
            layer.border_color_cycle = styles.class_colours(self.species())
            layer.border_color = "species"

    def show(self, change: Change) -> None:
        """Patch a change into the layer."""
        if not change.gone and not change.rows:
            return
        if len(change.gone) + len(change.rows) > FEW:
            self._show_all()
            return
        c, layer = self.corrections, self.layer
        with self.own_changes():
            if change.gone:
                rows = np.flatnonzero(np.isin(self.ids(), change.gone))
                layer.selected_data = set(rows.tolist())
                layer.remove_selected()
            if not change.rows:
                return
            names = c.journal.columns
            ids = self.ids()
            there = {int(i): k for k, i in enumerate(ids)}
            known: list[tuple[int, Row]] = [
                (there[i], r) for r in change.rows if (i := int(c.value(r, "atom_id"))) in there
            ]
            new = [r for r in change.rows if int(c.value(r, "atom_id")) not in there]
            shown = layer.features
            old_species = shown["species"].to_numpy() if "species" in shown else None
            recolour = bool(new)
            moved: list[int] = []
            renamed: list[int] = []
            for k, r in known:
                point = self._point(r)
                if not np.array_equal(layer.data[k], point):
                    layer.data[k] = point
                    moved.append(k)
                if old_species is not None and old_species[k] != c.value(r, "species"):
                    renamed.append(k)
            recolour = recolour or bool(renamed)
            if new:
                n = len(layer.data)
                if layer.selected_data:
                    layer.selected_data = set()  # else napari takes the new ones for their copies
                default = str(layer.feature_defaults["species"].iloc[0])
                recolour = any(str(c.value(r, "species")) != default for r in new)
                layer.add(np.array([self._point(r) for r in new]))
                known += [(n + k, r) for k, r in enumerate(new)]
                moved += range(n, n + len(new))
            self._write_features([k for k, _ in known], [r for _, r in known], names)
            self._write_measured(moved)
            self._write_measured(renamed, compared=True)
            if recolour:
                layer.refresh_colors()
            elif moved and not new:
                layer.refresh()
            layer.events.features()

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
        for name in [n for n in features if n not in c.journal.columns]:
            if compared and not str(name).startswith(COMPARED):
                continue
            column = features[name]
            values: object = unknown(column.dtype)
            if isinstance(column.dtype, pd.CategoricalDtype):
                values = np.nan
            elif name in measured:
                values = measured.values(str(name), features.iloc[at])
            features.iloc[at, features.columns.get_loc(name)] = values

    def _show_all(self) -> None:
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

    # ------------------------------------------------------------ layer to corrections

    def _read_layer(self) -> pd.DataFrame:
        """Atoms table of what the layer shows."""
        layer = self.layer
        atoms = convert.atoms_from_points(
            np.asarray(layer.data), layer.features, self.pixel_size, others=()
        )
        return atoms.sort_values("frame", kind="stable", ignore_index=True)

    def _on_data(self, event: Event) -> None:
        """Note what the user did with napari's own tools."""
        action = str(getattr(event.action, "value", event.action))
        if self._busy:
            return
        if action == "removing":
            ids = self.ids()
            rows = np.asarray(event.data_indices, dtype=int) % max(len(ids), 1)
            self._going = [int(i) for i in ids[rows]]
        elif action == "removed":
            going, self._going = self._going, []
            self._known = len(self.layer.data)
            known = [i for i in going if self.corrections.frame_of(i) >= 0]
            if known:
                self._note(actions.delete, known)
        elif action in ("added", "changed"):
            n = len(self.layer.data)
            rows = np.unique(np.asarray(event.data_indices, dtype=int) % max(n, 1))
            if len(rows) > FEW or len(self.layer.features) != n:
                self.sync()
            else:
                self._sync_rows(rows, added=action == "added")

    def _on_features(self, event: Event | None = None) -> None:
        if not self._busy:
            self.sync()

    def _note(
        self,
        action: Callable[Concatenate[Corrections, P], Change],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Change | None:
        """Record what has happened in the layer already."""
        self._noting = True
        try:
            change = self.perform(action, *args, **kwargs)
        finally:
            self._noting = False
        if change is None:
            self._show_all()
        return change

    def _sync_rows(self, rows: np.ndarray, added: bool) -> None:
        """Compare some rows of the layer with the corrections; what differs is an edit."""
        self._known = len(self.layer.data)
        c, layer = self.corrections, self.layer
        features = layer.features
        ids = features["atom_id"].to_numpy()
        places = np.asarray(layer.data, float)
        frames = np.round(places[:, 0]).astype(int) if layer.ndim == 3 else np.zeros(len(ids), int)
        known = features["species"].astype(str).to_numpy() if "species" in features else None
        others = np.delete(ids, rows) if added else ids[:0]
        new: list[int] = []
        gone: list[int] = []
        moved: list[int] = []
        renamed: dict[str, list[int]] = {}
        claimed: set[int] = set(others.tolist())
        for k in rows:
            atom_id = -1 if pd.isna(ids[k]) else int(ids[k])
            old = None
            if not added and atom_id not in claimed and (f := c.frame_of(atom_id)) >= 0:
                old = c.columns(f).row(atom_id)
            if old is None:
                new.append(int(k))
                continue
            claimed.add(atom_id)
            if int(c.value(old, "frame")) != frames[k]:  # dragged into another frame
                gone.append(atom_id)
                new.append(int(k))
                continue
            at = np.array([c.value(old, "y_px"), c.value(old, "x_px")])
            if not np.allclose(at, places[k, -2:], rtol=0, atol=1e-6):
                moved.append(int(k))
            if known is not None and known[k] != str(c.value(old, "species")):
                renamed.setdefault(str(known[k]), []).append(atom_id)
        self._record(new, gone, moved, renamed, frames)

    def sync(self) -> None:
        """Compare the whole layer with the corrections; what differs is an edit."""
        if self._noting:
            return
        c, layer = self.corrections, self.layer
        self._known = len(layer.data)
        table = c.atoms().set_index("atom_id")
        features = layer.features
        if "atom_id" not in features or len(features) != len(layer.data):
            return
        ids = pd.to_numeric(features["atom_id"], errors="coerce").fillna(-1).astype(np.int64)
        places = np.asarray(layer.data, float)
        frames = np.round(places[:, 0]).astype(int) if layer.ndim == 3 else np.zeros(len(ids), int)
        own = ids.isin(table.index) & ~ids.duplicated()
        row = table.reindex(ids[own])
        same_frame = np.zeros(len(ids), bool)
        same_frame[own.to_numpy()] = row["frame"].to_numpy() == frames[own.to_numpy()]
        new = np.flatnonzero(~own.to_numpy() | ~same_frame)
        gone = [int(i) for i in table.index[~table.index.isin(ids[same_frame])]]
        here = np.flatnonzero(same_frame)
        row = table.reindex(ids.to_numpy()[here])
        off = np.abs(row[["y_px", "x_px"]].to_numpy(float) - places[here, -2:]).max(1, initial=0)
        moved = here[~(off <= 1e-6)]
        renamed: dict[str, list[int]] = {}
        if "species" in features:
            told = features["species"].astype(object).fillna("").map(str).to_numpy()[here]
            other = told != row["species"].astype(str).to_numpy()
            for k in np.flatnonzero(other):
                renamed.setdefault(str(told[k]), []).append(int(ids.to_numpy()[here[k]]))
        self._record(new.tolist(), gone, moved.tolist(), renamed, frames)

    def _record(
        self,
        new: list[int],
        gone: list[int],
        moved: list[int],
        renamed: dict[str, list[int]],
        frames: np.ndarray,
    ) -> None:
        """Make edits of what differs, and complete the features of what is new."""
        if not (new or gone or moved or renamed):
            return
        c, layer = self.corrections, self.layer
        places = np.asarray(layer.data, float)
        ids = self.ids()
        moves = [int(ids[k]) for k in moved]
        changes = [
            *([self._note(actions.delete, gone)] if gone else []),
            *(
                [self._note(actions.move, moves, places[moved, -2:].tolist(), self.pixel_size)]
                if moved
                else []
            ),
            *(self._note(actions.set_species, which, name) for name, which in renamed.items()),
        ]
        made: list[tuple[int, Row]] = []
        if new:
            rest = layer.features.drop(index=new)
            species = convert.common_species(rest) if "species" in rest else ""
            rows = [
                actions.new_row(
                    c, int(frames[k]), places[k, -2], places[k, -1], species, self.pixel_size
                )
                for k in new
            ]
            made = list(zip(new, rows, strict=True))
            changes.append(self._note(actions.add_rows, rows))
        if self.problem:
            return
        there = {int(i): k for k, i in enumerate(ids)}
        for change in changes:
            if change is None or change.edit.action == "add":
                continue
            made += [
                (there[i], r) for r in change.rows if (i := int(c.value(r, "atom_id"))) in there
            ]
        with self.own_changes():
            if "species" in layer.features and not isinstance(
                layer.features["species"].dtype, pd.CategoricalDtype
            ):
                # napari forgets the categories when an atom is selected before one is added
                layer.features = convert.features_from_atoms(layer.features, self.species())
            self._write_features([k for k, _ in made], [r for _, r in made], c.journal.columns)
            self._write_measured([*new, *moved])
            if set(tables.ATOMS) <= set(layer.features):
                self.show_defaults()
            layer.refresh_colors()
