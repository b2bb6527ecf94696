"""Writing whole or not at all, locks, digests and folders of the user."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pytest

from napari_atomlens import files
from napari_atomlens.files import Lock, digest, user_folder, write_whole
from napari_atomlens.folders import new_folder_beside
from napari_atomlens.io.export.tables import write_table


def full(file: BinaryIO) -> None:
    """Write a part, then run out of space."""
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("content", ["né\n", "né\n".encode(), lambda f: f.write("né\n".encode())])
def test_a_file_is_written_with_its_folder(tmp_path: Path, content: object) -> None:
    path = write_whole(tmp_path / "new" / "a.txt", content)  # type: ignore[arg-type]
    assert path.read_text(encoding="utf-8") == "né\n" and names(path.parent) == ["a.txt"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(OSError, match="No space"):
        write_whole(path, full)
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_table_on_a_full_disk_leaves_the_table_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3.0]})
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        path = write_table(tmp_path / f"a{suffix}", old)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda handle: full(io.BytesIO()))
            with pytest.raises(OSError, match="No space"):
                write_table(path, new)
        pd.testing.assert_frame_equal(read(path), old)
        write_table(path, new)
        pd.testing.assert_frame_equal(read(path), new)
    assert names(tmp_path) == ["a.csv", "a.parquet"]


def test_what_is_written_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b))[1])
    write_whole(tmp_path / "a", "x")
    assert done[:2] == ["sync", "replace"]
    if sys.platform != "win32":
        assert done[2:] == ["sync"]  # the folder


@pytest.mark.skipif(sys.platform == "win32", reason="links and devices of POSIX")
def test_a_link_stays_one_and_a_device_too(tmp_path: Path) -> None:
    write_whole(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    read, write = os.pipe()
    write_whole(f"/dev/fd/{write}", "through a pipe")
    os.close(write)
    with os.fdopen(read) as file:
        assert file.read() == "through a pipe"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = write_whole(tmp_path / "a", "x")
        with new_folder_beside(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


def test_one_holds_a_lock(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire() and first.acquire() and not second.acquire()
    thread = threading.Thread(target=first.release)  # taken in one thread, given back in another
    thread.start()
    thread.join()
    assert second.acquire() and not first.acquire()
    first.release()  # it holds nothing
    assert not first.acquire()
    second.release()
    assert first.acquire()
    first.release()
    if sys.platform != "win32":
        assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there nobody can remove a file in use")
def test_a_lock_that_was_removed_does_not_give_that_of_another_back(tmp_path: Path) -> None:
    first, second, third = (Lock(tmp_path / "lock") for _ in range(3))
    assert first.acquire()
    first.path.unlink()  # with the whole folder, say
    assert second.acquire()
    first.release()
    assert second.path.exists() and not third.acquire()
    second.release()
    assert names(tmp_path) == []


def test_of_many_that_want_a_lock_one_has_it(tmp_path: Path) -> None:
    path, holders, both = tmp_path / "lock", [0], []
    until = time.monotonic() + 3

    def take() -> None:
        while time.monotonic() < until and not both:
            lock = Lock(path)
            if lock.acquire():
                holders[0] += 1
                both.extend([holders[0]] if holders[0] > 1 else [])
                time.sleep(0)
                holders[0] -= 1
                lock.release()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both and names(tmp_path) == []


def test_nothing_is_locked_where_nothing_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "no folder")
    lock = Lock(tmp_path / "file" / "lock")
    assert not lock.acquire()
    lock.release()


def test_a_crash_gives_the_lock_back(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from napari_atomlens.files import Lock\n"
        "lock = Lock(pathlib.Path(sys.argv[1])); print(lock.acquire(), flush=True); time.sleep(60)"
    )
    path = tmp_path / "lock"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline().strip() == "True"
        assert not Lock(path).acquire()
    finally:
        child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        child.communicate()
    lock = Lock(path)
    assert lock.acquire()
    lock.release()


def test_digests(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a", b"abc")
    assert digest(path) == hashlib.sha256(b"abc").hexdigest()
    image = np.arange(12.0).reshape(3, 4)
    known = hashlib.sha256(b"<f8(3, 4)" + image.tobytes()).hexdigest()
    assert digest(image) == digest(np.asfortranarray(image)) == known
    assert len({known, digest(image.T), digest(image.astype("f4")), digest(image[:0])}) == 4
    store = tmp_path / "store"
    write_whole(store / "c" / "0", "x")
    one = digest(store)
    write_whole(store / "c" / "0", "y")
    two = digest(store)
    (store / "c" / "0").rename(store / "c" / "1")
    assert len({one, two, digest(store)}) == 3


def test_folders_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOMLENS_LIBRARY", str(tmp_path / "mine"))
    assert user_folder("library") == tmp_path / "mine"
    monkeypatch.delenv("ATOMLENS_LIBRARY")
    monkeypatch.setattr(files.platformdirs, "user_data_path", lambda *_, **__: tmp_path)
    assert user_folder("library") == tmp_path / "library" != user_folder("settings")
