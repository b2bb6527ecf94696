"""The layers of the bonds of one layer of atoms, which follow its edits whatever docks are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Points, Shapes, Vectors

from napari_atomlens import graphs
from napari_atomlens.errors import AtomLensError
from napari_atomlens.graphs.rules import Rules
from napari_atomlens.session.follows import bonded_tables
from napari_atomlens.widgets.base.beside import Beside
from napari_atomlens.widgets.base.timers import once
from napari_atomlens.widgets.layers import convert_bonds as convert
from napari_atomlens.widgets.layers.convert_bonds import BondDrawing, RingDrawing
from napari_atomlens.widgets.layers.of_tables import LayersOfTables
from napari_atomlens.widgets.layers.roles import BONDS, DEFECTS, RINGS

if TYPE_CHECKING:
    from napari_atomlens.graphs.bonds import BondGraph
    from napari_atomlens.session.session import Session
    from napari_atomlens.widgets.layers.layer_set import LayerSet

#: Rings, which take longest, are drawn anew when no edit came for so long.
REST_MS = 120


@dataclass(frozen=True)
class Rebuilt:
    """A graph that follows an edit, and the tables of it as a session keeps them.

    Attributes
    ----------
    graph : BondGraph
    tables, provenance : mapping
    revision : int
        Of the session when its making began.
    """

    graph: BondGraph
    tables: Mapping[str, pd.DataFrame]
    provenance: Mapping[str, Any]
    revision: int


class BondLayers(LayersOfTables):
    """Bonds, rings of the frame that is shown, and defects.

    Parameters
    ----------
    layers : LayerSet
        Of the layer of atoms.

    Attributes
    ----------
    graph : BondGraph or None
        What the tables of the session were made from; None where they were made elsewhere.
    wanted : dict of str to bool
        Which layers are drawn, by role.
    problem : str
        Why an edit could not be followed, "" where it was.

    Notes
    -----
    Signal: ``changed`` (the tables are others now, and so are the layers).
    """

    def __init__(self, layers: LayerSet) -> None:
        super().__init__(layers)
        self._frame = 0
        self.graph: BondGraph | None = None
        self.wanted = {BONDS: True, RINGS: True, DEFECTS: True}
        self.problem = ""
        self._rest = once(REST_MS, self._draw_rings_now)
        self._beside: Beside[Rebuilt] = Beside(self._on_rebuilt)

    def close(self) -> None:
        """Let go of session and layers, which stay."""
        self._rest.stop()
        self._rest.timeout.disconnect(self._draw_rings_now)
        super().close()

    # ----------------------------------------------------------------- the session

    @property
    def session(self) -> Session | None:
        """Session of the atoms, None where there is none yet."""
        return self._session or self._layers.session

    def _follow(self, session: Session | None) -> None:
        old = self._session
        super()._follow(session)
        if old is not session and old is not None:
            old.follow_edits(BONDS, None)
            self._beside.stop()
        if old is not session and session is not None:
            session.follow_edits(BONDS, self._remake, self._begin)

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of the session; empty where there is none."""
        session = self.session
        return pd.DataFrame() if session is None else session.table(name)

    def take(
        self,
        graph: BondGraph,
        tables: Mapping[str, pd.DataFrame],
        drawing: BondDrawing,
        revision: int,
    ) -> Iterator[None]:
        """Put a new graph into the session, and draw it: one layer a step.

        Parameters
        ----------
        graph : BondGraph
        tables : mapping
            Of :func:`napari_atomlens.session.follows.bonded_tables`.
        drawing : BondDrawing
            Of these tables.
        revision : int
            Of the session when its making began.

        Yields
        ------
        None
            After each step. The rest is left where an edit has led to another graph meanwhile.
        """
        session = self._layers.session
        if session is None:
            raise RuntimeError("these atoms have no session")
        self._follow(session)
        self._beside.stop()  # it would follow the graph of before
        self.graph, self.problem = graph, ""
        with self._layers.own_changes():
            self._put(tables, {"rules": graph.rules.as_dict()}, revision)
        yield from self._draw_in_steps(
            (
                lambda: self._draw_rings(drawing.rings),
                lambda: self._draw_bonds(drawing),
                lambda: self._draw_defects(drawing),
            ),
            lambda: self.graph is graph,
        )

    def _put(
        self,
        tables: Mapping[str, pd.DataFrame],
        provenance: Mapping[str, Any],
        revision: int | None = None,
    ) -> None:
        assert self._session is not None  # whoever puts follows it
        with self._own_tables():
            self._session.put_all(tables, provenance, revision)

    def _remake(self, frames: frozenset[int]) -> frozenset[int]:
        """Follow an edit of the atoms of some frames; returns those that it could not."""
        self._beside.stop()
        session, self.problem = self._session, ""
        if session is None:
            return frames
        try:
            made = self._rebuilding(session, frames)()
        except AtomLensError as error:
            self._fail(error)
            return frames
        self._on_rebuilt(made)
        return frozenset()

    def _begin(self, frames: frozenset[int], give_up: Callable[[], None]) -> None:
        """Follow an edit beside the window; what was begun before is of no use any more."""
        session, self.problem = self._session, ""
        if session is None:
            give_up()
            return

        def fail(error: AtomLensError) -> None:
            self._fail(error)
            give_up()

        self._beside.start(self._rebuilding(session, frames), fail)

    def _rebuilding(self, session: Session, frames: frozenset[int]) -> Callable[[], Rebuilt]:
        """Return what makes the graph anew, which touches neither session nor layers."""
        provenance, revision, graph = session.provenance(BONDS), session.revision, self.graph
        if graph is None:
            atoms = session.atoms()
            rules = Rules.from_dict(provenance["rules"]) if "rules" in provenance else "auto"
        else:
            atoms = pd.concat([session.atoms(f) for f in sorted(frames)], ignore_index=True)
        defects = session.table(DEFECTS)

        def rebuild() -> Rebuilt:
            if graph is None:
                made = graphs.bond(atoms, rules)
                found = graphs.find_defects(made)
            else:
                made, found = graphs.rebuild_frames(graph, defects, atoms, frames)
            return Rebuilt(made, bonded_tables(made, found), provenance, revision)

        return rebuild

    def _on_rebuilt(self, made: Rebuilt) -> None:
        self.graph = made.graph
        with self._layers.own_changes():
            self._put(made.tables, made.provenance, made.revision)
            self._redraw()

    def _fail(self, error: AtomLensError) -> None:
        self.problem = str(error)
        self.changed.emit()

    def _on_table_changed(self, name: str) -> None:
        """Draw what somebody else has made anew; the defects come last."""
        if name == DEFECTS and not self._own:
            self._beside.stop()
            self.graph, self.problem = None, ""
            self._redraw()

    # ------------------------------------------------------------------- the layers

    def _redraw(self) -> None:
        session = self._session
        if session is None:
            return
        tables = {name: session.table(name) for name in (BONDS, RINGS, DEFECTS)}
        ndim, none = self._layers.source.ndim, {**tables, RINGS: tables[RINGS].head(0)}
        self.draw(convert.draw_bonds(none, session.atoms(), self._frame, ndim), rings=False)
        self._layers.drawn(RINGS)  # they are about to be
        self._rest.start()
        self.changed.emit()

    def draw(self, drawing: BondDrawing, rings: bool = True) -> None:
        """Show bonds, defects and rings, as far as they are wanted."""
        if rings:
            self._draw_rings(drawing.rings)
        self._draw_bonds(drawing)
        self._draw_defects(drawing)

    def _draw_bonds(self, drawing: BondDrawing) -> None:
        if self.wanted[BONDS]:
            self._layers.show(
                BONDS, Vectors, drawing.vectors, features=drawing.bonds,
                style={
                    "vector_style": "line", "edge_width": drawing.width, "edge_color": "#3ddc97",
                    "opacity": 0.8,
                },
            )  # fmt: skip

    def _draw_defects(self, drawing: BondDrawing) -> None:
        if self.wanted[DEFECTS]:
            colours: dict[str, Any] = {"border_color": drawing.colours}
            self._layers.show(
                DEFECTS, Points, drawing.points, features=drawing.defects,
                style={
                    "size": 40 * drawing.width, "symbol": "disc", "face_color": "transparent",
                    "border_width": 0.06,
                },
                **(colours if len(drawing.points) else {}),
            )  # fmt: skip

    def _draw_rings(self, rings: RingDrawing) -> None:
        self._rest.stop()
        self._frame = rings.frame
        if not self.wanted[RINGS]:
            return
        each: dict[str, Any] = {
            "edge_width": 0,
            "edge_color": "transparent",
            "face_color": rings.colours,
        }
        self._layers.show(
            RINGS, Shapes, rings.polygons, features=rings.features, style={"opacity": 0.45},
            **(each if len(rings.polygons) else {}),
        )  # fmt: skip

    def _draw_rings_now(self) -> None:
        session = self._session
        if session is None or self._layers.source not in self._layers.viewer_layers:
            return
        ndim = self._layers.source.ndim
        atoms = session.atoms(self._frame)
        self._draw_rings(convert.draw_rings(session.table(RINGS), atoms, self._frame, ndim))

    def show_frame(self, frame: int) -> None:
        """Draw the rings of another frame."""
        if frame != self._frame and self._session is not None:
            self._frame = frame
            self._draw_rings_now()

    def want(self, role: str, on: bool) -> None:
        """Show or hide a layer; it is made where it is not there yet."""
        self.wanted[role] = on
        if on and self._layers.layer(role) is None and self._session is not None:
            self._redraw()
        self._layers.set_visible(on, role)

    def select(self, row: int) -> None:
        """Select a defect in its layer."""
        layer = self._layers.layer(DEFECTS)
        if layer is not None and row < len(layer.data):
            layer.selected_data = {row}

    def place(self, row: int) -> np.ndarray:
        """Place of a defect in the coordinates of the layer of atoms."""
        defects = self.table(DEFECTS)
        found: np.ndarray = convert.points_from_defects(
            defects.iloc[[row]], self._layers.source.ndim
        )[0]
        return found

    def width(self) -> float:
        """Width of a bond in pixels."""
        return convert.bond_width(self.table(BONDS))
