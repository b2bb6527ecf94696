"""What stays behind after an image was opened, analysed and closed many times, in a real window.

    scripts/with_display.sh python benchmarks/rounds.py --stand-in            # 100 rounds, ~1 h
    scripts/with_display.sh python benchmarks/rounds.py --rounds 10 --only Measure --stand-in

In a round an image is opened, the docks that are needed are opened, their buttons are pressed, and
when they are idle they are closed (with the button of their title, not hidden) and all layers are
removed. Counted before and after all rounds but the first few: layers that are alive, callbacks of all
events that are alive (those of napari and of psygnal), widgets, threads, objects of our classes and
memory. Then napari does the same without us in a process of its own: the same image, as many empty
docks and threads, the same layers one after the other, all of it closed. What grows beyond that is
ours. napari keeps each worker (of a thread) as long as its window; ours are not counted, as they are
there without us as well. Where Mesa 22 draws without a graphics card our guard against its fault is
on in both: it keeps programs of shaders, in exchange for memory.

``--stand-in`` finds the atoms without the network (local maxima, round outlines).
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import Report, figure
from window import button_of, click, is_idle, plain, rest, settings_in, wait

#: What is done in a round: docks and their buttons, one after the other.
WORK: dict[str, tuple[tuple[str, str], ...]] = {
    "Find atoms": (("Find atoms", "run"),),
    "Measure": (("Find atoms", "run"), ("Measure", "run")),
    "Explore": (("Find atoms", "run"), ("Explore", "describe")),
    "Chemistry": (("Find atoms", "run"), ("Chemistry", "build")),
    "One image": (
        ("Find atoms", "run"),
        ("Measure", "run"),
        ("Chemistry", "build"),
        ("Explore", "describe"),
    ),
    "Movie": (("Movie", "run"),),
    "STM": (("STM", "run"),),
    "Correct": (("Find atoms", "run"), ("Correct", "mode")),
    "Calibrate": (("Calibrate", ""),),
    "Batch": (("Batch", ""),),
    "Watch folder": (("Watch folder", ""),),
}
#: What is done where nothing is asked for.
USUAL = ("One image", "Movie", "STM", "Correct")
#: Buttons that only switch something on.
SWITCHES = ("mode",)
#: Rounds that are not counted: what is made once, and caches.
FIRST = 5
#: What may not grow at all beyond napari alone.
CONSTANT = ("layers", "callbacks", "widgets", "threads", "objects of ours")
#: How much memory may grow beyond that of napari alone, in all (MB) and a round (MB).
MOST_MB, MOST_MB_A_ROUND = 40.0, 0.5
#: A button may keep us waiting so long (s).
PATIENCE_S = 900
#: After so many rounds it is said what has grown meanwhile.
TOLD = 20
SIDE_PX, PIXEL_NM, FRAMES = 160, 0.02, 3


def image_for(key: str) -> np.ndarray:
    """A small image: a square lattice with noise; a movie; a scan."""
    rng = np.random.default_rng(15)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    image = np.cos(2 * np.pi * y / 16) + np.cos(2 * np.pi * x / 16)
    image = np.clip(image, 0, None) ** 2
    image = np.stack([image] * FRAMES) if key == "Movie" else image
    return (image + rng.normal(0, 0.05, image.shape)).astype(np.float32)


def add_image(viewer: Any, key: str) -> None:
    """Open the image."""
    more = 1 if key == "Movie" else 0
    viewer.add_image(
        image_for(key), name="image", scale=[1.0] * more + [PIXEL_NM] * 2,
        units=["s"] * more + ["nm"] * 2, axis_labels="tyx"[1 - more :],
    )  # fmt: skip


def ours(viewer: Any, key: str) -> list[Any]:
    """Open, analyse and close; returns the layers that came."""
    add_image(viewer, key)
    rest(0.05)
    for name, start in WORK[key]:
        outer, dock = viewer.window.add_plugin_dock_widget("napari-atomlens", name)
        rest(0.05)
        button = button_of(dock, start) if start else None
        if button is None:
            click(outer.title.close_button)
            continue
        click(button)
        if start in SWITCHES:
            rest(0.1)
        elif button.text() != "Cancel":
            raise SystemExit(f"{name} does not begin: {dock.status.text()}")
        if not wait(lambda: is_idle(dock) and button.isEnabled(), PATIENCE_S):  # noqa: B023
            faulthandler.dump_traceback()
            raise SystemExit(f"{name} does not end: {dock.status.text()}")
        rest(0.1)
        click(outer.title.close_button)
        rest(0.05)
    came = [plain(x) for x in viewer.layers if x.name != "image"]
    for _, keywords, kind in came:
        if kind == "labels":  # cannot be written
            keywords.pop("colormap", None)
    viewer.layers.clear()
    rest(0.05)
    return came


def bare(viewer: Any, key: str, layers: list[Any]) -> None:
    """Do the same without us."""
    from napari.layers import Layer
    from napari.qt.threading import thread_worker
    from qtpy.QtWidgets import QWidget

    def work() -> Iterator[int]:
        yield 1

    add_image(viewer, key)
    rest(0.05)
    for _ in WORK[key]:
        outer = viewer.window.add_dock_widget(QWidget(), name="empty")
        rest(0.05)
        ended: list[int] = []
        worker = thread_worker(work)()
        worker.finished.connect(lambda: ended.append(1))  # noqa: B023
        worker.start()
        wait(lambda: bool(ended), 10)  # noqa: B023
        rest(0.1)
        click(outer.title.close_button)
        rest(0.05)
    for layer in layers:
        one = Layer.create(layer[0], dict(layer[1]), layer[2])
        viewer.add_layer(one)
        rest(0.02)
    viewer.layers.clear()
    rest(0.05)


def census() -> dict[str, Any]:
    """Count what is alive, after Qt and the collector have been."""
    import psutil
    from napari.layers import Layer
    from napari.utils.events import EventEmitter
    from psygnal import SignalInstance
    from qtpy.QtCore import QEvent, QThreadPool
    from qtpy.QtWidgets import QApplication

    for _ in range(3):
        rest(0.1)
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        gc.collect()
    QThreadPool.globalInstance().waitForDone(5000)
    kinds: Counter[str] = Counter()
    layers = callbacks = slots = 0
    for one in gc.get_objects():
        kind = type(one)
        kinds[f"{kind.__module__}.{kind.__qualname__}"] += 1
        if issubclass(kind, Layer):
            layers += 1
        elif issubclass(kind, EventEmitter):
            callbacks += len(one.callbacks)
        elif issubclass(kind, SignalInstance):
            slots += len(one)
    process = psutil.Process()
    return {
        "kinds": dict(kinds),
        "figures": {
            "layers": layers,
            "callbacks": callbacks + slots,
            "widgets": len(QApplication.allWidgets()),
            "threads": threading.active_count(),
            "objects of ours": sum(n for k, n in kinds.items() if is_ours(k)),
            "memory (MB)": process.memory_info().rss / 2**20,
        },
    }


def is_ours(kind: str) -> bool:
    """Whether we keep objects of a class; napari keeps the workers."""
    return kind.startswith("napari_atomlens.") and not kind.endswith("jobs._Worker")


def child(key: str, rounds: int, stand_in: bool, alone: bool, folder: Path) -> None:
    """Do the rounds in a process of its own, and write what was counted."""
    import napari
    from qtpy.QtWidgets import QApplication

    if stand_in:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "widgets"))
        from fake_analysis import FakeAnalysis

        from napari_atomlens.runs import frame as frames_loop

        frames_loop.analyze_frames = FakeAnalysis()  # type: ignore[assignment]
    faulthandler.enable()
    if alone:  # of what napari itself dies here
        from napari_atomlens.widgets.base import software_gl

        software_gl.guard()
    kept = folder / "layers.pickle"
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(900, 600)  # what is drawn in software costs by the pixel
    QApplication.instance().setQuitOnLastWindowClosed(False)
    layers = pickle.loads(kept.read_bytes()) if alone else []
    turn: Callable[[], Any] = (
        (lambda: bare(viewer, key, layers)) if alone else (lambda: ours(viewer, key))
    )
    for _ in range(FIRST):
        came = turn()
    if not alone:
        kept.write_bytes(pickle.dumps(came))
    came = None
    before = census()
    for k in range(rounds):
        turn()
        if (k + 1) % TOLD == 0:
            grown = {n: x - before["figures"][n] for n, x in census()["figures"].items()}
            told = ", ".join(f"{n} {x:+.0f}" for n, x in grown.items())
            whose = "napari alone" if alone else "ours"
            print(f"{key}, {whose}, {k + 1} rounds: {told}", file=sys.stderr, flush=True)
    after = census()
    told = {"before": before, "after": after}
    (folder / ("alone.json" if alone else "ours.json")).write_text(json.dumps(told))
    os._exit(0)  # what Qt does at the end is not counted


@dataclass
class Growth:
    """What one figure did over all rounds.

    Attributes
    ----------
    what : str
    before, after : float
        With our docks.
    alone : float
        By how much it grew with napari alone.
    rounds : int
    """

    what: str
    before: float
    after: float
    alone: float
    rounds: int

    @property
    def beyond(self) -> float:
        """By how much it grew beyond napari alone, which may shrink by chance."""
        return self.after - self.before - max(self.alone, 0)

    @property
    def missed(self) -> bool:
        """Whether something stays behind."""
        most = 0.0 if self.what in CONSTANT else MOST_MB + MOST_MB_A_ROUND * self.rounds
        return self.beyond > most


def growth(key: str, rounds: int, stand_in: bool) -> tuple[list[Growth], dict[str, int]]:
    """Do the rounds of a dock with and without us.

    Returns
    -------
    figures : list of Growth
    kinds : dict
        Classes of which there are more objects than before, beyond napari alone.
    """
    told = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for alone in ("", "--alone"):
            command = [sys.executable, __file__, "--only", key, "--rounds", str(rounds)]
            command += ["--child", name] + ["--stand-in"] * stand_in + [alone] * bool(alone)
            done = subprocess.run(command, env=settings_in(folder), check=False)
            if done.returncode:
                raise SystemExit(f"{key} {alone}: the window ended by itself ({done.returncode})")
            told.append(json.loads((folder / f"{alone.strip('-') or 'ours'}.json").read_text()))
    (before, after), bare = ((x["figures"] for x in told[0].values()), told[1])
    figures = [
        Growth(k, before[k], n, bare["after"]["figures"][k] - bare["before"]["figures"][k], rounds)
        for k, n in after.items()
    ]
    ours, alone_kinds = (Counter(x["after"]["kinds"]) - Counter(x["before"]["kinds"]) for x in told)
    return figures, dict(ours - alone_kinds)


def show(key: str, rounds: int, found: list[Growth], kinds: dict[str, int]) -> int:
    """Print the table of a dock; how many figures miss."""
    print(f"\n## {key}\n")
    print(
        "| figure | before | after | a round | napari alone, a round | beyond, a round | remark |"
    )
    print("|---" * 7 + "|")
    for one in found:
        numbers = [(one.after - one.before) / rounds, one.alone / rounds, one.beyond / rounds]
        print(
            f"| {one.what} | {one.before:.0f} | {one.after:.0f} | "
            f"{' | '.join(f'{x:.2f}' for x in numbers)} | {'**missed**' if one.missed else ''} |"
        )
    many = sorted(((n, k) for k, n in kinds.items() if n >= rounds / 2), reverse=True)[:8]
    if many:
        print("\nMore objects than napari alone: " + ", ".join(f"{k} {n}" for n, k in many))
    sys.stdout.flush()
    return sum(one.missed for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=list(WORK), default=list(USUAL), help="docks")
    parser.add_argument("--stand-in", action="store_true", help="find atoms without the network")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    report = Report("rounds", parser)
    args = report.args
    if args.child:
        child(args.only[0], args.rounds, args.stand_in, args.alone, args.child)
    with report:
        missed = 0
        for key in args.only:
            missed += show(key, args.rounds, *growth(key, args.rounds, args.stand_in))
        print(f"\n{missed} figures grow beyond what napari alone leaves behind.")
        figure("figures that grow", missed, section="All", target="0")


if __name__ == "__main__":
    main()
