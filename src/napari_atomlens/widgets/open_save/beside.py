"""Work beside the window: it is drawn, answers and can be closed meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from qtpy.QtWidgets import QMainWindow

T = TypeVar("T")
#: How often it is looked whether the work is done.
LOOK_MS = 5


def main_window() -> QMainWindow | None:
    """Main window of napari, None where there is none that can be seen."""
    return next(iter(main_windows()), None)


def main_windows() -> list[QMainWindow]:
    """All main windows that can be seen."""
    if "qtpy" not in sys.modules:  # a script: nobody to ask, and perhaps no Qt at all
        return []
    from qtpy.QtWidgets import QApplication, QMainWindow

    app = QApplication.instance()
    windows = app.topLevelWidgets() if isinstance(app, QApplication) else []
    return [w for w in windows if isinstance(w, QMainWindow) and w.isVisible()]


def beside(work: Callable[[], T], meanwhile: Callable[[], object] = lambda: None) -> T:
    """Do work that touches no window in a thread of its own, and return what it returned.

    napari asks its plugins in the thread of the window and takes no answer for later. So the
    events of the window are handled here until the work is done. Without a window that can be
    seen, the work is simply done.

    Parameters
    ----------
    work : callable
        What it raises is raised here.
    meanwhile : callable
        Called in the window again and again: shows how far the work is.
    """
    if threading.current_thread() is not threading.main_thread() or main_window() is None:
        return work()
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    with ThreadPoolExecutor(1, "atomlens") as pool:
        done = pool.submit(work)
        timer.timeout.connect(lambda: loop.quit() if done.done() else meanwhile())
        timer.start(LOOK_MS)
        # closing the last window ends the loop at once; leaving the block waits for the work
        loop.exec()
        timer.stop()
    return done.result()
