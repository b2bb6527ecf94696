"""Four numbers that say how good the atoms of a frame are, each against a known truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.atoms.quality import Quality, gaps, mean_quality, quality
from napari_atomlens.runs.provenance import quality_of

sys.path.insert(0, str(Path(__file__).parent))
from drawn_columns import drawn, square

SHAPE = (220, 220)
SPACING = 11.0


def table(places: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(places, columns=["y_px", "x_px"])


@pytest.fixture
def lattice() -> tuple[np.ndarray, np.ndarray]:
    """Columns of a square lattice, none at the border, and their image."""
    places = square(SHAPE, SPACING)
    places = places[((places > 6) & (places < 213)).all(1)]
    return places, drawn(SHAPE, places, 100.0, 2.6)


def inner(places: np.ndarray, n: int) -> np.ndarray:
    """Numbers of some columns with others on all sides, none beside another of them."""
    middle = np.flatnonzero(((places > 30) & (places < 190)).all(1))
    chosen: list[int] = []
    for k in middle:
        if all(np.hypot(*(places[k] - places[c])) > 2.5 * SPACING for c in chosen):
            chosen.append(int(k))
    return np.array(chosen[:n])


def test_what_is_right_has_none_of_the_four(lattice: tuple[np.ndarray, np.ndarray]) -> None:
    places, image = lattice
    assert quality(table(places), image) == Quality(0.0, 0.0, 0.0, 0.0)
    # dark columns, and one pixel size that is so fine that pixels are averaged
    assert quality(table(places), -image, dark=True) == Quality(0.0, 0.0, 0.0, 0.0)
    fine = drawn((660, 660), 3 * places + 1, 100.0, 7.8)
    assert quality(table(3 * places + 1), fine) == Quality(0.0, 0.0, 0.0, 0.0)


def test_short_pairs_are_those_nearer_than_columns_are(
    lattice: tuple[np.ndarray, np.ndarray],
) -> None:
    places, image = lattice
    twice = places[inner(places, 9)] + [0, 4.0]
    found = quality(table(np.r_[places, twice]), image)
    assert found is not None
    assert found.short_pairs == pytest.approx(18 / (len(places) + 9))
    assert found.gaps == 0


def test_gaps_are_empty_sites_with_atoms_on_all_sides(
    lattice: tuple[np.ndarray, np.ndarray],
) -> None:
    places, _ = lattice
    gone = inner(places, 12)
    left = np.delete(places, gone, axis=0)
    image = drawn(SHAPE, left, 100.0, 2.6)
    found = quality(table(left), image)
    assert found is not None
    assert found.gaps == pytest.approx(12 / len(places))
    assert (found.short_pairs, found.off_maximum, found.off_peak) == (0, 0, 0)
    near = np.hypot(*(gaps(left, SPACING)[:, None] - places[gone][None]).transpose(2, 0, 1))
    assert near.min(0).max() < 0.5
    # where nothing was recorded nothing is missing
    there = np.ones(SHAPE, bool)
    for y, x in places[gone[:5]].astype(int):
        there[y - 3 : y + 4, x - 3 : x + 4] = False
    found = quality(table(left), image, recorded=there)
    assert found is not None and found.gaps == pytest.approx(7 / (len(left) + 7))


def test_rings_of_a_honeycomb_and_the_edge_of_a_crystal_are_no_gaps() -> None:
    _, scene = al.simulate("honeycomb", (200, 200), 11.0)
    places = np.c_[scene.y, scene.x]
    assert len(places) > 200 and not len(gaps(places, 11.0))
    assert not len(gaps(places[places[:, 0] + 0.4 * places[:, 1] < 150], 11.0))
    assert len(gaps(np.delete(places, 100, axis=0), 11.0)) <= 1
    middle = np.hypot(*(places - 100).T).argmin()
    (gap,) = gaps(np.delete(places, middle, axis=0), 11.0)
    assert gap == pytest.approx(places[middle], abs=1.0)


def test_atoms_between_columns_are_off_a_maximum(
    lattice: tuple[np.ndarray, np.ndarray],
) -> None:
    places, image = lattice
    moved = places.copy()
    moved[inner(places, 8)] += [4.0, 0]
    found = quality(table(moved), image)
    assert found is not None
    judged = ((places > 6) & (places < 213)).all(1).sum()
    assert found.off_maximum == pytest.approx(8 / judged, rel=0.02)
    assert found.off_peak == pytest.approx(8 / judged, rel=0.02)


def test_maxima_without_an_atom_are_counted(lattice: tuple[np.ndarray, np.ndarray]) -> None:
    """At the edge of a crystal too, where no gap tells of them; weak ones are none."""
    places, image = lattice
    kept = places[places[:, 1] < 170]
    found = quality(table(kept), image)
    assert found is not None
    assert found.off_peak == pytest.approx(1 - len(kept) / len(places), rel=0.02)
    assert found.gaps == 0
    weak = image - drawn(SHAPE, places[places[:, 1] >= 170], 75.0, 2.6)
    found = quality(table(kept), weak)
    assert found is not None and found.off_peak == 0


def test_few_atoms_and_atoms_that_are_left_out_say_nothing(
    lattice: tuple[np.ndarray, np.ndarray],
) -> None:
    places, image = lattice
    assert quality(table(places[:5]), image) is None
    assert quality(table(places[:0]), image) is None
    odd = table(np.r_[places, places + 4.0]).assign(
        unfamiliar=np.repeat([0.0, 0.9], len(places)), edited=False
    )
    assert quality(odd, image) == Quality(0.0, 0.0, 0.0, 0.0)


def test_the_mean_over_frames_and_the_line() -> None:
    found = mean_quality([Quality(0.02, 0.0, 0.1, 0.3), None, Quality(0.0, 0.01, 0.1, 0.1)])
    assert found is not None and mean_quality([None]) is None
    assert found.sentence() == (
        "Quality: short pairs 1.0 %, gaps in the lattice 0.5 %, atoms off a maximum 10.0 %, "
        "maxima without an atom 20.0 %."
    )


@pytest.mark.needs_model
def test_quality_is_in_provenance_and_in_what_was_saved(tmp_path: Path) -> None:
    image, scene = al.simulate("hexagonal", (128, 128), 11.0, counts=2000, seed=4)
    places = np.c_[scene.y, scene.x]
    middle = np.hypot(*(places - 64).T).argmin()
    with_gap = image - 0.97 * drawn(image.shape, places[[middle]], 1.0, 3.0) * image.max()
    result = al.analyze(np.stack([image, with_gap]), spacing_px=11.0)
    one, other = (result.provenance["quality"][f] for f in "01")
    assert one["gaps"] == 0 and 0 < other["gaps"] < 0.03
    back = al.load(result.save(tmp_path / "x.atomlens"))
    assert back.provenance["quality"] == result.provenance["quality"]
    mean = quality_of(back.provenance)
    assert mean is not None and mean.gaps == pytest.approx(other["gaps"] / 2)
    for done in al.analyze_movie(np.stack([image, with_gap]), tmp_path / "m", spacing_px=11.0):
        assert done is not None
    grown = al.load(tmp_path / "m").provenance["quality"]
    assert set(grown) == {"0", "1"} and grown["1"]["gaps"] == pytest.approx(other["gaps"])
