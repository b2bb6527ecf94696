"""A day at the microscope in a real window: edits, undo, redo, save, kill -9, restore.

    scripts/with_display.sh python benchmarks/session.py --edits 200 --frames 20

A window of its own process is used with the mouse and the keys; it is killed in the middle
of further edits, and a second one restores them. Prints Markdown; fails where one edit is lost.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report import Report

SPACING, SIDE = 12, 8


def movie(frames: int) -> np.ndarray:
    """A square lattice in noise."""
    size = SIDE * SPACING
    y, x = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for i in range(SIDE):
        for j in range(SIDE):
            c = SPACING * np.array([i, j]) + SPACING // 2
            image += np.exp(-((y - c[0]) ** 2 + (x - c[1]) ** 2) / 8)
    noise = np.random.default_rng(0).normal(0, 0.02, (frames, size, size))
    return (image + noise).astype(np.float32)


def machine(frames: int) -> Any:
    """Atoms as a model would give them."""
    from napari_atomlens import tables

    places = SPACING * (np.argwhere(np.ones((SIDE, SIDE))) + 0.5) - 0.5
    n = len(places)
    frame = np.repeat(np.arange(frames), n)
    at = np.tile(places, (frames, 1))
    return tables.make(
        "atoms",
        {"frame": frame, "atom_id": frame * tables.IDS_PER_FRAME + np.tile(np.arange(n), frames),
         "y_px": at[:, 0], "x_px": at[:, 1], "species": "column", "probability": 0.95,
         "source": "fit", "fit_ok": True},
        n * frames,
    )  # fmt: skip


def digest(atoms: Any) -> str:
    """A table as one number."""
    return hashlib.sha256(atoms.to_csv(index=False).encode()).hexdigest()[:16]


class Window:
    """A napari window with atoms, the Correct widget, and a hand in it."""

    def __init__(self, frames: int, empty: bool = False) -> None:
        import napari

        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "widgets"))
        from hand import Hand

        from napari_atomlens.widgets.correct.dock import CorrectWidget
        from napari_atomlens.widgets.layers import convert, styles
        from napari_atomlens.widgets.layers.atoms import editor_of
        from napari_atomlens.widgets.layers.roles import KEY

        self.viewer = napari.Viewer()
        self.frames = frames
        self.by_call = 0
        if not empty:
            self.viewer.add_image(movie(frames), name="movie")
            names = ["column", "bright column"]
            atoms = machine(frames)
            style = styles.AtomStyle(4.0, styles.class_colours(names))
            entry = {"role": "atoms", "source_name": "movie", "spacing_px": float(SPACING),
                     "classes": names}  # fmt: skip
            layer = self.viewer.add_points(
                convert.points_from_atoms(atoms, 3), name="atoms", metadata={KEY: entry},
                features=convert.features_from_atoms(atoms, names), **style.as_kwargs(),
            )  # fmt: skip
            editor_of(layer, atoms)
        self.widget = CorrectWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget)
        self.hand = Hand(self.viewer)
        self.settle()
        if not empty:
            self.viewer.reset_view()
            self.widget._tools.mode.setChecked(True)

    def settle(self, seconds: float = 0.0) -> None:
        """Let the window do what it has to."""
        from qtpy.QtWidgets import QApplication

        end = time.perf_counter() + seconds
        QApplication.processEvents()
        while time.perf_counter() < end:
            QApplication.processEvents()

    @property
    def corrections(self) -> Any:
        """Of the layer that is edited."""
        return self.widget.editor.corrections

    def edit(self, k: int, rng: np.random.Generator) -> None:
        """Make one edit with the mouse and the keys."""
        self.viewer.dims.set_current_step(0, int(rng.integers(self.frames)))
        frame = self.widget._desk.frame
        self.widget._adding.snap.value = bool(k % 2)
        places = self.corrections.columns(frame).positions
        y, x = places[rng.integers(len(places))]
        n = len(self.corrections.journal)
        kind = k % 8
        if kind == 0:  # add: in the middle of four columns, freely
            self.widget._adding.snap.value = False
            self.hand.click(*(SPACING * rng.integers(1, SIDE - 1, 2) - 0.5 + rng.uniform(-1, 1, 2)))
        elif kind in (1, 2, 3, 4):
            self.hand.click(y, x)
            self.hand.press(["Delete", "2", "Y", "X"][kind - 1])
        elif kind == 5:
            step = rng.uniform(-3, 3, 2)
            self.widget._adding.snap.value = False
            self.hand.drag((y, x), tuple(np.clip(np.array([y, x]) + step, 2, SIDE * SPACING - 3)))
        elif kind == 6:
            other = places[np.argsort(np.hypot(*(places - (y, x)).T))[1]]
            self.hand.click(y, x)
            self.hand.click(*other, shift=True)
            self.hand.press("M")
        else:
            self.hand.click(y, x)
            self.hand.press("B")
        if len(self.corrections.journal) == n:  # a click too near to another atom, say
            self.by_call += 1
            self.widget.editor.perform(_species, self.widget.editor.ids()[0], k)
        self.settle()


def _species(c: Any, atom_id: int, k: int) -> Any:
    from napari_atomlens.session.edits import actions

    return actions.set_species(c, [int(atom_id)], ("column", "bright column")[k % 2])


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


def work(folder: Path, edits: int, frames: int) -> None:
    """Edit, undo all, redo all, save, and go on editing until somebody kills us."""
    window = Window(frames)
    rng = np.random.default_rng(1)
    first = digest(window.corrections.atoms())
    start = time.perf_counter()
    for k in range(edits):
        window.edit(k, rng)
    say("seconds", round(time.perf_counter() - start, 1), window.by_call)
    last, n = digest(window.corrections.atoms()), len(window.corrections.journal)
    for _ in range(n):
        window.hand.press("Ctrl+Z")
    assert digest(window.corrections.atoms()) == first, "undo"
    for _ in range(n):
        window.hand.press("Ctrl+Shift+Z")
    assert digest(window.corrections.atoms()) == last, "redo"
    shown = window.widget.editor.layer.features.sort_values(["frame", "atom_id"])
    table = window.corrections.atoms()
    assert list(shown["atom_id"]) == list(table["atom_id"])
    np.testing.assert_array_equal(shown[["y_px", "x_px"]], table[["y_px", "x_px"]])
    saved = window.widget._project.save(folder / "day.atomlens")
    assert saved is not None
    say("saved", n, last)
    k = edits
    while True:
        window.edit(k, rng)
        k += 1
        say("edit", len(window.corrections.journal), digest(window.corrections.atoms()))


def again(folder: Path, frames: int) -> None:
    """Open the project, restore what was never saved."""
    from napari_atomlens.session.autosave import find_unsaved
    from napari_atomlens.widgets.open_save.restore import show_restored

    window = Window(frames, empty=True)
    panel = window.widget._project
    assert panel.open(folder / "day.atomlens")
    say("opened", len(window.corrections.journal), digest(window.corrections.atoms()))
    unsaved = find_unsaved()
    assert unsaved, "nothing is offered"
    restored = show_restored(window.viewer, unsaved[0])  # beside the atoms of the project
    window.widget._atoms.choose(restored)
    window.settle()
    n, found = len(window.corrections.journal), digest(window.corrections.atoms())
    say("restored", n, found)
    window.corrections.undo()
    say("before", len(window.corrections.journal), digest(window.corrections.atoms()))
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--more", type=int, default=5, help="edits after the save, before the kill")
    parser.add_argument("--child", choices=("work", "again"))
    parser.add_argument("--folder", type=Path)
    report = Report("session", parser)
    args = report.args
    if args.child:  # what it says is no figure
        if args.child == "work":
            work(args.folder, args.edits, args.frames)
        else:
            again(args.folder, args.frames)
        return
    with report:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.environ["ATOMLENS_AUTOSAVE"] = str(folder / "autosave")
            os.environ["NAPARI_CONFIG"] = str(folder / "napari.yaml")
            command = [sys.executable, __file__, "--folder", name, "--edits", str(args.edits),
                       "--frames", str(args.frames), "--child"]  # fmt: skip
            told: list[list[str]] = []
            with subprocess.Popen([*command, "work"], stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                for line in child.stdout:
                    told.append(line.split())
                    if sum(t[0] == "edit" for t in told) >= args.more:
                        time.sleep(0.04)  # into the middle of the next one
                        os.kill(child.pid, signal.SIGKILL)
                        told += [t.split() for t in child.stdout.read().split("\n")[:-1]]
                        break
            if child.returncode != -signal.SIGKILL:
                raise SystemExit("the first window ended by itself")
            done = subprocess.run(
                [*command, "again"], stdout=subprocess.PIPE, text=True, check=True, timeout=120
            )
            after = {
                t[0]: t[1:] for t in (x.split() for x in done.stdout.splitlines()) if len(t) == 3
            }
        saved = next(t for t in told if t[0] == "saved")
        last = [t for t in told if t[0] == "edit"][-1]
        assert after["opened"] == saved[1:], (saved, after)
        # the edit in the middle of which the window was killed is there as a whole, or not at all
        same = last[1:] in (after["restored"], after["before"])
        assert same and int(after["restored"][0]) - int(last[1]) in (0, 1), (last, after)
        seconds, by_call = next(t[1:] for t in told if t[0] == "seconds")
        print("| scripted session in a real window | |\n|---|---|")
        print(
            f"| edits, by mouse and key, frames | {saved[1]}, {int(saved[1]) - int(by_call)}, "
            f"{args.frames} |"
        )
        print(f"| seconds for the edits | {seconds} |")
        print("| undo all, redo all, layer against table | equal |")
        print(f"| edits after the save until kill -9 | {int(last[1]) - int(saved[1])} |")
        print(f"| edits restored, lost | {after['restored'][0]}, 0 |")
        print("| tables after the restore | equal |")


if __name__ == "__main__":
    main()
