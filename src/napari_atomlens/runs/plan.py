"""The plan of a run: model, scale, window, technique, decided once and before the loop.

What may differ from frame to frame is a rule in the plan, which :meth:`Plan.for_frame` answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_atomlens import segmentation
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.files import Json
from napari_atomlens.image import Stack
from napari_atomlens.params import as_dict
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.segmentation.zoo import ModelInfo, find_model
from napari_atomlens.tracking.rolling import choose_window, rolling_mean

#: A frame with so many atoms shows the scale of its movie.
ENOUGH = 12
#: Frames of a movie that are looked at until one shows a lattice.
LOOKED_AT = 6


@dataclass(frozen=True)
class FramePlan:
    """What is to be done with one frame.

    Attributes
    ----------
    model : ModelInfo
    spacing_px : float
        Distance between nearest columns; 0 finds it in the frame.
    window : int
        Frames that are summed to find the atoms.
    dark : bool
        Columns are darker than what lies between them.
    """

    model: ModelInfo
    spacing_px: float
    window: int
    dark: bool = False


@dataclass(frozen=True)
class Plan:
    """How the frames of a source are analysed.

    Attributes
    ----------
    params : AnalysisParams
        As they were given.
    model : ModelInfo
    reason : str
        Why the model was chosen, "" where it was named.
    spacing_px : float
        Distance between nearest columns in all frames; 0 until it is given or settled.
    guess_px : float
        What the choice of the model took it for; used until it is settled.
    window : int
        Frames that are summed to find atoms.
    technique : str
        "STM" or "STEM" where it is known, else "".
    pixel_size_nm : tuple of float or None
        (y, x).
    n_frames : int
        Frames of the source.
    seconds : float
        Time that planning took.
    dark : bool
        Columns are darker than what lies between them.
    stretch : tuple of float
        Square pixels that a pixel is spread over, (y, x), where pixels are not square.
    notes : tuple of str
        Sentences for the user about what was decided.
    """

    params: AnalysisParams
    model: ModelInfo
    reason: str = ""
    spacing_px: float = 0.0
    guess_px: float = 0.0
    window: int = 1
    technique: str = ""
    pixel_size_nm: tuple[float, float] | None = None
    n_frames: int = 1
    seconds: float = 0.0
    dark: bool = False
    stretch: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        """The model by name, or by the path that it was named by."""
        return self.model.name if self.params.model == "auto" else self.params.model

    def for_frame(self, frame: int) -> FramePlan:
        """What is to be done with one frame."""
        return FramePlan(self.model, self.spacing_px or self.guess_px, self.window, self.dark)

    def settled(self, spacing_px: float, n_atoms: int) -> Plan:
        """Return the plan after a frame: the first that shows a lattice settles the scale.

        Parameters
        ----------
        spacing_px : float
            Distance between the columns that were found in the frame.
        n_atoms : int
            How many were found.
        """
        if self.spacing_px or n_atoms < ENOUGH:
            return self
        return replace(self, spacing_px=float(spacing_px))

    def record(self) -> dict[str, object]:
        """What a later run, or another process, needs to go on in the same way."""
        return {
            "parameters": as_dict(self.params), "model": self.model_name, "reason": self.reason,
            "spacing_px": self.spacing_px, "guess_px": self.guess_px, "window": self.window,
            "technique": self.technique, "pixel_size_nm": self.pixel_size_nm,
            "n_frames": self.n_frames, "dark": self.dark, "stretch": self.stretch,
            "notes": list(self.notes),
        }  # fmt: skip


def plan_of(record: Json) -> Plan:
    """Make the plan of a record (:meth:`Plan.record`) again."""
    size = record["pixel_size_nm"]
    return Plan(
        AnalysisParams(**record["parameters"]), find_model(record["model"]), record["reason"],
        float(record["spacing_px"]), float(record["guess_px"]), int(record["window"]),
        record["technique"], None if size is None else (float(size[0]), float(size[1])),
        int(record["n_frames"]), dark=bool(record["dark"]),
        stretch=(float(record["stretch"][0]), float(record["stretch"][1])),
        notes=tuple(record["notes"]),
    )  # fmt: skip


def make_plan(
    movie: Stack,
    params: AnalysisParams = AnalysisParams(),
    *,
    pixel_size_nm: tuple[float, float] | None = None,
    technique: str = "",
    frames: Sequence[int] | None = None,
    progress: ProgressLike = None,
) -> Plan:
    """Decide how a movie is analysed.

    Parameters
    ----------
    movie : array-like, shape (T, H, W)
        Some of its frames are looked at where the model or the window is to be chosen.
    params : AnalysisParams
    pixel_size_nm : tuple of float, optional
        (y, x).
    technique : str
        "STM" or "STEM" where it is known.
    frames : sequence of int, optional
        Frames that will be analysed; all by default.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    Plan

    Raises
    ------
    ModelError, CalibrationError
        If the model or the spacing cannot be used.
    StoppedError
        If it is asked to stop.
    """
    start = time.perf_counter()
    order = range(movie.shape[0]) if frames is None else frames
    watch, notes = as_progress(progress), list[str]()
    stretch = _stretch(movie, order, pixel_size_nm, notes)
    movie = segmentation.squared(movie, stretch)
    model, reason, guess = find_model(params.model), "", 0.0
    spacing = check_spacing(params.spacing_px, tuple(movie.shape[1:3]))
    dark = params.contrast == "dark"
    if params.contrast == "auto" and model.knows_bright and not model.without_lattice:
        dark, sentence, guess = _contrast(movie, order, params.window or 1, spacing, watch)
        notes += [sentence] if sentence else []
    window = params.window or _window_of(movie, model, spacing, dark=dark)
    if params.model == "auto" and dark:
        reason = "Model universal: those of one material know bright columns."
    elif params.model == "auto":
        model, reason, near = _choose(
            movie, order, window, pixel_size_nm, (spacing, guess), technique, watch
        )
        guess = near if model.without_lattice else near or guess
    guess = guess if model.name == "universal" or params.model == "auto" else 0.0
    return Plan(
        params, model, reason, spacing, guess, window, technique, pixel_size_nm,
        int(movie.shape[0]), time.perf_counter() - start, dark, stretch, tuple(notes),
    )  # fmt: skip


def _stretch(
    movie: Stack, order: Sequence[int], size: tuple[float, float] | None, notes: list[str]
) -> segmentation.Stretch:
    """Square pixels that each pixel becomes, by its size or by what the first frame shows."""
    if size is not None or not order:
        return segmentation.stretch_of(size)
    frame = np.asarray(movie[order[0]])
    stretch = segmentation.seeming_stretch(frame) if frame.ndim == 2 else (1.0, 1.0)
    if stretch != (1.0, 1.0):
        higher = "higher than wide" if stretch[0] > 1 else "wider than high"
        notes.append(
            f"The pixels of this image seem not to be square (1:{max(stretch):.1f}, {higher}): its "
            "columns and its lattice are drawn out alike. It is looked at on square pixels; "
            "give the pixel size along y and x, which nothing here can tell."
        )
    return stretch


def _looked_at(movie: Stack, order: Sequence[int], window: int) -> Iterator[np.ndarray]:
    """First frames of a movie, each as it will be looked at."""
    for f in order[:LOOKED_AT]:
        frame = np.asarray(movie[f])
        summed = window > 1 and movie.shape[0] > 1 and frame.ndim == 2
        yield rolling_mean(movie, f, window) if summed else frame


def _contrast(
    movie: Stack, order: Sequence[int], window: int, spacing: float, watch: Progress
) -> tuple[bool, str, float]:
    """Whether columns are dark, by the first frame with a lattice; a sentence; the spacing."""
    for frame in _looked_at(movie, order, window):
        try:
            seen = segmentation.judge_contrast(frame, spacing_px=spacing, progress=watch)
        except (ImageError, CalibrationError):  # told by the analysis of this frame
            continue
        if seen.dark:
            return True, (
                "The columns of this image are dark: it is analysed as dark columns, which explain "
                f"{seen.dark_explains:.0%} of it (bright ones {seen.bright_explains:.0%})."
            ), 0.0  # fmt: skip
        if seen.spacing_px:
            return False, "", seen.spacing_px
    return False, "", 0.0


def _choose(
    movie: Stack,
    order: Sequence[int],
    window: int,
    size: tuple[float, float] | None,
    spacing: tuple[float, float],
    technique: str,
    watch: Progress,
) -> tuple[ModelInfo, str, float]:
    """Choose the model by the first frame that shows a lattice: the model, why, the spacing.

    `spacing` is what was given, and what another look guessed. One model for all frames: their
    classes are those of one another.
    """
    if size is not None and segmentation.stretch_of(size) != (1.0, 1.0):
        size = min(size), min(size)  # of the square pixels that are looked at
    best = find_model("universal"), "Model universal: no frame shows a lattice.", 0.0
    alone: segmentation.Choice | None = None
    for frame in _looked_at(movie, order, window):
        try:
            made = segmentation.choose_model(
                frame, size, spacing_px=spacing[0], guess_px=spacing[1], technique=technique,
                progress=watch,
            )  # fmt: skip
        except ImageError:  # told by the analysis of this frame
            continue
        if made.info.without_lattice:  # a later frame may show one
            alone = alone or made
            continue
        best = made.info, made.reason, made.spacing_px
        if made.spacing_px or size is None:
            return best
    return best if alone is None else (alone.info, alone.reason, alone.spacing_px)


def _window_of(movie: Stack, model: ModelInfo, spacing_px: float, *, dark: bool) -> int:
    """Frames that must be summed until the model is no surer with more of them."""
    if movie.shape[0] < 3 or movie.ndim != 3:
        return 1

    def certainty(image: np.ndarray) -> float:
        try:
            seen = segmentation.predict_classes(image, model, spacing_px, dark=dark)
        except (ImageError, CalibrationError):
            return 0.0
        atoms = find_atoms(seen, refine="off", calibration=model.calibration.get("atoms"))
        # right ones less wrong ones, as the model expects them
        return float((2 * atoms["probability"] - 1).sum())

    return choose_window(movie, certainty)
