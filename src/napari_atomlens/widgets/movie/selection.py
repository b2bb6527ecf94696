"""What the plots of the Movie dock are of: a movie, and in it a dumbbell and a track."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_atomlens.session.motion import most_frequent
from napari_atomlens.session.movie import MAPS, MovieData

NONE = -1


class Selection(QObject):
    """What the user looks at.

    Attributes
    ----------
    data : MovieData or None
    dumbbell, track : int
        By id, -1 where there is none.
    of_defects : bool
        Whether the track is that of a defect, not of an atom.
    what : str
        What the map of dumbbells shows, one of `MAPS`.
    changed : Signal()
        Any of these is another.
    frame_wanted : Signal(int)
        The user asks to see a frame.
    """

    changed = Signal()
    frame_wanted = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.data: MovieData | None = None
        self.dumbbell = self.track = NONE
        self.of_defects = False
        self.what = MAPS[0]

    def take(self, data: MovieData | None) -> None:
        """Look at another movie: at the dumbbell that changed most, and at a long track."""
        before, self.data = self.data, data
        new = data is not None and data.defects is not None
        had = before is not None and before.defects is not None
        self.of_defects = new and (self.of_defects or not had)
        self.dumbbell = self.track = NONE
        if data is not None:
            events = data.events()
            changed = events[events["dumbbell_id"].to_numpy(int) >= 0]
            if len(changed):
                best = int(changed["score"].to_numpy(float).argmax())
                self.dumbbell = int(changed["dumbbell_id"].to_numpy()[best])
            elif data.has_dumbbells:
                self.dumbbell = most_frequent(data.followed.dumbbells["dumbbell_id"])
            self._longest(data)
        self.changed.emit()

    def _longest(self, data: MovieData) -> None:
        tracks = data.tracks_of(self.of_defects)
        self.track = most_frequent(tracks["track_id"]) if len(tracks) else NONE

    def choose_dumbbell(self, dumbbell: int) -> None:
        """Look at another dumbbell."""
        if dumbbell != self.dumbbell:
            self.dumbbell = dumbbell
            self.changed.emit()

    def choose_of(self, defects: bool) -> None:
        """Look at the tracks of defects, or of atoms."""
        if self.data is not None and defects != self.of_defects:
            self.of_defects = defects
            self._longest(self.data)
            self.changed.emit()

    def choose_what(self, what: str) -> None:
        """Look at another quantity of the dumbbells."""
        if what != self.what:
            self.what = what
            self.changed.emit()

    def choose_near(self, frame: int, y: float, x: float) -> None:
        """Look at what lies nearest to a place in pixels."""
        if self.data is not None:
            self.track = self.data.nearest_track(frame, y, x, self.of_defects)
            self.dumbbell = self.data.nearest_dumbbell(frame, y, x)
            self.changed.emit()

    def choose_event(self, row: int) -> tuple[int, float, float] | None:
        """Look at what an event of the list happened to; its frame and place, None without one."""
        events = None if self.data is None else self.data.events()
        if events is None or not 0 <= row < len(events):
            return None
        event = events.iloc[row]
        if event["dumbbell_id"] >= 0:
            self.dumbbell = int(event["dumbbell_id"])
        elif event["track_id"] >= 0:
            self.of_defects = str(event["who"]).startswith("defect")
            self.track = int(event["track_id"])
        self.changed.emit()
        return int(event["frame"]), float(event["y_px"]), float(event["x_px"])

    def last_dumbbell(self) -> int:
        """Largest id of a dumbbell, -1 without any."""
        if self.data is None or not self.data.has_dumbbells:
            return NONE
        return int(np.max(self.data.followed.dumbbells["dumbbell_id"].to_numpy()))
