"""Timers that ring once."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer


def once(ms: int, slot: Callable[[], object]) -> QTimer:
    """Return a timer that calls a bound method so long after it was last started.

    Parameters
    ----------
    ms : int
        0 where what happens now must end first.
    slot : callable
    """
    made = QTimer()
    made.setSingleShot(True)
    made.setInterval(ms)
    made.timeout.connect(slot)
    return made
