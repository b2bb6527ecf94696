"""Adapting a model of single atoms: what it starts from, its scale, honest probabilities."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.training import alone
from napari_atomlens.training.labelled import Labelled, label_frame


def frame(places: np.ndarray, side: int = 200) -> Labelled:
    y, x = np.indices((side, side))
    clean = np.full((side, side), 4.0)
    for at in places:
        clean += 14 * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / 3.2**2)
    image = np.random.default_rng(0).poisson(clean).astype(np.float32)
    return label_frame(image, pd.DataFrame({"y_px": places[:, 0], "x_px": places[:, 1]}))


def anywhere() -> np.ndarray:
    return np.random.default_rng(1).uniform(10, 190, (40, 2))


def test_atoms_in_no_order_start_from_the_model_of_single_atoms() -> None:
    assert alone.model_for("auto", [frame(anywhere())]).name == "single-atoms"
    grid = np.mgrid[12:190:14, 12:190:14].reshape(2, -1).T.astype(float)
    assert alone.model_for("auto", [frame(grid)]).name == "universal"
    assert alone.model_for("tmd", [frame(anywhere())]).name == "tmd"


def test_scale_is_the_width_and_not_the_distance() -> None:
    found = alone.at_their_width(frame(anywhere()))
    assert found.spacing_px / 3.5 == pytest.approx(3.2, rel=0.2)
    assert len(found.radius) == len(found.positions)


def test_probability_is_shifted_to_what_the_user_marks() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.05, 0.95, 2000)
    logit = np.log(p / (1 - p))
    strict = rng.random(2000) < 1 / (1 + np.exp(-(logit - 1.5)))
    temperature, shift = alone.honest(np.c_[p, strict])
    assert temperature == pytest.approx(1, abs=0.15) and shift == pytest.approx(-1.5, abs=0.3)
    assert alone.honest(np.c_[p, strict][:10]) == (1.0, 0.0)
    changed = alone.scaled({"height": 2.0, "offset": 1.0}, 2.0, -1.5)
    assert changed == {"height": 1.0, "offset": -1.0}


def test_adapting_gives_a_model_of_single_atoms_that_still_finds_them(tmp_path: Path) -> None:
    given = frame(anywhere())
    learn = al.AdaptParams(name="mine", steps=1, batch=1, replay=1, minutes=0.2)
    adapted = al.adapt([given], learn)
    assert adapted.facts["adapted"]["from"] == "single-atoms"
    assert adapted.before > 0.5 and adapted.known_after > 0
    found = al.analyze(given.image, model=str(adapted.path), contours=False).atoms
    assert len(found) > 20
