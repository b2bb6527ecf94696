"""A child process that can be killed, run out of disk or lose its power; POSIX only."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

#: What a child tells its parent: lines of text; what it told must hold whatever comes.
Tell = Callable[[object], None]
#: A line that says that a child could not go on, and knew it (a sentence for the user).
REFUSED, CRASHED = "refused: ", "crashed: "


@dataclass
class Child:
    """A forked process and what it told.

    Attributes
    ----------
    told : list of str
    """

    pid: int
    pipe: int
    told: list[str] = field(default_factory=list)
    ended: bool = False
    _rest: bytes = b""

    def listen(self, seconds: float, until: int = 1 << 60) -> bool:
        """Read what is told for some time, or until so many lines; True once it has ended."""
        stop = time.monotonic() + seconds
        while not self.ended and len(self.told) < until:
            left = stop - time.monotonic()
            if left < 0 or not select.select([self.pipe], [], [], left)[0]:
                break
            if not (found := os.read(self.pipe, 1 << 16)):
                self.ended = True
                break
            *lines, self._rest = (self._rest + found).split(b"\n")
            self.told += [line.decode(errors="replace") for line in lines]
        return self.ended

    def kill(self) -> list[str]:
        """End it at once; return all that it told."""
        os.kill(self.pid, signal.SIGKILL)
        self.listen(5)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        return self.told

    def pause(self, on: bool) -> None:
        """Stop it, or let it go on."""
        os.kill(self.pid, signal.SIGSTOP if on else signal.SIGCONT)


def fork(work: Callable[[Tell], object], limit: int = 0) -> Child:
    """Do work in a process of its own.

    Parameters
    ----------
    work : callable
        Given a function that tells the parent a line. An error is told, too.
    limit : int
        Files may not grow above this many bytes; 0 is no limit.
    """
    sys.stdout.flush()
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return Child(pid, read)
    try:
        os.close(read)
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        tell = lambda line: os.write(write, f"{line}\n".encode(errors="replace"))  # noqa: E731
        try:
            work(tell)
        except Exception as error:
            from napari_atomlens.errors import AtomLensError

            known = isinstance(error, AtomLensError)
            last = (
                ""
                if known
                else " at "
                + " < ".join(
                    f"{Path(f.filename).name}:{f.lineno}"
                    for f in reversed(traceback.extract_tb(error.__traceback__)[-3:])
                )
            )
            tell(f"{REFUSED if known else CRASHED}{type(error).__name__}: {error}{last}")
    finally:
        os._exit(0)


def answer(work: Callable[[Tell], object], seconds: float = 60.0) -> list[str]:
    """What a process tells until its end; a last line says so where it hangs."""
    child = fork(work)
    if child.listen(seconds):
        os.close(child.pipe)
        os.waitpid(child.pid, 0)
        return child.told
    return [*child.kill(), f"{CRASHED}hung for {seconds:.0f} s"]


#: Changes of the disk that are counted.
CHANGES = ("replace", "rename", "unlink", "fsync", "mkdir", "rmdir")


def die_at(change: int) -> None:
    """Let this process die before its nth change of the disk."""
    done = [0]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def instead(*args: object, **kwargs: object) -> object:
            done[0] += 1
            if done[0] >= change:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return instead

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
