"""Who shows the image of a session, so that what the user draws is told once and by the user."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator


class Views:
    """The views of one session: they show the same layers."""

    def __init__(self) -> None:
        self._showing = 0
        self._teller: weakref.ref[object] | None = None

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """What happens inside to layers of this image is not the user's doing."""
        self._showing += 1
        try:
            yield
        finally:
            self._showing -= 1

    def tells(self, view: object) -> bool:
        """Whether a view tells what the user draws now: one of those that show it does."""
        teller = self._teller() if self._teller is not None else None
        if teller is None:
            self._teller, teller = weakref.ref(view), view
        return teller is view and not self._showing

    def leave(self, view: object) -> None:
        """Let another view tell what the user draws."""
        if self._teller is not None and self._teller() is view:
            self._teller = None
