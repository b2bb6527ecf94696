"""What takes long in the thread of the window, done one step an event."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_atomlens.errors import AtomLensError
from napari_atomlens.widgets.base.timers import once

#: The window has this long between two steps, to paint and to hear mouse and keys.
PAUSE_MS = 10


class Steps(QObject):
    """Runs iterators, one after another, one step an event.

    Parameters
    ----------
    parent : QObject, optional

    Attributes
    ----------
    failed : Signal(str)
        An error of ours; what was left is forgotten.
    drained : Signal()
        Nothing is left to do.
    """

    failed = Signal(str)
    drained = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._left: deque[Iterator[object]] = deque()
        self._timer = once(PAUSE_MS, self._next)

    def __bool__(self) -> bool:
        """Whether something is left to do."""
        return bool(self._left)

    def add(self, steps: Iterator[object]) -> None:
        """Do the first step now, unless others wait, and each of the rest in an event."""
        self._left.append(steps)
        if len(self._left) == 1:
            self._next()

    def close(self) -> None:
        """Forget what is left, without a word."""
        self._left.clear()
        self._timer.stop()

    def _next(self) -> None:
        mine = self._left[0] if self._left else None
        going = False
        try:
            if mine is not None:
                next(mine)
                going = True
        except StopIteration:
            pass
        except AtomLensError as error:
            self._left.clear()
            self.failed.emit(str(error))
        finally:  # also of an error that nobody meant to raise
            if not going and self._left and self._left[0] is mine:
                self._left.popleft()
            if self._left:
                self._timer.start()
            else:
                self.drained.emit()
