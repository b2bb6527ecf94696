"""The bar and Ctrl-C: a job ends between its steps, with a sentence and exit code 130."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from napari_atomlens.cli.progress import bar, until_stopped
from napari_atomlens.runs.shelf import LEDGER
from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon


class Terminal(io.StringIO):
    """Where a bar is drawn."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("frames") as progress:
        progress(1, 2)
        progress.say("Linking…")
        assert not progress.stopped
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_lines_take_the_place_of_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("step", lines=True) as progress:
        progress(50, 70, "loss 0.25")
        progress.say("calibrating")
    assert capsys.readouterr().out == "step 50 of 70, loss 0.25\ncalibrating\n"


def test_a_terminal_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with bar("frames", lines=True) as progress:
        progress(3, 7, "Linking")
    assert "3/7" in shown.getvalue() and "frames Linking" in shown.getvalue()
    assert capsys.readouterr().out == ""


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_asks_and_what_is_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = []
    with (
        pytest.raises(typer.Exit) as ended,
        bar("frames", "Stopped after {done} frames; go on.") as progress,
    ):
        for k in range(10):
            if progress.stopped:
                break
            steps.append(k)
            progress(k + 1, 10)
            if k == 3:
                interrupt()
    assert steps == [0, 1, 2, 3]
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "Stopped after 4 frames; go on.\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts(capsys: pytest.CaptureFixture[str]) -> None:
    reached = []
    with pytest.raises(typer.Exit) as ended, until_stopped(lambda: "Stopped.") as stop:
        interrupt()
        reached.append(stop())
        interrupt()
        reached.append(True)
    assert reached == [True] and ended.value.exit_code == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_job_that_does_not_listen_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    reached = []
    with pytest.raises(typer.Exit) as ended, bar("scan", "Nothing.", listens=False) as progress:
        progress(1, 2)
        interrupt()
        reached.append(True)
    assert reached == [] and ended.value.exit_code == 130
    assert capsys.readouterr().err == "Nothing.\n"


def test_another_thread_has_a_bar_too() -> None:
    ended: list[bool] = []

    def work() -> None:
        with bar("frames") as progress:
            progress(1, 1)
            ended.append(progress.stopped)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [False]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for others")
def test_ctrl_c_ends_a_watch(tmp_path: Path) -> None:
    params = SiliconParams(size_px=128, pixel_size_nm=0.09, seed=2**33 + 17)
    np.save(tmp_path / "a.npy", simulate_silicon(params).image.astype(np.float32))
    past = time.time() - 1
    os.utime(tmp_path / "a.npy", (past, past))
    command = [sys.executable, "-m", "napari_atomlens.cli", "watch", str(tmp_path)]
    watching = subprocess.Popen(
        [*command, "--analysis", "none"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        line = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert json.loads(line)["event"] == "analysed"
    assert watching.returncode == 130
    assert said.splitlines()[-1] == "Stopped; the next start goes on from here."
    assert (tmp_path / "atomlens_results" / LEDGER).exists()
