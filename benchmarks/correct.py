"""What an edit costs: time from edit to redraw with 5,000 atoms in the frame, memory of edits.

    scripts/with_display.sh python benchmarks/correct.py

Prints Markdown. The times are CPU seconds of the process (the window is drawn by software
here) and wall time, from the call of the edit to the end of the redraw of the canvas; the
memory is what tracemalloc counts of the journal.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from report import Report

from napari_atomlens import tables
from napari_atomlens.session.edits import Corrections, actions


def many_atoms(n: int, frames: int = 1, spacing: float = 12.0):
    """Atoms table of a square lattice of about n atoms in each frame."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    places = spacing * (np.argwhere(np.ones((side, side)))[:n] + 0.5)
    frame = np.repeat(np.arange(frames), n)
    ids = frame * tables.IDS_PER_FRAME + np.tile(np.arange(n), frames)
    at = np.tile(places, (frames, 1)) + rng.normal(0, 0.2, (n * frames, 2))
    return tables.make(
        "atoms",
        {"frame": frame, "atom_id": ids, "y_px": at[:, 0], "x_px": at[:, 1], "species": "column",
         "probability": rng.uniform(0.6, 1, n * frames), "amplitude": 1.0, "sigma_px": 3.0,
         "fit_ok": True, "source": "fit", "chi2": 1.0, "y_err_px": 0.1, "x_err_px": 0.1},
        n * frames,
    )  # fmt: skip


def memory(n_edits: int) -> list[str]:
    """Memory of a journal of mixed edits."""
    c = Corrections(many_atoms(5000), "me", 12.0)
    c.columns(0)
    rng = np.random.default_rng(0)
    gc.collect()
    tracemalloc.start()
    start = time.process_time()
    for i in range(n_edits):
        ids = c.columns(0).ids
        one = int(ids[rng.integers(len(ids))])
        kind = i % 5
        if kind == 0:
            actions.add(c, 0, *rng.uniform(0, 800, 2), "column")
        elif kind == 1:
            actions.delete(c, [one])
        elif kind == 2:
            actions.move(c, [one], [rng.uniform(0, 800, 2)])
        elif kind == 3:
            actions.set_species(c, [one], "bright column")
        else:
            two = int(ids[rng.integers(len(ids))])
            if one != two:
                actions.merge(c, [one, two])
    seconds = time.process_time() - start
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    return [
        f"| memory of {n_edits} mixed edits | {size:.1f} MB |",
        f"| core only, per edit with 5,000 atoms (traced) | {1e3 * seconds / n_edits:.2f} ms CPU |",
    ]


def window(n: int, frames: int, edits: int) -> list[str]:
    """Edit to redraw in a real window."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_atomlens.widgets.correct.dock import CorrectWidget
    from napari_atomlens.widgets.layers import convert, styles
    from napari_atomlens.widgets.layers.atoms import editor_of
    from napari_atomlens.widgets.layers.roles import KEY

    atoms = many_atoms(n, frames)
    side = int(atoms["y_px"].max()) + 12
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.05, (frames, side, side)).astype(np.float32)
    spots = np.rint(atoms[["y_px", "x_px"]].to_numpy()).astype(int)
    y, x = np.mgrid[-5:6, -5:6]
    bump = np.exp(-(y**2 + x**2) / 18)
    for f, (r, k) in zip(atoms["frame"], spots, strict=True):
        if 5 <= r < side - 6 and 5 <= k < side - 6:
            image[f, r - 5 : r + 6, k - 5 : k + 6] += bump
    viewer = napari.Viewer()
    ndim = 3 if frames > 1 else 2
    viewer.add_image(image if frames > 1 else image[0], name="many")
    names = ["column", "bright column"]
    style = styles.AtomStyle(size=4.0, border_color_cycle=styles.class_colours(names))
    layer = viewer.add_points(
        convert.points_from_atoms(atoms, ndim), ndim=ndim,
        features=convert.features_from_atoms(atoms, names), name="atoms",
        metadata={KEY: {"role": "atoms", "source_name": "many", "spacing_px": 12.0,
                        "classes": names}},
        **style.as_kwargs(),
    )  # fmt: skip
    editor_of(layer, atoms)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    canvas = viewer.window._qt_viewer.canvas.native
    editor = widget.editor

    def redraw() -> None:
        canvas.repaint()

    def empty() -> None:
        redraw()

    def species() -> None:
        editor.select([int(editor.ids()[rng.integers(n)])])
        widget._commands.set_species(int(rng.integers(2)))

    def delete() -> None:
        editor.select([int(editor.corrections.columns(0).ids[rng.integers(n // 2)])])
        widget.run("delete")

    def add() -> None:
        place = 12.0 * rng.integers(2, int(np.sqrt(n)) - 2, 2) + rng.uniform(-2, 2, 2)
        widget._adding.snap.value = True
        widget._commands.add_at(0, *place)

    def move() -> None:
        widget._adding.snap.value = True
        row = int(rng.integers(n // 2))
        y, x = layer.data[row, -2:]
        widget._commands.move(row, float(y) + 1, float(x) - 1)

    rows = []
    kinds = [
        ("redraw alone", empty),
        ("species by key", species),
        ("delete", delete),
        ("add, drawn to the peak and fitted", add),
        ("move, drawn to the peak and fitted", move),
        ("undo", lambda: widget.run("undo")),
        ("redo", lambda: widget.run("redo")),
    ]
    for name, do in kinds:
        wall, cpu, edit = [], [], []
        for _ in range(edits):
            QApplication.processEvents()
            a, b = time.perf_counter(), time.process_time()
            do()
            edit.append(time.process_time() - b)
            redraw()
            wall.append(time.perf_counter() - a)
            cpu.append(time.process_time() - b)
            end = time.perf_counter() + 0.12  # edits rest: doubtful atoms are counted
            while time.perf_counter() < end:
                QApplication.processEvents()
        rows.append(
            f"| {name}, {n} atoms in each of {frames} frames | {1e3 * np.median(edit):.0f} ms | "
            f"{1e3 * np.median(cpu):.0f} ms | "
            f"{1e3 * np.median(wall):.0f} ms | {1e3 * np.quantile(wall, 0.9):.0f} ms |"
        )
        print(rows[-1], flush=True)
    widget.cleanup()
    viewer.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=5000)
    parser.add_argument("--edits", type=int, default=25)
    parser.add_argument("--frames", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--journal", type=int, default=10000)
    with Report("correct", parser) as report:
        args = report.args
        import os

        with tempfile.TemporaryDirectory() as folder:
            os.environ["ATOMLENS_AUTOSAVE"] = str(Path(folder))
            print("| figure | value |\n|---|---|")
            print("\n".join(memory(args.journal)))
            if args.frames:
                print(
                    "\n| edit to redraw | CPU of the edit | CPU with the redraw | wall | wall, 90 % |\n"
                    "|---|---|---|---|---|"
                )
            for frames in args.frames:
                window(args.atoms, frames, args.edits)


if __name__ == "__main__":
    main()
