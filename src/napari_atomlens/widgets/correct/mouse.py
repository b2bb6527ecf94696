"""The mouse in Correct mode: click to add, click on an atom to select, drag an atom to move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

#: A press that moves less than this (in pixels of the screen) is a click.
CLICK = 4.0
#: An atom is hit within so many spacings of its centre, or so many pixels of the screen.
HIT, HIT_SCREEN = 0.3, 6.0


class CorrectMouse:
    """Mouse of Correct mode on a Points layer in pan and zoom mode.

    Parameters
    ----------
    layer : napari.layers.Points
    spacing_px : callable
        Returns the distance between nearest atoms.
    zoom : callable
        Returns screen pixels per unit of the world.
    on_click : callable
        Called with (frame, y, x) of a click where no atom is.
    on_select : callable
        Called with (row of the layer, whether Shift is down).
    on_move : callable
        Called with (row of the layer, y, x) once a drag has ended.
    """

    def __init__(
        self,
        layer: Any,
        spacing_px: Callable[[], float],
        zoom: Callable[[], float],
        on_click: Callable[[int, float, float], None],
        on_select: Callable[[int, bool], None],
        on_move: Callable[[int, float, float], None],
    ) -> None:
        self._layer = layer
        self._spacing, self._zoom = spacing_px, zoom
        self._on_click, self._on_select, self._on_move = on_click, on_select, on_move
        layer.mouse_drag_callbacks.append(self._on_drag)

    def close(self) -> None:
        """Let go of the layer."""
        if self._on_drag in self._layer.mouse_drag_callbacks:
            self._layer.mouse_drag_callbacks.remove(self._on_drag)

    def hit(self, at: np.ndarray) -> int | None:
        """Row of the atom at a place (in data coordinates), None where there is none."""
        data = np.asarray(self._layer.data)
        if not len(data):
            return None
        here = np.arange(len(data))
        if data.shape[1] == 3:
            here = np.flatnonzero(np.round(data[:, 0]) == round(float(at[0])))
        if not len(here):
            return None
        d = np.hypot(*(data[here][:, -2:] - at[-2:]).T)
        pixel = abs(float(self._layer.scale[-1])) * self._zoom()
        reach = max(HIT * self._spacing(), HIT_SCREEN / max(pixel, 1e-9))
        reach = min(reach, 0.5 * self._spacing())
        return int(here[d.argmin()]) if d.min() <= reach else None

    def _on_drag(self, layer: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or str(layer.mode) != "pan_zoom" or not layer.visible:
            return
        shift = "Shift" in [str(getattr(m, "name", m)) for m in event.modifiers]
        start = np.asarray(event.pos, float)
        at = np.asarray(layer.world_to_data(event.position), float)
        row = self.hit(at)
        pan = layer.mouse_pan
        if row is not None:
            layer.mouse_pan = False
        before = None if row is None else layer.data[row].copy()
        moved = False
        yield
        while event.type == "mouse_move":
            moved = moved or bool(np.hypot(*(np.asarray(event.pos, float) - start)) > CLICK)
            if moved and row is not None:
                now = np.asarray(layer.world_to_data(event.position), float)
                layer.data[row, -2:] = before[-2:] + now[-2:] - at[-2:]  # type: ignore[index]
                layer.refresh()
            yield
        layer.mouse_pan = pan
        if row is None:
            if not moved:
                frame = round(float(at[0])) if len(at) == 3 else 0
                self._on_click(frame, float(at[-2]), float(at[-1]))
        elif not moved:
            self._on_select(row, shift)
        elif row < len(layer.data):
            # where it is let go: moves that come too quickly are left out
            now = np.asarray(layer.world_to_data(event.position), float)
            y, x = (float(v) for v in before[-2:] + now[-2:] - at[-2:])  # type: ignore[index]
            layer.data[row] = before
            self._on_move(row, y, x)
