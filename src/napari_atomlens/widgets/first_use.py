"""What happens when the plugin is first used in a session, whatever of it is used."""

from __future__ import annotations

import sys

from napari_atomlens.files import user_folder
from napari_atomlens.widgets import open_save
from napari_atomlens.widgets.base import software_gl


def on_activate(context: object) -> None:
    """Offer unsaved edits once the command that napari calls now is done.

    napari calls this before the first dock, reader, writer or sample of the plugin, also when
    it only asks whether a file is ours: nothing heavy is loaded where nothing was left behind.

    Parameters
    ----------
    context : npe2.PluginContext
    """
    if "vispy.gloo" in sys.modules:  # a window
        software_gl.guard()
    folder = user_folder("autosave")
    if "napari" not in sys.modules or not folder.is_dir() or not any(folder.iterdir()):
        return
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    if QApplication.instance() is not None:
        QTimer.singleShot(0, _offer)


def _offer() -> None:
    import napari

    viewer = napari.current_viewer()
    if viewer is not None:
        open_save.offer_restore(viewer)
