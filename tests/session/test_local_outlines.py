"""After an edit only what it can have changed is outlined anew, and it is as if all were."""

from __future__ import annotations

import numpy as np
import pytest

from napari_atomlens import tables
from napari_atomlens.contours import tracing
from napari_atomlens.session import outlines as module
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.outlines import Outlines

SPACING, SIDE = 9.0, 14


def scene(seed: int) -> tuple[Corrections, np.ndarray]:
    rng = np.random.default_rng(seed)
    places = np.argwhere(np.ones((SIDE, SIDE))) * SPACING + 8 + rng.normal(0, 0.6, (SIDE**2, 2))
    grid = np.mgrid[: int(SIDE * SPACING + 12), : int(SIDE * SPACING + 12)]
    probability = np.zeros(grid.shape[1:])
    for y, x in places:
        probability += np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / 9)
    atoms = tables.make(
        "atoms", {"frame": 0, "atom_id": np.arange(len(places)), "y_px": places[:, 0],
                  "x_px": places[:, 1], "species": "column"}, len(places),
    )  # fmt: skip
    return Corrections(atoms, spacing_px=SPACING), np.clip(probability, 0, 1).astype(np.float16)


def edit(c: Corrections, rng: np.random.Generator) -> None:
    ids = c.columns(0).ids
    atom = int(rng.choice(ids))
    place = c.columns(0).positions[c.columns(0).index(atom)]
    which = rng.integers(5)
    if which == 0:
        actions.delete(c, [atom])
    elif which == 1:
        actions.add(c, 0, *(place + rng.uniform(-6, 6, 2)), "column")
    elif which == 2:
        actions.move(c, [atom], [place + rng.uniform(-4, 4, 2)])
    elif which == 3:
        actions.set_species(c, [atom], "bright column")
    elif c.undo() is None:
        actions.delete(c, [atom])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_some_anew_is_as_all_anew(seed: int) -> None:
    c, probability = scene(seed)
    rng = np.random.default_rng(seed)
    local = Outlines()
    local.redraw(0, c, probability, SPACING)
    for _ in range(25):
        edit(c, rng)
        local.redraw(0, c, probability, SPACING)
        whole = Outlines()
        whole.redraw(0, c, probability, SPACING)
        mine, all_of_them = local.by_atom(0), whole.by_atom(0)
        assert list(mine) == list(all_of_them)
        # the typical distance, which limits outlines where there is no neighbour, moves a little
        off = {i: _off(mine[i], all_of_them[i]) for i in mine}
        assert max(off.values()) < 0.03 * SPACING, off
        assert sum(v > 1e-3 for v in off.values()) < 0.03 * len(off), off
        species = dict(zip(local[0][0]["atom_id"], local[0][0]["species"], strict=True))
        assert species == dict(zip(c.table(0)["atom_id"], c.table(0)["species"], strict=True))


def _off(one: np.ndarray, other: np.ndarray) -> float:
    """Largest distance of a vertex of one outline from those of another."""
    if one.shape == other.shape:
        return float(np.abs(one - other).max())
    gap = np.linalg.norm(one[:, None] - other[None], axis=2)
    return float(max(gap.min(1).max(), gap.min(0).max()))


def test_only_the_neighbourhood_of_an_edit_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    c, probability = scene(4)
    local = Outlines()
    local.redraw(0, c, probability, SPACING)
    before = local.by_atom(0)
    traced: list[int] = []
    real = tracing.trace

    def counted(p: np.ndarray, centres: np.ndarray, *args: object) -> object:
        found = real(p, centres, *args)  # type: ignore[arg-type]
        traced.append(len(found[0]))
        return found

    monkeypatch.setattr(tracing, "trace", counted)
    actions.delete(c, [100])
    local.redraw(0, c, probability, SPACING)
    assert traced and 4 < traced[0] < 40 and 100 not in local.by_atom(0)
    same = [i for i, o in local.by_atom(0).items() if o is before[i]]
    assert len(same) == SIDE**2 - 1 - traced[0], "the others are the very same"
    assert module.REACH * SPACING > 2 * tracing.FARTHEST * SPACING
