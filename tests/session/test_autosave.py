"""Edits on the disk: written from the first one on, found again, damaged, forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from session_scene import SPACING, atoms_at, places, result

from napari_atomlens.errors import FormatError
from napari_atomlens.session import autosave
from napari_atomlens.session.autosave import Autosave, find_unsaved, forget, restore
from napari_atomlens.session.edits import Corrections, actions


def corrections() -> Corrections:
    return Corrections(atoms_at(places()), "me", SPACING)


def test_the_first_edit_makes_a_folder_and_saving_removes_it(tmp_path: Path) -> None:
    c = corrections()
    kept = Autosave(c, {"layer": "gold"}, tmp_path)
    kept.write()
    assert kept.folder is None and not list(tmp_path.iterdir())
    actions.delete(c, [3])
    assert kept.folder is not None and kept.folder.parent == tmp_path
    assert find_unsaved(tmp_path) == []  # it is not lost: this window has it
    kept.done()
    assert kept.folder is None and not list(tmp_path.iterdir())
    kept.done()
    actions.delete(c, [4])  # edits after saving are written anew, all of them
    folder = kept.folder
    assert folder is not None
    kept.pause()
    pd.testing.assert_frame_equal(restore(folder).atoms(), c.atoms())


def test_what_is_paused_is_found_restored_and_forgotten(tmp_path: Path) -> None:
    c = corrections()
    kept = Autosave(c, {"layer": "gold"}, tmp_path)
    actions.delete(c, [3])
    c.rerun(result(shift=0.2).atoms, [0], SPACING)
    assert kept.folder is not None and (kept.folder / "machine-2.parquet").is_file()
    assert not (kept.folder / "machine-1.parquet").exists()
    kept.pause()
    actions.delete(c, [4])  # nobody listens
    (lost,) = find_unsaved(tmp_path)
    assert lost.n_edits == 1 and lost.about == {"layer": "gold"} and lost.started
    again = restore(lost)
    assert len(again.atoms()) == 24 and again.spacing_px == SPACING
    kept.resume()
    kept.write()
    assert find_unsaved(tmp_path) == []
    kept.pause()
    forget(lost)
    assert find_unsaved(tmp_path) == [] and find_unsaved(tmp_path / "nowhere") == []


def test_nothing_is_offered_of_what_was_undone_or_is_damaged(tmp_path: Path) -> None:
    c = corrections()
    kept = Autosave(c, {}, tmp_path)
    actions.delete(c, [3])
    c.undo()
    kept.pause()
    assert find_unsaved(tmp_path) == []
    c.redo()
    folder = kept.folder
    assert folder is not None
    current = folder / "current.json"
    whole = current.read_text(encoding="utf-8")
    current.write_text("{", encoding="utf-8")
    assert find_unsaved(tmp_path) == []
    with pytest.raises(FormatError, match="damaged"):
        restore(folder)
    other = json.loads(whole) | {"spacing_px": None}
    current.write_text(json.dumps(other), encoding="utf-8")
    assert restore(folder).spacing_px != restore(folder).spacing_px  # not known
    journal = folder / other["journal"]
    journal.write_text('{"do": "undo", "edit": 7}\n', encoding="utf-8")
    with pytest.raises(FormatError, match="nothing to undo"):
        restore(folder)


def test_a_disk_that_takes_nothing_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    c = corrections()
    Autosave(c, {}, tmp_path / "file" / "below")
    with pytest.raises(FormatError, match="Edits cannot be saved in"):
        actions.delete(c, [3])

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    c = corrections()
    Autosave(c, {}, tmp_path / "autosave")
    monkeypatch.setattr(autosave, "write_table", full)
    with pytest.raises(FormatError, match="Edits cannot be saved: No space left"):
        actions.delete(c, [3])


def test_sessions_are_kept_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path))
    assert autosave.autosave_folder() == tmp_path
