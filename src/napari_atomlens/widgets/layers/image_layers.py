"""The layers that a run over one image makes: atoms, contours, maps; one set for all docks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.image import Pixels
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.session.results import ANY_ATOM, Run, Taken, runs_after
from napari_atomlens.session.session import Session
from napari_atomlens.widgets.base.images import finest
from napari_atomlens.widgets.layers.atoms import Editor, editor_of, show_atoms
from napari_atomlens.widgets.layers.contours import AUTO, NONE, Contours
from napari_atomlens.widgets.layers.maps import Maps
from napari_atomlens.widgets.layers.roles import (
    ATOMS,
    CONTOURS,
    PROBABILITY,
    UNFAMILIAR,
    entry,
)

if TYPE_CHECKING:
    from napari_atomlens.widgets.layers.layer_set import LayerSet

#: The layers of a run, from below to above.
ROLES = (PROBABILITY, UNFAMILIAR, CONTOURS, ATOMS)


@dataclass(frozen=True)
class LayerRequest:
    """Which layers to make.

    Attributes
    ----------
    atoms, probability, unfamiliar : bool
        Points, and the two maps.
    contours : str
        "auto", "Shapes", "Labels" or "none".
    map_name : str
        Which of the class maps to show.
    """

    atoms: bool = True
    contours: str = AUTO
    probability: bool = True
    unfamiliar: bool = True
    map_name: str = ANY_ATOM


@dataclass(frozen=True)
class FrameDrawing:
    """The result of a frame, and its outlines as labels where they are wanted as such."""

    result: FrameResult
    labels: np.ndarray | None = None


class ImageLayers:
    """The layers of one image that a run makes; they follow its session, docks open or not.

    Take it from the registry: ``layers_of(viewer, image).part(ImageLayers)``.

    Parameters
    ----------
    layers : LayerSet
        Of the image.

    Attributes
    ----------
    layers : LayerSet
    contours : Contours
    maps : Maps
    """

    def __init__(self, layers: LayerSet) -> None:
        self.layers = layers
        self.contours, self.maps = layers.part(Contours), layers.part(Maps)
        self.request = LayerRequest()
        self._dropped: set[str] = set()
        self._run: Run | None = None
        self._editor: Editor | None = None
        layers.found.connect(self._on_found)
        layers.lost.connect(self._on_lost)
        atoms = layers.layer(ATOMS)
        if atoms is not None:  # one that is there already: mark what the user does to it
            self._on_found(ATOMS, atoms)

    def close(self) -> None:
        """Let go of the layers, which stay."""
        self.layers.found.disconnect(self._on_found)
        self.layers.lost.disconnect(self._on_lost)
        self._editor = None

    # ------------------------------------------------------------------ what there is

    @property
    def session(self) -> Session:
        """Session of the image; every other part of the window shows the same one."""
        return self.layers.image_session

    @property
    def source_id(self) -> str:
        """Id of the image layer."""
        return self.layers.source_id

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the latest run, background first."""
        return self.session.results.classes

    @property
    def spacing_px(self) -> float:
        """Distance between nearest columns that the latest run found, NaN before."""
        return self.session.results.spacing_px

    def layer(self, role: str) -> Any:
        """Our layer with this role for this image, None where there is none."""
        return self.layers.layer(role)

    def atoms(self) -> pd.DataFrame:
        """Atoms table as the layer shows it, the user's edits marked."""
        if self.layer(ATOMS) is None or self._editor is None:
            return tables.empty("atoms")
        self._editor.sync()
        return self._editor.corrections.atoms()

    # ---------------------------------------------------------------------- the run

    def begin(
        self,
        request: LayerRequest,
        shape: tuple[int, ...],
        pixel_size: tuple[float, float] | None,
        provenance: dict[str, Any],
    ) -> None:
        """Prepare for results.

        Parameters
        ----------
        request : LayerRequest
            Which layers to make or update.
        shape : tuple of int
            (T, H, W) of the image.
        pixel_size : tuple of float or None
            (y, x) in nm.
        provenance : dict
            What makes the results; its "frames" are filled as they come.
        """
        self.request, self._dropped = request, set()
        if self.layer(ATOMS) is None and self.session.has_atoms:
            self._use(self.session.without_atoms())  # their layer was removed
        session, source = self.session, self.layers.source
        session.name = self.layers.source_name
        session.pixel_size = pixel_size
        session.set_pixels(self._data(), bool(source.rgb), source.axis_labels)
        self._run = session.begin(shape, provenance)
        self.contours.begin(request.contours)
        self.maps.name = request.map_name

    def _data(self) -> Pixels:
        """Return what the image shows now; of a pyramid its finest level."""
        return finest(self.layers.source)

    def draw(self, result: FrameResult) -> FrameDrawing:
        """Draw what takes time; called in the thread, so it touches no layer."""
        return FrameDrawing(result, self.contours.draw(result.outlines))

    def apply(self, drawings: Sequence[FrameDrawing], frame: int) -> Taken:
        """Put the results of some frames into the session and its layers, in one go.

        Parameters
        ----------
        drawings : sequence of FrameDrawing
        frame : int
            The frame that is shown now.
        """
        with self.layers.own_changes():
            taken = self._take(drawings)
            for draw in self._drawn_one_by_one(drawings, taken, lambda: frame):
                draw()
            self._note_run()
        return taken

    def apply_in_steps(
        self, drawings: Sequence[FrameDrawing], frame: Callable[[], int]
    ) -> Generator[None, None, Taken]:
        """Put the results of some frames into the session and its layers.

        Where the layers are to be made, which takes napari long, there is a pause before each of
        them; the atoms come last, so nobody edits what has no outlines yet. Layers that are there
        already follow without a pause: what they show belongs together.

        Parameters
        ----------
        drawings : sequence of FrameDrawing
        frame : callable
            Returns the frame that is shown now.
        """
        if self.layer(ATOMS) is not None:
            return self.apply(drawings, frame())
        with self.layers.own_changes():
            taken = self._take(drawings)
        for draw in self._drawn_one_by_one(drawings, taken, frame):
            yield
            with self.layers.own_changes():
                draw()
                self._note_run()
        return taken

    def _take(self, drawings: Sequence[FrameDrawing]) -> Taken:
        """Put results into the session."""
        request = self.request
        return self.session.take(
            [d.result for d in drawings], self._run, data=self._data(),
            atoms=self._wants(ATOMS, request.atoms),
            maps=self._wants(PROBABILITY, request.probability),
            unfamiliar=self._wants(UNFAMILIAR, request.unfamiliar),
        )  # fmt: skip

    def _drawn_one_by_one(
        self, drawings: Sequence[FrameDrawing], taken: Taken, frame: Callable[[], int]
    ) -> Iterator[Callable[[], object]]:
        """Return what draws each layer that is wanted by then."""
        request, frames = self.request, [d.result.frame for d in drawings]
        labels = {
            d.result.frame: d.labels if d.result.frame in taken.as_run else None for d in drawings
        }
        if self._wants(PROBABILITY, request.probability):
            yield lambda: self.maps.show_probability(frames)
        if self._wants(UNFAMILIAR, request.unfamiliar):
            yield lambda: self.maps.show_unfamiliar(frames)
        if self._wants(CONTOURS, request.contours != NONE):
            yield lambda: self.contours.take(labels, frame())
        if self._wants(ATOMS, request.atoms):
            yield self._show_atoms

    def drop(self, role: str) -> None:
        """Do not make a layer again that the user has removed during a run."""
        self._dropped.add(role)

    def _wants(self, role: str, asked: bool) -> bool:
        return asked and role not in self._dropped

    def _note_run(self) -> None:
        """Write into the layers what made them."""
        results = self.session.results
        for role in ROLES:
            layer = self.layer(role)
            if layer is not None:
                self.layers.note(
                    role, spacing_px=results.spacing_px, classes=results.species,
                    runs=runs_after(entry(layer).get("runs", []), results.provenance),
                )  # fmt: skip

    def show_frame(self, frame: int) -> None:
        """Draw the outlines of the frame that is shown, where they are shapes."""
        self.contours.show_frame(frame)

    def map_names(self) -> tuple[str, ...]:
        """Names of the class maps that can be shown now."""
        return self.maps.names()

    def show_map(self, name: str) -> None:
        """Let the probability layer show another class."""
        self.maps.choose(name)

    # ------------------------------------------------------------------------ the atoms

    def _show_atoms(self) -> None:
        """Make the layer of the atoms where there is none; else it follows the session."""
        new = self.layer(ATOMS) is None
        layer = show_atoms(self.layers, self.session)
        if new and layer is not None:  # its rows are what the features table shows next
            self.layers.viewer_layers.selection.active = layer

    def _on_found(self, role: str, layer: Any) -> None:
        if role == ATOMS and "atom_id" in layer.features:
            self._editor = editor_of(layer)
            self._use(self._editor.session)

    def _on_lost(self, role: str, layer: Any) -> None:
        if role == ATOMS:
            self._editor = None

    def _use(self, session: Session) -> None:
        """Show another session of the image."""
        if session is not self.layers.session:
            self.layers.session = SESSIONS.add(self.source_id, session)
