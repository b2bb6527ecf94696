"""The dock: a scrolling page that runs jobs, says what happens and cleans up after itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from magicgui.widgets import Container
from magicgui.widgets.bases import Widget
from napari.layers import Layer
from napari.utils.notifications import show_warning
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QDockWidget,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_atomlens.errors import AtomLensError
from napari_atomlens.progress import Progress
from napari_atomlens.widgets.base.forms import rows
from napari_atomlens.widgets.base.jobs import Job, report_crash
from napari_atomlens.widgets.base.layer_choice import LayerChoice
from napari_atomlens.widgets.base.layout import Item, Page, button, put, sentence
from napari_atomlens.widgets.base.pixel_size import PixelSizeField
from napari_atomlens.widgets.base.steps import Steps
from napari_atomlens.widgets.base.task import Task

if TYPE_CHECKING:
    import napari.viewer
    from napari.utils.events import Event, EventEmitter
    from qtpy.QtGui import QCloseEvent, QShowEvent

L = TypeVar("L", bound=Layer)
Slot = Callable[..., object]
#: What takes longer than a few ms follows the slider when it has rested this long.
REST_MS = 100
#: The bar is drawn anew this often.
POLL_MS = 200
#: Whether a dock is still among the tabs is looked at once more after this.
SETTLE_MS = 500
#: Docks that were closed and draw what they have found to its end; nobody else holds them.
_CLOSING: set[Dock] = set()


class Dock(QWidget):
    """A dock of the plugin.

    What derives from it fills the page in :meth:`build` and says in a :class:`Task` what a
    button does; listing layers, progress, cancel, errors, tabs, scrolling and cleaning up are
    done here.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's proxy of it.
    parent : QWidget, optional

    Attributes
    ----------
    NAME : str
        Name of the widget.
    NOTHING : str
        Sentence while a layer that is needed is missing.
    viewer : napari.viewer.Viewer
    job : Job
    status : QLabel
    bar : QProgressBar
    finished : Signal()
        A job has ended, in whatever way.
    """

    NAME: ClassVar[str] = "dock"
    NOTHING: ClassVar[str] = "Open an image first."
    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.NAME)
        self.viewer = viewer
        self.job = Job(self)
        self._steps = Steps(self)
        self.status = sentence("status")
        self.bar = QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.hide()
        self.choices: list[LayerChoice[Layer]] = []
        self._sizes: list[PixelSizeField] = []
        self._task: Task[Any] | None = None
        self._ending = ""
        self._started = 0.0
        self._progress = (0, 0, "")
        self._buttons: list[tuple[QPushButton, str, Callable[[], Task[Any]]]] = []
        self._pressed: QPushButton | None = None
        self._connected: list[tuple[EventEmitter, Slot]] = []
        self._timers: list[QTimer] = []
        self._docked = self._held = self._closed = self._thread_ended = self._cut_short = False
        self._poll = self.timer(POLL_MS, self._show_progress, once=False)
        self._settled = self.timer(SETTLE_MS, self._join_tabs)
        inside = QWidget()
        self.body = QVBoxLayout(inside)
        self.body.setSpacing(8)
        self._page = Page(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._page)
        self.build()
        self._page.fit()
        self.listen(viewer.layers.events.removed, self._on_removed)
        self.listen(viewer.events.theme, self._on_theme)
        self.job.results.connect(self._on_results)
        self.job.noted.connect(self.say)
        self.job.failed.connect(self._on_failed)
        self.job.crashed.connect(self._on_crashed)
        self.job.finished.connect(self._on_thread_ended)
        self._steps.failed.connect(self._on_step_failed)
        self._steps.drained.connect(self._on_drained)
        self._on_theme()
        self.reset_choices()

    # ------------------------------------------------- what a dock of its own says

    def build(self) -> None:
        """Fill the page, with :meth:`add`, :meth:`choose` and :meth:`run_button`."""
        raise NotImplementedError

    def layers_changed(self) -> None:
        """Layers came, went or were renamed; the choices are up to date."""

    def removed(self, layer: Layer) -> None:
        """Let go of a layer that was removed from the viewer."""

    def retheme(self, background: str, text: str) -> None:
        """Draw plots in the colours of the theme, given as "#rrggbb"."""

    def closed(self) -> None:
        """Let go of what :meth:`listen` and :meth:`timer` do not know of."""

    # ---------------------------------------------------------------- the page

    def add(self, *items: Item, stretch: int = 0) -> None:
        """Add widgets or layouts below what is there."""
        for item in items:
            put(self.body, item, stretch)

    def rows(self, *widgets: Widget) -> Container[Widget]:
        """Add a labelled row for each magicgui widget; returns their container."""
        made = rows(*widgets)
        self.add(made)
        return made

    def choose(
        self,
        kind: type[L],
        name: str,
        label: str,
        *,
        accepts: Callable[[Layer], bool] | None = None,
        prefers: Callable[[Layer], bool] | None = None,
        none: str = "",
        starts: Callable[[list[L]], L] | None = None,
        tip: str = "",
    ) -> LayerChoice[L]:
        """Make a choice of layers, see :class:`LayerChoice`; its widget is to be added."""
        made = LayerChoice(
            self.viewer, kind, name, label, accepts=accepts, prefers=prefers, none=none,
            starts=starts, tip=tip,
        )  # fmt: skip
        self.choices.append(made)
        return made

    def pixel_size_field(self, choice: LayerChoice[L]) -> PixelSizeField:
        """Make the field of the pixel size of a chosen layer; its widget is to be added."""
        self._sizes.append(PixelSizeField(choice))
        return self._sizes[-1]

    def run_button(
        self, text: str, task: Callable[[], Task[Any]], *, name: str = "run", tip: str = ""
    ) -> QPushButton:
        """Return a button that starts a task, and cancels it meanwhile; it is to be added.

        Parameters
        ----------
        text : str
        task : callable
            Returns what to do; an error of ours that it raises becomes the status line.
        name, tip : str
        """
        made = button(name, text, tip, self._on_pressed)
        self._buttons.append((made, text, task))
        return made

    def add_status(self) -> None:
        """Add the progress bar and the status line."""
        self.add(self.bar, self.status)

    def say(self, text: str, tip: str = "") -> None:
        """Put a sentence into the status line."""
        self.status.setText(text)
        self.status.setToolTip(tip)

    # ------------------------------------------------------------------ the viewer

    def listen(self, emitter: EventEmitter, slot: Slot) -> None:
        """Connect to an event of napari until the dock is closed."""
        emitter.connect(slot)
        self._connected.append((emitter, slot))

    def timer(self, ms: int, slot: Slot, *, once: bool = True) -> QTimer:
        """Return a timer that stops when the dock is closed."""
        made = QTimer(self)
        made.setSingleShot(once)
        made.setInterval(ms)
        made.timeout.connect(slot)
        self._timers.append(made)
        return made

    def follow_slider(self, slot: Slot, ms: int = REST_MS) -> None:
        """Call `slot` when the slider has moved and rests."""
        self._rest = self.timer(ms, slot)
        self.listen(self.viewer.dims.events.point, self._on_slider)

    def _on_slider(self, event: Event | None = None) -> None:
        self._rest.start()

    def reset_choices(self, event: Event | None = None) -> None:
        """List the layers anew; napari calls it when layers come, go, move or are renamed."""
        if self._closed:
            return
        for one in self.choices:
            one.reset_choices()
        if not self.is_running and self.is_missing:
            self.say(self.NOTHING)
        elif self.status.text() == self.NOTHING:
            self.say("")
        self.layers_changed()
        self.update_buttons()

    @property
    def is_missing(self) -> bool:
        """Whether a layer that is needed is not there: the first choice, if not told else."""
        return bool(self.choices) and self.choices[0].layer is None

    def _on_removed(self, event: Event) -> None:
        layer = event.value
        key = str(layer.unique_id)
        if self._task is not None and key in {str(x.unique_id) for x in self._task.sources}:
            self.stop(f"Stopped: the layer {layer.name} was removed.")
        self.removed(layer)

    def _on_theme(self, event: Event | None = None) -> None:
        theme = get_theme(self.viewer.theme)
        self.retheme(theme.background.as_hex("long"), theme.text.as_hex("long"))

    # --------------------------------------------------------------------- the job

    @property
    def is_running(self) -> bool:
        """Whether a job has not ended yet."""
        return self._task is not None

    def run(self) -> None:
        """Press the first button; :attr:`finished` tells when its job is done."""
        if not self.is_running:
            self._start(*self._buttons[0][::2])

    def _on_pressed(self) -> None:
        pressed = self.sender()
        for made, _, task in self._buttons:
            if made is pressed and self.is_running:
                self.cancel()
            elif made is pressed:
                self._start(made, task)

    def _start(self, made: QPushButton, task: Callable[[], Task[Any]]) -> None:
        try:
            wanted = task()
        except AtomLensError as error:
            self.refuse(str(error))
            return
        self._pressed = made
        self.start(wanted)

    def refuse(self, what: str) -> None:
        """Say in one sentence why something cannot be done."""
        show_warning(what)
        self.say(what)
        self.finished.emit()

    def start(self, task: Task[Any]) -> None:
        """Start a task; one at a time."""
        if self.is_running:
            return
        self._task, self._ending, self._progress = task, "", (0, task.total, "")
        self._thread_ended = self._cut_short = False
        self._started = time.perf_counter()
        self.bar.setRange(0, task.total if task.total > 1 else 0)
        self.bar.setFormat(f"%v of %m {task.noun}")
        self.bar.setValue(0)
        self.bar.show()
        self.say(task.saying)
        self._poll.start()

        def report(done: int, total: int, what: str) -> None:
            if self._task is task:  # not of one that was left to itself
                self._progress = (done, total, what)  # by the thread; a timer reads it

        self.job.start(lambda stop: task.work(Progress(report, stop)), needs_torch=task.needs_torch)
        self.update_buttons()

    def _show_progress(self) -> None:
        done, total, what = self._progress
        if total > 1:
            self.bar.setRange(0, total)
            self.bar.setValue(done)
        if what and self._task is not None and not self.job.is_cancelled:
            self.say(what)

    def cancel(self) -> None:
        """Stop the job; what is finished stays."""
        if self._thread_ended:  # all is done; the last layers appear by themselves
            self._on_finished()
        else:
            self.stop("")

    def stop(self, why: str) -> None:
        """Stop the job for a reason that becomes the status line."""
        if self.is_running:
            self._ending = why
            self.say(why or "Cancelling…")
            self.job.cancel()
            self.update_buttons()

    @property
    def seconds(self) -> float:
        """Time since the job was started."""
        return time.perf_counter() - self._started

    def update_buttons(self) -> None:
        """Let the buttons say what they would do now."""
        stopping = self.is_running and self.job.is_cancelled
        for made, text, _ in self._buttons:
            mine = self.is_running and made is self._pressed
            made.setText("Cancelling…" if mine and stopping else "Cancel" if mine else text)
            made.setEnabled(mine and not stopping if self.is_running else not self.is_missing)

    def _on_results(self, results: list[object]) -> None:
        task = self._task
        if task is None or self._is_gone(task):  # what came too late is not drawn
            return
        try:
            steps = task.show(results)
        except AtomLensError as error:
            self.stop(str(error))
            return
        if isinstance(steps, Iterator):
            self._steps.add(self._while_there(task, steps))

    def _while_there(self, task: Task[Any], steps: Iterator[object]) -> Iterator[object]:
        """Go on with what a task shows as long as its layers are there."""
        while not self._is_gone(task):
            try:
                yield next(steps)
            except StopIteration:
                return

    def _on_thread_ended(self) -> None:
        self._thread_ended, self._cut_short = True, self.job.is_cancelled
        if not self._steps or self._cut_short:  # nobody who cancelled waits for layers to come
            self._on_finished()

    def _on_drained(self) -> None:
        if self._thread_ended and self._task is not None:
            self._on_finished()

    def _is_gone(self, task: Task[Any]) -> bool:
        there = {str(x.unique_id) for x in self.viewer.layers}
        return not {str(x.unique_id) for x in task.sources} <= there

    def _on_step_failed(self, what: str) -> None:
        if self.is_running:
            self.stop(what)
        else:  # it was cancelled meanwhile
            self.say(what)

    def _on_failed(self, what: str) -> None:
        self._ending = what
        show_warning(what)

    def _on_crashed(self, error: Exception) -> None:
        self._ending = report_crash(error)

    def _on_finished(self) -> None:
        task, self._task = self._task, None
        self._poll.stop()
        self.bar.hide()
        if task is not None:
            said = self._said_of_cancel(task) if self._cut_short else task.done()
            self.say(self._ending or said, self.status.toolTip())
        self._pressed = None
        self.update_buttons()
        self.finished.emit()

    def _said_of_cancel(self, task: Task[Any]) -> str:
        done, total = self._progress[0], max(task.total, self._progress[1])
        said = f"Cancelled; {done} of {total} {task.noun} are done." if total > 1 else "Cancelled."
        return f"{said} {task.after_cancel}".strip()

    # ------------------------------------------------------------------ the window

    def showEvent(self, event: QShowEvent) -> None:
        """Join the tabs of our other docks when shown first."""
        super().showEvent(event)
        if not self._docked and self._dock() is not None:
            self._docked = True
            QTimer.singleShot(0, self._join_tabs)
            # on a busy machine Qt ends its animation later, and takes the dock out again
            self._settled.start()

    def _dock(self) -> QDockWidget | None:
        above = self.parent()
        while above is not None and not isinstance(above, QDockWidget):
            above = above.parent()
        return above

    def _join_tabs(self) -> None:
        mine = None if self._closed else self._dock()
        window = None if mine is None else mine.parent()
        if mine is None or not isinstance(window, QMainWindow):
            return
        area = window.dockWidgetArea(mine)
        others = [
            x
            for x in window.findChildren(QDockWidget)
            if x is not mine and x.findChild(Dock) is not None
            and window.dockWidgetArea(x) == area and not x.isFloating()
        ]  # fmt: skip
        together = window.tabifiedDockWidgets(mine)
        if others and not mine.isFloating() and not any(x in together for x in others):
            window.tabifyDockWidget(others[-1], mine)
            mine.raise_()
        elif self._settled.isActive():  # shown just now
            mine.raise_()

    def cleanup(self) -> None:
        """Stop the work and disconnect from the viewer; the layers stay."""
        if self._closed:
            return
        self._closed = True
        was_running, self._task = self.is_running, None
        self.job.close()
        self._steps.close()
        for timer in self._timers:
            timer.stop()
        for emitter, slot in self._connected:
            emitter.disconnect(slot)
        self._connected.clear()
        events = self.viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered, events.renamed):
            with contextlib.suppress(ValueError):  # napari connects it where it docks us
                emitter.disconnect(self.reset_choices)
        self.closed()
        for field in self._sizes:
            field.close()
        for one in self.choices:
            one.close()
        if was_running:
            self.finished.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Clean up when the dock is closed."""
        self.cleanup()
        super().closeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Clean up when napari takes the widget out of its dock: it never closes it."""
        super().changeEvent(event)
        if event.type() != QEvent.Type.ParentChange:
            return
        if self.parent() is not None:
            self._held = True
        elif self._held:
            QTimer.singleShot(0, self._on_undocked)

    def _on_undocked(self) -> None:
        if self._dock() is None and self._steps and self._thread_ended and not self._cut_short:
            _CLOSING.add(self)
            self._steps.drained.connect(self._on_undocked)
        elif self._dock() is None:
            _CLOSING.discard(self)
            self.cleanup()
            # Python would destroy it in whatever thread it tidies up in: Qt dies of that
            self.deleteLater()
