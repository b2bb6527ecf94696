"""The Movie dock widget: one button, then move the slider and see what changed."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_atomlens import __version__, points
from napari_atomlens.errors import AtomLensError, ImageError, ParameterError
from napari_atomlens.image import source_stack
from napari_atomlens.params import as_dict
from napari_atomlens.progress import Progress
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.session.movie import (
    MAPS,
    MovieData,
    defects_of,
    most_frequent,
    transitions_text,
)
from napari_atomlens.tracking.changes import ChangeParams, neighbour_correlation
from napari_atomlens.tracking.defects import DefectTracks
from napari_atomlens.tracking.following import MovieResult, follow, save_followed
from napari_atomlens.tracking.params import LinkParams
from napari_atomlens.tracking.trajectories import (
    estimate_diffusion,
    mean_squared_displacement,
    occupancy_map,
)
from napari_atomlens.widgets.base.jobs import Job
from napari_atomlens.widgets.base.old_dock import DockWidget
from napari_atomlens.widgets.base.old_forms import ParamForm, number_box, shrinkable_combo
from napari_atomlens.widgets.find_atoms.dock import model_names
from napari_atomlens.widgets.layers import convert, roles
from napari_atomlens.widgets.layers.atoms import EDITOR, Editor
from napari_atomlens.widgets.layers.outputs import LABELS, Drawn, Outputs, Wanted
from napari_atomlens.widgets.layers.roles import ATOMS, TRACKS
from napari_atomlens.widgets.layers.roles import entry as our_entry
from napari_atomlens.widgets.layers.tracks import MovieLayers
from napari_atomlens.widgets.movie.plots import CurvePlot, EventList, Kymograph, TimePlot

if TYPE_CHECKING:
    import napari.viewer

#: What takes longer than a few ms follows the slider when it has rested this long.
REST_MS = 100
FRAMES_PER_SECOND = 10
#: More atoms than this in the whole movie, and defects are not looked for by themselves.
MAX_DEFECT_ATOMS = 400_000
ATOM_TRACKS, DEFECT_TRACKS = "all atoms", "defects"


@dataclass(frozen=True)
class _Stage:
    """What the thread is doing."""

    text: str


class MovieWidget(DockWidget):
    """Follows atoms and dumbbells through a movie and shows what changed, when and where.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    finished : Signal()
        A run has ended, in whatever way.
    """

    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("movie")
        self._viewer = viewer
        self._outputs: Outputs | None = None
        self._layers: MovieLayers | None = None
        self._data: MovieData | None = None
        self._source_id = ""
        self._unsubscribe: Callable[[], None] | None = None
        self._provenance: dict[str, Any] = {}
        self._dumbbell = -1
        self._track = -1
        self._running = False
        self._revision: int | None = None
        self._ending = ""
        self._closed = False
        self._shown_frame = -1
        self._job = Job(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._on_rested)
        self._play = QTimer(self)
        self._play.setInterval(1000 // FRAMES_PER_SECOND)
        self._play.timeout.connect(self._next_frame)
        self._create_fields()
        self._create_layout()
        self._connect()
        self._list_images()
        self._show_all()

    # -------------------------------------------------------------- the window

    def _create_fields(self) -> None:

        self._image = shrinkable_combo()
        self._image.setObjectName("image")
        self._image.setToolTip("The movie; atoms found in it are used, else they are found first")
        self._links = ParamForm(
            LinkParams, special={"search_px": "auto", "jump_px": "never"},
            leave_out=("drift", "species", "motion"),
        )  # fmt: skip
        self._watch = ParamForm(ChangeParams)
        self._model = shrinkable_combo()
        self._model.addItem("auto")
        try:
            self._model.addItems([n for n in model_names() if n != "auto"])
        except AtomLensError as error:
            self._model.setToolTip(str(error))
        self._finding = ParamForm(
            AnalysisParams, special={"window": "by dose"}, fields={"model": self._model},
            leave_out=("spacing_px", "min_probability", "refine", "contours"),
        )  # fmt: skip
        self._links.fields["jump_px"].setSpecialValueText("never")  # type: ignore[attr-defined]
        false_alarms = self._watch.fields["false_alarms"]
        false_alarms.setDecimals(4)  # type: ignore[attr-defined]
        false_alarms.setSingleStep(0.005)  # type: ignore[attr-defined]
        self._button = QPushButton("Follow the movie")
        self._button.setObjectName("run")
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._bar.hide()
        self._status = QLabel()
        self._status.setObjectName("status")
        self._status.setWordWrap(True)
        self._status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

        self._map = shrinkable_combo()
        self._map.setObjectName("map")
        self._map.addItems(list(MAPS))
        self._map.setToolTip("What the colours of the dumbbells show: the change from their mean")
        self._scale = QLabel()
        self._scale.setObjectName("map_scale")
        self._enlarge = number_box(1, 1000, decimals=0, step=5)
        self._enlarge.setObjectName("enlarge")
        self._enlarge.setPrefix("arrows × ")
        self._enlarge.setValue(10)
        self._enlarge.setToolTip("How much larger than they are displacements are drawn")
        self._player = QPushButton("▶ Play")
        self._player.setObjectName("play")
        self._player.setCheckable(True)
        self._player.setToolTip("Play the movie with everything that is drawn on it")
        self._space = QCheckBox("x-y-t view")
        self._space.setObjectName("xyt")
        self._space.setToolTip("Tracks in space and time, turned with the mouse")
        self._occupancy = QPushButton("Occupancy map")
        self._occupancy.setObjectName("occupancy")
        self._occupancy.setToolTip("Where atoms were how often, as an image layer")
        self._save = QPushButton("Save tables…")
        self._save.setObjectName("save")
        self._who = QSpinBox()
        self._who.setObjectName("dumbbell")
        self._who.setRange(-1, -1)
        self._who.setSpecialValueText("none")
        self._who.setKeyboardTracking(False)
        self._who.setToolTip("The dumbbell that is plotted; or click one in the picture")

        self._events = EventList()
        self._counts = TimePlot("atoms", "together")
        self._pair = TimePlot("length", "angle (°)")
        self._kymograph = Kymograph()
        self._msd = CurvePlot("mean squared displacement", "lag")
        self._msd_text = QLabel()
        self._msd_text.setWordWrap(True)
        self._msd_text.setObjectName("diffusion")
        self._track_plot = TimePlot("displacement")
        self._of = shrinkable_combo()
        self._of.setObjectName("of")
        self._of.setToolTip("Whose tracks: all atoms, or the point defects that were found")
        self._of.addItem(ATOM_TRACKS)
        self._matrix = QLabel()
        self._matrix.setObjectName("transitions")
        self._matrix.setTextFormat(Qt.TextFormat.RichText)
        self._matrix.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._matrix.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._matrix.setMargin(6)
        self._matrix.setWordWrap(True)
        self._tabs = QTabWidget()
        self._tabs.setObjectName("tabs")

    def _create_layout(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Movie", self._image)
        self._finding.add_row(form, "model")
        top = QWidget()
        top.setLayout(form)
        inner = QWidget()
        fields = QFormLayout(inner)
        fields.setContentsMargins(0, 0, 0, 0)
        fields.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for part in (self._finding, self._links, self._watch):
            for name in part.fields:
                if name != "model":
                    part.add_row(fields, name)
        self._more = QCollapsible("How to follow")
        self._more.setObjectName("more")
        self._more.setContent(inner)
        self._more.collapse(animate=False)
        self._colours = QWidget()
        show = QHBoxLayout(self._colours)
        show.setContentsMargins(0, 0, 0, 0)
        show.addWidget(QLabel("Colour"))
        show.addWidget(self._map, 1)
        show.addWidget(self._scale)
        show.addWidget(self._enlarge)
        tools = QHBoxLayout()
        for tool in (self._player, self._space, self._occupancy, self._save):
            tools.addWidget(tool)
        pair = QWidget()
        pair_layout = QVBoxLayout(pair)
        pair_layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(QLabel("Dumbbell"))
        row.addWidget(self._who, 1)
        pair_layout.addLayout(row)
        pair_layout.addWidget(self._pair, 1)
        tracks = QWidget()
        tracks_layout = QVBoxLayout(tracks)
        tracks_layout.setContentsMargins(0, 0, 0, 0)
        of = QHBoxLayout()
        of.addWidget(QLabel("Tracks of"))
        of.addWidget(self._of, 1)
        tracks_layout.addLayout(of)
        tracks_layout.addWidget(self._track_plot, 1)
        tracks_layout.addWidget(self._msd, 1)
        tracks_layout.addWidget(self._msd_text)
        self._classes = QScrollArea()
        self._classes.setWidgetResizable(True)
        self._classes.setWidget(self._matrix)
        for name, widget in (
            ("Events", self._events), ("Counts", self._counts), ("Dumbbell", pair),
            ("Row", self._kymograph), ("Tracks", tracks), ("Transitions", self._classes),
        ):  # fmt: skip
            self._tabs.addTab(widget, name)
        self._tabs.setMinimumHeight(300)
        layout = QVBoxLayout(self)
        layout.setSpacing(6)
        layout.addWidget(top)
        layout.addWidget(self._more)
        layout.addWidget(self._button)
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addWidget(self._colours)
        layout.addLayout(tools)
        layout.addWidget(self._tabs, 1)
        self.setMinimumWidth(340)

    def _connect(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._list_images)
        layers.removed.connect(self._on_removed)
        layers.renamed.connect(self._list_images)
        self._viewer.dims.events.point.connect(self._on_slider)
        self._button.clicked.connect(self._on_clicked)
        self._map.currentTextChanged.connect(self._on_map_chosen)
        self._enlarge.valueChanged.connect(self._on_enlarged)
        self._player.toggled.connect(self._on_play)
        self._space.toggled.connect(self._on_space)
        self._occupancy.clicked.connect(self._on_occupancy)
        self._save.clicked.connect(self._on_save)
        self._who.valueChanged.connect(self.select_dumbbell)
        self._events.chosen.connect(self.go_to_event)
        self._tabs.currentChanged.connect(self._on_tab)
        self._of.currentTextChanged.connect(self._on_of)
        for plot in (self._counts, self._pair, self._track_plot):
            plot.clicked.connect(self.go_to_frame)
        self._kymograph.clicked.connect(self._on_kymograph)
        self._job.results.connect(self._on_results)
        self._job.noted.connect(self._status.setText)
        self._job.failed.connect(self._on_failed)
        self._job.crashed.connect(self._on_crashed)
        self._job.finished.connect(self._on_finished)

    def cleanup(self) -> None:
        """Stop the worker and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        was_running, self._running = self._running, False
        self._follow_edits(None)
        self._job.close()
        self._rest.stop()
        self._play.stop()
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._list_images)
        layers.removed.disconnect(self._on_removed)
        layers.renamed.disconnect(self._list_images)
        self._viewer.dims.events.point.disconnect(self._on_slider)
        self._listen_to_clicks(False)
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if was_running:
            self.finished.emit()

    # -------------------------------------------------------------- the layers

    def _list_images(self, event: Any = None) -> None:
        from napari.layers import Image

        chosen = self._image.currentData()
        found = [
            x
            for x in self._viewer.layers
            if isinstance(x, Image) and not our_entry(x) and x.ndim == 3
        ]
        ids = [str(x.unique_id) for x in found]
        shown = [
            (self._image.itemData(k), self._image.itemText(k)) for k in range(self._image.count())
        ]
        if shown != [(i, x.name) for i, x in zip(ids, found, strict=True)]:
            self._image.blockSignals(True)
            self._image.clear()
            for layer in found:
                self._image.addItem(layer.name, str(layer.unique_id))
            self._image.setCurrentIndex(ids.index(chosen) if chosen in ids else len(ids) - 1)
            self._image.blockSignals(False)
        nothing = "Open a movie (t, y, x) first."
        if not found and not self._running:
            self._status.setText(nothing)
        elif found and self._status.text() == nothing:
            self._status.setText("")
        self._update_button()

    def source(self) -> Any:
        """Return the movie layer that is chosen, None where there is none."""
        key = self._image.currentData()
        return next((x for x in self._viewer.layers if str(x.unique_id) == key), None)

    def _movie_layer(self) -> Any:
        """Return the layer of the movie that is shown now."""
        return next((x for x in self._viewer.layers if str(x.unique_id) == self._source_id), None)

    def _on_removed(self, event: Any) -> None:
        key = str(event.value.unique_id)
        if key == self._source_id:
            if self._running:
                self._end(f"Stopped: the movie {event.value.name} was removed.")
            else:
                self._forget()
        self._list_images()

    def _forget(self) -> None:
        """Show nothing any more: the movie is gone."""
        self._player.setChecked(False)
        self._follow_edits(None)
        self._listen_to_clicks(False)
        layers, self._layers, self._data = self._layers, None, None
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if layers is not None:
            # not now: napari is in the middle of removing a layer
            QTimer.singleShot(0, layers.remove)
        self._dumbbell = self._track = -1
        self._show_all()

    def current_frame(self) -> int:
        """Index of the frame that the viewer shows."""
        layer = self._movie_layer() or self.source()
        if layer is None:
            return 0
        point = self._viewer.dims.point[-layer.ndim :]
        return int(np.clip(round(float(layer.world_to_data(point)[0])), 0, layer.data.shape[0] - 1))

    # ----------------------------------------------------------------- the run

    @property
    def is_running(self) -> bool:
        """Whether a run has not ended yet."""
        return self._running

    @property
    def data(self) -> MovieData | None:
        """What was found, None before a run."""
        return self._data

    def _on_clicked(self) -> None:
        if self._running:
            self._end("")
        else:
            self.run()

    def _update_button(self) -> None:
        stopping = self._running and self._job.is_cancelled
        self._button.setText(
            "Cancelling…" if stopping else "Cancel" if self._running else "Follow the movie"
        )
        self._button.setEnabled(not stopping and (self._running or self._image.count() > 0))

    def _end(self, sentence: str) -> None:
        self._ending = sentence or "Cancelled."
        self._job.cancel()
        self._status.setText("Cancelling…")
        self._update_button()

    def run(self) -> None:
        """Follow the chosen movie; :attr:`finished` tells when it is done."""
        if self._running:
            return
        layer = self.source()
        try:
            if layer is None:
                raise ImageError("Open a movie (t, y, x) first.")
            data = layer.data[0] if layer.multiscale else layer.data
            stack = source_stack(data, bool(layer.rgb), layer.axis_labels)
            if stack.shape[0] < 2:
                raise ImageError("A movie needs at least two frames.")
        except AtomLensError as error:
            self._on_failed(str(error))
            self._status.setText(self._ending)
            self.finished.emit()
            return
        if self._source_id != str(layer.unique_id) or self._outputs is None:
            if self._outputs is not None:
                self._outputs.close()
            self._outputs = Outputs(self._viewer, layer)
            self._source_id = str(layer.unique_id)
        outputs = self._outputs
        size = convert.pixel_size_nm(layer.scale, layer.units)
        linking, watch = self._links.value(), self._watch.value()
        known = outputs.atoms() if outputs.layer(ATOMS) is not None else None
        if known is not None and known["frame"].nunique() < 2:
            known = None
        params = self._finding.value()
        order = list(range(stack.shape[0]))
        run = {
            "atomlens": __version__, "started": datetime.datetime.now(datetime.UTC).isoformat(),
            "parameters": as_dict(params), "image": str(layer.name),
            "image_shape": list(stack.shape), "pixel_size_nm": size, "frames": [],
        }  # fmt: skip
        outputs.begin(
            Wanted(contours=LABELS, probability=False, unfamiliar=False), stack.shape, size, run
        )
        self._provenance = {k: v for k, v in run.items() if k != "frames"} | {
            "linking": as_dict(linking), "changes": as_dict(watch),
        }  # fmt: skip
        if known is not None:  # the parameters above found none of them
            self._provenance["parameters"] = "atoms that were there before"
        self._revision = outputs.session.revision

        def make(cancelled: Callable[[], bool]) -> Iterator[Any]:
            # in the thread: nothing here touches the viewer or a layer
            atoms, contours = known, None
            if atoms is None:
                tables_of: list[pd.DataFrame] = []
                shapes: list[pd.DataFrame] = []
                for result in loop.analyze_frames(
                    stack,
                    params,
                    pixel_size_nm=size,
                    frames=order,
                    progress=Progress(stop=cancelled),
                ):
                    tables_of.append(result.atoms)
                    shapes.append(result.contours)
                    yield outputs.draw(result)
                if cancelled():
                    return
                full = [t for t in tables_of if len(t)]
                if not full:
                    raise ParameterError("No atom was found in this movie.")
                atoms = pd.concat(full, ignore_index=True)
                some = [t for t in shapes if len(t)]
                contours = pd.concat(some, ignore_index=True) if some else None
            yield _Stage("Linking atoms…")
            followed = follow(
                atoms, contours, linking=linking, changes=watch, pixel_size_nm=size,
                progress=Progress(stop=cancelled),
            )  # fmt: skip
            if cancelled():
                return
            yield followed
            if not len(followed.dumbbells) and len(atoms) <= MAX_DEFECT_ATOMS:
                yield _Stage("Looking for defects…")
                moving = defects_of(followed)
                if moving is not None and not cancelled():
                    yield moving

        self._running, self._ending = True, ""
        self._done, self._n_frames, self._size, self._params = 0, stack.shape[0], size, watch
        self._started = time.perf_counter()
        self._bar.setRange(0, len(order) if known is None else 0)
        self._bar.setFormat("%v of %m frames")
        self._bar.setValue(0)
        self._bar.show()
        self._status.setText("Looking for atoms…" if known is None else "Linking atoms…")
        self._job.start(make)
        self._update_button()

    def _time_step_s(self, layer: Any) -> float | None:
        """Seconds between frames, where the units of the layer say so."""
        unit = layer.units[0]
        if not unit.is_compatible_with("s"):
            return None
        return float((abs(float(layer.scale[0])) * unit).to("s").magnitude)

    def _on_results(self, results: list[Any]) -> None:
        layer = self._movie_layer()
        if layer is None or self._outputs is None:
            return
        drawn = [r for r in results if isinstance(r, Drawn)]
        if drawn:
            try:
                self._outputs.apply(drawn, self.current_frame())
            except ImageError as error:  # other pixels than the run was begun on
                if not self._job.is_cancelled:
                    self._end(str(error))
                return
            self._done += len(drawn)
            self._bar.setValue(self._done)
        for r in results:
            if isinstance(r, _Stage):
                self._bar.setRange(0, 0)
                self._status.setText(r.text)
            elif isinstance(r, MovieResult):
                self._take(r, layer)
            elif isinstance(r, DefectTracks):
                self._take_defects(r)

    def _take(self, followed: MovieResult, layer: Any) -> None:
        """Show what was found."""
        self._listen_to_clicks(False)
        self._data = MovieData(
            followed, self._n_frames, self._size, self._time_step_s(layer), self._params
        )
        atoms = followed.atoms
        spacing = float("nan")
        if self._outputs is not None and np.isfinite(self._outputs.spacing_px):
            spacing = self._outputs.spacing_px
        elif len(atoms):
            spacing = points.spacing(
                atoms[["y_px", "x_px"]].to_numpy(float), atoms["frame"].to_numpy()
            )
        if self._layers is None or self._layers.source_id != self._source_id:
            self._layers = MovieLayers(self._viewer, layer, self._data, spacing)
        self._layers.data = self._data
        frame = self.current_frame()
        self._layers.create(frame)
        whole = self._outputs.layer(ATOMS) if self._outputs is not None else None
        if whole is not None:  # all frames of it are slow to slice, and ours shows the same atoms
            whole.visible = False
        self._listen_to_clicks(True)
        self._follow_edits(whole)
        if self._outputs is not None:
            made = self._data.tables()
            self._outputs.session.put_all(made, self._provenance, self._revision)
        ids = followed.dumbbells["dumbbell_id"] if len(followed.dumbbells) else pd.Series([-1])
        self._who.blockSignals(True)
        self._who.setRange(-1, int(ids.max()))
        self._who.blockSignals(False)
        events = self._data.events()
        self._dumbbell = self._track = -1
        chosen = events.loc[events["dumbbell_id"] >= 0]
        if len(chosen):
            best = int(chosen["score"].to_numpy(float).argmax())
            self._dumbbell = int(chosen["dumbbell_id"].to_numpy()[best])
        elif self._data.has_dumbbells:
            self._dumbbell = most_frequent(followed.dumbbells["dumbbell_id"])
        if len(followed.tracks):
            self._track = most_frequent(followed.tracks["track_id"])
        self._who.blockSignals(True)
        self._who.setValue(self._dumbbell)
        self._who.blockSignals(False)
        self._show_all()

    def _follow_edits(self, layer: Any) -> None:
        """Hear of corrections of the atoms: identities then wait for the button *Update*."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        editor = None if layer is None else layer.metadata.get(EDITOR)
        if isinstance(editor, Editor):
            self._unsubscribe = editor.corrections.derived.subscribe(
                "tracks and dumbbells", self._on_atoms_edited, at_once=False
            )

    def _on_atoms_edited(self, frames: frozenset[int]) -> None:
        """Follow the atoms anew: an identity depends on all frames."""
        self.run()

    def _take_defects(self, moving: DefectTracks) -> None:
        """Show the defects that were followed."""
        if self._data is None or self._layers is None or not len(moving.tracks):
            return
        self._data.set_defects(moving)
        if self._outputs is not None:
            session = self._outputs.session
            session.put("defect tracks", moving.tracks, self._provenance, self._revision)
        self._layers.create(self.current_frame())
        self._show_all()
        self._of.setCurrentText(DEFECT_TRACKS)

    def _on_of(self, text: str) -> None:
        if self._data is None or not text:
            return
        tracks = self._tracks_shown()
        if len(tracks):
            self._track = most_frequent(tracks["track_id"])
        self._on_tab()

    def _tracks_shown(self) -> pd.DataFrame:
        """Return the tracks that the plots are of: those of atoms or of defects."""
        if self._data is None:
            return pd.DataFrame({"track_id": [], "frame": []})
        moving = self._data.defects
        if moving is not None and self._of.currentText() == DEFECT_TRACKS:
            return moving.tracks
        return self._data.followed.tracks

    def _on_failed(self, sentence: str) -> None:
        from napari.utils.notifications import show_warning

        self._ending = sentence
        show_warning(sentence)

    def _on_crashed(self, error: Exception) -> None:
        from napari.utils.notifications import notification_manager

        what = f"{type(error).__name__}: {error}"
        self._ending = f"Something unexpected went wrong ({what})."
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_finished(self) -> None:
        self._running = False
        self._bar.hide()
        self._status.setText(self._ending or self._summary())
        self._update_button()
        if self._movie_layer() is None:
            self._forget()
        self.finished.emit()

    def _summary(self) -> str:
        if self._data is None:
            return ""
        f, moving = self._data.followed, self._data.defects
        n = f.tracks["track_id"].nunique() if len(f.tracks) else 0
        text = f"{n:,} atoms followed through {self._data.n_frames:,} frames"
        if len(f.dumbbells):
            text += f", {f.dumbbells['dumbbell_id'].nunique():,} dumbbells"
            text += f", {len(f.changes):,} changes"
        if moving is not None:
            text += f", {moving.tracks['track_id'].nunique():,} defects"
        drift = f.drift
        if len(drift):
            far = np.hypot(drift["drift_y_px"].iloc[-1], drift["drift_x_px"].iloc[-1])
            text += f"; drift {far:.1f} px"
            if jitter := f.atoms.attrs.get("row_jitter_px"):
                text += f", row jitter {jitter:.2f} px"
        seconds = time.perf_counter() - self._started
        return f"{text}; {seconds:.1f} s."

    # ---------------------------------------------------------------- the slider

    def _on_slider(self, event: Any = None) -> None:
        if self._layers is None or self._data is None or self._movie_layer() is None:
            return
        frame = self.current_frame()
        if frame == self._shown_frame:
            return
        self._shown_frame = frame
        self._layers.move(frame)
        self._rest.start()

    def _on_rested(self) -> None:
        if self._layers is None or self._data is None or self._movie_layer() is None:
            return
        frame = self.current_frame()
        self._layers.rest(frame)
        self._mark(frame)

    def _mark(self, frame: int) -> None:
        """Move the line in the plot that is seen."""
        if not self.isVisible():
            return
        shown = self._tabs.currentWidget()
        for plot in (self._counts, self._pair, self._kymograph, self._track_plot):
            if shown is plot or (shown is not None and shown.isAncestorOf(plot)):
                plot.set_now(frame)

    def go_to_frame(self, frame: int) -> None:
        """Show a frame."""
        layer = self._movie_layer() or self.source()
        if layer is None:
            return
        frame = int(np.clip(frame, 0, layer.data.shape[0] - 1))
        axis = self._viewer.dims.ndim - layer.ndim
        world = layer.data_to_world((frame, *np.zeros(layer.ndim - 1)))[0]
        self._viewer.dims.set_point(axis, world)

    def go_to_event(self, row: int) -> None:
        """Go to the frame and the place of an event of the list."""
        layer = self._movie_layer()
        if layer is None or not 0 <= row < len(self._events.events):
            return
        event = self._events.events.iloc[row]
        frame = int(event["frame"])
        self.go_to_frame(frame)
        if np.isfinite([event["y_px"], event["x_px"]]).all():
            world = layer.data_to_world((frame, float(event["y_px"]), float(event["x_px"])))
            self._viewer.scene.camera.center = tuple(world)
        if event["dumbbell_id"] >= 0:
            self.select_dumbbell(int(event["dumbbell_id"]))
        elif event["track_id"] >= 0:
            of_defect = str(event["who"]).startswith("defect")
            if self._of.count() == 2:
                self._of.setCurrentText(DEFECT_TRACKS if of_defect else ATOM_TRACKS)
            self.select_track(int(event["track_id"]))

    def _next_frame(self) -> None:
        layer = self._movie_layer()
        if layer is None:
            self._player.setChecked(False)
            return
        self.go_to_frame((self.current_frame() + 1) % layer.data.shape[0])
        # while playing nothing ever rests: what is drawn on the movie follows all the same
        if self._layers is not None:
            self._on_rested()

    def _on_play(self, on: bool) -> None:
        self._player.setText("❚❚ Stop" if on else "▶ Play")
        (self._play.start if on else self._play.stop)()

    # ------------------------------------------------------------ what is shown

    def _show_all(self) -> None:
        """Fill the list and the plot that is seen; all else when it is looked at."""
        there = self._data is not None
        for widget in (self._map, self._enlarge, self._player, self._space, self._occupancy,
                       self._save, self._who):  # fmt: skip
            widget.setEnabled(there)
        dumbbells = self._data is not None and self._data.has_dumbbells
        self._colours.setVisible(dumbbells or not there)
        self._map.setEnabled(dumbbells)
        self._enlarge.setEnabled(dumbbells)
        self._tabs.setTabVisible(2, dumbbells or not there)
        self._tabs.setTabVisible(3, dumbbells or not there)
        moving = self._data is not None and self._data.defects is not None
        if moving != (self._of.count() == 2):
            self._of.blockSignals(True)
            if moving:
                self._of.addItem(DEFECT_TRACKS)
            else:
                self._of.removeItem(1)
            self._of.blockSignals(False)
        self._events.show_events(
            self._data.events() if self._data is not None else pd.DataFrame({"frame": []})
        )
        self._show_scale()
        self._on_tab()

    def _show_scale(self) -> None:
        if self._data is None or not self._data.has_dumbbells:
            self._scale.setText("")
            return
        what = self._map.currentText()
        limit, unit = self._data.map_limit(what), self._data.map_unit(what)
        low, high = ("#2166e6", "#d62628")
        self._scale.setText(
            f"<span style='color:{low}'>−{limit:.2g}</span> … "
            f"<span style='color:{high}'>+{limit:.2g}</span> {unit}"
        )

    def _on_tab(self, index: int = 0) -> None:
        shown = self._tabs.currentWidget()
        if self._data is None or shown is None:
            for plot in (self._counts, self._pair, self._track_plot):
                plot.clear()
            return
        if shown is self._counts:
            self._show_counts()
        elif shown.isAncestorOf(self._pair):
            self._show_pair()
        elif shown is self._kymograph:
            self._show_row()
        elif shown.isAncestorOf(self._track_plot):
            self._show_tracks()
        elif shown is self._classes:
            self._show_transitions()
        self._mark(self.current_frame())

    def _show_counts(self) -> None:
        if self._data is None:
            return
        self._counts.show_curves(self._data.counts())
        low = self._counts.plots[1]
        low.clear()
        low.addItem(self._counts._now[1])
        low.enableAutoRange("y")
        if self._data.has_dumbbells:
            import pyqtgraph as pg

            together = neighbour_correlation(
                self._data.followed.dumbbells, "length", self._data.watch
            )
            low.setLabel("left", "neighbours alike")
            frame = together["frame"].to_numpy(float)
            low.plot(frame, together["moran"].to_numpy(float), pen=pg.mkPen("#3ddc97"))
            for sign in (-3, 3):  # beyond what noise does
                low.plot(frame, sign * together["error"].to_numpy(float), pen=pg.mkPen("#6a6a6a"))
        elif self._data.defects is not None:
            low.setLabel("left", "defects")
            self._counts.show_more(1, self._data.defect_counts())
        else:
            low.setLabel("left", "events")
            import pyqtgraph as pg

            frames = self._data.followed.events["frame"].to_numpy(int)
            counts = np.bincount(frames, minlength=self._data.n_frames)
            low.addItem(pg.BarGraphItem(x=np.arange(len(counts)), height=counts, width=0.8,
                                        brush="#cc79a7", pen=None))  # fmt: skip

    def _show_pair(self) -> None:
        data = self._data
        if data is None or not data.has_dumbbells:
            return
        self._pair.plots[0].setLabel("left", f"length ({data.map_unit('length')})")
        changes = data.followed.changes
        mine = changes[changes["dumbbell_id"] == self._dumbbell]
        for k, quantity in enumerate(("length", "angle")):
            marks = mine.loc[mine["quantity"] == quantity, "frame"].to_numpy()
            self._pair.show_series(k, *data.dumbbell_series(self._dumbbell, quantity), marks)

    def _show_row(self) -> None:
        data = self._data
        if data is None or not data.has_dumbbells:
            return
        what = self._map.currentText()
        what = what if what in ("length", "angle", "intensity ratio") else "length"
        image, self._row = data.kymograph(self._dumbbell, what)
        self._kymograph.show_image(image, data.map_limit(what), data.map_unit(what))

    def _show_tracks(self) -> None:
        data = self._data
        tracks = self._tracks_shown()
        if data is None or not len(tracks):
            return

        nm = data.pixel_size_nm is not None and data.time_step_s is not None
        kwargs: dict[str, Any] = {}
        if nm:
            kwargs = {"pixel_size_nm": data.pixel_size_nm, "time_step_s": data.time_step_s}
        track = tracks[tracks["track_id"] == self._track]
        place = track[["y_corr_px", "x_corr_px"]].to_numpy(float)
        if len(place):
            factor = data._pm()
            off = factor * np.hypot(*(place - place[0]).T)
            unit = data.map_unit("length")
            self._track_plot.plots[0].setLabel(
                "left", f"{self._noun()} {self._track}: displacement ({unit})"
            )
            self._track_plot.show_series(
                0, track["frame"].to_numpy(float), off, np.full(len(off), np.nan), np.zeros(0)
            )
        if len(tracks) > 60_000:  # a plot, not a measurement: the longest tracks say it
            often = tracks["track_id"].value_counts()
            keep = often.index[: max(1, 60_000 // max(int(often.iloc[0]), 1))]
            tracks = tracks[tracks["track_id"].isin(keep)]
        msd = mean_squared_displacement(tracks, max_lag=30, **kwargs)
        line = None
        try:
            d = estimate_diffusion(tracks, **kwargs)
        except ParameterError as error:
            self._msd_text.setText(str(error))
        else:
            t = msd["time"].to_numpy(float)
            line = (t, 4 * d.d * t + 4 * d.localisation**2)
            unit = "nm" if nm else "px"
            self._msd_text.setText(
                f"D = {d.d:.3g} {d.unit} ({d.low:.3g} to {d.high:.3g}), "
                f"localisation error {d.localisation:.3g} {unit}, {d.n_tracks:,} tracks."
            )
        self._msd.plot.setLabel("left", f"msd ({'nm²' if nm else 'px²'})")
        self._msd.plot.setLabel("bottom", f"lag ({'s' if nm else 'frames'})")
        x, y, bars = (msd[c].to_numpy(float) for c in ("time", "msd", "msd_err"))
        self._msd.show_points(x, y, bars, line)

    def _noun(self) -> str:
        return "defect" if self._of.currentText() == DEFECT_TRACKS else "atom"

    def _show_transitions(self) -> None:
        """Table of the changes of class per frame, and how long each class lasts."""
        data, tracks = self._data, self._tracks_shown()
        if data is None:
            self._matrix.setText("")
            return
        self._matrix.setText(transitions_text(tracks, self._noun(), data.time_step_s))

    def select_dumbbell(self, dumbbell_id: int) -> None:
        """Plot a dumbbell."""
        self._dumbbell = int(dumbbell_id)
        self._who.blockSignals(True)
        self._who.setValue(self._dumbbell)
        self._who.blockSignals(False)
        self._on_tab()

    def select_track(self, track_id: int) -> None:
        """Plot a track."""
        self._track = int(track_id)
        self._on_tab()

    def _listen_to_clicks(self, on: bool) -> None:
        """Let clicks into the picture choose what is plotted."""
        callbacks = self._viewer.mouse_drag_callbacks
        if on and self._on_canvas_click not in callbacks:
            callbacks.append(self._on_canvas_click)
        elif not on and self._on_canvas_click in callbacks:
            callbacks.remove(self._on_canvas_click)

    def _on_canvas_click(self, viewer: Any, event: Any) -> Iterator[None]:
        layer = self._movie_layer()
        if self._data is None or layer is None or event.button != 1:
            return
        yield
        while event.type == "mouse_move":  # moving the picture chooses nothing
            yield
            if event.type == "mouse_move":
                return
        y, x = (float(v) for v in layer.world_to_data(event.position)[-2:])
        if not all(-1 < v < n for v, n in zip((y, x), layer.data.shape[-2:], strict=True)):
            return
        frame = self.current_frame()
        self._track = self._data.nearest_track(
            frame, y, x, defects=self._of.currentText() == DEFECT_TRACKS
        )
        if self._data.has_dumbbells:
            self.select_dumbbell(self._data.nearest_dumbbell(frame, y, x))
        else:
            self._on_tab()

    def _on_kymograph(self, frame: int, place: int) -> None:
        row = getattr(self, "_row", np.zeros(0, int))
        if 0 <= place < len(row):
            self._dumbbell = int(row[place])
            self._who.blockSignals(True)
            self._who.setValue(self._dumbbell)
            self._who.blockSignals(False)
        self.go_to_frame(frame)

    def _on_map_chosen(self, what: str) -> None:
        if self._layers is not None and what:
            self._layers.show_map(what, self.current_frame())
        self._show_scale()
        if self._tabs.currentWidget() is self._kymograph:
            self._show_row()

    def _on_enlarged(self, value: float) -> None:
        if self._layers is not None:
            self._layers.enlarge = float(value)
            self._layers.rest(self.current_frame())

    def _on_space(self, on: bool) -> None:
        """Turn the tracks into space and time, or back."""
        if self._layers is None:
            return
        tracks = self._layers.layer(TRACKS)
        if tracks is None:
            return
        if on:
            self._hidden = [x for x in self._viewer.layers if x.visible and x is not tracks]
            for layer in self._hidden:
                layer.visible = False
            self._before = (tracks.tail_length, tracks.head_length)
            tracks.tail_length = tracks.head_length = (
                min(self._data.n_frames, 300) if self._data else 25
            )
            tracks.visible = True
            self._viewer.dims.ndisplay = 3
            self._viewer.reset_view()
        else:
            self._viewer.dims.ndisplay = 2
            self._viewer.reset_view()
            tracks.visible = False
            tracks.tail_length, tracks.head_length = self._before
            for layer in self._hidden:
                if layer in self._viewer.layers:
                    layer.visible = True

    def _on_occupancy(self) -> None:

        layer = self._movie_layer()
        if self._data is None or layer is None:
            return
        image = occupancy_map(self._data.followed.tracks, tuple(layer.data.shape[1:3]))
        for old in list(self._viewer.layers):
            mine = our_entry(old)
            if mine.get("role") == "occupancy" and mine.get("source_id") == self._source_id:
                old.data = image
                return
        self._viewer.add_image(
            image, name=f"occupancy · {layer.name}", colormap="inferno", blending="additive",
            scale=np.asarray(layer.scale)[-2:], translate=np.asarray(layer.translate)[-2:],
            units=tuple(layer.units)[-2:], axis_labels=tuple(layer.axis_labels)[-2:],
            metadata={roles.KEY: {"role": "occupancy", "source_id": self._source_id}},
        )  # fmt: skip

    def _on_save(self) -> None:
        if self._data is None:
            return
        folder = QFileDialog.getExistingDirectory(self, "Folder for the tables")
        if folder:
            try:
                names = self.save_tables(Path(folder))
            except OSError as error:
                self._on_failed(f"The tables could not be written: {error.strerror}.")
                self._status.setText(self._ending)
            else:
                self._status.setText(f"Saved {', '.join(names)} in {Path(folder).name}.")

    def save_tables(self, folder: Path) -> list[str]:
        """Write tracks, dumbbells, changes, events, drift (CSV) and how they were found (JSON)."""
        if self._data is None:
            return []
        names = [f.name for f in save_followed(self._data.followed, folder, self._provenance)]
        moving = self._data.defects
        if moving is not None:
            moving.tracks.to_csv(folder / "defect_tracks.csv", index=False)
            moving.events.to_csv(folder / "defect_events.csv", index=False)
            names += ["defect_tracks.csv", "defect_events.csv"]
        return names
