"""Tools of the Movie dock: playing, clicks into the picture, tracks in space and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QPushButton

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer, Tracks

#: A press that moves less than this (in pixels of the screen) is a click.
CLICK_PX = 4.0
PLAY, STOP = "▶ Play", "❚❚ Stop"


class Player(QPushButton):
    """A button that lets a timer run while it is down.

    Parameters
    ----------
    timer : QTimer
        Ticks for each frame.
    """

    def __init__(self, timer: QTimer) -> None:
        super().__init__(PLAY)
        self.setObjectName("play")
        self.setCheckable(True)
        self.setToolTip("Play the movie with everything that is drawn on it")
        self._timer = timer
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, on: bool) -> None:
        self.setText(STOP if on else PLAY)
        if on:
            self._timer.start()
        else:
            self._timer.stop()


class Clicks:
    """Tells of clicks into the picture that do not move it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    clicked : callable
        Called with the place in the world.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, clicked: Callable[[Sequence[float]], object]
    ) -> None:
        self._callbacks, self._clicked = viewer.mouse_drag_callbacks, clicked

    def listen(self, on: bool) -> None:
        """Listen, or not."""
        there = self._on_press in self._callbacks
        if on and not there:
            self._callbacks.append(self._on_press)
        elif not on and there:
            self._callbacks.remove(self._on_press)

    def _on_press(self, viewer: napari.viewer.Viewer, event: Any) -> Iterator[None]:
        if event.button != 1:
            return
        start = np.asarray(event.pos, float)
        yield
        while event.type == "mouse_move":
            if np.hypot(*(np.asarray(event.pos, float) - start)) > CLICK_PX:
                return  # moving the picture chooses nothing
            yield
        self._clicked(event.position)


class SpaceTime:
    """Shows tracks alone in space and time, and everything as it was before.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._tracks: Tracks | None = None
        self._before: tuple[int, int] = (0, 0)
        self._hidden: list[Layer] = []

    def show(self, tracks: Tracks, n_frames: int) -> None:
        """Turn the tracks into space and time."""
        self.leave()
        self._tracks, self._before = tracks, (tracks.tail_length, tracks.head_length)
        self._hidden = [x for x in self._viewer.layers if x.visible and x is not tracks]
        for layer in self._hidden:
            layer.visible = False
        tracks.tail_length = tracks.head_length = min(n_frames, 300)
        tracks.visible = True
        self._viewer.dims.ndisplay = 3
        self._viewer.reset_view()

    def leave(self) -> None:
        """Show the picture again, with the layers that were seen before."""
        tracks, self._tracks = self._tracks, None
        if tracks is None:
            return
        self._viewer.dims.ndisplay = 2
        self._viewer.reset_view()
        if tracks in self._viewer.layers:
            tracks.visible = False
            tracks.tail_length, tracks.head_length = self._before
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._hidden = []
