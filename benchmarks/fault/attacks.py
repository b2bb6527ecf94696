"""The attacks on a case, and what came of each."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fault.cases import Case
from fault.cuts import Disk, Synced, cut_down
from fault.machine import CRASHED, REFUSED, Tell, answer, die_at, fork
from napari_atomlens.files import sync_tree

#: Seconds after a call has returned at which the power goes.
AFTER_S = (0.0, 1.0, 6.0, 9.0)
#: Sizes above which no file can grow, in bytes: a full disk for small and for large files.
LIMITS = (0, 300, 2_000, 9_000, 40_000)


@dataclass
class Tally:
    """What came of the attacks of one kind on one case.

    Attributes
    ----------
    case, attack : str
    n : int
    lost, ended : list of str
        What was lost or doubled; what ended or hung where it must not.
    told : int
        Steps that held.
    """

    case: str
    attack: str
    n: int = 0
    lost: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    told: int = 0


def last_of(told: Sequence[str]) -> int:
    """The latest step that was told, -1 where there is none."""
    return max((int(line) for line in told if line.lstrip("-").isdigit()), default=-1)


def check(case: Case, folder: Path, told: Sequence[str], tally: Tally) -> None:
    """Look at a folder after an attack, in a process of its own."""
    last = last_of(told)
    tally.n += 1
    tally.told += last + 1

    def look(tell: Tell) -> None:
        for problem in case.check(folder, last):
            tell(problem)

    for line in answer(look):
        kind = tally.ended if line.startswith(CRASHED) else tally.lost
        kind.append(f"{case.name}, {tally.attack} after {last}: {line}")


def fresh(place: Path, case: Case) -> Path:
    """An empty folder, prepared."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    answer(lambda tell: case.prepare(place))
    sync_tree(place)  # what the user has written before is not in question
    return place


def kills(case: Case, place: Path, n: int, chance: random.Random) -> Tally:
    """Kill the process: at any moment, or before a certain change of the disk."""
    tally = Tally(case.name, "kill -9")
    for k in range(n):
        folder = fresh(place / "kills", case)
        at = chance.randint(1, 120) if k % 2 else 0

        def work(tell: Tell, folder: Path = folder, at: int = at) -> None:
            if at:
                die_at(at)
            case.work(folder, tell)

        child = fork(work)
        if not at:
            start = time.monotonic()
            child.listen(30, chance.randint(1, 5))
            step = (time.monotonic() - start) / max(len(child.told), 1)
            child.listen(chance.uniform(0, 2 * step))
        else:
            child.listen(60)
        note_crash(case, child.kill(), tally)
        check(case, folder, child.told, tally)
    return tally


def note_crash(case: Case, told: Sequence[str], tally: Tally) -> None:
    """An error that is no sentence for the user ends what should go on."""
    tally.ended += [f"{case.name}, {tally.attack}: {s}" for s in told if s.startswith(CRASHED)]


def cuts_on_a_disk(
    case: Case, place: Path, n: int, chance: random.Random, after: Sequence[float] = AFTER_S
) -> Tally:
    """Cut the power in the midst of the work, and some seconds after a call has returned."""
    tally = Tally(case.name, "power cut (disk)")
    disk = Disk(place / f"disk of {case.name}")
    try:
        folder = fresh(disk.folder / "work", case)
        child = fork(lambda tell: case.work(folder, tell))

        def cut() -> None:
            child.pause(True)
            child.listen(0)
            with disk.cut(place / f"cut-{tally.n}") as there:
                check(case, there / "work", list(child.told), tally)

        for _ in range(n):
            child.listen(20, len(child.told) + chance.randint(1, 4))
            child.listen(chance.uniform(0.0, 0.2))
            cut()
            child.pause(False)
        child.listen(20, len(child.told) + 1)
        child.pause(True)  # it has told something, and rests
        start = time.monotonic()
        for seconds in after:
            time.sleep(max(0.0, start + seconds - time.monotonic()))
            cut()
        child.pause(False)
        note_crash(case, child.kill(), tally)
    finally:
        disk.close()
    return tally


def cuts_of_what_was_synced(case: Case, place: Path, n: int, chance: random.Random) -> Tally:
    """Cut the power where no disk can be mounted: only what was synchronised stays."""
    tally = Tally(case.name, "power cut (simulated)")
    for _ in range(n):
        folder, shadow = fresh(place / "cuts", case), place / "synced"
        shutil.rmtree(shadow, ignore_errors=True)
        already = [p for p in folder.rglob("*") if p.is_file()]

        def work(
            tell: Tell, folder: Path = folder, already: list[Path] = already, to: Path = shadow
        ) -> None:
            synced = Synced(to)
            for path in already:
                with path.open("rb") as file:
                    synced._note(file.fileno())
            case.work(folder, tell)

        child = fork(work)
        child.listen(30, chance.randint(1, 6))
        child.listen(chance.uniform(0, 0.05))
        note_crash(case, child.kill(), tally)
        there = cut_down(folder, shadow, place / "after")
        check(case, there, child.told, tally)
        shutil.rmtree(there)
    return tally


def full_disks(case: Case, place: Path, limits: Sequence[int] = LIMITS) -> Tally:
    """Let files not grow beyond a size; and for 0 let the disk say after some time it is full."""
    tally = Tally(case.name, "disk full")
    for limit in limits:
        folder = fresh(place / "full", case)

        def work(tell: Tell, folder: Path = folder, limit: int = limit) -> None:
            if not limit:
                fill_up(tell)
            case.work(folder, tell)

        child = fork(work, limit)
        child.listen(15, 40)
        told = child.kill()
        note_crash(case, told, tally)
        check(case, folder, [t for t in told if not t.startswith(REFUSED)], tally)
    return tally


def fill_up(tell: Callable[[object], object], after: int = 37) -> None:
    """Let the disk be full at the nth time something is to be synchronised, for a while."""
    real, done = os.fsync, [0]

    def full(handle: int) -> None:
        done[0] += 1
        if after <= done[0] < after + 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    os.fsync = full  # type: ignore[assignment]
