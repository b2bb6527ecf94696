"""Every dock in a window of a size: what does not fit, and pictures of it.

    scripts/with_display.sh python tests/widgets/docks_in_window.py 1366x728 --pictures FOLDER
    QT_SCALE_FACTOR=1.5 scripts/with_display.sh python tests/widgets/docks_in_window.py 1920x1080

The size is in pixels of the screen. In both themes, with sections closed and open, with every tab
in front, at a usual width and as narrow as a dock can be made, before and after its button was
pressed. What was found is printed as JSON: a dock's name -> sentences.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fit import in_window, misfits
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QProgressBar, QPushButton, QTabWidget, QWidget
from superqt import QCollapsible

#: What starts the work of a dock.
STARTS = ("run", "build", "describe", "find")
#: What a dock must be able to shrink to: beside the list of layers, or above another dock.
LOWEST_PX = 400
#: Width that a dock gets in a window, and where pictures are taken.
USUAL_PX = 380
#: (theme, whether sections are open, whether the dock is as narrow as it can be)
STATES = (
    ("dark", False, True), ("dark", True, True), ("dark", True, False), ("light", True, True),
    ("light", False, False),
)  # fmt: skip


def names() -> list[str]:
    """Names of all docks, as in the manifest."""
    import yaml

    import napari_atomlens

    text = (Path(napari_atomlens.__file__).parent / "napari.yaml").read_text(encoding="utf-8")
    return [w["display_name"] for w in yaml.safe_load(text)["contributions"]["widgets"]]


class Docks:
    """A window with an image and a movie in which docks are opened and looked at."""

    def __init__(self, width: int, height: int, pictures: Path | None) -> None:
        import napari
        from fake_analysis import lattice

        self.pictures = pictures
        self.viewer = napari.Viewer()
        self.main = self.viewer.window._qt_window
        ratio = self.main.devicePixelRatioF()
        self.size = round(width / ratio), round(height / ratio)
        self.main.resize(*self.size)
        self.viewer.add_image(
            lattice(6, frames=3),
            name="WS2 that decomposes, a movie with a long name",
            visible=False,
        )
        self.viewer.add_image(lattice(8), name="graphene with Si and a grain boundary (simulated)")
        QTest.qWait(200)
        self.found: dict[str, list[str]] = {}

    def open(self, name: str) -> tuple[QDockWidget, QWidget]:
        """Open a dock from the menu, or bring it to the front."""
        outer, inner = self.viewer.window.add_plugin_dock_widget("napari-atomlens", name)
        QTest.qWait(100)
        return outer, inner

    def close(self, outer: QDockWidget) -> None:
        """Press the cross of a dock, which ends it; ``outer.close()`` only hides it."""
        outer.raise_()
        QTest.qWait(50)
        QTest.mouseClick(outer.titleBarWidget().close_button, Qt.MouseButton.LeftButton)
        QTest.qWait(50)

    def look(self, name: str) -> None:
        """Look at a dock in all of its states."""
        outer, inner = self.open(name)
        found: dict[str, None] = {}
        for state in self.states(name, outer, inner):
            for what in misfits(outer.widget()):  # without the title that napari draws
                found.setdefault(f"{state}: {what}")
        if (least := outer.minimumSizeHint().height()) > LOWEST_PX:
            found.setdefault(f"it does not scroll: it is never lower than {least} px")
        self.found[name] = list(found)
        self.close(outer)

    def states(self, name: str, outer: QDockWidget, inner: QWidget) -> Iterator[str]:
        """Bring a dock into one state after the other."""
        for worked in (False, True):
            if worked and not self.work(inner):
                return
            for theme, opened, narrow in STATES:
                self.viewer.theme = theme
                for section in inner.findChildren(QCollapsible):
                    (section.expand if opened else section.collapse)(animate=False)
                wanted = 10 if narrow else min(USUAL_PX, self.size[0] // 2)
                self.main.resizeDocks([outer], [wanted], Qt.Orientation.Horizontal)
                settle()
                for tab in tabs(inner):
                    settle()
                    state = f"{theme}, {'open' if opened else 'closed'}, {outer.width()} px"
                    state += f", tab {tab}" if tab else ""
                    yield state + (", after a run" if worked else "")
                    if not narrow:
                        self.picture(name, theme, opened, tab, worked)

    def work(self, inner: QWidget) -> bool:
        """Press the button of a dock and wait until it is idle; False where nothing is done."""
        button = next(
            (b for b in (inner.findChild(QPushButton, n) for n in STARTS) if b is not None), None
        )
        if button is None or not button.isEnabled():
            return False
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        end = time.monotonic() + 30
        bars = [b for b in inner.findChildren(QProgressBar) if b.objectName() == "progress"]
        calm = 0
        while calm < 5 and time.monotonic() < end:
            QTest.qWait(50)
            busy = button.text().startswith("Cancel") or any(b.isVisible() for b in bars)
            calm = 0 if busy else calm + 1
        return True

    def picture(self, name: str, theme: str, opened: bool, tab: str, worked: bool) -> None:
        """Write a picture of the window."""
        if self.pictures is None:
            return
        parts = [name, f"{self.size[0]}x{self.size[1]}", theme, "open" if opened else "closed"]
        parts += [tab] * bool(tab) + ["worked"] * worked
        path = self.pictures / ("_".join(parts).replace(" ", "-").replace("/", "-") + ".png")
        self.main.grab().save(str(path))

    def together(self) -> None:
        """Open all docks one after the other, as from the menu."""
        found: list[str] = []
        opened: list[QDockWidget] = []
        for name in names():
            outer, inner = self.open(name)
            opened.append(outer)
            # on a machine that is busy napari lays a dock out later
            end = time.monotonic() + 5
            while not in_window(inner) and time.monotonic() < end:
                QTest.qWait(20)
            QTest.qWait(100)  # and it stays there
            if not in_window(inner):
                found.append(f"{name} does not rise to the front")
            if len(self.main.tabifiedDockWidgets(outer)) < len(opened) - 1:
                found.append(f"{name} does not join the tabs of the others")
            now = self.main.width(), self.main.height()
            if now[0] > self.size[0] or now[1] > self.size[1]:
                found.append(f"with {name} the window grows from {self.size} to {now}")
                break
        if self.pictures is not None:
            self.main.grab().save(str(self.pictures / f"all_{self.size[0]}x{self.size[1]}.png"))
        self.found["all together"] = found
        for outer in opened:
            self.close(outer)
        self.main.resize(*self.size)


def settle() -> None:
    """Let layouts come to rest: a section measures what is in it once that has its size."""
    for _ in range(3):
        QApplication.sendPostedEvents()
        QTest.qWait(15)


def tabs(inner: QWidget) -> Iterator[str]:
    """Bring one tab after the other to the front; "" where there are none."""
    books = [b for b in inner.findChildren(QTabWidget) if b.isVisible()]
    if not books:
        yield ""
    for book in books:
        for k in range(book.count()):
            if book.isTabVisible(k) and book.isTabEnabled(k):
                book.setCurrentIndex(k)
                yield book.tabText(k)


@contextlib.contextmanager
def stand_in() -> Iterator[None]:
    """Find atoms without the network, and ask nothing."""
    from fake_analysis import FakeAnalysis
    from qtpy.QtWidgets import QFileDialog, QMessageBox

    from napari_atomlens.runs import frame as frames_loop

    before: Callable[..., Any] = frames_loop.analyze_frames
    frames_loop.analyze_frames = FakeAnalysis()
    for name in ("getOpenFileName", "getSaveFileName"):
        setattr(QFileDialog, name, staticmethod(lambda *a, **k: ("", "")))
    QFileDialog.getExistingDirectory = staticmethod(lambda *a, **k: "")
    QMessageBox.exec = lambda self: 0
    try:
        yield
    finally:
        frames_loop.analyze_frames = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", help="of the window, as 1366x728, in pixels of the screen")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    parser.add_argument("--only", nargs="+", default=[], help="docks, and 'all together'")
    args = parser.parse_args()
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, stand_in():
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "napari.yaml")
        os.environ["ATOMLENS_AUTOSAVE"] = str(Path(folder) / "autosave")
        width, height = map(int, args.size.split("x"))
        docks = Docks(width, height, args.pictures)
        wanted = args.only or [*names(), "all together"]
        if "all together" in wanted:
            docks.together()
        for name in wanted:
            if name != "all together":
                docks.look(name)
        sys.stdout.write(json.dumps(docks.found) + "\n")
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
