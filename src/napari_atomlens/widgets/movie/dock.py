"""The Movie dock: one button, then move the slider and see what changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from napari.layers import Image, Layer
from psygnal import SignalInstance
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QLabel

from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.progress import Progress
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.session.movie import MAPS, MovieData
from napari_atomlens.session.movie_run import (
    AtomsWanted,
    MovieRun,
    movie_of,
    save_movie,
    summary,
)
from napari_atomlens.session.session import Session
from napari_atomlens.tracking.changes import ChangeParams
from napari_atomlens.tracking.params import LinkParams
from napari_atomlens.tracking.trajectories import occupancy_map
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.dock import Dock
from napari_atomlens.widgets.base.forms import ParamForm, rows
from napari_atomlens.widgets.base.images import current_frame, finest, pixel_size_of, stack_of
from napari_atomlens.widgets.base.layout import button, section
from napari_atomlens.widgets.base.looking import show_frame
from napari_atomlens.widgets.base.models import model_names
from napari_atomlens.widgets.base.task import Task
from napari_atomlens.widgets.layers.contours import LABELS
from napari_atomlens.widgets.layers.image_layers import FrameDrawing, ImageLayers, LayerRequest
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import ATOMS, TRACKS, is_given
from napari_atomlens.widgets.layers.tracks import MovieLayers
from napari_atomlens.widgets.movie.dumbbells import DumbbellTab, RowTab
from napari_atomlens.widgets.movie.motion import TracksTab
from napari_atomlens.widgets.movie.selection import Selection
from napari_atomlens.widgets.movie.tabs import CountsTab, EventsTab, MovieTabs, TransitionsTab
from napari_atomlens.widgets.movie.tools import Clicks, Player, SpaceTime

FRAMES_PER_SECOND = 10
BLUE, RED = "#2166e6", "#d62628"
#: What comes from the thread of a run.
Found = FrameDrawing | AtomsWanted | MovieData


class MovieWidget(Dock):
    """Follows atoms and dumbbells through a movie and shows what changed, when and where."""

    NAME = "movie"
    NOTHING = "Open a movie (t, y, x) first."

    def build(self) -> None:
        """Movie and parameters; colours; tools; tabs."""
        self._layers: MovieLayers | None = None
        self._heard: list[SignalInstance] = []
        self._soon = self.timer(0, self._check)
        self.selection = Selection(self)
        self._build_form()
        self.add(self.run_button("Follow the movie", self._following))
        self.add_status()
        self._build_shown()
        self._build_tools()
        self._events = EventsTab(self.selection)
        self._events.chosen.connect(self.go_to_event)
        pages = [kind(self.selection) for kind in (CountsTab, DumbbellTab, RowTab, TracksTab,
                                                   TransitionsTab)]  # fmt: skip
        self._tabs = MovieTabs(self.selection, [self._events, *pages])
        self.add(self._tabs, stretch=1)
        self._clicks = Clicks(self.viewer, self._on_clicked)
        self.selection.frame_wanted.connect(self.go_to_frame)
        self.selection.changed.connect(self._on_selected)
        self.follow_slider(self._on_rested)
        self._image.changed.connect(self._on_image)
        self._on_image(self._image.layer)

    def _build_form(self) -> None:
        self._image = self.choose(
            Image, "image", "Movie", accepts=_is_movie,
            tip="The movie; atoms found in it are used, else they are found first",
        )  # fmt: skip
        self._finding = ParamForm(
            AnalysisParams, special={"window": "by dose"}, choices={"model": model_names()},
            leave_out=("spacing_px", "min_probability", "refine", "contours"),
        )  # fmt: skip
        fields.offer_anew(self._finding["model"], model_names)
        self._links = ParamForm(
            LinkParams, special={"search_px": "auto", "jump_px": "never"},
            leave_out=("drift", "species", "motion"),
        )  # fmt: skip
        self._watch = ParamForm(ChangeParams)
        false_alarms = self._watch["false_alarms"].native
        false_alarms.setDecimals(4)
        false_alarms.setSingleStep(0.005)
        self.rows(self._image.widget, self._finding["model"])
        every = [self._finding[n] for n in self._finding.fields if n != "model"]
        self.add(section("How to follow", rows(*every, *self._links, *self._watch)))

    def _build_shown(self) -> None:
        self._map = fields.choice(
            "map", "Colour", list(MAPS),
            tip="What the colours of the dumbbells show: the change from their mean",
        )  # fmt: skip
        self._enlarge = fields.number(
            "enlarge", "Arrows", 1, 1000, value=10, decimals=0, step=5, prefix="× ",
            tip="How much larger than they are displacements are drawn",
        )  # fmt: skip
        self._scale = QLabel()
        self._scale.setObjectName("map_scale")
        self._scale.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._shown = rows(self._map, self._enlarge)
        self.add(self._shown, self._scale)
        self._map.changed.connect(self._on_map_chosen)
        self._enlarge.changed.connect(self._on_enlarged)

    def _build_tools(self) -> None:
        self._player = Player(self.timer(1000 // FRAMES_PER_SECOND, self._on_tick, once=False))
        self._space = QCheckBox("x-y-t view")
        self._space.setObjectName("xyt")
        self._space.setToolTip("Tracks in space and time, turned with the mouse")
        self._space.toggled.connect(self._on_space)
        self._turned = SpaceTime(self.viewer)
        self._occupancy = self.run_button(
            "Occupancy map", self._counting, name="occupancy",
            tip="Where atoms were how often, as an image layer",
        )  # fmt: skip
        self._save = button("save", "Save tables…", "Write all tables as CSV files", self._on_save)
        grid = QGridLayout()
        for k, tool in enumerate((self._player, self._space, self._occupancy, self._save)):
            grid.addWidget(tool, k // 2, k % 2)
        self.add(grid)

    # -------------------------------------------------------------- the dock goes on

    def closed(self) -> None:
        """Let go of the movie; what is drawn stays, and goes on following the slider."""
        self._turned.leave()
        self._clicks.listen(False)
        self._listen_to(None)

    def retheme(self, background: str, text: str) -> None:
        """Let the plots follow the theme."""
        self._tabs.set_theme(background, text)

    def update_buttons(self) -> None:
        """Let the tools be there once there is something to show."""
        super().update_buttons()
        data = self.selection.data
        for tool in (self._player, self._space, self._save):
            tool.setEnabled(data is not None)
        if data is None:
            self._occupancy.setEnabled(False)

    # ------------------------------------------------------------------- the movie

    @property
    def data(self) -> MovieData | None:
        """What was found in the chosen movie, None before a run."""
        return self.selection.data

    def _outputs_of(self, layer: Image) -> ImageLayers:
        return layers_of(self.viewer, layer).part(ImageLayers)

    def _on_image(self, layer: Image | None = None) -> None:
        self._listen_to(layer)
        self._show()
        self._soon.start()

    def _listen_to(self, layer: Image | None) -> None:
        """Follow what is drawn of a movie, and of no other."""
        old, self._layers = self._layers, None
        if old is not None:
            old.changed.disconnect(self._show)
            old.release(self._remake)
        self._watch_tables(None)
        if layer is None:
            return
        self._outputs_of(layer)  # what the user does to its atoms is noted from now on
        part = self._layers = layers_of(self.viewer, layer).part(MovieLayers)
        part.follow(self.viewer)
        part.changed.connect(self._show)
        part.claim(self._remake)
        self._watch_tables(part.session)

    def _watch_tables(self, session: Session | None) -> None:
        """Hear when somebody else follows this movie, as the button *Update* of Correct does."""
        for signal in self._heard:
            signal.disconnect(self._on_table, missing_ok=True)
        self._heard = [] if session is None else [session.table_changed]
        for signal in self._heard:
            signal.connect(self._on_table)

    def _on_table(self, name: str) -> None:
        if name == "changes":  # the last one; whoever made them may be about to draw them
            self._soon.start()

    def _check(self) -> None:
        """Draw the tables of the session where nobody has: of a project, or of another maker."""
        part, layer = self._layers, self._image.layer
        if part is None or layer is None or self.is_running:
            return
        tracks = part.session.table("tracks")
        drawn = part.data is not None and part.data.followed.tracks is tracks
        if drawn or part.session.state("tracks") == "missing":
            return
        session, n, step = part.session, int(finest(layer).shape[0]), part.time_step_s()
        watch = self._watch.value()

        def work(progress: Progress) -> Iterator[MovieData]:
            known = movie_of(session, n, step, watch)
            if known is not None:
                yield known.prepare()
                _wait_for(part, known, progress)

        def show(results: list[MovieData]) -> None:
            part.show(results[-1], session.provenance("tracks"))

        said = self.status.text()
        self.start(Task(work, show, lambda: said, "Reading what was followed…", sources=(layer,)))

    def _show(self) -> None:
        """Show what there is of the chosen movie."""
        data = None if self._layers is None else self._layers.data
        if data is None:
            self._player.setChecked(False)
            self._space.setChecked(False)
        self._clicks.listen(data is not None)
        dumbbells = data is None or data.has_dumbbells
        self._shown.visible = dumbbells
        self._shown.enabled = data is not None and dumbbells
        if self._layers is not None:
            self._map.value, self._enlarge.value = self._layers.what, self._layers.enlarge
        self.selection.take(data)
        self._on_rested()
        self.update_buttons()

    # --------------------------------------------------------------------- the run

    def _following(self) -> Task[Found]:
        """Find the atoms where there are none, then follow them."""
        layer, part = self._image.layer, self._layers
        if layer is None or part is None:
            raise ImageError(self.NOTHING)
        outputs = self._outputs_of(layer)
        size, stack = pixel_size_of(layer), stack_of(layer)
        run = MovieRun(
            stack, not _are_in_frames(outputs, 2), self._finding.value(), self._links.value(),
            self._watch.value(), size, part.time_step_s(), outputs.draw,
        )  # fmt: skip
        if run.finds:
            request = LayerRequest(contours=LABELS, probability=False, unfamiliar=False)
            outputs.begin(request, stack.shape, size, run.provenance(layer.name))
        else:
            outputs.session.pixel_size = size
        self._watch_tables(outputs.session)
        part.begin(run)

        def work(progress: Progress) -> Iterator[Found]:
            last = None
            for found in run.work(progress):
                last = found if isinstance(found, MovieData) else last
                yield found
            _wait_for(part, last, progress)

        def show(results: list[Found]) -> None:
            drawn = [r for r in results if isinstance(r, FrameDrawing)]
            if drawn:
                outputs.apply(drawn, current_frame(self.viewer, layer))
            for r in results:
                if not isinstance(r, FrameDrawing):
                    part.take(r)

        def done() -> str:
            return "" if part.data is None else summary(part.data, self.seconds)

        return Task(
            work, show, done, "Looking for atoms…" if run.finds else "Linking atoms…",
            total=stack.shape[0] if run.finds else 0, sources=(layer,), needs_torch=run.finds,
        )  # fmt: skip

    def _remake(self) -> None:
        """Follow the atoms anew: an identity depends on all frames."""
        self.run()

    # ------------------------------------------------------------------- the slider

    def go_to_frame(self, frame: int) -> None:
        """Show a frame."""
        layer = self._image.layer
        if layer is None:
            return
        frame = int(np.clip(frame, 0, finest(layer).shape[0] - 1))
        show_frame(self.viewer, layer, frame)

    def go_to_event(self, row: int) -> None:
        """Go to the frame and the place of an event of the list."""
        found, layer = self.selection.choose_event(row), self._image.layer
        if found is None or layer is None:
            return
        frame, y, x = found
        self.go_to_frame(frame)
        if np.isfinite([y, x]).all():
            self.viewer.scene.camera.center = tuple(layer.data_to_world((frame, y, x)))

    def current_frame(self) -> int:
        """Index of the frame that the viewer shows."""
        layer = self._image.layer
        return 0 if layer is None else current_frame(self.viewer, layer)

    def _on_rested(self) -> None:
        self._tabs.set_now(self.current_frame())

    def _on_tick(self) -> None:
        layer = self._image.layer
        if layer is None or self._layers is None:
            return
        self.go_to_frame((self.current_frame() + 1) % finest(layer).shape[0])
        # while playing nothing ever rests: what is drawn on the movie follows all the same
        self._layers.rest()
        self._on_rested()

    def _on_clicked(self, position: Sequence[float]) -> None:
        layer = self._image.layer
        if layer is None:
            return
        y, x = (float(v) for v in layer.world_to_data(position)[-2:])
        height, width = stack_of(layer).shape[1:]
        if -1 < y < height and -1 < x < width:
            self.selection.choose_near(self.current_frame(), y, x)

    # ------------------------------------------------------------------- what is shown

    def _on_selected(self) -> None:
        """Say what the colours mean."""
        data, what = self.selection.data, self.selection.what
        if data is None or not data.has_dumbbells:
            self._scale.hide()
            return
        limit, unit = data.map_limit(what), data.map_unit(what)
        self._scale.setText(
            f"<span style='color:{BLUE}'>−{limit:.2g}</span> … "
            f"<span style='color:{RED}'>+{limit:.2g}</span> {unit}"
        )
        self._scale.show()

    def _on_map_chosen(self, what: str) -> None:
        if self._layers is not None:
            self._layers.show_map(what)
        self.selection.choose_what(what)

    def _on_enlarged(self, times: float) -> None:
        if self._layers is not None:
            self._layers.show_enlarged(times)

    def _on_space(self, on: bool) -> None:
        """Turn the tracks into space and time, or back."""
        tracks = None if self._layers is None else self._layers.layers.layer(TRACKS)
        if on and tracks is not None and self.data is not None:
            self._turned.show(tracks, self.data.n_frames)
        else:
            self._turned.leave()

    def _counting(self) -> Task[np.ndarray]:
        """Count where atoms were how often."""
        layer, part, data = self._image.layer, self._layers, self.data
        if layer is None or part is None or data is None:
            raise ParameterError("Follow the movie first.")
        height, width = stack_of(layer).shape[1:]
        said = self.status.text()

        def work(progress: Progress) -> Iterator[np.ndarray]:
            yield occupancy_map(data.followed.tracks, (height, width))

        def show(results: list[np.ndarray]) -> None:
            part.show_occupancy(results[-1])

        return Task(work, show, lambda: said, "Counting…", sources=(layer,))

    def _on_save(self) -> None:
        data, part = self.data, self._layers
        folder = "" if data is None else QFileDialog.getExistingDirectory(self, "Folder for tables")
        if not folder or data is None or part is None or self.is_running:
            return
        where, record, names = Path(folder), part.record, list[str]()

        def work(progress: Progress) -> Iterator[list[str]]:
            yield save_movie(data, where, record)

        def done() -> str:
            return f"Saved {', '.join(names)} in {where.name}."

        self.start(Task(work, lambda results: names.extend(results[-1]), done, "Saving…"))


def _wait_for(part: MovieLayers, data: MovieData | None, progress: Progress) -> None:
    """Let a thread wait until the window has drawn what it found."""
    while part.drawn is not data and not progress.stopped:
        time.sleep(0.02)


def _is_movie(layer: Layer) -> bool:
    return layer.ndim == 3 and is_given(layer)


def _are_in_frames(outputs: ImageLayers, least: int) -> bool:
    """Whether there are atoms in so many frames."""
    if outputs.layer(ATOMS) is None:
        return False
    c = outputs.session.corrections
    return sum(c.count(f) > 0 for f in c.frames()) >= least
