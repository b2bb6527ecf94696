"""Work in processes of their own: what hangs, exits or crashes there ends nothing here.

A process is kept for the next call; one that takes longer than it may is killed. It is no child of
:mod:`multiprocessing`, which would run the main script of the user once more.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, ParamSpec, TypeVar, cast

from napari_atomlens.errors import AtomLensError

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a process waits for its next call before it is ended.
IDLE_S = 60.0
#: Seconds that a process may take to start.
START_S = 120.0
BEGUN = "begun"
_LENGTH = struct.Struct("<Q")
_START = "from napari_atomlens.runs.apart import serve; serve()"


class ApartError(AtomLensError):
    """What was called in another process failed in a way that nobody foresaw."""


class TimeLimitError(ApartError):
    """It took longer than it may, and was ended."""


class LostError(ApartError):
    """The process ended by itself: a crash of a library, or too little memory."""


class Apart:
    """A process of its own that does one thing after the other; started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._busy = self._expired = False
        self._closed = False

    def call(
        self, limit_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function of a module there, and return what it gives.

        Parameters
        ----------
        limit_s : float
            Seconds that it may take, the start of the process not counted.
        function : callable
            Of a module: it is found there by its name.
        *args, **kwargs
            Its arguments; a copy of them goes there.

        Raises
        ------
        TimeLimitError
            If it takes longer; the process is killed.
        LostError
            If the process ends.
        ApartError
            If anything else is raised there that is no error of this package.
        AtomLensError
            As the function raises it.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            # what a new process imports is not of this call
            with self._limited(START_S):
                _send(process.stdin, (function, args, kwargs))
                answer = _receive(process.stdout)
            if answer == BEGUN:
                with self._limited(limit_s):
                    answer = _receive(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            expired = self._expired
            self.kill()
            if expired:
                raise TimeLimitError(f"It took longer than {limit_s:g} s.") from None
            raise LostError("Its process ended without a word (too little memory?).") from None
        good, value = cast(tuple[bool, object], answer)
        if good:
            return cast(T, value)
        assert isinstance(value, Exception)
        raise value

    @contextlib.contextmanager
    def _limited(self, limit_s: float) -> Iterator[None]:
        """Kill the process where this takes longer."""
        clock = threading.Timer(limit_s, self._expire)
        clock.daemon = True
        with self._lock:
            self._busy, self._expired = True, False
        clock.start()
        try:
            yield
        finally:
            clock.cancel()
            with self._lock:
                self._busy = False

    def _expire(self) -> None:
        with self._lock:
            if self._busy and self._process is not None:
                self._expired = True
                self._process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise LostError("Its process was ended.")
            if self._process is None or self._process.poll() is not None:
                self._process = _start()
            return self._process

    def kill(self) -> None:
        """End the process at once, whatever it does; the next call starts another."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def close(self) -> None:
        """End the process for good: a call that is being made raises a LostError."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
            busy = self._busy
        if not busy:  # else who made the call tidies up
            self.kill()


#: Processes that nobody uses at the moment, with the clocks that end them.
_spare: list[tuple[Apart, threading.Timer]] = []
_lending = threading.Lock()


def borrow() -> Apart:
    """Return a process that is warm, if there is one, else a new one."""
    with _lending:
        if not _spare:
            return Apart()
        process, clock = _spare.pop()
    clock.cancel()
    return process


def give_back(process: Apart) -> None:
    """Keep a process for whoever needs one next; it ends after `IDLE_S`."""

    def end() -> None:
        with _lending:
            _spare[:] = [one for one in _spare if one[0] is not process]
        process.close()

    clock = threading.Timer(IDLE_S, end)
    clock.daemon = True
    with _lending:
        _spare.append((process, clock))
    clock.start()


@atexit.register
def _end_all() -> None:
    while _spare:
        process, clock = _spare.pop()
        clock.cancel()
        process.close()


def _start() -> subprocess.Popen[bytes]:
    # the modules of the user are found there as they are here, but not those that happen to lie in
    # the current folder (-P)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    # Ctrl-C is meant for this process, which ends the others
    if sys.platform == "win32":
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment, process_group=0,
    )  # fmt: skip


def _send(pipe: IO[bytes], message: object) -> None:
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> object:
    def exactly(n: int) -> bytes:
        content = pipe.read(n)
        if len(content) < n:
            raise EOFError
        return content

    # only ever of a process of our own, through a pipe that nobody else holds
    return pickle.loads(exactly(_LENGTH.unpack(exactly(_LENGTH.size))[0]))


def serve() -> None:
    """Do what is asked for on standard input until it ends: the other side of :class:`Apart`."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries and hooks print must not come between the answers
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            head = asked.read(_LENGTH.size)
            content = asked.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
            if not content:  # whoever asked is gone: nobody waits for what is being done
                os._exit(0)
            calls.put(content)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        content = calls.get()
        try:
            function, args, kwargs = pickle.loads(content)
            _answer(answers, BEGUN)
            answer: object = (True, function(*args, **kwargs))
        except AtomLensError as error:
            answer = (False, error)
        except MemoryError:
            answer = (False, ApartError("There is not enough memory."))
        except (Exception, SystemExit) as error:  # readers and hooks raise errors of every type
            answer = (False, ApartError(_said(error)))
        _answer(answers, answer)


def _answer(answers: IO[bytes], answer: object) -> None:
    """Send what came out, or why it cannot be sent; without a word where nobody waits for it."""
    try:
        try:
            _send(answers, answer)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            _send(answers, (False, ApartError(_said(error))))
    except OSError:  # whoever asked was killed
        os._exit(0)


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
