"""Sessions without a window in a project: saved and opened with every edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from session_scene import SPACING, atoms_at, places, session_of

import napari_atomlens as al
from napari_atomlens.errors import FormatError
from napari_atomlens.folders import folder_lock
from napari_atomlens.session.edits import Corrections, actions
from napari_atomlens.session.project import open_project
from napari_atomlens.session.saved import open_sessions, save_session
from napari_atomlens.session.session import Session


@pytest.mark.parametrize("frames", [1, 2])
def test_a_session_comes_back_with_every_edit(frames: int, tmp_path: Path) -> None:
    session = session_of(frames)
    session.edit(actions.delete, [3])
    session.edit(actions.add, 0, 9.5, 9.0, "Si")
    session.undo()
    path = save_session(session, tmp_path / "gold")
    (again,) = open_sessions(path)
    assert again.name == "gold" and again.pixel_size == (0.1, 0.1)
    pd.testing.assert_frame_equal(again.atoms(), session.atoms())
    assert again.redo() is not None and len(again.atoms()) == len(session.atoms()) + 1
    assert again.results.runs[0]["started"] == "now"
    np.testing.assert_array_equal(again.frame(0), session.frame(0))
    # the corrected atoms are there for those who know no session
    pd.testing.assert_frame_equal(
        al.load(path).atoms[["atom_id", "y_px"]], session.atoms()[["atom_id", "y_px"]]
    )


def test_a_session_without_pixels_and_pixel_size(tmp_path: Path) -> None:
    session = Session("places")
    session.corrections = Corrections(atoms_at(places()), spacing_px=SPACING)
    (again,) = open_sessions(save_session(session, tmp_path / "places"))
    assert again.pixels is None and again.pixel_size is None and len(again.atoms()) == 25


def test_what_a_window_has_open_is_not_overwritten(tmp_path: Path) -> None:
    session = session_of()
    path = save_session(session, tmp_path / "gold")
    opened = open_project(path)
    assert open_project(path, opened) is opened and open_project(path).read_only
    with pytest.raises(FormatError, match="another window"):
        save_session(session, path)
    opened.lock.release()
    assert save_session(session, path) == path
    assert not folder_lock(path).path.exists()
    # of a project that is another one, the lock is another one
    other = open_project(tmp_path / "other", opened)
    assert other is not opened and not other.read_only
    other.lock.release()
