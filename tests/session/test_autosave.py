"""Edits on the disk: written from the first one on, found again, damaged, forgotten."""

from __future__ import annotations

import json
import shutil
import signal
import sys
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


def test_nothing_is_offered_of_what_was_undone(tmp_path: Path) -> None:
    c = corrections()
    kept = Autosave(c, {}, tmp_path)
    actions.delete(c, [3])
    c.undo()
    kept.pause()
    assert find_unsaved(tmp_path) == []


def damaged(tmp_path: Path) -> tuple[Corrections, Path]:
    """Three edits in a folder of a session that ended."""
    c = corrections()
    kept = Autosave(c, {"layer": "gold"}, tmp_path)
    for k in (3, 4, 5):
        actions.delete(c, [k])
    assert kept.folder is not None
    kept.pause()
    return c, kept.folder


def test_a_damaged_session_is_offered_as_far_as_it_is_sound(tmp_path: Path) -> None:
    _, folder = damaged(tmp_path)
    journal = folder / "journal-1.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for bad in (b"\0" * 40 + b"\n", b'{"do": "undo", "edit": 7}\n'):  # unreadable, or senseless
        journal.write_bytes(lines[0] + bad + lines[1] + lines[2])
        (lost,) = find_unsaved(tmp_path)
        assert lost.n_edits == 1 and "damaged" in lost.damage
        assert len(restore(lost).atoms()) == 24
    journal.write_bytes(b"")  # a power cut
    assert find_unsaved(tmp_path) == []
    journal.write_bytes(b"".join(lines))
    current = folder / "current.json"
    other = json.loads(current.read_text(encoding="utf-8")) | {"spacing_px": None}
    current.write_text(json.dumps(other), encoding="utf-8")
    assert restore(folder).spacing_px != restore(folder).spacing_px  # not known
    for text in ("", "{", "[1]", '{"journal": "journal-1.jsonl"}'):
        current.write_text(text, encoding="utf-8")
        (lost,) = find_unsaved(tmp_path)
        assert lost.n_edits == 3 and "latest files of the session" in lost.damage and lost.started
        assert len(restore(lost).atoms()) == 22
    (folder / "machine-1.parquet").write_bytes(b"")
    with pytest.raises(FormatError, match="damaged"):
        restore(folder)
    (folder / "machine-1.parquet").unlink()
    assert find_unsaved(tmp_path) == []


def test_a_disk_that_takes_nothing_is_a_sentence_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    c = corrections()
    kept = Autosave(c, {}, tmp_path / "file" / "below")
    actions.delete(c, [3])
    assert "Edits cannot be saved in" in kept.problem and len(c.atoms()) == 24

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    c = corrections()
    kept = Autosave(c, {}, tmp_path / "autosave")
    with monkeypatch.context() as patch:
        patch.setattr(autosave, "write_table", full)
        for k in (3, 4):
            actions.delete(c, [k])
            assert kept.problem.startswith("Edits cannot be saved: No space left on device. Save")
    c.undo()  # there is room again: this one takes all before it along
    assert kept.problem == ""
    kept.pause()
    (lost,) = find_unsaved(tmp_path / "autosave")
    assert lost.n_edits == 1 and restore(lost).journal.entries() is not None
    pd.testing.assert_frame_equal(restore(lost).atoms(), c.atoms())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_is_full_during_one_large_edit(tmp_path: Path) -> None:
    import resource

    c = corrections()
    kept = Autosave(c, {}, tmp_path)
    for k in range(5):
        actions.delete(c, [k])
    assert kept.folder is not None
    journal = kept.folder / "journal-1.jsonl"
    whole = journal.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, before[1]))
    try:
        actions.delete(c, list(range(5, 20)))  # its line does not fit
        assert "Save the project elsewhere" in kept.problem
        assert journal.read_bytes() == whole  # no half of a line
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(restore(kept.folder).atoms()) == 20  # a crash now: all but the large one
    actions.delete(c, [20])
    assert kept.problem == ""
    kept.pause()
    (lost,) = find_unsaved(tmp_path)
    assert lost.n_edits == 7 and not lost.damage
    pd.testing.assert_frame_equal(restore(lost).atoms(), c.atoms())


@pytest.mark.skipif(sys.platform == "win32", reason="open files can be removed")
@pytest.mark.parametrize("what", ["all", "session", "journal"])
def test_edits_are_written_anew_where_their_folder_was_deleted(tmp_path: Path, what: str) -> None:
    root = tmp_path / "autosave"
    c = corrections()
    kept = Autosave(c, {}, root)
    actions.delete(c, [3])
    assert kept.folder is not None
    if what == "journal":
        (kept.folder / "journal-1.jsonl").unlink()
    else:
        shutil.rmtree(root if what == "all" else kept.folder)
    for k in (4, 5, 6, 7, 8):
        actions.delete(c, [k])
        assert kept.problem == "" and len(restore(kept.folder).atoms()) == len(c.atoms())
    assert find_unsaved(root) == []  # this window has it
    kept.pause()
    (lost,) = find_unsaved(root)
    assert lost.n_edits == 6


def test_a_file_of_the_user_in_the_folder_of_a_session_stays(tmp_path: Path) -> None:
    c = corrections()
    kept = Autosave(c, {}, tmp_path)
    actions.delete(c, [3])
    assert kept.folder is not None
    mine = kept.folder / "notes.txt"
    mine.write_text("mine")
    kept.done()
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["notes.txt"]


def test_sessions_are_kept_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path))
    assert autosave.autosave_folder() == tmp_path
