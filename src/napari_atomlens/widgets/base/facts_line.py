"""What the file of a chosen image says of the measurement, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from napari.layers import Layer
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from napari_atomlens.io.formats.choice import images_left_out, listed
from napari_atomlens.io.formats.facts import FACTS, in_words
from napari_atomlens.widgets.base.layer_choice import L, LayerChoice


class FactsLine(QLabel):
    """Bias, setpoint, detector, rotation and time of the layer that is chosen; hidden without.

    Parameters
    ----------
    choice : LayerChoice
    parent : QWidget, optional
    """

    def __init__(self, choice: LayerChoice[L], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("facts")
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        choice.changed.connect(self._show)
        self._show(choice.layer)

    def _show(self, layer: Layer | None) -> None:
        known = {} if layer is None else dict(layer.metadata)
        text = " ".join(part for part in (_of_the_file(known), in_words(known)) if part)
        self.setText(text)
        self.setVisible(bool(text))
        more = {k: known[k] for k in FACTS if k in known}
        self.setToolTip("\n".join(f"{k}: {v}" for k, v in more.items()))


def _of_the_file(known: Mapping[str, object]) -> str:
    """Say which image of a file that holds several it is, "" where there is but one."""
    file = known.get("file")
    others = images_left_out(known)
    if not others or not isinstance(file, dict):
        return ""
    return (
        f"{file['image']}, one of {len(others) + 1} images of the file; not analysed: "
        f"{listed(others)}."
    )
