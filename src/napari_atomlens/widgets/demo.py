"""The demo: napari on sample data with the main job done, with or without a screen."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_atomlens.errors import AtomLensError
from napari_atomlens.widgets.open_save import samples

if TYPE_CHECKING:
    import napari

    from napari_atomlens.widgets.find_atoms.dock import FindAtomsWidget


PLUGIN = "napari-atomlens"


def has_display() -> bool:
    """Whether windows can be shown: always, but on Linux without an X or Wayland server."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def virtual_display(size: tuple[int, int] = (1600, 1000)) -> Iterator[str]:
    """Run an Xvfb of our own and point Qt at it; yields the name of the display.

    Raises
    ------
    AtomLensError
        If there is no Xvfb, or it does not start.
    """
    server = shutil.which("Xvfb")
    if server is None:
        raise AtomLensError(
            "There is no screen, and Xvfb for a virtual one is missing "
            "(on Debian-like machines: sudo apt-get install -y xvfb)."
        )
    before = {k: os.environ.get(k) for k in ("DISPLAY", "QT_QPA_PLATFORM", "WAYLAND_DISPLAY")}
    with tempfile.TemporaryFile("w+") as number:
        screen = ["-screen", "0", f"{size[0]}x{size[1]}x24"]
        process = subprocess.Popen(
            [server, "-displayfd", str(number.fileno()), *screen, "-nolisten", "tcp"],
            pass_fds=[number.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            name = ""
            until = time.monotonic() + 20
            while not name.endswith("\n"):
                if process.poll() is not None or time.monotonic() > until:
                    raise AtomLensError("The virtual display (Xvfb) did not start.")
                time.sleep(0.05)
                number.seek(0)
                name = number.read()
            # Without GL (as with Qt's own "offscreen") napari's canvas cannot be drawn.
            os.environ |= {"DISPLAY": f":{name.strip()}", "QT_QPA_PLATFORM": "xcb"}
            os.environ.pop("WAYLAND_DISPLAY", None)
            yield os.environ["DISPLAY"]
        finally:
            process.terminate()
            process.wait(10)
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


def open_sample(
    sample: str, size: tuple[int, int] | None = None
) -> tuple[napari.Viewer, FindAtomsWidget]:
    """Open a viewer with one of our samples and the Find atoms widget.

    Parameters
    ----------
    sample : str
        Name in :data:`napari_atomlens.simulation.samples.SAMPLES`.
    size : tuple of int, optional
        Width and height of the window in screen pixels.

    Returns
    -------
    viewer : napari.Viewer
        The viewer.
    widget : FindAtomsWidget
        The docked widget, not yet run.
    """
    import napari
    from napari.layers import Layer

    viewer = napari.Viewer(title="napari with AtomLens")
    if size:
        viewer.window.resize(*size)
    for layer_tuple in samples.layers_of(sample):
        viewer.add_layer(Layer.create(*layer_tuple))
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Find atoms")
    return viewer, widget


def wait_for(widget: FindAtomsWidget, timeout_s: float = 300.0) -> None:
    """Keep the window alive until the job of `widget` is done.

    Raises
    ------
    AtomLensError
        If it is not done after `timeout_s` seconds.
    """
    from qtpy.QtWidgets import QApplication

    until = time.monotonic() + timeout_s
    while widget.is_running:
        if time.monotonic() > until:
            raise AtomLensError(f"Find atoms was not done after {timeout_s:.0f} s.")
        QApplication.processEvents()
        time.sleep(0.01)
    # Layers that came with the last result are drawn a little later.
    settled = time.monotonic() + 1.0
    while time.monotonic() < settled:
        QApplication.processEvents()
        time.sleep(0.01)


def save_window(sample: str, path: Path, size: tuple[int, int] = (1500, 940)) -> Path:
    """Open a sample, find its atoms, save the whole window as a picture and close it.

    Raises
    ------
    AtomLensError
        If no atoms were found, so that a picture of a failure is never taken for a result.
    """
    viewer, widget = open_sample(sample, size)
    try:
        widget.run()
        wait_for(widget)
        found = [
            layer for layer in viewer.layers if type(layer).__name__ == "Points" and len(layer.data)
        ]
        if not found:
            raise AtomLensError(f"Find atoms found no atom in the sample {sample}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    finally:
        viewer.close()
    return path


def run_demo(screenshot: Path | None = None, sample: str = "graphene_si") -> Path | None:
    """Show the demo, or save its window as a picture.

    Parameters
    ----------
    screenshot : pathlib.Path, optional
        Where to save the window. Without it, and without a screen, `atomlens-demo.png`
        in the current folder.
    sample : str
        Name of the sample.

    Returns
    -------
    pathlib.Path or None
        The picture, None where the demo was shown on the screen.
    """
    if not has_display():
        with virtual_display():
            return save_window(sample, screenshot or Path("atomlens-demo.png"))
    if screenshot:
        return save_window(sample, screenshot)
    import napari

    # The viewer is held until its window is closed.
    viewer, widget = open_sample(sample)
    widget.run()
    napari.run()
    del viewer
    return None
