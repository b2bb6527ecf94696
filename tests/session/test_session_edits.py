"""A session edits: what it does, refuses and tells, and what new atoms carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from session_scene import SPACING, atoms_at, places, result, session_of

from napari_atomlens.errors import FormatError
from napari_atomlens.folders import folder_lock
from napari_atomlens.session import autosave
from napari_atomlens.session.by_hand import Hand
from napari_atomlens.session.editing import READ_ONLY
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.project import OpenProject
from napari_atomlens.session.review import atom_text, doubtful_text, n_seen, stale_text
from napari_atomlens.session.session import Session


class Ear:
    """Hears what a session tells."""

    def __init__(self, session: Session) -> None:
        self.changes: list[Change] = []
        self.order: list[str] = []
        session.edit_begins.connect(self.on_begin)
        session.edited.connect(self.on_edited)
        session.told.connect(self.on_told)
        session.atoms_reset.connect(self.on_reset)

    def on_begin(self, whole: bool) -> None:
        self.order.append("whole" if whole else "begins")

    def on_edited(self, change: Change) -> None:
        self.order.append("edited")
        self.changes.append(change)

    def on_told(self) -> None:
        self.order.append("told")

    def on_reset(self) -> None:
        self.order.append("reset")


def test_an_edit_its_undo_and_its_redo_are_told() -> None:
    session = session_of()
    ear = Ear(session)
    change = session.edit(actions.delete, [3])
    assert change is not None and change.gone == (3,) and session.problem == ""
    assert ear.order == ["begins", "edited", "told"] and ear.changes == [change]
    assert session.last_edit() == "delete: 1 atom; 1 edits in all."
    assert session.undo() is not None and session.last_edit() == ""
    assert session.redo() is not None and session.redo() is None
    assert len(session.atoms()) == 24 and [c.undone for c in ear.changes] == [False, True, False]
    session.edit(actions.mark_seen, 0)
    assert session.last_edit() == "seen; 2 edits in all."


def test_what_cannot_be_done_is_a_sentence() -> None:
    session = session_of()
    before = session.corrections.atoms()
    ear = Ear(session)
    assert session.edit(actions.delete, [99]) is None
    assert session.problem == "There is no atom 99." and ear.order == ["begins", "told"]
    pd.testing.assert_frame_equal(session.corrections.atoms(), before)


def test_a_read_only_project_is_left_alone(tmp_path: Path) -> None:
    session = session_of()
    session.edit(actions.delete, [3])
    session.project = OpenProject(tmp_path, folder_lock(tmp_path / "a.atomlens"), read_only=True)
    for do in (lambda: session.edit(actions.delete, [4]), session.undo, session.redo):
        session.problem = ""
        assert do() is None and session.problem == READ_ONLY
    assert len(session.corrections.journal) == 1
    session.project = OpenProject(tmp_path, session.project.lock, read_only=False)
    assert session.undo() is not None


def test_edits_that_reach_no_disk_still_hold_in_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of()
    session.keep_edits({"layer": "atoms"}, tmp_path)
    session.edit(actions.delete, [3])
    ear = Ear(session)

    def full(*given: object) -> None:
        raise FormatError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(autosave.JournalFile, "append", full)
        patch.setattr(autosave, "write_table", full)
        for k in (4, 5):
            assert session.edit(actions.delete, [k]) is not None
            assert "The disk is full" in session.problem  # each time, until there is room
            assert ear.order[-3:] == ["begins", "edited", "told"]
    assert len(session.corrections.journal) == 3 and len(session.atoms()) == 22
    assert session.undo() is not None and session.problem == ""


def test_every_edit_is_on_the_disk(tmp_path: Path) -> None:
    session = session_of()
    kept = session.keep_edits({"layer": "atoms"}, tmp_path)
    session.edit(actions.delete, [3])
    session.edit(actions.set_species, [4], "Si")
    session.take(result(shift=0.2))  # a new run is written, too
    kept.pause()
    (lost,) = autosave.find_unsaved(tmp_path)
    assert lost.n_edits == 2 and lost.about == {"layer": "atoms"}
    again = Session("gold", 0.1)
    again.corrections = autosave.restore(lost)
    pd.testing.assert_frame_equal(again.atoms(), session.atoms())
    # other corrections are no longer written where these were
    session.corrections = Corrections()
    assert session.autosave is None and kept.folder is not None
    assert session.keep_edits({}, tmp_path) is not session.keep_edits({}, tmp_path)


# -------------------------------------------------------------- measured on this very atom


def measured_session() -> Session:
    """A session whose atoms have anomalies, strain and moments."""
    session = session_of()
    atoms = session.atoms()
    n = len(atoms)
    session.measured.note(
        pd.DataFrame(
            {
                "atom_id": atoms["atom_id"], "anomaly": True, "anomaly_score": 35.0, "exx": 0.02,
                "moment_2": np.arange(n) + 1.0, "region": 7, "anomaly_reason": "stretched",
                "probability": 0.0,
            }
        ),
        atoms,
    )  # fmt: skip
    return session


MEASURED = ("anomaly", "anomaly_score", "exx", "moment_2", "region", "anomaly_reason")


def is_empty(rows: pd.DataFrame, names: tuple[str, ...] = MEASURED) -> bool:
    return all(bool((rows[n].isna() | rows[n].isin([-1, "", False])).all()) for n in names)


@pytest.mark.parametrize("action", ["add", "move", "split", "merge"])
def test_an_atom_carries_nothing_that_was_measured_on_another(action: str) -> None:
    session = measured_session()
    before = session.features()
    assert (before["anomaly_score"] == 35).all() and (before["probability"] == 0.9).all()
    change = {
        "add": lambda: session.edit(actions.add, 0, 9.5, 10.2, "column"),
        "move": lambda: session.edit(actions.move, [6], [(14.0, 16.5)]),
        "split": lambda: session.edit(actions.split, 6, [(14.0, 15.0), (16.0, 15.0)]),
        "merge": lambda: session.edit(actions.merge, [6, 7]),
    }[action]()
    assert change is not None
    ids = [int(session.corrections.value(r, "atom_id")) for r in change.rows]
    now = session.features()
    mine = now["atom_id"].isin(ids)
    assert mine.sum() == len(ids) and is_empty(now[mine])
    assert now[mine]["probability"].isna().all() and not now[mine]["fit_ok"].any()
    # those of the others are theirs
    rest = now[~mine].reset_index(drop=True)
    old = before[before["atom_id"].isin(rest["atom_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, old)
    session.undo()
    pd.testing.assert_frame_equal(session.features(), before)


def test_another_species_is_compared_with_nothing_yet() -> None:
    session = measured_session()
    session.edit(actions.set_species, [6], "Si")
    row = session.features().set_index("atom_id").loc[[6]]
    assert is_empty(row, ("anomaly", "anomaly_score", "anomaly_reason"))
    assert row["exx"].item() == 0.02 and row["region"].item() == 7  # of its place, still
    session.undo()
    assert session.features()["anomaly"].all()


def test_a_new_run_measures_anew() -> None:
    session = measured_session()
    session.take(result(shift=0.3))
    assert is_empty(session.features())
    assert "exx" in session.measured
    session.measured.forget()
    assert "exx" not in session.features()


# ---------------------------------------------------------------------- by hand


def hand(session: Session, **more: object) -> Hand:
    return Hand(session, 0, SPACING, session.frame(0), **more)  # type: ignore[arg-type]


def test_a_hand_adds_moves_merges_and_splits_on_the_image() -> None:
    session = session_of()
    session.edit(actions.delete, [12])
    made = hand(session, pixel_size_nm=(0.1, 0.1)).add(25.8, 24.4, "Si")
    assert made is not None
    row = session.atoms().set_index("source").loc["user"]
    np.testing.assert_allclose(row[["y_px", "x_px"]].astype(float), 25, atol=0.1)
    assert row["fit_ok"] and row["y_nm"] == pytest.approx(2.5, abs=0.01)
    mine = int(row["atom_id"])
    assert hand(session, fit=False).move(mine, 27.0, 24.0) is not None
    assert session.corrections.rows([mine])[0][2:4] == (27.0, 24.0)
    assert hand(session).move(mine, 26.0, 24.0) is not None
    assert session.corrections.value(session.corrections.rows([mine])[0], "fit_ok")
    assert hand(session).merge([0, 1]) is not None and len(session.atoms()) == 24
    assert hand(session).split(24) is not None and len(session.atoms()) == 25
    assert session.atoms()["atom_id"].is_unique


def test_a_hand_on_dark_columns_is_drawn_to_the_dark() -> None:
    session = session_of()
    session.edit(actions.delete, [12])
    session.results.provenance["contrast"] = "dark columns"
    bright = session.frame(0)
    assert bright is not None
    dark = Hand(session, 0, SPACING, 3.0 - bright)
    assert dark.add(25.8, 24.4, "Si") is not None
    row = session.atoms().set_index("source").loc["user"]
    np.testing.assert_allclose(row[["y_px", "x_px"]].astype(float), 25, atol=0.1)
    assert row["fit_ok"] and row["amplitude"] == pytest.approx(1, rel=0.1)
    assert row["background"] == pytest.approx(3, rel=0.1)
    assert dark.split(int(row["atom_id"])) is not None


def test_a_hand_says_why_it_does_nothing() -> None:
    session = session_of()
    assert hand(session).add(500, 3, "Si") is None
    assert session.problem == "There is no image at this place."
    assert hand(session).add(25.3, 24.6, "Si") is None and "an atom already" in session.problem
    assert hand(session).merge([3]) is None and "two or more" in session.problem
    assert hand(session).merge([3, 999]) is None and session.problem == "There is no atom 999."
    assert len(session.corrections.journal) == 0


def test_a_hand_without_an_image_takes_places_as_they_are() -> None:
    session = Session("no image")
    session.corrections = Corrections(atoms_at(places()), spacing_px=SPACING)
    free = Hand(session, 0, SPACING)
    assert free.add(10.2, 10.4, "Si") is not None
    assert free.split(12) is not None
    assert session.pixels is None and session.frame(0) is None
    two = session.atoms()[session.atoms()["y_px"] == 25.0]["x_px"].tolist()
    assert 23.0 in two and 27.0 in two
    assert session.atoms()["y_nm"].isna().all()


def test_a_flat_image_is_no_reason_to_fail() -> None:
    session = session_of()
    blank = Hand(session, 0, SPACING, np.full((50, 50), np.nan, np.float32))
    assert blank.add(10.2, 10.4, "Si") is not None  # no finite pixel: where it was put
    assert session.atoms().set_index("source").loc["user", "y_px"] == 10.2


# ------------------------------------------------------------------- looking through


def test_what_a_review_says() -> None:
    session = session_of(frames=2)
    c = session.corrections
    assert doubtful_text(c, 0, 0.95, 50, movie=True) == "25 doubtful here, 50 in all frames"
    assert doubtful_text(c, 0, 0.95, 50, movie=False) == "25 doubtful here"
    assert doubtful_text(c, 0, 0.95, 99_999, movie=True) == "25 doubtful here"
    session.edit(actions.mark_seen, 1)
    session.edit(actions.mark_seen, 5)
    assert n_seen(c, 2) == 1
    assert atom_text(c, 3) == "column 3, probability 0.90."
    session.edit(actions.add, 0, 9.0, 9.0)
    assert atom_text(c, 5_000_000) == "Atom 5000000."
    assert stale_text({}) == ""
    assert stale_text({"b": frozenset({1}), "a": frozenset({1})}) == "Update a, b (1 frame)"
    assert stale_text({"a": frozenset({1, 2})}) == "Update a (2 frames)"


def test_species_keep_their_order() -> None:
    session = session_of()
    assert session.species(["Si", "contamination", "", "nan"]) == ["column", "Si"]
    assert session.species(["C", "column"]) == ["column", "Si", "C"]
