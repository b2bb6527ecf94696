"""A run that is asked to stop does so within a frame, wherever it is."""

from __future__ import annotations

import numpy as np
import pytest

from napari_atomlens.progress import Progress, StoppedError
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.params import AnalysisParams

pytestmark = pytest.mark.needs_model
SPACING = 11.0


def large(side: int = 700) -> np.ndarray:
    """Lattice on more than one tile of the network."""
    y, x = np.mgrid[:side, :side] * 2 * np.pi / SPACING
    image = np.exp(3 * (np.cos(y) + np.cos(x + 0.2 * y) - 2))
    return np.random.default_rng(0).poisson(200 * image + 40).astype(np.float32)


class Asked:
    """Is asked whether to stop, and says so from some time on."""

    def __init__(self, patience: int = 10**9) -> None:
        self.times, self.patience = 0, patience

    def __call__(self) -> bool:
        self.times += 1
        return self.times > self.patience


def test_an_image_is_given_up_wherever_the_run_is() -> None:
    image, size = large(), (0.0131, 0.0131)  # near a lattice that a model is for: all is looked at
    whole = Asked()
    (result,) = loop.analyze_frames(image, pixel_size_nm=size, progress=Progress(stop=whole))
    assert len(result.atoms) > 1500
    # the choice of the model, four tiles of the network, each step of the fit, the outlines
    assert whole.times > 20
    for patience in range(0, whole.times - 1, 3):
        asked = Asked(patience)
        run = loop.analyze_frames(image, pixel_size_nm=size, progress=Progress(stop=asked))
        assert list(run) == [] and asked.times <= patience + 5, patience  # a pool of four


def test_frames_that_are_done_are_kept() -> None:
    movie = np.stack([large(200)] * 4)
    got = []
    stop = [False]
    for result in loop.analyze_frames(
        movie, AnalysisParams(model="universal"), progress=Progress(stop=lambda: stop[0])
    ):
        got.append(result.frame)
        stop[0] = len(got) == 2
    assert got == [0, 1]


def test_who_asks_for_one_frame_is_told() -> None:
    from napari_atomlens import segment

    with pytest.raises(StoppedError):
        segment(large(200), progress=Progress(stop=lambda: True))
