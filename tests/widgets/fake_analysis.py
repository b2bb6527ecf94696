"""A small honest analysis in the place of the real one: local maxima, no network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from napari_atomlens import tables
from napari_atomlens.atoms.quality import quality
from napari_atomlens.errors import ImageError
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.runs.frame import IDS_PER_FRAME, FrameResult, add_nm, empty_result
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import Plan
from napari_atomlens.segmentation.zoo import find_model

CLASSES = ("background", "column", "bright column", "contamination")
SPACING = 12


def lattice(n: int = 6, frames: int = 0, seed: int = 0) -> np.ndarray:
    """Square lattice of n x n columns, the first one twice as bright; a movie if frames > 0."""
    size = n * SPACING
    y, x = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for i in range(n):
        for j in range(n):
            place = SPACING * np.array([i, j]) + SPACING // 2
            height = 2.0 if i == j == 0 else 1.0
            image += height * np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / 8)
    if not frames:
        return image.astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 0.01, (frames, size, size))
    return (image + noise).astype(np.float32)


class FakeAnalysis:
    """Stands in for ``analysis.analyze_frames``; remembers how it was called.

    Attributes
    ----------
    frames : list of int
        Frames in the order in which they were computed.
    hold : threading.Event or None
        Where set, every frame after the first waits for it (or for the cancel button).
    """

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.threads: set[int] = set()
        self.params: AnalysisParams | None = None
        self.plan: Plan | None = None
        self.pixel_size: tuple[float, float] | None = None
        self.hold: threading.Event | None = None
        self.ended = threading.Event()

    def __call__(
        self,
        stack: Any,
        params: AnalysisParams,
        *,
        pixel_size_nm: tuple[float, float] | None = None,
        frames: Sequence[int] | None = None,
        technique: str = "",
        plan: Plan | None = None,
        progress: ProgressLike = None,
    ) -> Iterator[FrameResult]:
        self.params, self.pixel_size = params, pixel_size_nm
        self.plan = plan or Plan(params, find_model("universal"), pixel_size_nm=pixel_size_nm)
        self.threads.add(threading.get_ident())
        self.frames.clear()
        self.ended.clear()
        watch = as_progress(progress)
        try:
            for k, f in enumerate(range(stack.shape[0]) if frames is None else frames):
                while k and self.hold is not None and not self.hold.is_set() and not watch.stopped:
                    time.sleep(0.005)
                if watch.stopped:
                    return
                self.frames.append(f)
                result = self.one(np.asarray(stack[f], float), f, params, pixel_size_nm)
                self.plan = self.plan.settled(result.spacing_px, len(result.atoms))
                result.plan, result.model = self.plan, self.plan.model_name
                yield result
        finally:
            self.ended.set()

    @staticmethod
    def one(
        image: np.ndarray, f: int, params: AnalysisParams, size: tuple[float, float] | None
    ) -> FrameResult:
        if not np.isfinite(image).all():
            raise ImageError("The image holds no finite number.")
        if image.max() == image.min():
            return empty_result(
                f, image.shape, CLASSES, "The image is constant: every pixel has the same value."
            )
        smooth = ndi.gaussian_filter(image, 1.5)
        top = (smooth == ndi.maximum_filter(smooth, 7)) & (smooth > 0.3 * smooth.max())
        places = np.argwhere(top).astype(float)
        height = smooth[top]
        bright = height > 1.5 * np.median(height)
        atoms = tables.make(
            "atoms",
            {
                "frame": f, "atom_id": f * IDS_PER_FRAME + np.arange(len(places)),
                "y_px": places[:, 0], "x_px": places[:, 1], "amplitude": height,
                "species": np.where(bright, "bright column", "column"),
                "probability": 0.95, "source": "fit", "fit_ok": True,
            },
            len(places),
        )  # fmt: skip
        add_nm(atoms, size)
        p = np.clip(smooth / smooth.max(), 0, 1)
        maps = np.stack([1 - p, p, 0 * p, 0 * p]).astype(np.float16)
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        ring = 3 * np.c_[np.sin(angle), np.cos(angle)]
        outlines = [place + ring for place in places] if params.contours else []
        contours = tables.make(
            "contours",
            {"frame": f, "atom_id": atoms["atom_id"].to_numpy()[: len(outlines)], "area_px2": 28.0},
            len(outlines),
        )
        spacing = float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))
        return FrameResult(
            f, maps, CLASSES, atoms, contours, outlines,
            np.full(image.shape, 0.02, np.float16), spacing, quality=quality(atoms, image),
        )  # fmt: skip
