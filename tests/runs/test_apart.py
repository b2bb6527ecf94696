"""Work in another process: what it gives, and what hangs, exits or raises there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_atomlens.errors import ImageError
from napari_atomlens.runs import apart
from napari_atomlens.runs.apart import Apart, ApartError, LostError, TimeLimitError


def twice(x: np.ndarray) -> np.ndarray:
    print("what a library prints is no answer")
    return 2 * x


def refuse() -> None:
    raise ImageError("It is no image.")


def a_lambda() -> object:
    return lambda: 0


@pytest.fixture
def process() -> Apart:
    return Apart()


def test_what_is_called_gives_its_result_and_raises_its_errors(process: Apart) -> None:
    np.testing.assert_array_equal(process.call(30, twice, np.arange(3)), [0, 2, 4])
    there = process.call(30, os.getpid)
    assert there != os.getpid() and process.call(30, os.getpid) == there  # kept warm
    with pytest.raises(ImageError, match=r"^It is no image\.$"):
        process.call(30, refuse)
    with pytest.raises(ApartError, match="ZeroDivisionError"):
        process.call(30, divmod, 1, 0)
    with pytest.raises(ApartError, match="SystemExit"):
        process.call(30, sys.exit, "bye")
    with pytest.raises(ApartError, match="pickle"):
        process.call(30, a_lambda)
    assert process.call(30, os.getpid) == there  # none of this ends it
    process.close()


def test_what_hangs_or_crashes_is_replaced(process: Apart) -> None:
    first = process.call(30, os.getpid)
    start = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"longer than 0\.5 s"):
        process.call(0.5, time.sleep, 3600)
    assert time.monotonic() - start < 10
    second = process.call(30, os.getpid)
    with pytest.raises(LostError):
        process.call(30, os.abort)
    assert len({first, second, process.call(30, os.getpid)}) == 3
    process.close()
    with pytest.raises(LostError):
        process.call(30, os.getpid)


def test_one_that_is_closed_lets_go_of_who_waits(process: Apart) -> None:
    process.call(30, os.getpid)
    threading.Timer(0.3, process.close).start()
    start = time.monotonic()
    with pytest.raises(LostError):
        process.call(3600, time.sleep, 3600)
    assert time.monotonic() - start < 10


def test_the_script_of_the_user_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom napari_atomlens.runs.apart import Apart\nprint('once')\n"
        "print(Apart().call(30, os.getpid) != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == ["once", "True"]


def test_processes_are_kept_for_the_next_and_end_when_nobody_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = apart.borrow()
    pid = one.call(30, os.getpid)
    apart.give_back(one)
    assert apart.borrow() is one and one.call(30, os.getpid) == pid
    monkeypatch.setattr(apart, "IDLE_S", 0.2)
    apart.give_back(one)
    end = time.monotonic() + 20
    while any(spare is one for spare, _ in apart._spare) and time.monotonic() < end:
        time.sleep(0.02)
    with pytest.raises(LostError):
        one.call(30, os.getpid)


def test_a_process_whose_caller_was_killed_ends_without_a_word() -> None:
    """A killed watch left tracebacks of broken pipes in the terminal of its user."""
    server = subprocess.Popen(
        [sys.executable, "-c", apart._START], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None and server.stderr is not None
    apart._send(server.stdin, (time.sleep, (1.0,), {}))
    assert apart._receive(server.stdout) == apart.BEGUN
    server.stdout.close()  # nobody reads the answer
    assert server.wait(60) == 0
    assert server.stderr.read() == b""
    server.stdin.close()
    server.stderr.close()
