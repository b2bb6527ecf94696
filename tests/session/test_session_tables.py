"""Tables after atoms: what follows from what, fresh, stale and missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from session_scene import SIZE, result, session_of

from napari_atomlens import tables
from napari_atomlens.errors import ParameterError
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.follows import (
    FROM,
    GROUPS,
    MAKERS,
    OF_PIXELS,
    group_of,
    sources_of,
)
from napari_atomlens.session.session import Session


def test_what_follows_from_what_is_told_in_one_place() -> None:
    assert sources_of("changes") == {"dumbbells", "tracks", "contours", "atoms"}
    assert sources_of("rings") == {"bonds", "atoms"} and sources_of("atoms") == set()
    assert all(name not in sources_of(name) for name in FROM)
    assert {n for n in FROM if "atoms" not in sources_of(n)} == FROM.keys() & OF_PIXELS
    assert sorted(n for names in GROUPS.values() for n in names) == sorted(FROM.keys() - OF_PIXELS)
    assert set(MAKERS) < set(GROUPS) and group_of("mine") == "mine"


def test_a_table_that_nobody_made_is_missing() -> None:
    session = session_of()
    assert session.state("bonds") == "missing" and not session.is_stale("bonds")
    assert list(session.table("bonds")) == list(tables.BONDS) and not len(session.table("mine"))
    assert session.stale_since("bonds") is None and session.provenance("bonds") == {}
    session.edit(actions.delete, [3])
    assert session.state("bonds") == "missing" and session.stale() == frozenset()


def test_tables_become_stale_with_the_atoms_and_fresh_when_put_anew() -> None:
    session = session_of(frames=2)
    told: list[str] = []
    stale: list[frozenset[str]] = []
    session.table_changed.connect(told.append)
    session.stale_changed.connect(stale.append)
    bonds = pd.DataFrame({"frame": [0, 1], "atom_a": [0, 1]})
    session.put("bonds", bonds, {"rules": "mine"})
    session.put("notes", bonds.iloc[:1])
    assert told == ["bonds", "notes"] and session.state("bonds") == "fresh"
    assert session.provenance("bonds") == {"rules": "mine"}
    session.edit(actions.delete, [3])
    assert session.stale() == {"bonds", "notes"} and stale[-1] == {"bonds", "notes"}
    assert session.table("bonds", 1)["atom_a"].tolist() == [1]  # as it was, until it is made anew
    since = session.stale_since("bonds")
    assert since is not None and session.stale_since("bonds") == since
    session.put("bonds", bonds)
    assert session.stale() == {"notes"} and stale[-1] == {"notes"}
    session.undo()
    assert session.is_stale("bonds")


def test_frames_that_were_edited_while_a_table_was_made_are_stale() -> None:
    session = session_of(frames=3)
    revision = session.revision
    tracks = pd.DataFrame({"frame": [0, 1, 2]})
    session.put("tracks", tracks, revision=revision)
    assert not session.is_stale("tracks")
    session.edit(actions.delete, [int(session.table("atoms", 2)["atom_id"].iloc[0])])
    session.put("tracks", tracks, revision=revision)
    assert session.is_stale("tracks")
    assert session.corrections.derived.stale() == {"tracks and dumbbells": {2}}
    session.put("tracks", tracks, revision=session.revision)
    assert not session.is_stale("tracks")


def test_what_was_made_from_an_older_table_is_stale() -> None:
    session = session_of()
    empty = pd.DataFrame({"frame": []})
    session.put_all({"tracks": empty, "dumbbells": empty, "changes": empty})
    assert not session.stale()
    session.put("tracks", empty)
    assert session.stale() == {"dumbbells", "changes"} and session.state("tracks") == "fresh"
    session.put_all({"dumbbells": empty, "changes": empty})
    assert not session.stale()


@pytest.mark.parametrize(
    ("name", "others"),
    [("vacancies", ["lattices", "sublattices", "distances", "holes", "dislocations"]),
     ("defects", ["bonds", "rings"]), ("tracks", ["drift", "events", "dumbbells", "changes"])],
)  # fmt: skip
def test_tables_are_made_from_the_corrected_atoms(name: str, others: list[str]) -> None:
    session = session_of(frames=2)
    session.edit(actions.delete, [12])
    made = session.update(name)
    assert session.table(name) is made
    assert all(session.state(n) == "fresh" for n in (name, *others))
    if name == "vacancies":
        places = made[["y_px", "x_px"]].to_numpy(float)
        np.testing.assert_allclose(places, [[25, 25]], atol=0.1)
        assert len(session.table("lattices")) == 2
    elif name == "tracks":
        assert len(made) == 49 and made["track_id"].nunique() == 25
    else:
        bonds = session.table("bonds", 0)
        assert len(bonds) and 12 not in set(bonds["atom_a"]) | set(bonds["atom_b"])
    session.undo()
    assert all(session.state(n) == "stale" for n in (name, *others))


def test_nobody_knows_how_to_make_everything() -> None:
    session = session_of()
    with pytest.raises(ParameterError, match="Nothing is known of how to make mine"):
        session.update("mine")


def test_other_corrections_make_everything_stale() -> None:
    session = session_of()
    session.put("bonds", tables.empty("bonds"))
    old = session.corrections
    reset: list[int] = []
    session.atoms_reset.connect(lambda: reset.append(1))
    session.corrections = old
    assert reset == []
    session.corrections = Corrections(result(shift=1.0).atoms)
    assert reset == [1]
    session.edit(actions.delete, [3])
    assert session.is_stale("bonds") and len(session.atoms()) == 24
    # nobody listens to the ones before any more
    session.put("bonds", tables.empty("bonds"))
    actions.delete(old, [4])
    assert not session.is_stale("bonds")


def test_a_dock_that_goes_takes_nothing_of_another_along() -> None:
    session = session_of()
    heard: list[frozenset[int]] = []
    derived = session.corrections.derived
    stop_one = derived.subscribe("contours", lambda frames: None)
    stop_two = derived.subscribe("contours", heard.append)
    stop_one()
    session.edit(actions.delete, [3])
    assert heard == [{0}] and 3 not in session.outlines.by_atom(0)
    stop_two()
    session.edit(actions.delete, [4])
    assert heard == [{0}] and 4 not in session.outlines.by_atom(0)


def test_an_empty_session() -> None:
    session = Session()
    assert session.state("atoms") == "missing" and len(session.features()) == 0
    assert session.last_edit() == "" and session.undo() is None
    assert np.isnan(session.spacing_px) and session.begin((1, SIZE, SIZE), {}).pixels is None
