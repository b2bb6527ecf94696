"""Strange images are right or carry marks: a small version of ``benchmarks/strange.py``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_atomlens.stm.rows import shows_dimer_rows

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def strange() -> Iterator[SimpleNamespace]:
    """The scripts of the benchmark."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield SimpleNamespace(
            bench=importlib.import_module("strange"),
            kinds=importlib.import_module("strangeness.kinds"),
            judge=importlib.import_module("strangeness.judge"),
            scenes=importlib.import_module("strangeness.scenes"),
        )
    finally:
        sys.path.remove(str(FOLDER))


#: Kind, number of the image: what is wrong may carry marks, but none may be sure and unmarked.
ROWS = [
    ("ordinary", 0), ("light columns", 0), ("dopants", 1), ("edge of a crystal", 2),
    ("blurred", 0), ("NaN holes", 2), ("lines not recorded", 1), ("border bands", 1),
    ("particle in zero background", 0), ("wedge background", 1), ("step background", 1),
    ("amorphous alone", 0), ("amorphous ring", 0), ("pure noise", 2), ("vacuum", 1),
    ("burnt-in scale bar", 0), ("few grey levels", 1), ("flyback", 0), ("torn lines", 1),
    ("blank frames", 1),
]  # fmt: skip
#: Kinds whose columns are all there and whose errors are to be true.
RIGHT = {
    "ordinary", "light columns", "dopants", "edge of a crystal", "NaN holes",
    "lines not recorded", "border bands", "particle in zero background", "wedge background",
    "few grey levels",
}  # fmt: skip


@pytest.mark.needs_model
@pytest.mark.parametrize(("kind", "n"), ROWS)
def test_nothing_is_wrong_in_silence(strange: SimpleNamespace, kind: str, n: int) -> None:
    scene = strange.kinds.KINDS[kind].make(strange.bench.seed_of(kind, n), n)
    tally = strange.bench.measure(scene)
    assert tally.silent <= (1.0 if tally.true else 0.0)
    if not tally.true:
        assert tally.warned
        return
    assert tally.f1 > 0.97
    assert tally.marked_true <= 0.02 * tally.hits
    if kind in RIGHT:
        assert tally.f1 > 0.99
        assert 0.85 < tally.z_rms < 1.2


def test_a_square_lattice_has_no_dimer_rows(strange: SimpleNamespace) -> None:
    """Sharpening makes grey values of both signs, as heights have; it is no H-Si(100) yet."""
    image = strange.kinds.KINDS["sharpened"].make(strange.bench.seed_of("sharpened", 0), 0).image
    assert image.min() < 0
    assert not shows_dimer_rows(image)


def test_an_atom_is_marked_by_what_it_carries_itself(strange: SimpleNamespace) -> None:
    """And a false one, a missed one and an excused one are told apart."""
    import pandas as pd

    true = np.array([[20.0, 20.0], [20.0, 40.0], [40.0, 20.0], [40.0, 40.0]])
    scene = strange.scenes.Scene(
        np.zeros((60, 60)), true[:3], 16.0, optional=true[3:],
    )  # fmt: skip
    atoms = pd.DataFrame({
        "y_px": [20.1, 20.0, 40.0, 30.0, 30.0, 10.0, 10.0],
        "x_px": [20.0, 40.0, 40.0, 30.0, 10.0, 30.0, 20.0],
        "y_err_px": 0.1, "x_err_px": 0.1, "amplitude": 1.0,
        "probability": [0.99, 0.99, 0.99, 0.99, 0.99, 0.8, 0.99],
        "fit_ok": [True, True, True, True, False, True, True],
        "unfamiliar": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9],
    })  # fmt: skip
    tally = strange.judge.judge(scene, atoms, ["A sentence."])
    assert (tally.true, tally.hits, tally.false, tally.unmarked) == (3, 2, 4, 1)
    assert tally.marked_true == 0
    assert tally.warned == 1
    assert max(np.abs(tally.z)) == pytest.approx(1.0)
    assert tally.silent == pytest.approx(100 / 3)


def test_every_kind_makes_an_image_with_what_it_promises(strange: SimpleNamespace) -> None:
    kinds = strange.kinds.KINDS
    assert len(kinds) >= 25
    for name, kind in kinds.items():
        scene = kind.make(strange.bench.seed_of(name, 0), 0)
        assert scene.image.ndim in (2, 3)
        assert scene.spacing > 2
        if len(scene.true):
            assert strange.kinds.valid(scene) > 20, name
