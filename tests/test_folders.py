"""Folders are exchanged as a whole, and what is the user's stays, whenever the writer dies."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_atomlens import folders
from napari_atomlens.folders import (
    folder_lock,
    is_whole,
    leftovers,
    new_folder_beside,
    recover_folder,
    remove_written,
)


def names(folder: Path) -> list[str]:
    """Files that a user sees in a folder, and below it."""
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.name != folders.WRITTEN
    )


def save(target: Path, text: str, *files: str, ours: tuple[str, ...] = ()) -> None:
    with new_folder_beside(target, ours) as fresh:
        for name in files:
            (fresh / name).parent.mkdir(exist_ok=True)
            (fresh / name).write_text(text)


class Killed(BaseException):
    """The process ends here: nothing is tidied."""


def test_a_folder_is_exchanged_once_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    save(target, "old", "a")
    with pytest.raises(ValueError), new_folder_beside(target) as fresh:
        (fresh / "b").write_text("new")
        raise ValueError
    assert names(target.parent) == ["folder/a"]
    with new_folder_beside(target) as fresh:
        (fresh / "b").write_text("new")
        assert names(target) == ["a"]
    assert names(target.parent) == ["folder/b"] and is_whole(target)


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "folder", "old", "a")
    rename, calls = Path.rename, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(self.name)
        if len(calls) == 2:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match="denied"),
        new_folder_beside(tmp_path / "folder"),
    ):
        patch.setattr(Path, "rename", second_fails)
    assert names(tmp_path) == ["folder/a"]


def test_what_the_user_put_there_stays(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    save(target, "old", "a", "deep/b")
    (target / "notes.txt").write_text("mine")
    (target / "deep" / "mine.txt").write_text("mine")
    (target / "c").write_text("mine")
    (target / "link").symlink_to(tmp_path)
    (target / "empty" / "deeper").mkdir(parents=True)
    (target / "deep" / "to do").mkdir()
    save(target, "new", "c", "deep/b")
    seen = {name: (target / name).read_text() for name in names(target)}
    assert seen == {
        "c": "new", "c (2)": "mine", "deep/b": "new", "deep/mine.txt": "mine", "notes.txt": "mine",
    }  # fmt: skip
    assert (target / "link").is_symlink() and not leftovers(target)
    assert not remove_written(target)
    assert names(target) == ["c (2)", "deep/mine.txt", "notes.txt"]
    assert (target / "empty" / "deeper").is_dir() and (target / "deep" / "to do").is_dir()


def test_of_a_folder_without_a_list_only_what_is_known_goes(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "sub").mkdir(parents=True)
    for name in ("sub/part-1", "sub/part of mine", "run.json"):
        (target / name).write_text("old")
    save(target, "new", "run.json", ours=("run.json", "sub/part-*"))
    assert names(target) == ["run.json", "sub/part of mine"]
    assert (target / "run.json").read_text() == "new"


def steps(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], bool]:
    """Kill the process before its nth change of the disk; tells whether that many were made."""
    done = [0]

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def instead(*args: object, **kwargs: object) -> object:
            done[0] += 1
            if done[0] >= at:  # from now on nothing reaches the disk
                raise Killed
            return change(*args, **kwargs)

        return instead

    for owner, name in (
        (Path, "rename"), (Path, "unlink"), (Path, "rmdir"), (Path, "mkdir"), (Path, "write_text"),
        (os, "replace"), (os, "fsync"), (shutil, "rmtree"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return lambda: done[0] >= at


def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, reached = 0, True
    while reached:
        at += 1
        target = tmp_path / str(at) / "folder"
        save(target, "old", "a", "deep/b")
        (target / "notes.txt").write_text("mine")
        with monkeypatch.context() as patch:
            is_dead = steps(patch, at)
            with contextlib.suppress(Killed):
                save(target, "new", "a", "deep/c")
            reached = is_dead()
        recover_folder(target)
        assert not leftovers(target)
        mine = [p for p in target.rglob("notes*")]
        assert [p.read_text() for p in mine] == ["mine"], at
        rest = {name: (target / name).read_text() for name in names(target) if name != "notes.txt"}
        assert rest in ({"a": "old", "deep/b": "old"}, {"a": "new", "deep/c": "new"}), at
    assert at > 25  # so many steps were tried, and at last none was left


def test_a_folder_that_a_power_cut_left_in_parts_is_not_taken(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    save(target, "text", "a", "b")
    target.rename(fresh := folders.hidden_beside(target))
    (fresh / "b").write_text("")
    assert not is_whole(fresh) and not recover_folder(target) and not target.exists()
    save(target, "text", "a")
    assert names(tmp_path) == ["folder/a"]
    (target / "a").unlink()
    assert not is_whole(target)


def test_what_goes_is_never_put_back(tmp_path: Path) -> None:
    """A folder that the user moved away is not replaced by the rest of an older one."""
    target = tmp_path / "folder"
    save(target, "old", "a", "b")
    gone = folders.hidden_beside(target)
    shutil.copytree(target, gone.with_name(gone.name + folders.GOING))
    target.rename(tmp_path / "elsewhere")
    assert not recover_folder(target) and not target.exists()


def test_long_names_and_links(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 250)
    save(long, "x", "a")
    save(long, "y", "b")
    assert names(long) == ["b"]
    assert folder_lock(long).acquire()
    link = tmp_path / "link"
    link.symlink_to(long)
    save(link, "z", "c")
    assert link.is_symlink() and names(long) == ["c"]
    assert folder_lock(link).path == folder_lock(long).path
