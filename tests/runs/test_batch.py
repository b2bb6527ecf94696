"""Batch: the same numbers as a single analysis, whatever was killed, damaged or full."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import napari_atomlens as al
from napari_atomlens import cli
from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.files import Lock, hidden_beside
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.io.formats.choice import TakenImage
from napari_atomlens.io.projects import parts
from napari_atomlens.io.projects.parts import Parts, partition_names
from napari_atomlens.progress import Progress
from napari_atomlens.runs import readable, tasks
from napari_atomlens.runs.batch import find_inputs, run_batch
from napari_atomlens.runs.movie import read_table
from napari_atomlens.runs.params import BatchParams
from napari_atomlens.runs.tasks import Task, _open
from napari_atomlens.runs.workers import Cluster
from napari_atomlens.simulation import seed_for, simulate

pytestmark = pytest.mark.needs_model
SMALL = BatchParams(chunk_frames=2)


def frames(n: int, side: int = 96) -> np.ndarray:
    image, _ = simulate(
        "honeycomb", (side, side), 12.0, rotation_deg=11, counts=2000, seed=seed_for("test", 9_001)
    )
    rng = np.random.default_rng(0)
    spread = 0.02 * np.std(image)
    return np.stack([image + rng.normal(0, spread, image.shape) for _ in range(n)]).astype("f4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A movie whose first frame shows nothing, an image, and a file that is damaged."""
    data = tmp_path / "data"
    data.mkdir()
    movie = frames(7)
    movie[0] = 1
    np.save(data / "movie.npy", movie)
    np.save(data / "2024.npy", frames(1)[0])
    (data / "bad.npy").write_bytes(b"not an array")
    return data


def same_as_analyze(out: Path, data: Path) -> None:
    for table in ("atoms", "contours"):
        found = read_table(out, table)
        assert set(found["file"]) == {"movie.npy", "2024.npy"}
        for name, rows in found.groupby("file"):
            expected = getattr(al.analyze(str(data / str(name))), table)
            rows = rows.drop(columns="file").reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, expected, check_exact=True)


@pytest.mark.parametrize("table", ["frames", "atoms"])
def test_a_part_that_a_power_cut_emptied_is_made_anew(
    folder: Path, tmp_path: Path, table: str
) -> None:
    out = tmp_path / "out"
    run_batch([folder], out, SMALL)
    for part in ("00000004", "scout"):
        (path,) = out.glob(f"{table}/file=movie.npy/part-{part}.parquet")
        path.write_bytes(b"")
        with pytest.warns(UserWarning, match=rf"Part {part} of movie\.npy is damaged"):
            summary = run_batch([folder], out, SMALL)
        assert summary.complete and summary.n_frames == 8
        assert summary.n_new_frames == (2 if part == "00000004" else 7)
        same_as_analyze(out, folder)


@pytest.mark.parametrize("processes", [False, True])
def test_same_to_the_bit_as_analyze(folder: Path, tmp_path: Path, processes: bool) -> None:
    if processes:
        pytest.importorskip("distributed")
    seen: list[tuple[int, int, str]] = []
    out = tmp_path / "out"
    done = run_batch(
        [folder],
        out,
        SMALL,
        workers=2,
        processes=processes,
        progress=Progress(lambda *n: seen.append(n)),
    )
    assert (done.n_files, done.n_frames, done.n_new_frames, done.complete) == (3, 8, 8, True)
    assert seen[-1] == (8, 8, "1 failed")
    same_as_analyze(out, folder)
    assert list(done.failures["file"]) == ["bad.npy"] and list(done.failures["frame"]) == [-1]
    assert read_table(out, "failures")["reason"][0].startswith("bad.npy")
    assert not list(out.rglob(".*"))
    # one data set for everybody
    atoms = pd.read_parquet(out / "atoms")
    assert len(atoms) == done.n_atoms and "file" in atoms
    again = run_batch([folder], out, SMALL)
    assert again.n_new_frames == 0 and again.n_frames == 8


def test_analyses_the_spacing_given_and_writes_maps(tmp_path: Path) -> None:
    import zarr

    np.save(tmp_path / "a.npy", frames(3))
    params = BatchParams(spacing_px=12.0, maps=True, chunk_frames=1)
    run_batch([tmp_path / "a.npy"], tmp_path / "out", params, pixel_size_nm=0.02)
    expected = al.analyze(str(tmp_path / "a.npy"), pixel_size_nm=0.02, params=params.analysis())
    got = read_table(tmp_path / "out").drop(columns="file")
    pd.testing.assert_frame_equal(got, expected.atoms, check_exact=True)
    root: Any = zarr.open_group(str(tmp_path / "out/maps/a.npy.zarr"), mode="r")
    np.testing.assert_array_equal(root["probabilities"][:], expected.probabilities)
    np.testing.assert_array_equal(root["unfamiliar"][:], expected.unfamiliar)
    assert tuple(root.attrs["classes"]) == expected.classes


def test_a_full_disk_costs_the_chunk_in_flight(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "out", []
    real = write_table

    def full(path: Path, what: Any) -> None:
        if path.suffix == ".parquet":
            written.append(path)
            if len(written) > 8:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, what)

    monkeypatch.setattr(parts, "write_table", full)
    with pytest.raises(FormatError, match="disk of out is full"):
        run_batch([folder], out, SMALL, workers=2)
    monkeypatch.undo()
    before = len(Parts(out).read("frames"))
    done = run_batch([folder], out, SMALL, workers=2)
    assert done.n_new_frames == 8 - before and before > 0
    same_as_analyze(out, folder)


def test_a_frame_that_cannot_be_read_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = frames(5)

    class Damaged:
        shape, ndim, dtype = movie.shape, 3, movie.dtype

        def __len__(self) -> int:
            return len(movie)

        def __getitem__(self, f: int) -> np.ndarray:
            if f == 3:
                raise OSError("the block is damaged")
            return movie[f]

    np.save(tmp_path / "a.npy", movie)
    path = str(tmp_path / "a.npy")
    whole = _open(Task("", "", path, "", SMALL))
    from dataclasses import replace

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "_open", lambda task: TakenImage(replace(whole.image, data=Damaged())))
        done = run_batch([tmp_path / "a.npy"], tmp_path / "out", SMALL)
    assert done.failures[["file", "frame"]].values.tolist() == [["a.npy", 3]]
    assert "the block is damaged" in done.failures["reason"][0]
    assert set(read_table(tmp_path / "out")["frame"]) == {0, 1, 2, 4}
    assert run_batch([tmp_path / "a.npy"], tmp_path / "out", SMALL).n_new_frames == 0
    mended = run_batch([tmp_path / "a.npy"], tmp_path / "out", BatchParams(retry=True))
    assert not len(mended.failures)
    got = read_table(tmp_path / "out").drop(columns="file")
    pd.testing.assert_frame_equal(got, al.analyze(str(tmp_path / "a.npy")).atoms, check_exact=True)


CLIENT = """
import sys
from napari_atomlens.runs.batch import run_batch
from napari_atomlens.runs.params import BatchParams
run_batch([sys.argv[1]], sys.argv[2], BatchParams(chunk_frames=1), workers=1)
"""


def test_a_killed_client_loses_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", frames(12, 192))
    out = tmp_path / "out"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", CLIENT, tmp_path / "a.npy", out], env=env)
    limit = time.monotonic() + 60
    while len(Parts(out, "a.npy").done()) < 3 and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()
    before = len(Parts(out).read("frames"))
    assert 3 <= before < 12
    done = run_batch([tmp_path / "a.npy"], out, workers=2)  # the chunks keep their size
    assert done.n_new_frames <= 12 - before + 0 and done.n_frames == 12
    got = read_table(out).drop(columns="file")
    pd.testing.assert_frame_equal(got, al.analyze(str(tmp_path / "a.npy")).atoms, check_exact=True)


def test_cancel_and_go_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run_batch([folder], out, SMALL, workers=1, progress=Progress(stop=lambda: True))
    assert not first.complete and first.n_frames < 8
    second = run_batch([folder], out, SMALL)
    assert second.complete and second.n_frames == 8
    assert second.n_new_frames == 8 - first.n_frames


def test_a_changed_file_is_analysed_again(tmp_path: Path) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, frames(4))
    run_batch([path], out, SMALL)
    np.save(path, frames(3)[::-1])
    done = run_batch([path], out, SMALL)
    assert done.n_frames == 3 == done.n_new_frames
    got = read_table(out).drop(columns="file")
    pd.testing.assert_frame_equal(got, al.analyze(str(path)).atoms, check_exact=True)


def test_sentences(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no file"):
        run_batch([tmp_path / "missing.dm4"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParameterError, match="no file to analyse"):
        run_batch([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(ParameterError, match="holds no batch"):
        run_batch([folder], folder)
    with pytest.raises(ParameterError, match="workers"):
        run_batch([folder], tmp_path / "out", workers=0)
    with pytest.raises(FormatError, match="holds no atoms"):
        read_table(folder)
    run_batch([folder / "2024.npy"], tmp_path / "out")
    with pytest.raises(ParameterError, match="other settings \\(parameters\\)"):
        run_batch([folder / "2024.npy"], tmp_path / "out", BatchParams(min_probability=0.9))
    with pytest.raises(FormatError, match="holds no bonds"):
        read_table(tmp_path / "out", "bonds")


def test_a_run_that_was_killed_as_it_began_is_begun_again(folder: Path, tmp_path: Path) -> None:
    """Half a note of its settings lay in the folder, which was refused as no batch from then on."""
    out = tmp_path / "out"
    out.mkdir()
    left = hidden_beside(out / "batch.json")
    left.write_text("{")
    assert run_batch([folder / "2024.npy"], out, SMALL).complete
    assert not left.exists()


def test_two_clients_keep_apart(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    other = Lock(out / ".lock")
    assert other.acquire()
    with pytest.raises(ParameterError, match="Another batch"):
        run_batch([folder], out)
    other.release()
    (out / ".lock").write_text("of a client that is dead")
    assert run_batch([folder], out).n_frames == 8


def test_a_scheduler_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ParameterError, match="No dask scheduler answers"):
        Cluster(1, "tcp://127.0.0.1:9")


def started(*command: str, ready: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a process of dask; wait until it says where it is."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", *command], env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    limit = time.monotonic() + 60
    while ready is not None and not ready.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    return process


def test_a_scheduler_of_other_processes_and_kills(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    np.save(tmp_path / "a.npy", frames(16, 160))
    out, address = tmp_path / "out", tmp_path / "scheduler.json"
    running = [
        started(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
            "--no-dashboard", "--scheduler-file", str(address), ready=address,
        )
    ]  # fmt: skip
    worker = (
        "distributed.cli.dask_worker", "--scheduler-file", str(address), "--nthreads", "1",
        "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path),
    )  # fmt: skip
    try:
        running += [started(*worker), started(*worker)]
        where = json.loads(address.read_text())["address"]
        command = (
            "napari_atomlens.cli", "batch", str(tmp_path / "a.npy"), "--out", str(out),
            "--chunk-frames", "1", "--scheduler", where,
        )  # fmt: skip

        def until(n: int, client: subprocess.Popen[bytes]) -> None:
            limit = time.monotonic() + 100
            while len(Parts(out, "a.npy").done()) < n and time.monotonic() < limit:
                if client.poll() is not None:
                    break
                time.sleep(0.02)

        client = started(*command)
        until(3, client)
        running[1].kill()  # a worker
        running.append(started(*worker))
        until(6, client)
        client.kill()
        client.wait()
        client = started(*command)
        assert client.wait(120) == 0
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert sorted(read_table(out, "frames")["frame"]) == list(range(16))
    got = read_table(out).drop(columns="file")
    pd.testing.assert_frame_equal(got, al.analyze(str(tmp_path / "a.npy")).atoms, check_exact=True)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParameterError, match=r"pip install \"napari-atomlens\[cluster\]\""):
        Cluster(1, None)


def test_partition_names() -> None:
    names = partition_names(["a.dm4", "a.dm4", "A.dm4", "001", "1e5", "x=1/y", "nan", "é.tif"])
    assert names[:3] == ["a.dm4", "a-2.dm4", "A-3.dm4"]
    assert names[3:] == ["file 001", "file 1e5", "x_1_y", "file nan", "é.tif"]


def test_inputs(folder: Path) -> None:
    found = find_inputs([folder / "movie.npy", folder])
    assert [p.name for p in found] == ["movie.npy", "2024.npy", "bad.npy"]


def test_command(folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(
        cli.app, ["batch", str(folder), "--out", str(tmp_path / "out"), "--chunk-frames", "4"]
    )
    assert run.exit_code == 2, run.output  # one file failed
    assert "8 frames of 3 files" in run.output and "bad.npy: " in run.output
    run = CliRunner().invoke(
        cli.app, ["batch", str(folder / "2024.npy"), "--out", str(tmp_path / "two")]
    )
    assert run.exit_code == 0, run.output


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_names_that_are_not_utf8_or_very_long(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    odd = [os.fsdecode(b"caf\xe9.npy"), os.fsdecode(b"caf\xe8.npy")]
    names = [*odd, "n" * 251 + ".npy", "é" * 120 + ".npy", "a.npy"]
    for k, name in enumerate(names):
        np.save(data / name, frames(1)[k * 0 : 1])
    params = BatchParams(chunk_frames=2, spacing_px=10, maps=True)
    done = run_batch([data], out, params)
    assert done.complete and len(done.failures) == 0 and done.n_frames == len(names)
    assert read_table(out)["file"].nunique() == len(names)
    assert run_batch([data], out, params).n_new_frames == 0


@pytest.mark.parametrize("n", [2, 6])
def test_a_file_that_grew_or_shrank_is_done_anew_with_its_maps(tmp_path: Path, n: int) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    params = BatchParams(chunk_frames=2, spacing_px=10, maps=True)
    np.save(path, frames(4))
    run_batch([path], out, params)
    np.save(path, frames(n)[:, :80, :72])
    done = run_batch([path], out, params)
    assert done.complete and done.n_frames == n == done.n_new_frames and not len(done.failures)
    saved = al.load(out)
    expected = al.analyze(str(path), spacing_px=10)
    np.testing.assert_array_equal(np.asarray(saved.probabilities), expected.probabilities)


def test_a_file_that_changes_while_it_is_analysed_is_done_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, frames(6))
    other, begun = frames(4)[::-1], []
    analyse = tasks._analyse_frame

    def change(movie: Any, frame: int, plan: Any) -> Any:
        begun.append(frame)
        if len(begun) == 3:
            np.save(path, other)
        return analyse(movie, frame, plan)

    monkeypatch.setattr(tasks, "_analyse_frame", change)
    done = run_batch([path], out, SMALL, workers=1)
    assert done.complete and done.n_frames == 4 and not len(done.failures)
    got = read_table(out).drop(columns="file")
    pd.testing.assert_frame_equal(got, al.analyze(str(path)).atoms, check_exact=True)


def test_a_folder_that_is_removed_meanwhile_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, frames(6))
    analyse, begun = tasks._analyse_frame, []

    def remove(movie: Any, frame: int, plan: Any) -> Any:
        begun.append(frame)
        if len(begun) == 4:
            shutil.rmtree(out)
        return analyse(movie, frame, plan)

    monkeypatch.setattr(tasks, "_analyse_frame", remove)
    with pytest.raises(FormatError, match="was removed while the batch wrote to it"):
        run_batch([path], out, BatchParams(chunk_frames=1), workers=1)
    monkeypatch.undo()
    assert run_batch([path], out, SMALL).n_frames == 6  # as it says: the same command again


def test_only_the_rest_of_a_removed_folder_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user puts in its place stays, and so does a batch that began there meanwhile."""
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, frames(3))
    analyse = tasks._analyse_frame

    def remove(movie: Any, frame: int, plan: Any) -> Any:
        if frame == 1:
            shutil.rmtree(out)
            out.mkdir()
            (out / "mine.txt").write_text("mine")
        return analyse(movie, frame, plan)

    monkeypatch.setattr(tasks, "_analyse_frame", remove)
    with pytest.raises(FormatError, match="was removed"):
        run_batch([path], out, BatchParams(chunk_frames=1), workers=1)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_damaged_note_of_another_file_is_its_own_failure(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, frames(1))
        run_batch([tmp_path / name], out, SMALL)
    (out / "files" / "a.npy.json").write_bytes(b"\x00{")
    done = run_batch([tmp_path / "b.npy"], out, SMALL)
    assert list(done.failures["file"]) == ["a.npy"]
    assert "damaged" in done.failures["reason"][0] and done.n_files == 2
    done = run_batch([tmp_path / "a.npy"], out, SMALL)
    assert not len(done.failures) and done.n_frames == 2


def hang(path: Path) -> None:
    """Stands for a library that goes round."""
    time.sleep(3600)


def test_a_reader_that_hangs_costs_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readable, "_read_a_frame", hang)
    np.save(tmp_path / "a.npy", frames(1))
    (tmp_path / "bad.dm3").write_bytes(b"\0\0\0\x03" + bytes(100))
    params = BatchParams(limit_s=0.5)
    done = run_batch([tmp_path / "a.npy", tmp_path / "bad.dm3"], tmp_path / "out", params)
    assert done.complete and done.n_frames == 1
    assert list(done.failures["file"]) == ["bad.dm3"]
    assert "took longer than 0.5 s" in done.failures["reason"][0]


RACE = """
import sys, time
from pathlib import Path
from napari_atomlens.errors import ParameterError
from napari_atomlens.runs.batch import _locked
folder, mark = Path(sys.argv[1]), Path(sys.argv[1]) / "mark"
print("ready", flush=True)
sys.stdin.readline()
entered = 0
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        with _locked(folder):
            mark.touch(exist_ok=False)  # fails where another is in
            entered += 1
            mark.unlink()
    except ParameterError:
        pass
print(entered)
"""


def test_of_batches_that_start_together_one_wins(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path)], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for one in both:
        assert one.stdout is not None and one.stdin is not None
        assert one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0, 0], said
    assert sum(int(out) for out, _ in said) > 100
