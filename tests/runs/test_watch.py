"""Watch folder: exactly once, half-written, corrupt and repeated files, restart, hooks, stream."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from typer.testing import CliRunner

import napari_atomlens as al
import napari_atomlens.runs.scan as scan_module
from napari_atomlens import folders
from napari_atomlens.cli import app
from napari_atomlens.errors import ParameterError
from napari_atomlens.files import digest
from napari_atomlens.runs.hooks import Event
from napari_atomlens.runs.ledger import Ledger
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.shelf import LEDGER
from napari_atomlens.runs.stream import stream
from napari_atomlens.runs.watch import FolderWatch
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon

QUICK = WatchParams(analysis="none", settle_s=0.02, poll_s=0.01, tries=2)


def scan(seed: int = 0, size: int = 128) -> np.ndarray:
    params = SiliconParams(size_px=size, pixel_size_nm=0.09, row_angle_rad=0.5, seed=2**33 + seed)
    return simulate_silicon(params).image.astype(np.float32)


def save(path: Path, image: np.ndarray) -> None:
    np.save(path, image)
    past = time.time() - 1  # it has rested
    os.utime(path, (past, past))


def run(folder: Path, params: WatchParams = QUICK) -> list[Event]:
    return list(FolderWatch(folder, params).run(once=True))


def test_a_store_is_one_file_that_may_change(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, QUICK)
    store = zarr.create_array(tmp_path / "a.zarr", data=scan(0))
    folder = tmp_path / "atomlens_results" / "a.zarr"
    assert [(e.name, e.event) for e in watch.run(once=True)] == [("a.zarr", "analysed")]
    assert al.load(folder).provenance["sha256"] == digest(tmp_path / "a.zarr")
    assert run(tmp_path) == []
    store[:] = scan(1)  # no file of it is new, and the time of its folder stays
    assert [(e.name, e.event) for e in run(tmp_path)] == [("a.zarr", "analysed")]
    assert al.load(folder).provenance["sha256"] == digest(tmp_path / "a.zarr")
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert [(e.name, e.event) for e in run(tmp_path)] == [("b.zarr", "repeated")]


def test_every_file_once_and_again_only_when_it_changes(tmp_path: Path) -> None:
    for k in range(3):
        save(tmp_path / f"{k}.npy", scan(k))
    first = run(tmp_path)
    assert [e.event for e in first] == ["analysed"] * 3
    assert {"wait", "read", "assess", "analyse", "store", "total"} <= set(first[0].seconds)
    assert run(tmp_path) == []  # a restart goes on, it does not begin again
    save(tmp_path / "1.npy", scan(9))
    again = run(tmp_path)
    assert [e.name for e in again] == ["1.npy"]
    facts = al.load(tmp_path / "atomlens_results" / "1.npy").provenance
    assert facts["verdict"]["label"] and facts["file"] == "1.npy"


def test_half_written_corrupt_and_repeated_files(tmp_path: Path) -> None:
    save(tmp_path / "whole.npy", scan(0))
    content = (tmp_path / "whole.npy").read_bytes()
    half = tmp_path / "half.npy"
    half.write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.npy").touch()
    (tmp_path / "note.log").write_text("no image")
    save(tmp_path / "other.npy", scan(1))
    (tmp_path / "copy.npy").write_bytes((tmp_path / "other.npy").read_bytes())
    events = {e.name: e for e in run(tmp_path)}
    assert events["half.npy"].event == "skipped" and events["half.npy"].message
    assert {events["other.npy"].event, events["copy.npy"].event} == {"analysed", "repeated"}
    assert events["empty.npy"].message == "empty.npy is empty (zero bytes)."
    assert events["empty.npy"].event == "failed" and "note.log" not in events
    assert not (tmp_path / "atomlens_results" / "half.npy").exists()
    # still broken: given up after the second try, until it changes
    assert [e.event for e in run(tmp_path)] == ["failed"]
    assert run(tmp_path) == []
    save(half, scan(5))
    assert [(e.name, e.event) for e in run(tmp_path)] == [("half.npy", "analysed")]


def test_a_file_rests_when_it_has_not_changed_since_it_was_looked_at(tmp_path: Path) -> None:
    watching = FolderWatch(tmp_path, WatchParams(analysis="none", settle_s=0.2, poll_s=0.01))
    file = tmp_path / "new.npy"
    save(file, scan())  # a second ago by its own date, which nobody believes
    assert watching.ready() == []
    for k in range(3):
        time.sleep(0.15)
        with file.open("ab") as growing:
            growing.write(bytes(k + 1))
        assert watching.ready() == []
    time.sleep(0.25)
    assert [job.name for job in watching.ready()] == ["new.npy"]


def test_dates_in_the_future_do_not_matter(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", scan())
    os.utime(tmp_path / "a.npy", (time.time() + 1e6,) * 2)
    (event,) = run(tmp_path)
    assert event.event == "analysed" and event.seconds["wait"] < 60


def test_killed_while_writing_leaves_nothing_half(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path / "a.npy", scan())

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folders, "swap_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    out = tmp_path / "atomlens_results"
    assert not (out / "a.npy").exists() and Ledger(out / LEDGER).files()["../a.npy"].size == -1
    assert [e.event for e in run(tmp_path)] == ["analysed"]
    assert (out / "a.npy" / "run.json").exists()
    assert not list(out.glob(".*.part"))


def test_analysis_of_silicon_writes_tables(tmp_path: Path) -> None:
    save(tmp_path / "scan.npy", scan(3, 256))
    params = WatchParams(settle_s=0.02, pixel_size_nm=0.09, out=str(tmp_path / "elsewhere"))
    (event,) = run(tmp_path, params)
    assert event.event == "analysed" and event.counts["atoms"] > 300
    folder = tmp_path / "elsewhere" / "scan.npy"
    written = {"atoms.csv", "defects.csv", "steps.csv", "run.json"}
    there = {p.name for p in folder.iterdir() if p.is_file()}
    assert {name for name in there if not name.startswith(".")} == written
    again = al.load(folder)
    assert len(again.atoms) == event.counts["atoms"] == len(pd.read_csv(folder / "atoms.csv"))
    assert len(again.table("defects")) == event.counts["defects"]
    line = json.loads(event.as_json())
    assert line["counts"] == event.counts and "result" not in line


def test_low_scores_are_rejected(tmp_path: Path) -> None:
    save(tmp_path / "noise.npy", np.random.default_rng(0).normal(size=(128, 128)))
    (event,) = run(tmp_path, WatchParams(analysis="atoms", settle_s=0.02, min_score=0.6))
    assert event.event == "rejected" and event.counts == {}
    with pytest.raises(ParameterError, match="no folder"):
        FolderWatch(tmp_path / "missing")


def test_stream_gives_one_event_for_each_frame() -> None:
    frames = (scan(k, 192) for k in range(2))
    events = list(stream([*frames, np.zeros((64, 64))], pixel_size_nm=(0.09, 0.09)))
    assert [e.event for e in events] == ["analysed", "analysed", "failed"]
    assert events[0].result.kind == "silicon" and len(events[0].result.tables["atoms"]) > 100
    assert events[2].message.endswith(".")


def test_command_line_prints_lines_of_json(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", scan())
    done = CliRunner().invoke(
        app, ["watch", str(tmp_path), "--once", "--analysis", "none", "--settle", "0.02"]
    )
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["name"] == "a.npy"
    done = CliRunner().invoke(app, ["watch", str(tmp_path / "missing")])
    assert done.exit_code == 2


def test_defects_go_into_the_library_once(tmp_path: Path) -> None:
    from napari_atomlens.graphs import DefectLibrary

    book = tmp_path / "defects.sqlite"
    save(tmp_path / "scan.npy", scan(3, 192))
    params = WatchParams(settle_s=0.02, analysis="silicon", pixel_size_nm=0.09, library=str(book))
    (event,) = run(tmp_path, params)
    with DefectLibrary(book) as library:
        table = library.table()
        n = len(library)
    defects = event.result.tables["defects"]
    assert n == (defects["kind"] != "step edge").sum() > 3
    assert set(table["kind"]) <= set(defects["kind"])
    source = f"scan.npy {digest(tmp_path / 'scan.npy')[:12]}"
    assert scan_module.add_to_library(book, event.result, source) == 0  # after a crash: not twice
    broken = WatchParams(
        settle_s=0.02, analysis="silicon", pixel_size_nm=0.09, library=str(tmp_path)
    )
    save(tmp_path / "more.npy", scan(4, 192))
    (event,) = run(tmp_path, broken)
    assert event.event == "analysed" and "library" in event.message
