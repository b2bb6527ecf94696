"""Keeps a Points layer and the atoms of its session in step, whoever of the two is changed.

The session is the truth, the layer is a view. What the user does with napari's own tools
(add, drag, delete, the features table) is noticed and becomes an edit like any other; what
the session says is patched into the layer, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
import pandas as pd
from napari.layers import Points

from napari_atomlens import tables
from napari_atomlens.session.autosave import Autosave
from napari_atomlens.session.edits import Conflict, Corrections, actions
from napari_atomlens.session.edits.columns import Row, as_row
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.outlines import is_users
from napari_atomlens.session.project import CORRECTIONS, PROJECT, OpenProject
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers.by_tools import (
    ToolChanges,
    changes_of_all,
    changes_of_rows,
)
from napari_atomlens.widgets.layers.roles import ATOMS, entry, opened_positions
from napari_atomlens.widgets.layers.shown_atoms import FEW, ShownAtoms

if TYPE_CHECKING:
    from napari.utils.events import Event

    from napari_atomlens.widgets.layers.layer_set import LayerSet

P = ParamSpec("P")
EDITOR = "napari-atomlens-editor"


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
    spacing_px : float, optional
        Distance of nearest atoms; by default what the runs of the session found.
    """
    known = layer.metadata.get(EDITOR)
    # a copy of a layer shares the metadata of the original
    if isinstance(known, Editor) and known.layer_id == str(layer.unique_id):
        return known
    return Editor(layer, machine, session)


class Editor(ShownAtoms):
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
        super().__init__(layer)
        self._noting = self._between = False
        self._going: list[int] = []
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
            self.show_all()
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        layer.events.set_data.connect(self._on_drawn)
        self.session.edit_begins.connect(self._on_edit_begins)
        self.session.edited.connect(self._on_edited)
        self.session.atoms_reset.connect(self.show_all)
        self._known = len(layer.data)

    def __deepcopy__(self, memo: dict[int, object]) -> None:
        """Copied layers get an editor of their own."""
        return None

    def _is_taken(self, known: object) -> bool:
        other = self.layer.metadata.get(EDITOR)
        return isinstance(other, Editor) and other.corrections is known

    def _session_of_image(self) -> Session:
        """Session of the image of the layer, or a new one where another layer has it."""
        mine = entry(self.layer)
        source = str(mine.get("source_id", ""))
        found = SESSIONS.get(source) if source and mine.get("role") == ATOMS else None
        if found is not None and not found.has_atoms:
            return found
        return Session(str(mine.get("source_name", self.layer.name)))

    def _begin(self, table: pd.DataFrame) -> None:
        """Let the session have the atoms of the layer."""
        about = entry(self.layer) or opened_positions(self.layer)
        spacing = float(about.get("spacing_px", float("nan")))
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
        self.layer.events.set_data.disconnect(self._on_drawn)
        self.session.edit_begins.disconnect(self._on_edit_begins)
        self.session.edited.disconnect(self._on_edited)
        self.session.atoms_reset.disconnect(self.show_all)
        self.autosave.pause()
        self.layer.metadata.pop(EDITOR, None)

    def _about(self) -> dict[str, object]:
        """What a later session must know to show the atoms again."""
        layer = self.layer
        return {
            "layer": str(layer.name), "ndim": int(layer.ndim),
            "scale": [float(s) for s in layer.scale],
            "translate": [float(s) for s in layer.translate],
            "units": [str(u) for u in layer.units], "axis_labels": list(layer.axis_labels),
            "entry": {k: v for k, v in entry(self.layer).items() if k != "runs"},
            "size": float(layer.current_size),
        }  # fmt: skip

    # ------------------------------------------------------------------- what there is

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

    def check(self) -> None:
        """Notice points that came without an event, as pasted ones do."""
        if not self._busy and not self._noting and len(self.layer.data) != self._known:
            self.sync()

    def _adopt_colours(self) -> None:
        """Let the colours follow the species again: a project only knows the colours."""
        layer = self.layer
        if (
            entry(self.layer).get("role") == ATOMS
            and "species" in layer.features
            and str(getattr(layer, "border_color_mode", "")) == "direct"
        ):
            layer.border_color_cycle = styles.class_colours(self.species())
            layer.border_color = "species"

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
        self._between = action.endswith("ing")
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

    def _on_drawn(self, event: Event | None = None) -> None:
        """Notice pasted points: of them napari says nothing but that it draws them."""
        if not self._between:
            self.check()

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
            self.show_all()
        return change

    def _sync_rows(self, rows: np.ndarray, added: bool) -> None:
        """Compare some rows of the layer with the corrections; what differs is an edit."""
        self._known = len(self.layer.data)
        self._record(changes_of_rows(self.layer, self.corrections, rows, added))

    def sync(self) -> None:
        """Compare the whole layer with the corrections; what differs is an edit."""
        if self._noting:
            return
        self._known = len(self.layer.data)
        self._record(changes_of_all(self.layer, self.corrections))

    def _record(self, found: ToolChanges) -> None:
        """Make edits of what differs, and complete the features of what is new."""
        if not found:
            return
        layer, ids = self.layer, self.ids()
        places = np.asarray(layer.data, float)
        moves = [int(ids[k]) for k in found.moved]
        at = places[found.moved, -2:].tolist()
        changes = [
            *([self._note(actions.delete, found.gone)] if found.gone else []),
            *([self._note(actions.move, moves, at, self.pixel_size)] if moves else []),
            *(self._note(actions.set_species, who, name) for name, who in found.renamed.items()),
        ]
        made = self._add_new(found)
        if self.problem:
            return
        there = {int(i): k for k, i in enumerate(ids)}
        for change in changes:
            if change is not None:
                made += [(there[i], r) for i, r in self._by_id(change) if i in there]
        self._complete(made, [*found.new, *found.moved])

    def _add_new(self, found: ToolChanges) -> list[tuple[int, Row]]:
        """Add the new points as atoms; returns the rows of layer and table."""
        if not found.new:
            return []
        c, features = self.corrections, self.layer.features
        places = np.asarray(self.layer.data, float)
        rest = features.drop(index=found.new)
        species = convert.common_species(rest) if "species" in rest else ""
        rows = [
            actions.new_row(
                c, int(found.frames[k]), places[k, -2], places[k, -1], species, self.pixel_size
            )
            for k in found.new
        ]
        self._note(actions.add_rows, rows)
        return list(zip(found.new, rows, strict=True))

    def _complete(self, made: list[tuple[int, Row]], elsewhere: list[int]) -> None:
        """Write what the corrections know into the features of the layer."""
        c, layer = self.corrections, self.layer
        with self.own_changes():
            if "species" in layer.features and not isinstance(
                layer.features["species"].dtype, pd.CategoricalDtype
            ):
                # napari forgets the categories when an atom is selected before one is added
                layer.features = convert.features_from_atoms(layer.features, self.species())
            self._write_features([k for k, _ in made], [r for _, r in made], c.journal.columns)
            self._write_measured(elsewhere)
            if set(tables.ATOMS) <= set(layer.features):
                self.show_defaults()
            layer.refresh_colors()


def show_atoms(
    layers: LayerSet, session: Session, spacing_px: float | None = None
) -> Points | None:
    """Make the layer of the atoms of an image where there is none; else it follows the session.

    Parameters
    ----------
    layers : LayerSet
        Of the image.
    session : Session
        Whose atoms the layer shows.

    Returns
    -------
    napari.layers.Points or None
        None where there is no layer, and no atom to show.
    """
    layer = layers.layer(ATOMS)
    spacing = session.results.spacing_px if spacing_px is None else spacing_px
    size = styles.atom_size(spacing)
    if layer is not None:
        before = entry(layer).get("spacing_px", float("nan"))
        if np.isfinite(spacing) and not abs(before / spacing - 1) < 0.05:
            layer.current_size = size
            layer.size = size
        layers.drawn(ATOMS)
        return layer
    fresh = session.features()
    if not len(fresh):
        return None
    species, ndim = session.species(), layers.source.ndim
    features = convert.features_from_atoms(fresh, species)
    colours = styles.class_colours([*species, *features["species"].cat.categories])
    style = styles.AtomStyle(size=size, border_color_cycle=colours)
    note: dict[str, Any] = {"spacing_px": spacing, "classes": species}
    layer = Points(
        convert.points_from_atoms(fresh, ndim), ndim=ndim, features=features,
        **style.as_kwargs(), **layers.common(ATOMS, **note),
    )  # fmt: skip
    editor_of(layer, session=session).show_defaults()
    layers.add(ATOMS, layer)
    layers.drawn(ATOMS)
    return layer
