"""Single edits: what they do, what they refuse, what a new run of the model makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest_edits import SPACING, machine_atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_atomlens import tables
from napari_atomlens.errors import ImageError, ParameterError, TableError
from napari_atomlens.points import inside_polygon
from napari_atomlens.session.edits import Corrections, Derived, Journal, actions
from napari_atomlens.session.edits.doubt import doubt, next_doubtful
from napari_atomlens.session.edits.place import halves, measure, nearest_peak, snap
from napari_atomlens.simulation import simulate


def square(shift: float = 0.0, drop: tuple[int, ...] = (), first: int = 0) -> pd.DataFrame:
    """Nine atoms in frame 0; those of `drop` are not found, the others get other ids."""
    places = SPACING * np.argwhere(np.ones((3, 3))) + 5.0 + shift
    kept = np.delete(places, list(drop), axis=0)
    n = len(kept)
    return tables.make(
        "atoms",
        {"frame": 0, "atom_id": first + np.arange(n), "y_px": kept[:, 0], "x_px": kept[:, 1],
         "species": "column", "probability": 0.9, "source": "fit", "fit_ok": True},
        n,
    )  # fmt: skip


def at(c: Corrections, y: float, x: float) -> pd.DataFrame:
    """Atoms within two pixels of a place."""
    t = c.table(0)
    return t[np.hypot(t["y_px"] - y, t["x_px"] - x) < 2]


# ------------------------------------------------------------------------- a new run


def test_a_deleted_atom_does_not_come_back() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.delete(c, [4])
    # the ids of a new run have nothing to do with those of the old one
    assert c.rerun(square(0.4, drop=(0,)), [0]) == []
    assert len(c.table(0)) == 7 and at(c, 15, 15).empty
    c.undo()
    assert len(at(c, 15, 15)) == 1 and at(c, 15, 15)["y_px"].iloc[0] == 15.4
    assert c.atoms()["atom_id"].is_unique


def test_a_moved_atom_stays_and_the_models_one_gives_way() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.move(c, [4], [(17, 17)])
    c.rerun(square(0.3), [0])
    assert len(c.table(0)) == 9 and at(c, 17, 17)["source"].iloc[0] == "user"
    c.undo()
    pd.testing.assert_frame_equal(c.table(0), c.machine())


def test_an_atom_moved_along_one_axis_stays_on_the_other_too() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.move(c, [4], [(18, 15)])
    c.rerun(square(0.3), [0])
    assert c.rows([4])[0][2:4] == (18.0, 15.0)


@pytest.mark.parametrize("action", ["add", "move", "split", "merge"])
def test_an_atom_carries_nothing_that_was_measured_on_another(action: str) -> None:
    extra = {"aspect": 1.2, "exx": 0.01, "anomaly": True, "anomaly_reason": "stretched",
             "chi2": 1.0, "sublattice": 1, "site_y_px": 5.0, "seen_y_px": 5.0}  # fmt: skip
    c = Corrections(square().assign(**extra), spacing_px=SPACING)
    change = {
        "add": lambda: actions.add(c, 0, 30.0, 31.0, "Si"),
        "move": lambda: actions.move(c, [4], [(16.0, 17.0)]),
        "split": lambda: actions.split(c, 4, [(14.0, 15.0), (16.0, 15.0)]),
        "merge": lambda: actions.merge(c, [3, 4]),
    }[action]()
    # a later run brings columns of its own: they are of the atoms that it has found
    c.rerun(square(0.1).assign(**extra, tilt=3.0), [0])
    ids = {int(c.value(r, "atom_id")) for r in change.rows}
    table = c.table(0)
    mine = table[table["atom_id"].isin(ids)]
    assert len(mine) == len(ids) and mine["edited"].all() and not mine["fit_ok"].any()
    known = [n for n in table if n not in actions.KEPT and n != "fit_ok"]
    assert {"tilt", "aspect", "exx", "anomaly", "chi2", "seen_y_px", "probability"} <= set(known)
    for name in known:
        unknown = mine[name].isna() | mine[name].isin([-1, ""])
        assert unknown.all(), (name, mine[name].tolist())


def test_what_a_fit_has_measured_on_a_moved_atom_stays() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    fitted = {"amplitude": 2.0, "fit_ok": True, "chi2": 1.1}
    actions.move(c, [4], [(16.0, 17.0)], measured=[fitted])
    c.rerun(square(0.2), [0])
    row = c.table(0).set_index("atom_id").loc[4]
    assert row["amplitude"] == 2.0 and row["fit_ok"] and row["chi2"] == 1.1


def test_another_species_is_compared_with_nothing_yet() -> None:
    extra = {"aspect": 1.2, "anomaly_score": 35.0}
    c = Corrections(square().assign(**extra), spacing_px=SPACING)
    actions.set_species(c, [4], "Si")
    row = c.table(0).set_index("atom_id").loc[4]
    assert row["aspect"] == 1.2 and row["probability"] == 0.9 and np.isnan(row["anomaly_score"])
    c.undo()
    assert (c.table(0)["anomaly_score"] == 35).all()


def test_a_species_is_given_again_to_the_new_measurement() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.set_species(c, [4], "Si")
    c.rerun(square(0.3, drop=(1,)), [0])
    row = at(c, 15, 15).iloc[0]
    assert row["species"] == "Si" and row["y_px"] == 15.3 and row["edited"]


def test_an_atom_that_the_model_finds_now_is_the_users() -> None:
    c = Corrections(square(drop=(4,)), spacing_px=SPACING)
    actions.add(c, 0, 15.2, 14.8, "Si")
    c.rerun(square(), [0])
    assert len(c.table(0)) == 9
    assert at(c, 15, 15)["species"].tolist() == ["Si"] and at(c, 15, 15)["y_px"].iloc[0] == 15.2
    c.undo()
    assert at(c, 15, 15)["species"].tolist() == ["column"]


def test_what_the_model_no_longer_finds_is_a_conflict_and_stays() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.set_species(c, [4], "Si")
    actions.delete(c, [0])
    actions.merge(c, [1, 2])
    conflicts = c.rerun(square(drop=(0, 1, 4)), [0])
    assert [x.edit for x in conflicts] == [0, 2]
    assert "no longer finds" in conflicts[0].sentence and conflicts == c.conflicts
    assert len(at(c, 15, 15)) == 1
    c.rerun(square(), [0])
    assert c.conflicts == []
    assert len(c.table(0)) == 7


def test_the_id_of_what_is_lost_stays_its_own() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.delete(c, [4])
    c.rerun(square(drop=(0, 4)), [0])  # another atom comes with the id 4
    other = at(c, 25, 5)["atom_id"].iloc[0]
    actions.delete(c, [int(other)])
    c.rerun(square(), [0])
    assert at(c, 15, 15).empty and at(c, 25, 5).empty and len(c.table(0)) == 7
    c.undo()
    c.undo()
    pd.testing.assert_frame_equal(c.atoms(), c.machine())
    assert len(c.table(0)) == 9


def test_two_atoms_that_the_user_set_close_together_both_stay() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.add(c, 0, 15, 18)  # within half a spacing of an atom of the model
    c.rerun(square(0.1), [0])
    assert len(c.table(0)) == 10


def test_what_was_undone_can_be_done_again_after_a_run() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.delete(c, [4])
    actions.set_species(c, [8], "Si")
    c.undo()
    c.undo()
    c.rerun(square(0.2, drop=(0, 1)), [0])
    c.redo()
    assert at(c, 15, 15).empty and len(c.table(0)) == 6
    c.redo()
    assert at(c, 25, 25)["species"].tolist() == ["Si"]


def test_a_region_holds_in_frames_that_come_later() -> None:
    c = Corrections(machine_atoms(1), spacing_px=SPACING)
    corners = [(-5, -5), (-5, 20), (20, 20), (20, -5)]
    actions.exclude(c, corners)
    later = machine_atoms(3, seed=4)
    c.rerun(later, [0, 1, 2])
    atoms = c.atoms()
    assert not ((atoms["y_px"] < 20) & (atoms["x_px"] < 20)).any()
    c.undo()
    pd.testing.assert_frame_equal(c.atoms(), c.machine())
    actions.exclude(c, corners, 1)
    assert c.regions(0) == [] and len(c.regions(1)) == 1
    assert len(c.table(0)) == (later["frame"] == 0).sum()


def test_other_frames_stay() -> None:
    c = Corrections(machine_atoms(3), spacing_px=SPACING)
    actions.delete(c, [int(tables.IDS_PER_FRAME)])
    before = c.table(1)
    c.rerun(machine_atoms(3, seed=9).query("frame == 0"), [0])
    pd.testing.assert_frame_equal(c.table(1), before)


# ------------------------------------------------------------------------ what is refused


def test_bad_edits_are_refused_and_leave_no_trace() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    before = c.atoms()
    row = c.rows([3])[0]
    for wrong in (
        lambda: actions.delete(c, [99]),
        lambda: actions.delete(c, []),
        lambda: actions.merge(c, [1]),
        lambda: actions.split(c, 1, [(1, 1)]),
        lambda: c.do("add", 0, (), [row]),
        lambda: c.do("dance", 0),
    ):
        with pytest.raises(TableError):
            wrong()
    for wrong in (
        lambda: actions.add(c, 0, float("nan"), 1),
        lambda: actions.exclude(c, [(0, 0), (1, 1)]),
        lambda: actions.exclude(c, [(0, 0), (1, 1), (np.nan, 2)]),
    ):
        with pytest.raises(ParameterError):
            wrong()
    pd.testing.assert_frame_equal(c.atoms(), before)
    assert len(c.journal.log) == 0 and c.undo() is None and c.redo() is None


def test_bad_tables_are_refused() -> None:
    with pytest.raises(TableError, match="no column"):
        Corrections(square().drop(columns="atom_id"))
    with pytest.raises(TableError, match="unique"):
        Corrections(pd.concat([square(), square()]))
    with pytest.raises(TableError, match="no position"):
        Corrections(square().assign(y_px=np.nan))
    assert len(Corrections().atoms()) == 0


def test_a_journal_with_a_gap_is_refused() -> None:
    c = Corrections(square(), spacing_px=SPACING)
    actions.delete(c, [1])
    actions.delete(c, [2])
    entries = list(c.journal.entries())
    for wrong in (entries[1:], [{"do": "undo", "edit": 0}], [{"do": "fly", "edit": 0}], [{}]):
        with pytest.raises(TableError, match="damaged"):
            Corrections.restore(square(), wrong)


def test_columns_beyond_the_contract_come_back() -> None:
    atoms = machine_atoms()
    c = Corrections(atoms, spacing_px=SPACING)
    actions.delete(c, [0])
    c.undo()
    pd.testing.assert_frame_equal(c.atoms(), c.machine())
    assert "aspect" in c.atoms() and c.atoms()["aspect"].notna().all()
    c.rerun(atoms.assign(tilt=1.0), [0, 1, 2])
    assert c.atoms()["tilt"].eq(1).all()


def test_who_did_what_when() -> None:
    c = Corrections(square(), user="ada", spacing_px=SPACING)
    actions.accept(c, [2])
    entry = c.journal.entry(0)
    assert (
        entry["user"] == "ada" and entry["action"] == "accept" and entry["time"].endswith("00:00")
    )
    assert entry["before"][0]["probability"] == 0.9 and entry["after"][0]["probability"] == 1.0
    assert isinstance(Journal().user, str) and Journal().user


# ------------------------------------------------------------------------- what derives


def test_derived_things_are_made_at_once_or_wait() -> None:
    c = Corrections(machine_atoms(), spacing_px=SPACING)
    made: list[frozenset[int]] = []
    stop = c.derived.subscribe("contours", made.append)
    c.derived.subscribe("tracks")
    told: list[int] = []
    c.derived.listeners.append(lambda: told.append(1))
    actions.delete(c, [0])
    assert made == [{0}] and c.derived.stale() == {"tracks": {0}} and told
    c.derived.fresh("tracks")
    assert not c.derived.is_stale("tracks")
    stop()
    c.undo()
    assert len(made) == 1


def test_two_of_one_name_both_hear_and_the_first_to_go_takes_nobody_along() -> None:
    d = Derived()
    one: list[frozenset[int]] = []
    two: list[frozenset[int]] = []
    stop_one, stop_two = d.subscribe("contours", one.append), d.subscribe("contours", two.append)
    d.changed([1])
    assert one == two == [{1}] and not d.stale()
    stop_one()
    stop_one()  # twice is no matter
    d.changed([2])
    assert one == [{1}] and two == [{1}, {2}]
    stop_two()
    d.changed([3])
    assert len(two) == 2 and not d.stale()


def test_what_cannot_be_made_anew_stays_stale() -> None:
    d = Derived()
    frames: list[frozenset[int]] = []
    d.watchers.append(frames.append)
    d.subscribe("contours", lambda which: which & {2})  # of frame 2 there is no map, say
    d.subscribe("contours")
    d.changed([1, 2])
    since = d.since("contours")
    assert d.stale() == {"contours": {2}} and frames == [{1, 2}] and since is not None
    d.refresh()
    assert d.stale() == {"contours": {2}} and d.since("contours") == since
    d.fresh("contours", [2])
    assert not d.stale() and d.since("contours") is None
    d.outdate("contours", [5])
    d.outdate("nobody's", [5])
    assert d.stale() == {"contours": {5}} and d.since("nobody's") is None


def test_slow_things_wait_for_the_button(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_atomlens.session.edits import derived as module

    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    d = Derived()
    made: list[frozenset[int]] = []

    def slow(frames: frozenset[int]) -> None:
        clock[0] += 0.5
        made.append(frames)

    d.subscribe("bonds", slow)
    d.changed([1])
    d.changed([1])  # the first time may have paid for imports
    d.changed([2])
    assert made == [{1}, {1}] and d.stale() == {"bonds": {2}}
    d.changed([3])
    d.refresh()
    assert made[-1] == {2, 3} and not d.stale()


# ------------------------------------------------------------------------------- doubt


def test_the_most_doubtful_comes_first_then_the_next_frame() -> None:
    atoms = machine_atoms(3)
    atoms["probability"] = 0.99
    ids = atoms["atom_id"].to_numpy()
    first, second = ids[3], ids[5]
    later = atoms.loc[atoms["frame"] == 2, "atom_id"].iloc[1]
    for i, p in ((first, 0.55), (second, 0.7), (later, 0.6)):
        atoms.loc[atoms["atom_id"] == i, "probability"] = p
    walk = [next_doubtful(atoms, 0)]
    for _ in range(3):
        walk.append(next_doubtful(atoms, 0, walk[-1]))
    assert walk == [first, second, later, first]
    assert next_doubtful(atoms, 1) == later
    atoms.loc[atoms["atom_id"].isin(walk), "edited"] = True
    assert next_doubtful(atoms, 0) is None
    assert len(doubt(tables.empty("atoms"))) == 0


# ------------------------------------------------------------------------------- places


@settings(max_examples=25, deadline=None)
@given(st.floats(-3.5, 3.5), st.floats(-3.5, 3.5), st.integers(0, 5))
def test_a_click_finds_its_column(dy: float, dx: float, seed: int) -> None:
    image, scene = simulate("square", (120, 120), 12.0, rotation_deg=10, counts=3000, seed=seed)
    middle = np.argmin(np.hypot(scene.y - 60, scene.x - 60))
    y, x = scene.y[middle], scene.x[middle]
    others = np.delete(np.c_[scene.y, scene.x], middle, axis=0)
    found = snap(image, y + dy, x + dx, others, 12.0)
    assert np.hypot(found["y_px"] - y, found["x_px"] - x) < 0.25
    assert found["fit_ok"] and 0 < found["y_err_px"] < 0.3


def test_places_off_the_image_and_empty_ones() -> None:
    flat = np.zeros((40, 40))
    assert nearest_peak(flat, 20, 20, 10.0) == (20, 20)
    assert measure(flat, [(20, 20)], np.zeros((0, 2)), 10.0) == [{"y_px": 20.0, "x_px": 20.0}]
    with pytest.raises(ImageError, match="outside"):
        nearest_peak(flat, 500, 20, 10.0)
    with pytest.raises(ImageError, match="finite"):
        nearest_peak(np.full((40, 40), np.nan), 20, 20, 10.0)


@pytest.mark.parametrize("angle", [0.0, 0.7, 1.5, 2.4])
def test_a_pair_is_split_along_its_line(angle: float) -> None:
    from napari_atomlens.simulation.formation import render_columns

    step = 2.6 * np.array([-np.sin(angle), np.cos(angle)])
    pair = np.array([40, 40]) + np.array([step, -step])
    image = 0.1 + render_columns((80, 80), pair[:, 0], pair[:, 1], 1.0, 2.0)
    places = halves(image, 40.0, 40.0, 12.0)
    found = measure(image, places, np.zeros((0, 2)), 12.0)
    got = np.array([[f["y_px"], f["x_px"]] for f in found])
    gap = np.linalg.norm(got[:, None] - pair[None], axis=2).min(1)
    assert (gap < 0.3).all(), (got, pair)


def test_an_excluded_atom_does_not_take_the_id_of_one_that_was_edited() -> None:
    c = Corrections(machine_atoms(), "me", SPACING)
    region = np.array([[-6, -6], [-6, 6], [6, 6], [6, -6]])
    actions.exclude(c, region + 20.0)
    ids = c.columns(2).ids
    actions.move(c, [int(ids[60 % len(ids)])], [(5.7, 7.5)])
    new = machine_atoms(seed=1)
    c.rerun(new[new["frame"] != 1], {0, 2}, SPACING)
    while c.undo() is not None:
        pass
    pd.testing.assert_frame_equal(c.atoms(), c.machine())
    assert c.machine()["atom_id"].is_unique


def test_the_border_of_a_region_is_where_it_is_noted() -> None:
    c = Corrections(machine_atoms(), "me", SPACING)
    region = np.array([[-6, -6], [-6, 6], [6, 6], [6, -6]])
    actions.exclude(c, np.add(region, (20.0, 19.27477412675028)))
    for f in range(3):
        places = c.table(f)[["y_px", "x_px"]].to_numpy()
        assert not any(inside_polygon(places, polygon).any() for polygon in c.regions(f))


def test_what_was_made_fresh_meanwhile_does_not_keep_the_next_edit_waiting() -> None:
    from napari_atomlens.session.edits.derived import Derived

    derived, made, later = Derived(), [], []
    derived.subscribe("contours", lambda frames: made.append(frames))
    derived.later = later.append
    derived.changed([0, 1])
    derived.fresh("contours", [0, 1])  # a run has brought its own
    derived.changed([0])
    assert derived.is_waiting("contours")
    later[-1]()
    assert made == [frozenset([0])] and not derived.is_stale("contours")


def test_what_was_begun_by_somebody_who_left_is_stale() -> None:
    from napari_atomlens.session.edits.derived import Derived

    derived, begun, later = Derived(), [], []
    derived.subscribe("bonds")  # the table that is there
    leave = derived.subscribe(
        "bonds", lambda frames: None, begin=lambda f, give_up: begun.append(f)
    )
    derived.later = later.append
    derived.changed([0])
    while later[-1]():
        pass
    assert begun == [frozenset([0])] and derived.is_waiting("bonds")
    leave()
    assert derived.is_stale("bonds") and not derived.is_waiting("bonds")


def test_whole_numbers_of_a_column_of_the_users_own_stay_whole() -> None:
    own = square().assign(grade=np.arange(9), kept=np.arange(9) % 2 == 0, note=list("abcdefghi"))
    c = Corrections(own, spacing_px=SPACING)
    table = c.table(0)
    assert (table["grade"].dtype, table["kept"].dtype) == (np.int64, bool)
    actions.delete(c, [0])
    table = c.table(0)
    assert table["grade"].dtype == np.int64 and table["kept"].dtype == bool
    assert table["grade"].tolist() == list(range(1, 9)) and bool(table["kept"].iloc[3])
    c.undo()
    assert c.table(0)["grade"].tolist() == list(range(9))
    actions.move(c, [4], [(17, 17)])  # nor of an atom that was moved: it was measured elsewhere
    assert c.table(0)["grade"].isna().tolist() == [k == 4 for k in range(9)]
    c.undo()
    actions.add(c, 0, 30.0, 30.0, "column")  # nobody knows its grade
    table = c.table(0)
    assert np.isnan(table["grade"].iloc[-1]) and table["grade"].iloc[:9].tolist() == list(range(9))
    assert set(table["note"].iloc[:9]) == set("abcdefghi")
    c.undo()
    assert c.table(0)["grade"].tolist() == list(range(9))


@pytest.mark.parametrize("odd", [None, "a", [1, [2]], (), 0.5, float("nan"), 1j, 10**40])
def test_odd_frames_and_ids_are_refused_in_a_sentence(odd: object) -> None:
    c = Corrections(square())
    for ask in (c.columns, c.table, c.count, c.frame_of, c.new_id):
        with pytest.raises(ParameterError, match=r"^(frame|atom_id) "):
            ask(odd)
    for call in (lambda v: c.rerun(square(), v), c.rows):
        with pytest.raises(ParameterError, match=r"^(frames|atom_id) "):
            call([odd])


@pytest.mark.parametrize("odd", [[1], np.zeros(2), "a", 1j, -1.0, float("inf")])
def test_odd_spacings_and_users_are_refused_in_a_sentence(odd: object) -> None:
    c = Corrections(square())
    with pytest.raises(ParameterError, match="spacing_px"):
        c.rerun(square(), [0], odd)  # type: ignore[arg-type]
    for frames in (None, 3, "01"):
        with pytest.raises(ParameterError, match="frames must be a list"):
            c.rerun(square(), frames)  # type: ignore[arg-type]
    if not isinstance(odd, str):
        with pytest.raises(ParameterError, match="user"):
            Corrections(square(), user=odd)  # type: ignore[arg-type]
