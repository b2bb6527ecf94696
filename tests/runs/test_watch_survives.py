"""A watch goes on, whatever the files, the folder of the results, the library and hooks do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import napari_atomlens as al
import napari_atomlens.runs.watch as module
from napari_atomlens import files
from napari_atomlens.errors import ParameterError
from napari_atomlens.io.formats.kinds import find_files
from napari_atomlens.progress import Progress
from napari_atomlens.runs import shelf as shelf_module
from napari_atomlens.runs.hooks import Event, event_from
from napari_atomlens.runs.ledger import Ledger
from napari_atomlens.runs.outbox import LOG
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.scan import ScanResult, scan_file
from napari_atomlens.runs.shelf import LEDGER
from napari_atomlens.runs.watch import FolderWatch
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon

FAST = {"analysis": "none", "settle_s": 0.02, "poll_s": 0.01, "tries": 2}
QUICK = WatchParams(**FAST)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="of Unix")


def scan(seed: int = 0, size: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, size)).cumsum(1).astype(np.float32)


def run(folder: Path, params: WatchParams = QUICK) -> list[Event]:
    return list(FolderWatch(folder, params).run(once=True))


def told(events: list[Event]) -> dict[str, str]:
    return {e.name: e.event for e in events}


def logged(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


# ---------------------------------------------------------------------- odd files


@POSIX
def test_names_links_and_pipes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", scan())
    for k, name in enumerate((b"caf\xe9.npy", b"caf\xe8.npy")):
        np.save(os.fsdecode(os.fsencode(tmp_path) + b"/" + name), scan(5 + k))
    long = "n" * 251 + ".npy"
    np.save(tmp_path / long, scan(2))
    os.symlink("loop.npy", tmp_path / "loop.npy")
    os.symlink("nowhere.npy", tmp_path / "broken.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    events = run(tmp_path)
    assert sorted((e.name, e.event) for e in events) == [
        (name, "analysed") for name in ("a.npy", "caf\ufffd.npy", "caf\ufffd.npy", long)
    ]
    assert len({e.folder for e in events}) == 4
    for event in events:
        json.loads(event.as_json().encode())
        assert len(al.load(event.folder).provenance["sha256"]) == 64
    assert {line["name"] for line in logged(tmp_path / "atomlens_results")} == set(told(events))
    assert run(tmp_path) == []


@POSIX
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(al.errors.FormatError, match="is no file"):
        al.read(tmp_path / "pipe.npy")
    with pytest.raises(al.errors.FormatError, match="is no name of a file"):
        al.read(tmp_path / ("n" * 300 + ".npy"))
    assert find_files(tmp_path) == []


def test_extreme_values_and_lines_that_were_not_recorded(tmp_path: Path) -> None:
    base = scan(0, 128).astype(float)
    stopped = base.copy()
    stopped[60:] = 0
    begun = base.copy()
    begun[3:] = 5.5
    for name, image in {
        "huge": base * 1e154, "tiny": base * 1e-300, "stopped": stopped, "begun": begun,
        "zero": 0 * base, "nan": np.nan * base, "words": np.array(["a", "b"]),
    }.items():  # fmt: skip
        np.save(tmp_path / f"{name}.npy", image)
    events = {e.name.removesuffix(".npy"): e for e in run(tmp_path)}
    assert {n for n, e in events.items() if e.event == "analysed"} == {"huge", "tiny", "stopped"}
    assert "3 of 128 lines were recorded" in events["begun"].message
    assert all(e.message.endswith(".") for e in events.values())


def odd_reader(path: Path, stamp: tuple[int, int], params: WatchParams, threads: int) -> ScanResult:
    """Stands for a library that does what the name of the file says."""
    if "hang" in path.name:
        time.sleep(3600)
    if "exit" in path.name:
        os._exit(3)
    if "leave" in path.name:
        sys.exit("enough")
    if "memory" in path.name:
        raise MemoryError
    if "deep" in path.name:
        raise RecursionError
    if "bad" in path.name:
        raise AssertionError("no\nwords")
    return scan_file(path, stamp, params, threads)


def test_whatever_a_reader_does_the_next_file_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "scan_file", odd_reader)
    names = ("bad", "deep", "exit", "good", "hang", "leave", "memory", "other")
    for k, name in enumerate(names):
        np.save(tmp_path / f"{name}.npy", scan(k))
    params = WatchParams(**FAST, limit_s=2.0)
    start = time.monotonic()
    events = {e.name.removesuffix(".npy"): e for e in run(tmp_path, params)}
    assert time.monotonic() - start < 60
    done = {n for n, e in events.items() if e.event == "analysed"}
    assert done == {"good", "other"} and set(events) == set(names)
    assert "took longer than 2 s" in events["hang"].message
    assert "ended without a word" in events["exit"].message
    assert "not enough memory" in events["memory"].message
    assert events["bad"].message == "bad.npy could not be analysed: AssertionError: no"
    # after a restart they are tried again, and then no more until they change
    again = run(tmp_path, params)
    assert {e.event for e in again} == {"failed"} and len(again) == 6
    assert run(tmp_path, params) == []
    assert len(logged(tmp_path / "atomlens_results")) == 14


def test_a_stop_does_not_wait_for_a_file_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "scan_file", odd_reader)
    np.save(tmp_path / "hang.npy", scan())
    stop, seen = threading.Event(), []
    watching = FolderWatch(tmp_path, QUICK)
    events = watching.run(Progress(lambda done, total, what: seen.append(total), stop.is_set))
    threading.Timer(3.0, stop.set).start()
    start = time.monotonic()
    assert list(events) == [] and time.monotonic() - start < 30
    assert max(seen) == 1  # it said that one is waited for
    monkeypatch.undo()
    assert told(run(tmp_path)) == {"hang.npy": "analysed"}


# ---------------------------------------------------------------------- order and folders


def test_the_newest_first_when_asked_and_how_many_wait(tmp_path: Path) -> None:
    for k in range(4):
        np.save(tmp_path / f"{k}.npy", scan(k))
        os.utime(tmp_path / f"{k}.npy", (1e9 + k, 1e9 + k))
    watching = FolderWatch(tmp_path, WatchParams(**FAST | {"settle_s": 0.0}, newest_first=True))
    assert [job.name for job in watching.ready()] == ["3.npy", "2.npy", "1.npy", "0.npy"]
    events = run(tmp_path, WatchParams(**FAST, workers=1))
    assert [e.name for e in events] == ["0.npy", "1.npy", "2.npy", "3.npy"]
    assert [e.behind for e in events] == [3, 2, 1, 0]


def test_subfolders_when_asked_else_said(tmp_path: Path) -> None:
    (tmp_path / "monday" / "deep").mkdir(parents=True)
    np.save(tmp_path / "a.npy", scan(0))
    np.save(tmp_path / "monday" / "a.npy", scan(1))
    np.save(tmp_path / "monday" / "deep" / "a.npy", scan(2))
    said: list[str] = []
    watching = FolderWatch(tmp_path, QUICK)
    events = list(watching.run(Progress(lambda d, t, what: said.append(what)), once=True))
    assert told(events) == {"a.npy": "analysed"}
    assert any("folder is not watched" in what for what in said)
    events = run(tmp_path, WatchParams(**FAST, subfolders=True))
    assert told(events) == dict.fromkeys(("monday/a.npy", "monday/deep/a.npy"), "analysed")
    assert len({e.folder for e in events}) == 2
    assert run(tmp_path, WatchParams(**FAST, subfolders=True)) == []


def test_two_folders_with_one_folder_of_results(tmp_path: Path) -> None:
    out = tmp_path / "out"
    params = WatchParams(**FAST, out=str(out))
    for k, name in enumerate(("left", "right")):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "scan.npy", scan(k))
    found = [run(tmp_path / name, params)[0] for name in ("left", "right")]
    assert [e.event for e in found] == ["analysed"] * 2 and found[0].folder != found[1].folder
    for event, name in zip(found, ("left", "right"), strict=True):
        image = tmp_path / name / "scan.npy"
        assert al.load(event.folder).provenance["sha256"] == files.digest(image)
    # a change is written where the file has its results
    np.save(tmp_path / "left" / "scan.npy", scan(7))
    assert run(tmp_path / "left", params)[0].folder == found[0].folder
    shutil.copy(tmp_path / "right" / "scan.npy", tmp_path / "left" / "copy.npy")
    assert told(run(tmp_path / "left", params)) == {"copy.npy": "repeated"}


def test_folders_and_files_of_the_user_stay(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", scan(0))
    out = tmp_path / "out"
    (out / "scan.npy" / "thesis").mkdir(parents=True)
    (out / "scan.npy" / "thesis" / "chapter.txt").write_text("years of work")
    params = WatchParams(**FAST, out=str(out))
    (event,) = run(tmp_path, params)
    assert event.event == "analysed" and Path(event.folder) != out / "scan.npy"
    assert (out / "scan.npy" / "thesis" / "chapter.txt").read_text() == "years of work"
    # notes in a folder of ours stay when the scan is written anew
    (Path(event.folder) / "notes.txt").write_text("look here")
    np.save(tmp_path / "scan.npy", scan(1))
    assert run(tmp_path, params)[0].folder == event.folder
    assert (Path(event.folder) / "notes.txt").read_text() == "look here"


def test_one_watch_of_a_folder_at_a_time(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", scan(0))
    first = FolderWatch(tmp_path, QUICK).run()
    assert next(first).event == "analysed"
    with pytest.raises(ParameterError, match="Another watch"):
        run(tmp_path)
    first.close()
    assert run(tmp_path) == []


# ---------------------------------------------------------------------- results that fail


def test_a_damaged_ledger_is_made_again_from_the_results(tmp_path: Path) -> None:
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", scan(k))
    assert len(run(tmp_path)) == 3
    out = tmp_path / "atomlens_results"
    ledger = out / LEDGER
    content = ledger.read_bytes()
    ledger.write_bytes(content[:100] + bytes(len(content) - 100))
    said: list[str] = []
    watching = FolderWatch(tmp_path, QUICK)
    assert list(watching.run(Progress(lambda d, t, what: said.append(what)), once=True)) == []
    assert any("ledger was damaged" in what for what in said)
    assert len(list(out.glob("*.damaged-1.sqlite"))) == 1
    ledger.write_text("no ledger at all")
    np.save(tmp_path / "new.npy", scan(9))
    assert told(run(tmp_path)) == {"new.npy": "analysed"}


def test_results_that_a_power_cut_left_empty_are_made_again(tmp_path: Path) -> None:
    for k in range(2):
        np.save(tmp_path / f"{k}.npy", scan(k))
    run(tmp_path)
    out = tmp_path / "atomlens_results"
    (out / "1.npy" / "run.json").write_bytes(b"")
    (event,) = run(tmp_path)
    assert event.name == "1.npy" and event.event == "analysed"
    assert "incomplete and have been made again" in event.message
    assert al.load(out / "1.npy").provenance["file"] == "1.npy"
    shutil.rmtree(out / "0.npy")  # moved away by the user: that is no damage
    assert run(tmp_path) == []


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", scan(k))
    left = [4]
    write = shelf_module.write_scan

    def full(*args: object) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(28, "No space left on device")
        write(*args)

    monkeypatch.setattr(shelf_module, "write_scan", full)
    events = run(tmp_path, WatchParams(**FAST | {"tries": 20}))
    assert [e.event for e in events] == ["skipped"] + ["analysed"] * 3  # said once
    assert "disk of atomlens_results is full" in events[0].message
    # one that stays full is no reason to wait for ever
    left[0] = 10**6
    np.save(tmp_path / "more.npy", scan(5))
    assert told(run(tmp_path)) == {"more.npy": "skipped"}
    left[0] = 0
    assert told(run(tmp_path)) == {"more.npy": "analysed"}


def test_a_folder_of_results_that_is_gone_for_a_while(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "0.npy", scan(0))
    events = FolderWatch(source, WatchParams(**FAST, out=str(out))).run()
    assert next(events).event == "analysed"
    out.rename(tmp_path / "away")
    np.save(source / "1.npy", scan(1))
    first = next(events)
    assert first.event == "skipped" and "out cannot be written" in first.message
    assert not out.exists()  # nothing is put in the place of what comes back
    (tmp_path / "away").rename(out)
    second = next(events)
    assert (second.name, second.event) == ("1.npy", "analysed")
    events.close()
    assert Counter(p.name for p in out.iterdir() if p.is_dir()) == {"0.npy": 1, "1.npy": 1}


def test_a_folder_of_results_that_does_not_come_back(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", scan(0))
    watching = FolderWatch(tmp_path, QUICK)
    watching.shelf.gone_s = 0.5
    events = watching.run()
    assert next(events).event == "analysed"
    (tmp_path / "atomlens_results").rename(tmp_path / ".gone")
    np.save(tmp_path / "1.npy", scan(1))
    found = [next(events) for _ in range(3)]
    events.close()
    assert found[0].event == "skipped"
    assert {(e.name, e.event) for e in found[1:]} == {("0.npy", "analysed"), ("1.npy", "analysed")}


def test_a_damaged_library_costs_no_result(tmp_path: Path) -> None:
    book = tmp_path / "defects.sqlite"
    book.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 16)
    image = simulate_silicon(SiliconParams(size_px=192, pixel_size_nm=0.09, seed=2**33 + 3)).image
    np.save(tmp_path / "scan.npy", image.astype(np.float32))
    quick = FAST | {"analysis": "silicon"}
    (event,) = run(tmp_path, WatchParams(**quick, pixel_size_nm=0.09, library=str(book)))
    assert event.event == "analysed" and "Nothing was added to the library" in event.message


# ---------------------------------------------------------------------- events and hooks

HOOKS = """
import os, sys, time
def note(event):
    with open("told.txt", "a") as file:
        file.write(f"{event.id} {event.name} {event.result is not None}\\\\n")
    print("said by a hook")
def hang(event):
    time.sleep(3600)
def leave(event):
    os._exit(7)
def fail(event):
    note(event)
    raise ValueError("no")
number = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder, with a module of the user."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "my_own_hooks.py").write_text(HOOKS.replace("\\\\n", "\\n"))
    (folder / "json.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(folder)
    return folder


def images(tmp_path: Path, n: int) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(n):
        np.save(folder / f"{k}.npy", scan(k))
    return folder


def test_a_hook_of_the_current_folder_has_every_event(tmp_path: Path, here: Path) -> None:
    folder = images(tmp_path, 3)
    (folder / "bad.npy").write_bytes(b"nothing")
    events = run(folder, WatchParams(**FAST, hook="my_own_hooks:note"))
    lines = [line.split() for line in (here / "told.txt").read_text().splitlines()]
    assert [line[:2] for line in lines] == [[e.id, e.name] for e in events]
    assert {name: result for _, name, result in lines} == {
        e.name: str(e.event == "analysed") for e in events
    }
    assert [line["id"] for line in logged(folder / "atomlens_results")] == [e.id for e in events]
    assert len(list(al.stream([scan(5)], WatchParams(analysis="none", hook="my_own_hooks:note"))))
    assert (here / "told.txt").read_text().splitlines()[-1] == " frame 0 True"


@pytest.mark.parametrize("hook", ["hang", "leave", "fail"])
def test_a_hook_that_hangs_exits_or_fails_ends_nothing(
    tmp_path: Path, here: Path, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = images(tmp_path, 5)
    params = WatchParams(**FAST, hook=f"my_own_hooks:{hook}, my_own_hooks:note", hook_limit_s=0.4)
    start = time.monotonic()
    assert [e.event for e in run(folder, params)] == ["analysed"] * 5
    assert time.monotonic() - start < 60
    names = [line.split()[1] for line in (here / "told.txt").read_text().splitlines()]
    assert set(names) == {f"{k}.npy" for k in range(5)}  # the other hook has all of them
    said = [r.getMessage() for r in caplog.records if f"my_own_hooks:{hook}" in r.getMessage()]
    assert len(said) == (5 if hook == "fail" else 3)  # the others are left alone
    assert run(folder, params) == []


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        ("nowhere:nothing", "cannot be imported"), ("my_own_hooks:missing", "cannot be imported"),
        ("my_own_hooks:number", "cannot be called"), ("json:loads:x", "cannot be imported"),
        ("of_nobody", "neither module:function nor one of the installed hooks"),
    ],
)  # fmt: skip
def test_hooks_that_are_not_there(tmp_path: Path, here: Path, hook: str, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        FolderWatch(tmp_path, WatchParams(**FAST, hook=hook))


def test_hooks_of_installed_packages_run_only_when_named(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "theirs-1.0.dist-info").mkdir(parents=True)
    (site / "theirs-1.0.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    points = "[napari_atomlens.watch]\ntheirs = my_own_hooks:note\n"
    (site / "theirs-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    folder = images(tmp_path, 2)
    assert len(run(folder)) == 2 and not (here / "told.txt").exists()
    np.save(folder / "2.npy", scan(2))
    (event,) = run(folder, WatchParams(**FAST, hook="theirs"))
    assert (here / "told.txt").read_text().split()[:2] == [event.id, "2.npy"]


def test_events_that_nobody_has_heard_of_are_told_again(tmp_path: Path, here: Path) -> None:
    folder = images(tmp_path, 2)
    first = run(folder)
    out = folder / "atomlens_results"
    ledger = Ledger(out / LEDGER, "..")
    # as if it had been killed between the ledger and whoever listens
    with sqlite3.connect(out / LEDGER) as db:
        for event in first:
            row = int(event.id.rpartition("-")[2]), "..", json.dumps(event.plain()), 0, 0, 0
            db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)", row)
    (out / LOG).write_bytes((out / LOG).read_bytes()[:-9])  # half a line
    assert event_from(*ledger.untold("told")[0][::-1]).name == first[0].name
    again = run(folder, WatchParams(**FAST, hook="my_own_hooks:note"))
    assert [(e.id, e.name, e.event) for e in again] == [(e.id, e.name, e.event) for e in first]
    assert [line.split()[0] for line in (here / "told.txt").read_text().splitlines()] == [
        e.id for e in first
    ]
    lines = (out / LOG).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines[-2:]] == [e.id for e in first]
    assert run(folder) == []


KILLED = """
import sys
from napari_atomlens.runs.params import WatchParams
from napari_atomlens.runs.watch import watch_folder
params = WatchParams(analysis="none", settle_s=0.05, poll_s=0.02, hook="my_own_hooks:note")
for event in watch_folder(sys.argv[1], params):
    print(event.as_json(), flush=True)
"""


@POSIX
def test_killed_again_and_again_each_result_once_each_event_at_least_once(
    tmp_path: Path, here: Path
) -> None:
    folder, n = images(tmp_path, 8), 8
    rng = np.random.default_rng(0)
    said = (tmp_path / "said.jsonl").open("ab")
    out = folder / "atomlens_results"
    heard = here / "told.txt"
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-P", "-c", KILLED, str(folder)], stdout=said)
        before = len(heard.read_text().splitlines()) if heard.exists() else 0
        end = time.monotonic() + 60
        # in the middle: some hook has just been called
        while time.monotonic() < end:
            if heard.exists() and len(heard.read_text().splitlines()) > before:
                break
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    events = run(folder, WatchParams(**FAST, hook="my_own_hooks:note"))
    assert all(e.event == "analysed" for e in events)
    names = {f"{k}.npy" for k in range(n)}
    assert {p.name for p in out.iterdir() if p.is_dir() and not p.name.startswith(".")} == names
    for k in range(n):
        assert al.load(out / f"{k}.npy").provenance["file"] == f"{k}.npy"
    by_hook = [line.split()[:2] for line in heard.read_text().splitlines()]
    for known in (by_hook, [[x["id"], x["name"]] for x in logged(out)]):
        assert {name for _, name in known} == names  # at least once
        assert len({one for one, _ in known}) == n  # and once by its id
