"""What goes wrong in a run is one sentence, and costs what it must and nothing else."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_atomlens.errors import FormatError, ImageError
from napari_atomlens.image import as_stack
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs import provenance, tasks
from napari_atomlens.runs.batch import run_batch
from napari_atomlens.runs.ledger import Ledger, Row
from napari_atomlens.runs.movie import read_table
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.runs.plan import make_plan
from napari_atomlens.runs.store import Failure, MapStore, row_of
from napari_atomlens.runs.tasks import Task, work_on


def task(tmp_path: Path, part: str = tasks.SCOUT) -> Task:
    return Task(str(tmp_path / "out"), "a.npy", str(tmp_path / "a.npy"), part, BatchParams())


def raising(error: Exception) -> Callable[[Task], tasks.Done]:
    def work(_: Task) -> tasks.Done:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "said", "fatal"),
    [
        (ImageError("The image is empty."), "The image is empty.", ""),
        (MemoryError(), "a.npy does not fit into the memory.", ""),
        (OSError(errno.EIO, "Input/output error"), "a.npy failed: ", ""),
        (OSError(errno.ENOSPC, "full"), "", "The disk of out is full. What is finished is kept"),
    ],
)
def test_what_ends_a_task_and_what_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, fatal: str
) -> None:
    monkeypatch.setattr(tasks, "_scout", raising(error))
    done = work_on(task(tmp_path))
    assert done.error.startswith(said) and done.fatal.startswith(fatal)
    assert bool(done.error) != bool(done.fatal)


def test_a_folder_that_cannot_be_written_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "out" / "atoms")
    error = PermissionError(errno.EACCES, "Permission denied", place)
    monkeypatch.setattr(tasks, "_scout", raising(error))
    assert "cannot be written: Permission denied" in work_on(task(tmp_path)).fatal


def test_a_file_that_is_gone_is_its_own_failure(tmp_path: Path) -> None:
    assert "could not be opened" in work_on(task(tmp_path)).error


def test_a_frame_without_memory_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    movie = as_stack(np.zeros((2, 64, 64)))
    plan = make_plan(movie)

    def greedy(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loop, "analyze_frame", greedy)
    failed = tasks._analyse_frame(movie, 1, plan)
    assert failed == Failure(1, "There is not enough memory for this frame.")
    row = row_of(failed, "a.npy")
    assert row["n_atoms"] == 0 and row["error"] == "There is not enough memory for this frame."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged; choose another folder"),
        (json.dumps({"batch_version": 99, "files": {}}), "written by a later version"),
        (json.dumps({"batch_version": 2, "files": []}), "is damaged; choose another folder"),
    ],
)
def test_a_batch_that_cannot_be_continued(tmp_path: Path, text: str, said: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((64, 64)))
    out = tmp_path / "out"
    out.mkdir()
    (out / "batch.json").write_text(text)
    with pytest.raises(FormatError, match=said):
        run_batch([tmp_path / "a.npy"], out)
    with pytest.raises(FormatError, match="holds no atoms"):
        read_table(out)


def test_pixels_that_cannot_be_read_have_no_hash() -> None:
    class Broken:
        shape, ndim, dtype = (2, 64, 64), 3, np.dtype("f4")

        def __getitem__(self, key: object) -> np.ndarray:
            raise OSError("the block is damaged")

    assert provenance.pixels_hash(as_stack(Broken())) == ""


def test_the_ledger_lists_what_was_done_oldest_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", "here")
    for name in ("b", "a"):
        ledger.put(name, Row(3, 1, "hash", "analysed", 1), {"event": "analysed", "name": name})
    assert [row["key"] for row in ledger.rows()] == ["b", "a"]
    assert ledger.twin("hash", "c") in ("a", "b") and ledger.twin("other", "c") == ""
    assert ledger.files() == Ledger(tmp_path / "ledger.sqlite").files()


def test_an_event_waits_in_the_ledger_until_all_have_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", "here")
    ids = [ledger.put(n, Row(), {"name": n}, hooks=n == "a") for n in ("a", "b")]
    assert len(set(ids)) == 2
    again = Ledger(tmp_path / "ledger.sqlite", "here")
    assert [one for one, _ in again.untold("told")] == ids  # the same id after a restart
    assert [plain["name"] for _, plain in again.untold("hooked")] == ["a"]
    assert Ledger(tmp_path / "ledger.sqlite", "there").untold("told") == []
    for to in ("told", "logged", "hooked"):
        again.told(to, ids)
        assert again.untold(to) == []
    third = ledger.put("c", Row(), {"name": "c"})
    assert third not in ids  # also where the others are forgotten


def test_a_folder_of_results_has_one_owner(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.claim("a/1.npy", "1.npy") and not ledger.claim("b/1.npy", "1.npy")
    assert ledger.claim("b/1.npy", "1.npy-2") and ledger.claim("a/1.npy", "1.npy")


def test_maps_of_many_frames_go_to_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MapStore, "in_memory_bytes", 100)
    store, kept = MapStore(3), []
    for k in range(2):
        result = loop.empty_result(k, (16, 16), ("background", "column", "other"), "")
        result.unfamiliar[:] = k
        store.put(k, result)
        kept.append(result)
    probabilities, unfamiliar = store.ordered([1, 0])
    np.testing.assert_array_equal(probabilities[0], kept[1].probabilities)
    assert unfamiliar[0].max() == 1 and unfamiliar[1].max() == 0
