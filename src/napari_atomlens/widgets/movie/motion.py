"""The tab of tracks: how far one has gone, and how far all of them go."""

from __future__ import annotations

import numpy as np

from napari_atomlens.session.movie import MovieData
from napari_atomlens.widgets.base import fields
from napari_atomlens.widgets.base.forms import rows
from napari_atomlens.widgets.base.layout import sentence
from napari_atomlens.widgets.movie.plots import CurvePlot, TimePlot
from napari_atomlens.widgets.movie.tabs import Tab

ATOM_TRACKS, DEFECT_TRACKS = "all atoms", "defects"

#: Below this much (nm²) the mean squared displacement is told in pm²; how many are one nm².
SMALL_NM2, PM2 = 0.01, 1e6


class TracksTab(Tab):
    """Displacement of one track; mean squared displacement and diffusion of all."""

    TITLE = "Tracks"

    def build(self) -> None:
        """Whose tracks, two plots and a sentence."""
        self._of = fields.choice(
            "of", "Tracks of", [ATOM_TRACKS],
            tip="Whose tracks: all atoms, or the point defects that were found",
        )  # fmt: skip
        self._of.changed.connect(self._on_of)
        self.selection.changed.connect(self._on_selected)
        self.plot = TimePlot("moved")
        self.plot.setObjectName("track")
        self.plot.clicked.connect(self.selection.frame_wanted)
        self.msd = CurvePlot("msd", "lag")
        self.plots = (self.plot, self.msd)
        self._text = sentence("diffusion")
        self.column.addWidget(rows(self._of).native)
        self.column.addWidget(self.plot, 1)
        self.column.addWidget(self.msd, 1)
        self.column.addWidget(self._text)

    def _on_of(self, text: str) -> None:
        self.selection.choose_of(text == DEFECT_TRACKS)

    def _on_selected(self) -> None:
        """Offer defects where there are some, whether or not the page is seen."""
        data = self.selection.data
        offered = [ATOM_TRACKS]
        if data is not None and data.defects is not None:
            offered.append(DEFECT_TRACKS)
        chosen = DEFECT_TRACKS if self.selection.of_defects else ATOM_TRACKS
        fields.set_choices(self._of, offered, chosen)

    def draw(self, data: MovieData) -> None:
        """Draw the track, and all of them."""
        of_defects, who = self.selection.of_defects, self.selection.track
        noun, unit = "defect" if of_defects else "atom", data.map_unit("length")
        frames, off = data.displacement(who, of_defects)
        unknown = np.full(len(off), np.nan)
        self.plot.set_label(0, f"moved ({unit})", f"frame, {noun} {who}")
        self.plot.show_series(0, frames, off, unknown, np.zeros(0))
        motion = data.motion(of_defects)
        if motion is None:
            self.clear()
            return
        self._text.setText(motion.text)
        x, y, bars = (motion.msd[c].to_numpy(float) for c in ("time", "msd", "msd_err"))
        small = motion.area == "nm²" and bool(np.nanmax(y, initial=0.0) < SMALL_NM2)
        factor, area = (PM2, "pm²") if small else (1.0, motion.area)
        self.msd.set_labels(f"msd ({area})", f"lag ({motion.time})")
        y, bars = factor * y, factor * bars
        fitted = None if motion.fitted is None else (x, factor * motion.fitted)
        self.msd.show_points(x, y, bars, fitted)

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self.msd.clear()
        self._text.clear()
