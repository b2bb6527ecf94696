"""Dark columns: told by evidence, found, measured as depth, and said."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.errors import ParameterError
from napari_atomlens.runs.plan import make_plan, plan_of
from napari_atomlens.segmentation import judge_contrast

pytestmark = pytest.mark.needs_model
SIDE = 160
H = np.sqrt(3.0)
#: Cell (two vectors), columns in it and their heights; lengths in distances of nearest columns.
LATTICES = {
    "square": ((1, 0), (0, 1), [(0, 0)], [1.0]),
    "close-packed": ((1, 0), (0.5, H / 2), [(0, 0)], [1.0]),
    "honeycomb": ((0, H), (1.5, H / 2), [(0, 0), (1 / 3, 1 / 3)], [1.0, 1.0]),
    "oxide": ((2, 0), (0, 2), [(0, 0), (0.5, 0.5), (0.5, 0), (0, 0.5)], [1.0, 0.75, 0.37, 0.37]),
    "rock salt": ((1, 1), (1, -1), [(0, 0), (0.5, 0.5)], [1.0, 0.5]),
    "dumbbells": ((0, 2.4), (3.4, 0), [(0, 0), (0.3, 0), (0.5, 0.5), (0.8, 0.5)], [1.0] * 4),
}


def columns(kind: str, spacing: float, width: float = 0.21) -> tuple[np.ndarray, np.ndarray]:
    """Places of the columns of a lattice, and the image of the columns, free of noise."""
    a, b, basis, heights = LATTICES[kind]
    cell = spacing * np.array([a, b], float)
    n = np.arange(-60, 61)
    i, j = (v.ravel() for v in np.meshgrid(n, n))
    image, places = np.zeros((SIDE, SIDE)), []
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    y = x = np.arange(SIDE)
    for (u, v), height in zip(basis, heights, strict=True):
        at = np.c_[i + u, j + v] @ cell @ turn.T + 0.3 * spacing
        at = at[np.all((at > -2 * spacing) & (at < SIDE + 2 * spacing), axis=1)]
        s = width * spacing
        gy = np.exp(-0.5 * ((y - at[:, :1]) / s) ** 2)
        gx = np.exp(-0.5 * ((x - at[:, 1:]) / s) ** 2)
        image += height * gy.T @ gx
        places.append(at)
    return np.concatenate(places), image


def dark_image(kind: str, spacing: float, depth: float = 300.0) -> tuple[np.ndarray, np.ndarray]:
    """Counts of dark columns, and where they are."""
    places, image = columns(kind, spacing)
    counts = np.random.default_rng(len(kind)).poisson(depth * np.clip(1.3 - image, 0.02, None))
    return places, counts.astype(np.float32)


def f1(table: pd.DataFrame, places: np.ndarray, spacing: float) -> float:
    """F1 of the atoms away from the border."""
    found = table[["y_px", "x_px"]].to_numpy()

    def inner(points: np.ndarray) -> np.ndarray:
        return np.all((points > 4) & (points < SIDE - 5), axis=1)

    right = cKDTree(places).query(found[inner(found)])[0] < 0.3 * spacing
    seen = cKDTree(found).query(places[inner(places)])[0] < 0.3 * spacing
    return float(2 * right.mean() * seen.mean() / (right.mean() + seen.mean()))


@pytest.mark.parametrize("kind", LATTICES)
def test_dark_columns_are_found_and_said(kind: str) -> None:
    places, image = dark_image(kind, 12.0)
    result = al.analyze(image)
    assert f1(result.atoms, places, 12.0) > 0.98
    assert "dark" in result.messages[0]
    assert result.provenance["contrast"] == "dark columns"


@pytest.mark.parametrize("kind", LATTICES)
def test_bright_columns_stay_bright(kind: str) -> None:
    _, image = columns(kind, 12.0)
    rng = np.random.default_rng(3)
    for depth, width in ((40.0, 0.21), (3000.0, 0.27)):
        _, image = columns(kind, 12.0, width)
        assert not judge_contrast(rng.poisson(depth * (0.3 + image))).dark
    result = al.analyze(rng.poisson(100 * (0.3 + image)))
    assert result.messages == []
    assert result.provenance["contrast"] == "bright columns"


def test_dark_columns_are_measured_as_depths_with_true_errors() -> None:
    places, image = dark_image("close-packed", 12.0)
    atoms = al.analyze(image, spacing_px=12.0).atoms
    distance, which = cKDTree(places).query(atoms[["y_px", "x_px"]].to_numpy())
    good = (distance < 3) & atoms["fit_ok"].to_numpy()
    off = atoms[["y_px", "x_px"]].to_numpy() - places[which]
    z = off[good] / atoms[["y_err_px", "x_err_px"]].to_numpy()[good]
    assert np.sqrt((z**2).mean()) == pytest.approx(1.0, abs=0.12)
    assert atoms["amplitude"].median() == pytest.approx(300, rel=0.03)
    assert atoms["background"].median() == pytest.approx(390, rel=0.02)
    assert atoms["chi2"].median() == pytest.approx(1.0, abs=0.1)


def test_counting_statistics_belong_to_the_counts_and_not_to_their_inverse() -> None:
    _, image = dark_image("close-packed", 12.0)
    seen = al.segment(image, spacing_px=12.0)
    assert seen.dark
    free = al.find_atoms(seen)
    told = al.find_atoms(seen, fit=al.FitParams(noise="poisson", gain=1.0))
    assert (told["y_err_px"] / free["y_err_px"]).median() == pytest.approx(1.0, abs=0.1)
    assert told["chi2"].median() == pytest.approx(1.0, abs=0.1)


def test_a_count_of_zero_is_no_clipped_pixel() -> None:
    places, image = dark_image("close-packed", 12.0, depth=12.0)
    atoms = al.analyze(image, spacing_px=12.0, contrast="dark").atoms
    assert f1(atoms, places, 12.0) > 0.98
    assert atoms["amplitude"].median() == pytest.approx(12, rel=0.08)


def test_contrast_may_be_told() -> None:
    _, image = dark_image("square", 12.0)
    told = al.analyze(image, contrast="dark")
    assert told.provenance["parameters"]["contrast"] == "dark"
    assert told.messages == []  # nothing was decided
    bright = al.analyze(image, contrast="bright")
    assert bright.provenance["contrast"] == "bright columns"
    with pytest.raises(ParameterError, match="contrast"):
        al.segment(image, contrast="grey")  # type: ignore[arg-type]


def test_a_movie_is_decided_once_and_its_plan_can_be_written_down() -> None:
    frames = np.stack([dark_image("square", 12.0)[1]] * 3)
    plan = make_plan(frames)
    assert plan.dark
    assert plan.notes
    again = plan_of(plan.record())
    assert (again.dark, again.notes) == (plan.dark, plan.notes)
    results = list(al.analyze_frames(frames, plan=again))
    assert {len(r.atoms) for r in results} == {len(results[0].atoms)}
    assert results[0].atoms["amplitude"].median() > 200
