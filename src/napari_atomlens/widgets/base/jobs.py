"""A generator that runs in a thread, with progress and cancel, for any of our widgets."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator

from napari.qt.threading import GeneratorWorker, thread_worker
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QObject, QTimer, Signal, Slot  # type: ignore[attr-defined]

from napari_atomlens.errors import AtomLensError

#: Says whether to stop.
Stop = Callable[[], bool]
#: What a job does: it is called in the thread, and its results are drawn as they come.
Work = Callable[[Stop], Iterator[object]]

#: Results reach the layers at most this often.
FLUSH_MS = 200
#: ... and the pause between two times is at least so many times what drawing took.
PAUSE = 2.0
#: The thread waits when so many results are not drawn yet: memory must not grow with a movie.
MOST_WAITING = 16
#: A thread that was asked to stop and is still at work after this is left to itself.
PATIENCE_MS = 300


class _Note(str):
    """A sentence for the status line, yielded by the thread."""


class _Failure(str):
    """The sentence of an error that was raised on purpose."""


class _Crash:
    """An error that nobody meant to raise."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _work(
    make: Work,
    stop: threading.Event,
    room: threading.Semaphore,
    needs_torch: bool = True,
) -> Generator[object, None, None]:
    """Run in the thread: yield notes, results and at most one failure."""
    if needs_torch and "torch" not in sys.modules:
        yield _Note("Loading PyTorch…")
    try:
        for result in make(stop.is_set):
            yield result
            while not stop.is_set() and not room.acquire(timeout=0.1):
                pass
            if stop.is_set():
                return
    except AtomLensError as error:
        yield _Failure(error)
    except MemoryError:
        yield _Failure("There is not enough memory for this image; close something or crop it.")
    except Exception as error:  # the border of the thread: the window shows whatever it was
        yield _Crash(error)


def _follow(steps: Iterator[object], stop: threading.Event) -> Iterator[object]:
    """Hand on what the work yields; what napari calls in the thread."""
    yield from steps


class _Worker(GeneratorWorker[object, None, None]):
    """A thread of napari's pool that ends its work for good.

    napari keeps every worker as long as the window is there, and leaves the work of one that
    was asked to stop where it is: image and layers would stay with it.

    Parameters
    ----------
    func : callable
        :func:`_follow`.
    steps : generator
        The work.
    stop : threading.Event
    """

    def __init__(
        self,
        func: Callable[..., Iterator[object]],
        steps: Generator[object, None, None],
        stop: threading.Event,
    ) -> None:
        super().__init__(func, steps, stop)
        self._steps, self._stop = steps, stop

    def quit(self) -> None:
        """Ask to stop at the next stage, not only at the next result."""
        self._stop.set()
        super().quit()

    def work(self) -> object:
        """Do the work, and let it clean up where it was cut short."""
        try:
            return super().work()
        finally:
            self._steps.close()


@atexit.register
def _end_threads() -> None:
    """Stop what still works when Python ends, and wait for it.

    Qt waits for the threads of its pool in any case, but the bindings delete the signals of a
    thread before: it would raise an error at its end, and with PyQt6 that aborts the process.
    napari waits only where its own event loop ends. This is called before the bindings clean
    up, as they are imported above and asked to be called at the end first.
    """
    GeneratorWorker.await_workers()


def report_crash(error: Exception) -> str:
    """Hand an error that nobody meant to raise to napari; the sentence for the status line."""
    # napari offers the traceback, ready for a bug report
    notification_manager.receive_error(type(error), error, error.__traceback__)
    return f"Something unexpected went wrong ({type(error).__name__}: {error})."


class Job(QObject):
    """Runs one generator at a time in a thread of napari's pool.

    All signals arrive in the thread of the window.

    Parameters
    ----------
    parent : QObject, optional
    patience_ms : int
        How long to wait for a thread that was asked to stop; what it does after that nobody
        hears of. Below 0 it is waited for, as it must be where the work writes files.

    Attributes
    ----------
    results : Signal(list)
        Results since the last time, at most every 200 ms.
    noted : Signal(str)
        What is going on.
    failed : Signal(str)
        One sentence; nothing more will come.
    crashed : Signal(Exception)
        An error that was not raised on purpose; nothing more will come.
    finished : Signal()
        The thread has ended, in whatever way; always the last signal.
    """

    results = Signal(list)
    noted = Signal(str)
    failed = Signal(str)
    crashed = Signal(object)
    finished = Signal()

    def __init__(self, parent: QObject | None = None, patience_ms: int = PATIENCE_MS) -> None:
        super().__init__(parent)
        self.patience_ms = patience_ms
        self._leave = QTimer(self)
        self._leave.setSingleShot(True)
        self._leave.timeout.connect(self._on_leave)
        self._worker: GeneratorWorker | None = None
        self._stop = threading.Event()
        self._room = threading.Semaphore(MOST_WAITING)
        self._waiting: list[object] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FLUSH_MS)
        self._timer.timeout.connect(self._flush)
        self._first = True

    @property
    def is_running(self) -> bool:
        """Whether the thread is at work or about to end."""
        return self._worker is not None

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was asked to stop."""
        return self._stop.is_set()

    def start(self, make: Work, *, needs_torch: bool = True) -> None:
        """Start a job.

        Parameters
        ----------
        make : callable
            Called in the thread with a function that says whether to stop; returns the
            iterator of results.
        needs_torch : bool
            Tell the user that PyTorch is loading where it is not there yet.
        """
        if self.is_running:
            raise RuntimeError("a job is running")
        self._stop = threading.Event()
        self._room = threading.Semaphore(MOST_WAITING)
        self.destroyed.connect(self._stop.set)  # where the window goes without a word
        self._waiting.clear()
        self._first = True
        self._timer.setInterval(FLUSH_MS)
        work = thread_worker(_follow, worker_class=_Worker, ignore_errors=True)
        self._worker = work(_work(make, self._stop, self._room, needs_torch), self._stop)
        self._worker.yielded.connect(self._on_yielded)
        self._worker.finished.connect(self._on_finished)
        self._worker.start()

    def cancel(self) -> None:
        """Ask the thread to stop at the next stage; finished results still arrive."""
        self._stop.set()
        if self.is_running and self.patience_ms >= 0:
            self._leave.start(self.patience_ms)

    def _on_leave(self) -> None:
        """End without the thread: it stops by itself at its next stage."""
        if self._worker is None:
            return
        self._flush()
        self.close()
        self.finished.emit()

    def close(self) -> None:
        """Ask the thread to stop and hear nothing of it any more."""
        self._stop.set()
        self._timer.stop()
        self._leave.stop()
        self._waiting.clear()
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.quit()
            worker.yielded.disconnect(self._on_yielded)
            worker.finished.disconnect(self._on_finished)

    @Slot(object)
    def _on_yielded(self, what: object) -> None:
        if self._worker is None:
            return
        if isinstance(what, _Note):
            self.noted.emit(str(what))
        elif isinstance(what, _Failure):
            self._flush()
            self.failed.emit(str(what))
        elif isinstance(what, _Crash):
            self._flush()
            self.crashed.emit(what.error)
        else:
            self._waiting.append(what)
            if self._first:  # the frame that the user looks at appears at once
                self._flush()
            elif not self._timer.isActive():
                self._timer.start()

    @Slot()
    def _on_finished(self) -> None:
        if self._worker is None:
            return
        self._flush()
        self._leave.stop()
        self._worker = None
        self.finished.emit()

    def _flush(self) -> None:
        self._timer.stop()
        if not self._waiting:
            return
        results, self._waiting = self._waiting, []
        start = time.perf_counter()
        self.results.emit(results)
        self._room.release(len(results))
        spent_ms = 1000 * (time.perf_counter() - start)
        if self._first:  # new layers, which later ones are not
            self._first = False
        else:
            self._timer.setInterval(max(FLUSH_MS, int(PAUSE * spent_ms)))
