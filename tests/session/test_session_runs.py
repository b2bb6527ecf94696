"""Runs, pixels and outlines of a session, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from session_scene import SIZE, SPACING, image, result, session_of

from napari_atomlens import tables
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.session import results as module
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.outlines import is_users, outlined_atom
from napari_atomlens.session.pixels import KnownPixels
from napari_atomlens.session.registry import SESSIONS, Sessions
from napari_atomlens.session.results import runs_after
from napari_atomlens.session.session import EXCHANGED, Session

# --------------------------------------------------------------------------- pixels


def test_pixels_are_known_again() -> None:
    data = image(3)
    pixels = KnownPixels(data)
    assert pixels.n_frames == 3 and pixels.are_of(data) and not pixels.are_of(data.copy())
    frame = pixels.frame(1)
    assert frame is not None and frame.dtype == np.float32 and pixels.frame(1) is frame
    assert pixels.frame(3) is None and pixels.frame(-1) is None
    data[1, 10:26, 10:26] = 0  # in place: the same array, other numbers
    assert not pixels.are_of(data)


def test_lazy_pixels_are_known_by_themselves() -> None:
    data = da.from_array(image(2), chunks=(1, SIZE, SIZE))
    assert KnownPixels(data).are_of(data) and not KnownPixels(data).are_of(data + 1)


def test_a_run_on_other_pixels_is_refused_and_leaves_all_as_it_was() -> None:
    session = session_of()
    told: list[int] = []
    session.pixels_changed.connect(lambda: told.append(1))
    session.edit(actions.delete, [3])
    run = session.begin((1, SIZE, SIZE), {"started": "later"})
    before, outlines = session.corrections.atoms(), session.table("contours")
    assert session.state("atoms") == "fresh"
    session.set_pixels(image(shift=1.0))
    assert told == [1] and session.state("atoms") == session.state("contours") == "stale"
    with pytest.raises(ImageError, match="exchanged while they were analysed"):
        session.take(result(shift=1.0), run)
    pd.testing.assert_frame_equal(session.corrections.atoms(), before)
    pd.testing.assert_frame_equal(session.table("contours"), outlines)
    # one that is begun on the new ones is taken
    session.take(result(shift=1.0), session.begin((1, SIZE, SIZE), {"started": "again"}))
    assert session.state("atoms") == "fresh" and len(session.atoms()) == 24


@pytest.mark.parametrize("in_place", [False, True])
def test_a_layer_whose_data_were_exchanged_is_noticed(in_place: bool) -> None:
    session = Session("gold")
    data = image()
    session.set_pixels(data)
    run = session.begin((1, SIZE, SIZE), {})
    session.check(run, data)
    other = data if in_place else data.copy()
    other[20:40, 20:40] += 1.0
    with pytest.raises(ImageError) as error:
        session.take(result(), run, data=other)
    assert str(error.value) == EXCHANGED and len(session.atoms()) == 0


def test_the_same_pixels_again_change_nothing() -> None:
    session, data = Session("gold"), image()
    pixels = session.set_pixels(data)
    assert session.set_pixels(data) is pixels
    with pytest.raises(ImageError, match="empty"):
        session.set_pixels(np.zeros((0, 3)))
    assert session.pixels is pixels


def test_the_pixel_size_is_told_and_gives_nanometres() -> None:
    session = session_of()
    told: list[int] = []
    session.pixel_size_changed.connect(lambda: told.append(1))
    session.put("lattices", tables.empty("lattices"))
    session.pixel_size = 0.2
    session.pixel_size = (0.2, 0.2)
    assert told == [1] and session.pixel_size == (0.2, 0.2)
    np.testing.assert_allclose(session.atoms(0)["y_nm"], 0.2 * session.atoms(0)["y_px"])
    assert session.state("lattices") == "stale" and session.state("contours") == "fresh"
    with pytest.raises(CalibrationError):
        session.pixel_size = -1.0
    assert session.pixel_size == (0.2, 0.2)
    session.pixel_size = None
    assert session.pixel_size is None


# ----------------------------------------------------------------------------- runs


def test_a_run_goes_under_the_edits() -> None:
    session = session_of(frames=2)
    session.edit(actions.delete, [3])
    session.edit(actions.set_species, [12], "Si")
    taken = session.take([result(0, shift=0.2, drop=[12])], session.begin((2, SIZE, SIZE), {}))
    assert [x.edit for x in taken.conflicts] == [1] and taken.as_run == frozenset()
    assert len(session.table("atoms", 0)) == 24 and len(session.table("atoms", 1)) == 25
    contours = session.table("contours", 0)
    assert set(contours["atom_id"]) <= set(session.table("atoms", 0)["atom_id"])
    assert taken.conflicts == session.corrections.conflicts


def test_results_without_a_begin_find_their_shape() -> None:
    session = Session("gold")
    taken = session.take([result(0), result(1)])
    assert session.results.shape == (2, SIZE, SIZE) and taken.as_run == {0, 1}
    assert session.spacing_px == SPACING and session.results.spacing_px == SPACING


def test_only_what_is_wanted_is_taken() -> None:
    session = Session("gold")
    run = session.begin((1, SIZE, SIZE), {})
    session.take(result(), run, atoms=False, maps=False, unfamiliar=False)
    assert session.state("atoms") == "missing" and session.state("contours") == "fresh"
    assert session.results.map() is None and session.results.unfamiliar is None
    assert session.results.map_names() == ("any atom", "column", "contamination")
    assert Session().results.map_names() == ("any atom",)


def test_maps_of_all_classes_are_kept_while_they_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of()
    results = session.results
    assert results.map_names() == ("any atom", "column", "contamination")
    assert results.species == ["column"]
    np.testing.assert_array_equal(results.map("column"), results.map("any atom"))
    np.testing.assert_array_equal(results.map("nonsense"), results.map("any atom"))
    assert results.probability(0) is not None and results.probability(9) is None
    assert results.unfamiliar is not None and results.unfamiliar.shape == (1, SIZE, SIZE)
    monkeypatch.setattr(module, "MAX_MAP_BYTES", 3 * SIZE * SIZE)
    session.take(result())
    assert results.map_names() == ("any atom",)
    session.begin((4, SIZE, SIZE), {})
    assert results.map() is None and session.state("contours") == "missing"


def test_a_run_leaves_the_record_when_all_its_frames_were_redone() -> None:
    one, two = {"started": "1", "frames": [0, 1]}, {"started": "2", "frames": [1]}
    both = runs_after([one], two)
    assert both == [{"started": "1", "frames": [0]}, two]
    assert runs_after(both, {"started": "3", "frames": [0, 1]}) == [
        {"started": "3", "frames": [0, 1]}
    ]
    session = session_of(frames=2)
    assert session.results.runs == [{"started": "now", "frames": [0, 1]}]


def test_atoms_can_begin_from_nothing() -> None:
    session = session_of()
    session.edit(actions.delete, [3])
    fresh = session.without_atoms()
    assert fresh.name == "gold" and fresh.pixels is session.pixels
    assert fresh.state("atoms") == "missing" and fresh.outlines is session.outlines
    fresh.take(result())
    assert len(fresh.atoms()) == 25 and len(session.atoms()) == 24


# -------------------------------------------------------------------------- outlines


def test_outlines_follow_edits_of_the_atoms() -> None:
    session = session_of(frames=2)
    told: list[frozenset[int]] = []
    session.outlines_changed.connect(told.append)
    session.edit(actions.delete, [3])
    assert told == [{0}] and 3 not in set(session.table("contours", 0)["atom_id"])
    session.edit(actions.move, [4], [(6.0, 45.5)])
    outline = session.outlines.by_atom(0)[4]
    np.testing.assert_allclose(outline.mean(0), [5.5, 45.2], atol=1.5)
    assert len(session.table("contours")) == 49 and not session.is_stale("contours")
    assert session.state("contours") == "fresh"


def test_without_a_map_only_what_is_gone_goes() -> None:
    session = session_of(frames=2, maps=False)
    session.edit(actions.delete, [3])
    assert session.state("contours") == "fresh" and len(session.table("contours", 0)) == 24
    session.edit(actions.move, [4], [(10.0, 40.0)])
    # the outline of the place where it was is not its own, and there is no map for another
    assert 4 not in session.outlines.by_atom(0) and session.state("contours") == "stale"
    assert session.stale() == {"contours"} and session.stale_since("contours") is not None
    session.take(result(0))
    assert session.state("contours") == "fresh"


def test_edits_of_frames_that_have_no_outlines_leave_none_stale() -> None:
    session = Session("gold")
    session.corrections = Corrections(result().atoms, spacing_px=SPACING)
    session.edit(actions.delete, [3])
    assert session.state("contours") == "missing" and not session.is_stale("contours")
    session.begin((1, SIZE, SIZE), {})
    session.edit(actions.delete, [4])
    assert not session.is_stale("contours")


def test_what_the_user_draws_stays_and_is_undone() -> None:
    session = session_of()
    table, outlines = session.outlines[0]
    ring = outlines[7] + 0.5
    mine = table.copy()
    mine.loc[7, "edited"] = True
    told: list[frozenset[int]] = []
    session.outlines_changed.connect(told.append)
    session.drawn(0, (mine, [*outlines[:7], ring, *outlines[8:]]), [7])
    assert told == [] and session.last_edit().startswith("contour")
    assert session.outlines.by_atom(0)[7] is ring
    taken = session.take(result(shift=0.1))  # it stays in a new run
    assert not taken.as_run and is_users(session.table("contours")).sum() == 1
    np.testing.assert_allclose(session.outlines.by_atom(0)[7], ring, atol=2e-3)
    session.edit(actions.delete, [8])  # and when its neighbour goes
    np.testing.assert_allclose(session.outlines.by_atom(0)[7], ring, atol=2e-3)
    session.undo()
    session.undo()
    assert {0} in told and not is_users(session.table("contours")).any()
    session.redo()
    np.testing.assert_allclose(session.outlines.by_atom(0)[7], ring, atol=2e-3)


def test_an_outline_that_the_user_removed_stays_away() -> None:
    session = session_of()
    table, outlines = session.outlines[0]
    session.drawn(0, (table.drop(index=5).reset_index(drop=True), outlines[:5] + outlines[6:]))
    assert 5 not in session.outlines.by_atom(0)
    session.take(result(shift=0.1))
    assert 5 not in session.outlines.by_atom(0) and len(session.atoms()) == 25
    session.edit(actions.delete, [8])
    assert 5 not in session.outlines.by_atom(0) and not session.is_stale("contours")
    session.undo()
    session.undo()
    assert 5 in session.outlines.by_atom(0)


def test_a_new_outline_is_of_the_atom_inside_of_it() -> None:
    session = session_of()
    c = session.corrections
    square = 3 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    assert outlined_atom(c, 0, square + 25.0, set()) == 12
    none = outlined_atom(c, 0, square + 25.0, {12})
    assert none == -2 and outlined_atom(c, 0, square + 25.0, {12, -2}) == -3
    assert outlined_atom(c, 2, square + 25.0, set()) == -2 - 2 * tables.IDS_PER_FRAME


def test_outlines_follow_atoms_that_an_undone_edit_has_renamed() -> None:
    session = session_of()
    session.edit(actions.split, 14, [(1.0, 1.0), (2.0, 1.0)])
    session.undo()
    session.take(result(drop=[14]), session.begin((1, SIZE, SIZE), {}))
    assert set(session.outlines.by_atom(0)) == set(session.atoms()["atom_id"])


def test_the_users_atom_has_the_outline_of_the_models_in_its_place() -> None:
    session = session_of()
    session.edit(actions.delete, [12])
    session.edit(actions.add, 0, 25.4, 25.0, "Si")
    mine = int(session.atoms()["atom_id"].max())
    session.take(result(shift=0.1))
    assert mine in session.outlines.by_atom(0) and 12 not in session.outlines.by_atom(0)
    assert len(session.table("contours")) == 25


@pytest.mark.parametrize("maps", [True, False])
def test_an_atom_that_the_run_does_not_find_is_outlined_too(maps: bool) -> None:
    session = session_of(maps=maps)
    session.edit(actions.split, 12, [(23.5, 25.0), (26.5, 25.0)])
    taken = session.take(result(drop=[12]), maps=maps)
    assert taken.conflicts and taken.as_run == (frozenset() if maps else {0})
    outlined = set(session.outlines.by_atom(0)) == set(session.atoms()["atom_id"])
    assert outlined == maps and session.is_stale("contours") != maps


# -------------------------------------------------------------------------- registry


def test_sessions_are_found_by_what_they_belong_to() -> None:
    sessions = Sessions()
    one = sessions.of("image", "gold")
    assert one.name == "gold" and sessions.of("image") is one and sessions.get("atoms") is None
    assert sessions.add("atoms", one) is one and sessions.get("atoms") is one
    two = sessions.of("other")
    assert len(sessions) == 2 and set(sessions) == {one, two} == set(sessions.all())
    sessions.remove("atoms")
    sessions.remove("atoms")
    assert sessions.get("atoms") is None and sessions.get("image") is one
    assert isinstance(SESSIONS, Sessions)


def test_the_results_of_a_frame_may_be_named_by_another_model() -> None:
    session = session_of()
    other = replace(result(), classes=("background", "bright column", "dirt"))
    session.take(other)
    assert session.results.species == ["bright column", "dirt"]
