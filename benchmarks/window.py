"""The longest gap of the main thread in every action of a user, in a real window.

    scripts/with_display.sh python benchmarks/window.py                       # everything, ~20 min
    scripts/with_display.sh python benchmarks/window.py --atoms 530 --stand-in           # ~1 min
    scripts/with_display.sh python benchmarks/window.py --atoms 1500 --only measure correct

A timer beats every 5 ms in the main thread; the gap of an action is the longest time between two
beats from the click until the dock is idle again and a second has passed. Beside it stands the
most time of the CPU that the main thread needed between two beats: that is the figure to trust
where others share the machine. The same layers are then added to a napari without any dock, all in
one go and each in an event of its own: what is beyond the first is ours. Of a change in place (undo,
the move of an atom) nothing is compared. An action misses its target by what is beyond in CPU, or
by the clock alone: then the machine was busy, or another thread or the disk held us up.

``--atoms`` chooses sizes (530, 1500, 15000; any other number as well), ``--only`` actions; what an
action needs is done and measured with it (*measure* needs *find*). ``--stand-in`` finds the atoms
without the network (local maxima, round outlines): for what follows it, in a fraction of the time.
Docks are used from outside: opened by their names, driven by the mouse and the keys.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from report import Report, figure

SIZES = (530, 1500, 15000)
#: A size that was asked for -> side of the image (px), pixel size (nm), frames of the movie.
IMAGES = {530: (640, 0.00749, 6), 1500: (1024, 0.0078, 6), 15000: (2048, 0.0124, 3)}
BEAT_MS = 5
#: An action is over when its dock has been idle for so long.
REST_S = 1.0
#: Longest gaps beyond those of napari alone (ms), up to so many atoms; and of Cancel until idle.
TARGETS = ((1500, 200), (15000, 400))
CANCEL_MS = 500
#: The button that starts the work of a dock, and how long it may take (s).
WORK = {
    "find": ("Find atoms", "run"),
    "measure": ("Measure", "run"),
    "chemistry": ("Chemistry", "build"),
    "explore": ("Explore", "describe"),
    "classes": ("Explore", "classify"),
    "movie": ("Movie", "run"),
    "stm": ("STM", "run"),
}
PATIENCE_S = 900
NEEDS = {
    "measure": "find", "chemistry": "find", "explore": "find", "classes": "explore",
    "correct": "find", "save": "find", "reopen": "save", "slider": "movie",
}  # fmt: skip
#: In this order: what belongs to the image, the project, the movie, the scan.
ORDER = (
    "docks", "open", "find", "measure", "chemistry", "explore", "classes", "correct", "save",
    "reopen", "movie", "slider", "stm",
)  # fmt: skip


@dataclass
class Row:
    """What was measured of one action.

    Attributes
    ----------
    action : str
    gap_ms, cpu_ms : float
        Longest time between two beats, and most CPU of the main thread between two.
    seconds : float
        Until the dock was idle.
    base, layers : list
        Images that were there, and layers that came, as (data, keywords, type): not printed.
    bare_ms, bare_cpu_ms, bare_one_ms : float
        Gap and CPU of napari alone for the same layers in one go, and gap of the worst of them.
    cancel : bool
        Whether ``seconds`` are those of Cancel.
    note : str
    """

    action: str
    gap_ms: float
    cpu_ms: float
    seconds: float
    base: list[Any] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    bare_ms: float = np.nan
    bare_cpu_ms: float = np.nan
    bare_one_ms: float = np.nan
    cancel: bool = False
    note: str = ""


def image_of(atoms: int, frames: int = 1) -> tuple[np.ndarray, float]:
    """WS2 with vacancies and about so many columns, as an image or as a movie that drifts."""
    from napari_atomlens.simulation import seed_for
    from napari_atomlens.simulation.surfaces import ws2

    if atoms in IMAGES:
        side, pixel, _ = IMAGES[atoms]
    else:  # 20 px between neighbours
        pixel = 0.315 / np.sqrt(3) / 20
        side = int(np.sqrt(atoms * 0.315**2 * np.sqrt(3) / 4) / pixel)
    room = 3 * (frames - 1)
    image, _ = ws2(
        400, shape=(side + room, side + room), pixel_size_nm=pixel, seed=seed_for("benchmark", 15)
    )
    if frames == 1:
        return image.astype(np.float32), pixel
    rng = np.random.default_rng(15)
    movie = np.stack([image[3 * f : 3 * f + side, 2 * f : 2 * f + side] for f in range(frames)])
    return (movie + rng.normal(0, 0.1 * movie.std(), movie.shape)).astype(np.float32), pixel


class Heartbeat:
    """Beats in the main thread and notes the longest time between two beats."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.setInterval(BEAT_MS)
        self.timer.timeout.connect(self.beat)
        self.start()

    def start(self) -> None:
        """Forget what was, and begin."""
        self.gap = self.cpu = 0.0
        self._wall, self._cpu = time.perf_counter(), time.thread_time()
        self.timer.start()

    def beat(self) -> None:
        """Note the time since the last beat."""
        wall, cpu = time.perf_counter(), time.thread_time()
        self.gap, self.cpu = max(self.gap, wall - self._wall), max(self.cpu, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu

    def stop(self) -> tuple[float, float]:
        """Return both maxima in ms."""
        self.beat()
        self.timer.stop()
        return 1000 * self.gap, 1000 * self.cpu


def wait(until: Callable[[], bool], most_s: float = PATIENCE_S) -> bool:
    """Run the event loop until something is so; look every 20 ms."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    end = time.perf_counter() + most_s

    def look() -> None:
        if until() or time.perf_counter() > end:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(20)
    loop.exec()
    timer.stop()
    return until()


def settings_in(folder: Path) -> dict[str, str]:
    """Environment of a window whose settings and unsaved edits lie in a folder of its own."""
    return os.environ | {
        "ATOMLENS_AUTOSAVE": str(folder / "autosave"),
        "NAPARI_CONFIG": str(folder / "napari.yaml"),
        "QT_API": os.environ.get("QT_API", "pyside6"),
    }


def rest(seconds: float = REST_S) -> None:
    """Run the event loop for a while."""
    end = time.perf_counter() + seconds
    wait(lambda: time.perf_counter() >= end, seconds + 1)


def click(button: Any) -> None:
    """Press and let go in the middle of a button."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


class Window:
    """A napari window, its heartbeat, and what was measured in it."""

    def __init__(self, folder: Path) -> None:
        from napari.utils.notifications import NotificationSeverity, notification_manager

        self.folder = folder
        self.heart = Heartbeat()
        self.rows: list[Row] = []
        self.errors: list[str] = []
        self.docks: dict[str, tuple[Any, Any]] = {}
        self.viewer: Any = None

        def hear(notification: Any) -> None:
            if notification.severity >= NotificationSeverity.WARNING:
                self.errors.append(str(notification.message).splitlines()[0])

        notification_manager.notification_ready.connect(hear)
        self._hear = hear
        self.open()

    def open(self) -> None:
        """Open an empty window in the place of the one that is there."""
        import napari

        if self.viewer is not None:
            self.viewer.close()
            rest(0.3)
        self.docks.clear()
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.resize(1500, 900)
        rest()

    def dock(self, name: str) -> Any:
        """Widget of a dock, opened where it is not, in front of the others."""
        if name not in self.docks:
            self.docks[name] = self.viewer.window.add_plugin_dock_widget("napari-atomlens", name)
            rest(0.5)
        outer, inner = self.docks[name]
        outer.show()  # napari returns one that was closed as it is
        outer.raise_()
        rest(0.2)
        return inner

    def measure(
        self,
        action: str,
        do: Callable[[], object],
        over: Callable[[], bool] = lambda: True,
        settle_s: float = 0.3,
    ) -> Row:
        """Do something, wait until it is over, note the longest gap and the layers that came."""
        from qtpy.QtCore import QTimer

        before = {str(x.unique_id) for x in self.viewer.layers}
        self.errors.clear()
        done: list[float] = []

        def act() -> None:
            do()
            done.append(time.perf_counter())

        if settle_s:
            rest(settle_s)
        self.heart.start()
        start = time.perf_counter()
        QTimer.singleShot(0, act)
        fine = wait(lambda: bool(done) and over())
        seconds = time.perf_counter() - start
        rest()
        gap, cpu = self.heart.stop()
        came = [x for x in self.viewer.layers if str(x.unique_id) not in before]
        base = [plain(x) for x in self.viewer.layers if x.name == "image" and x not in came]
        row = Row(action, gap, cpu, seconds, base, [plain(x) for x in came])
        row.note = "; ".join(dict.fromkeys(self.errors)) if fine else "did not end"
        self.rows.append(row)
        print(f"{action}: {gap:.0f} ms, {row.note}", file=sys.stderr, flush=True)
        return row


def plain(layer: Any) -> tuple[Any, dict[str, Any], str]:
    """Return a layer as (data, keywords, type), without what we keep in its metadata."""
    data, keywords, kind = layer.as_layer_data_tuple()
    data = [np.array(x) for x in data] if kind == "shapes" else np.array(data)
    return data, {**keywords, "metadata": {}}, kind


def is_idle(widget: Any) -> bool:
    """Whether no button of a dock offers to cancel and no bar is shown."""
    from qtpy.QtWidgets import QProgressBar, QPushButton

    return not any(
        b.text().startswith("Cancel") for b in widget.findChildren(QPushButton) if b.isVisible()
    ) and not any(
        b.isVisible() and b.objectName() != "seen_progress"
        for b in widget.findChildren(QProgressBar)
    )


def button_of(widget: Any, name: str) -> Any:
    """Button of a dock by its name."""
    from qtpy.QtWidgets import QPushButton

    found = widget.findChild(QPushButton, name)
    if found is None:
        known = [b.objectName() or b.text() for b in widget.findChildren(QPushButton)]
        raise SystemExit(f"no button {name!r} among {known}")
    return found


def work(window: Window, key: str) -> None:
    """Press the button of a dock and wait; then press it again and cancel."""
    dock_name, name = WORK[key]
    widget = window.dock(dock_name)
    if key == "classes":
        show_tab(widget, "Classes")
    button = button_of(widget, name)
    titles = {"explore": "Explore, describe", "classes": "Explore, classes"}
    title = titles.get(key, dock_name)

    def idle() -> bool:
        return is_idle(widget) and button.isEnabled()

    first = window.measure(title, lambda: click(button), idle)
    if key == "classes":
        return  # it has no Cancel of its own
    click(button)
    after = min(2.0, 0.3 * first.seconds)
    begun = time.perf_counter()
    if not wait(lambda: button.text() == "Cancel" and time.perf_counter() - begun > after, 5):
        print(f"{title}: over before it could be cancelled", file=sys.stderr)
        wait(idle)
        return
    row = window.measure(f"{title}, Cancel", lambda: click(button), idle, settle_s=0)
    row.cancel = True


def show_tab(widget: Any, title: str) -> None:
    """Bring a tab to the front."""
    from qtpy.QtWidgets import QTabWidget

    for tabs in widget.findChildren(QTabWidget):
        for k in range(tabs.count()):
            if tabs.tabText(k) == title:
                tabs.setCurrentIndex(k)


def docks(window: Window, atoms: int) -> None:
    """Open every dock."""
    import npe2

    manifest = npe2.PluginManager.instance().get_manifest("napari-atomlens")
    for entry in manifest.contributions.widgets or []:
        name = entry.display_name

        def add(name: str = name) -> None:
            window.docks[name] = window.viewer.window.add_plugin_dock_widget(
                "napari-atomlens", name
            )

        window.measure(f"open dock {name}", add)
        window.docks[name][0].close()
        del window.docks[name]
        rest(0.3)


def open_image(window: Window, atoms: int) -> None:
    """Open an image from a file."""
    image, _ = image_of(atoms)
    path = window.folder / "image.npy"
    np.save(path, image)
    window.measure("open an image", lambda: window.viewer.open(path, plugin="napari-atomlens"))


def add_image(window: Window, atoms: int, frames: int = 1) -> None:
    """Add the image, with its pixel size, where there is none."""
    if any(x.name == "image" for x in window.viewer.layers):
        return
    image, pixel = image_of(atoms, frames)
    more = 1 if frames > 1 else 0
    window.viewer.add_image(
        image, name="image", scale=[1.0] * more + [pixel] * 2,
        units=["s"] * more + ["nm"] * 2, axis_labels="tyx"[1 - more :],
    )  # fmt: skip
    rest()


def hand_in(viewer: Any) -> Any:
    """Return the hand of the tests, for the mouse and the keys in the canvas."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "widgets"))
    from hand import Hand

    return Hand(viewer)


def atoms_layer(window: Window) -> Any:
    """Points layer of the atoms."""
    from napari.layers import Points

    return next(
        x for x in window.viewer.layers if isinstance(x, Points) and x.name.startswith("atoms")
    )


def correct(window: Window, atoms: int) -> None:
    """Add, select, move, delete and undo, with the mouse and the keys."""
    from scipy.spatial import cKDTree

    layer, viewer = atoms_layer(window), window.viewer
    button = button_of(window.dock("Correct"), "mode")
    viewer.layers.selection.active = layer
    if not button.isChecked():
        click(button)
    rest()
    at = np.asarray(layer.data)[:, -2:]
    spacing = float(np.median(cKDTree(at).query(at, k=2)[0][:, 1]))
    middle = at[np.hypot(*(at - at.mean(0)).T).argmin()]
    scale = float(layer.scale[-1])
    viewer.scene.camera.center = tuple(middle * scale)
    viewer.scene.camera.zoom = 40 / (spacing * scale)
    rest()
    grid = middle + spacing * (np.argwhere(np.ones((41, 41))) - 20) / 10
    empty = grid[cKDTree(at).query(grid)[0].argmax()]
    hand, n = hand_in(viewer), len(at)
    count = lambda k: lambda: len(layer.data) == k  # noqa: E731

    def there(moved: np.ndarray) -> Callable[[], bool]:
        return lambda: bool(np.hypot(*(np.asarray(layer.data)[:, -2:] - moved).T).min() < spacing)

    patience = 20.0
    target = middle + np.array([0.25 * spacing, 0.0])
    steps: tuple[tuple[str, Callable[[], object], Callable[[], bool]], ...] = (
        ("add", lambda: hand.click(*(empty * scale)), count(n + 1)),
        ("undo", lambda: hand.press("Ctrl+Z"), count(n)),
        ("move", lambda: hand.drag(tuple(middle * scale), tuple(target * scale)), there(target)),
        ("select", lambda: hand.click(*(target * scale)), lambda: bool(layer.selected_data)),
        ("delete", lambda: hand.press("Delete"), count(n - 1)),
        ("undo of delete", lambda: hand.press("Ctrl+Z"), count(n)),
    )
    for name, do, over in steps:
        end = time.perf_counter() + patience
        row = window.measure(
            f"Correct, {name}", do, lambda over=over, end=end: over() or time.perf_counter() > end
        )
        if not over():
            row.note = f"nothing happened {row.note}".strip()
    if button.isChecked():
        click(button)


def save(window: Window, atoms: int) -> None:
    """Save all layers as a project."""
    path = window.folder / "day.atomlens"
    row = window.measure(
        "save a project", lambda: window.viewer.layers.save(str(path), plugin="napari-atomlens")
    )
    files = sum(p.is_file() for p in path.rglob("*")) if path.is_dir() else int(path.exists())
    row.note = f"{files:,} files {row.note}".strip()


def reopen(window: Window, atoms: int) -> None:
    """Open the project in a new window."""
    window.open()
    path = window.folder / "day.atomlens"
    window.measure("open a project", lambda: window.viewer.open(path, plugin="napari-atomlens"))


def movie(window: Window, atoms: int) -> None:
    """Follow a movie in a new window."""
    window.open()
    frames = IMAGES[atoms][2] if atoms in IMAGES else 6
    add_image(window, atoms, frames)
    work(window, "movie")


def slider(window: Window, atoms: int) -> None:
    """Turn the slider of the movie that was followed."""
    step_through(window, "the slider, a frame on")


def step_through(window: Window, title: str) -> Row:
    """Press the arrow key once for every frame but the first."""
    hand = hand_in(window.viewer)
    window.viewer.dims.set_current_step(0, 0)
    rest()
    worst: Row | None = None
    for _ in range(int(window.viewer.dims.nsteps[0]) - 1):
        row = window.measure(title, lambda: hand.press("Right"))
        window.rows.remove(row)
        if worst is None or row.gap_ms > worst.gap_ms:
            worst = row
    assert worst is not None
    window.rows.append(worst)
    return worst


def stm(window: Window, atoms: int) -> None:
    """Analyse a scan with about so many sites in a new window."""
    from napari_atomlens.simulation import seed_for
    from napari_atomlens.simulation.surfaces import manganite

    window.open()
    image, _ = manganite(min(atoms, 1500), seed=seed_for("benchmark", 15))
    window.viewer.add_image(image.astype(np.float32), name="image")
    rest()
    work(window, "stm")


def bare(window: Window) -> None:
    """Add the layers of every action to a napari without docks, and edit its points."""
    kept = list(window.rows)
    slides = [r for r in kept if r.action.startswith("the slider")]
    for row in [r for r in kept if r.layers]:
        window.open()
        add_layers(window, row.base)
        rest()
        alone(row, window.measure("bare", lambda r=row: add_layers(window, r.layers)))
        if row.action == "Movie":
            for slide in slides:
                alone(slide, step_through(window, "bare"))
        if row.action == "Find atoms":
            bare_edits(window, {r.action: r for r in kept})
        window.open()  # nothing is removed: napari can die of a paint soon after that
        add_layers(window, row.base)
        rest()
        singles = [
            window.measure("bare", lambda one=one: add_layers(window, [one])) for one in row.layers
        ]
        row.bare_one_ms = max(x.gap_ms for x in singles)
        for cancelled in kept:  # the layers that were coming are drawn all the same
            if cancelled.action == f"{row.action}, Cancel":
                cancelled.bare_ms, cancelled.bare_cpu_ms = row.bare_ms, row.bare_cpu_ms
    bare_docks(window, [r for r in kept if r.action.startswith("open dock")])
    window.rows[:] = kept


def bare_docks(window: Window, rows: list[Row]) -> None:
    """Open docks without anything in them, one for each that was opened."""
    from qtpy.QtWidgets import QWidget

    window.open()
    for k, row in enumerate(rows):

        def add(k: int = k) -> None:
            window.viewer.window.add_dock_widget(QWidget(), name=f"empty {k}", tabify=True)

        alone(row, window.measure("bare", add))


def alone(row: Row, bare: Row) -> None:
    """Note beside an action what napari alone needs."""
    row.bare_ms, row.bare_cpu_ms = bare.gap_ms, bare.cpu_ms


def add_layers(window: Window, layers: list[Any]) -> None:
    """Add layers to the viewer as napari does."""
    from napari.layers import Layer

    for data, keywords, kind in layers:
        window.viewer.add_layer(Layer.create(data, dict(keywords), kind))


def bare_edits(window: Window, rows: dict[str, Row]) -> None:
    """Add a point and delete one, as napari does; what is undone is the other of the two."""
    layer = atoms_layer(window)
    new = np.asarray(layer.data).mean(0)

    def remove() -> None:
        layer.selected_data = {0}
        layer.remove_selected()

    for do, names in ((lambda: layer.add(new[None]), ("add", "undo of delete")),
                      (remove, ("delete", "undo"))):  # fmt: skip
        bare = window.measure("bare", do)
        for name in names:
            if (action := f"Correct, {name}") in rows:
                alone(rows[action], bare)


ACTIONS: dict[str, Callable[[Window, int], object]] = {
    "docks": docks, "open": open_image, "correct": correct, "save": save, "reopen": reopen,
    "movie": movie, "slider": slider, "stm": stm,
}  # fmt: skip


def chosen(only: list[str]) -> list[str]:
    """Actions to do, with those that they need, in order."""
    wanted = set(only or ORDER)
    while more := {NEEDS[k] for k in wanted if k in NEEDS} - wanted:
        wanted |= more
    return [k for k in ORDER if k in wanted]


def child(atoms: int, only: list[str], stand_in: bool, file: Path) -> None:
    """Measure one size in a process of its own, and write what was found."""
    from qtpy.QtWidgets import QApplication

    if stand_in:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "widgets"))
        from fake_analysis import FakeAnalysis

        from napari_atomlens.runs import frame as frames_loop

        frames_loop.analyze_frames = FakeAnalysis()  # type: ignore[assignment]
    faulthandler.enable()
    window = Window(file.parent)
    QApplication.instance().setQuitOnLastWindowClosed(False)
    window.measure("nothing (the beat alone)", lambda: None)
    for key in chosen(only):
        if key in ACTIONS:
            ACTIONS[key](window, atoms)
        else:
            add_image(window, atoms)
            work(window, key)
        if key == "open":
            window.open()
        file.write_text(json.dumps([short(r) for r in window.rows]))
    bare(window)
    file.write_text(json.dumps([short(r) for r in window.rows]))
    os._exit(0)  # what Qt does at the end is not measured


def short(row: Row) -> dict[str, Any]:
    """A row without the data of its layers."""
    return {k: v for k, v in vars(row).items() if k not in ("base", "layers")} | {
        "layers": ", ".join(f"{len(d):,} {kind}" for d, _, kind in row.layers if kind != "image")
    }


def number(value: float) -> str:
    """A figure of the table."""
    return f"{value:.0f}" if np.isfinite(value) else ""


def show(atoms: int, rows: list[dict[str, Any]]) -> None:
    """Print the table of one size, and how many actions miss their target."""
    limit = next((ms for most, ms in TARGETS if atoms <= most), TARGETS[-1][1])
    print(f"\n## {atoms:,} atoms\n")
    print(
        "| action | longest gap (ms) | napari alone (ms) | its longest layer (ms) | beyond (ms) | "
        "CPU (ms) | CPU, napari alone (ms) | CPU, beyond (ms) | until idle (s) | target | remark |\n"
        + "|---" * 11
        + "|"
    )
    missed = []
    for r in rows:
        beyond, cpu = (
            r[mine] - (r[theirs] if np.isfinite(r[theirs]) else 0)
            for mine, theirs in (("gap_ms", "bare_ms"), ("cpu_ms", "bare_cpu_ms"))
        )
        slow = r["cancel"] and 1000 * r["seconds"] > CANCEL_MS
        remarks = ["**missed**"] if cpu > limit or slow else []
        if beyond > limit and not remarks:
            remarks = ["missed by the clock alone"]
        missed += [r["action"]] * bool(remarks)
        remarks += [x for x in (r["layers"], r["note"]) if x]
        target = f"< {limit} ms" + (f", idle in < {CANCEL_MS / 1000} s" if r["cancel"] else "")
        numbers = [r["gap_ms"], r["bare_ms"], r["bare_one_ms"], beyond]
        numbers += [r["cpu_ms"], r["bare_cpu_ms"], cpu]
        print(
            f"| {r['action']} | {' | '.join(map(number, numbers))} | {r['seconds']:.2f} | {target} "
            f"| {'; '.join(remarks)} |"
        )
    print(f"\n{len(missed)} of {len(rows)} actions miss their target.")
    figure("actions that miss their target", len(missed), section=f"{atoms:,} atoms", target="0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, nargs="+", default=list(SIZES), help="sizes")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=[], help="actions; else all")
    parser.add_argument("--stand-in", action="store_true", help="find atoms without the network")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    report = Report("window", parser)
    args = report.args
    if args.child:
        child(args.atoms[0], args.only, args.stand_in, args.child)
    with report:
        print(f"load at the start {os.getloadavg()[0]:.1f}, cores {os.cpu_count()}")
        for atoms in args.atoms:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                command = [sys.executable, __file__, "--atoms", str(atoms), "--child"]
                command += [str(folder / "rows.json")] + ["--stand-in"] * args.stand_in
                command += ["--only", *args.only] if args.only else []
                done = subprocess.run(command, env=settings_in(folder), check=False)
                file = folder / "rows.json"
                show(atoms, json.loads(file.read_text()) if file.exists() else [])
                if done.returncode:
                    print(f"\nThe window ended by itself ({done.returncode}).")
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
