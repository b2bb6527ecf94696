"""Positions of other programs, opened in napari: asked what their file does not say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_atomlens import io, points, tables
from napari_atomlens.errors import AtomLensError, TableError
from napari_atomlens.io.formats.positions import (
    TEXTS,
    Positions,
    Unit,
    look_at_positions,
)
from napari_atomlens.widgets.base.images import current_frame, finest, pixel_size_of
from napari_atomlens.widgets.layers.placing import place_of
from napari_atomlens.widgets.layers.roles import POSITIONS, is_given
from napari_atomlens.widgets.open_save import reader
from napari_atomlens.widgets.open_save.beside import main_window
from napari_atomlens.widgets.open_save.chooser import NOTHING

if TYPE_CHECKING:
    from napari.layers import Image
    from qtpy.QtWidgets import QComboBox

    from napari_atomlens.widgets.open_save.reader import LayerTuple

UNITS: dict[str, Unit] = {"pixels": "px", "nm": "nm", "ångström": "angstrom", "pm": "pm"}
FIRST: dict[str, Literal[0, 1]] = {
    "is number 0 (Python, ImageJ, Atomap)": 0,
    "is number 1 (MATLAB, StatSTEM)": 1,
}
ORDERS: dict[str, Literal["xy", "yx"]] = {"x, then y": "xy", "y, then x": "yx"}
NO_IMAGE = "none"
#: A unit is likely in which the positions take so much of the image, in both directions.
COVERED = 0.25
#: Size of the rings in spacings.
RING = 0.35


@dataclass(frozen=True)
class Told:
    """What the user says of positions.

    Attributes
    ----------
    unit : {"", "px", "nm", "angstrom", "pm"}
    first_pixel : {0, 1}
    order : {"xy", "yx"}
    image : napari.layers.Image or None
        In which they lie.
    """

    unit: Unit = ""
    first_pixel: Literal[0, 1] = 0
    order: Literal["xy", "yx"] = "xy"
    image: Image | None = None

    @property
    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm of the image, None where it is unknown."""
        return None if self.image is None else pixel_size_of(self.image)

    def places(self, found: Positions) -> tuple[np.ndarray, bool]:
        """Return (y, x) of positions, and whether these are pixels; else they are nm."""
        made = found.places(self.unit, self.first_pixel, self.order, self.pixel_size_nm)
        in_pixels = "y_px" in made
        names = ("y_px", "x_px") if in_pixels else ("y_nm", "x_nm")
        return np.stack([made[n] for n in names], axis=1), in_pixels

    def inside(self, found: Positions) -> np.ndarray:
        """Which positions lie in the image."""
        places, in_pixels = self.places(found)
        if self.image is None or not in_pixels:
            return np.zeros(len(places), bool)
        edge = np.asarray(_shape_of(self.image)) - 0.5
        return np.asarray(((places >= -0.5) & (places <= edge)).all(1))

    def sentence(self, found: Positions) -> str:
        """Say where the positions lie, so that a wrong unit is seen."""
        if self.image is None:
            return "Open their image first, so that they lie on it and can be refined."
        if not self.places(found)[1]:
            return (
                f"{self.image.name} has no pixel size (see Calibrate): positions in nm cannot be "
                "laid onto it."
            )
        inside, n, (height, width) = self.inside(found), len(found.values), _shape_of(self.image)
        where = f"{self.image.name} ({width} × {height} px)"
        if inside.all():
            return f"All {n} lie in {where}."
        if 2 * inside.sum() > n:
            return f"{inside.sum()} of {n} lie in {where}, the others outside of it."
        return f"Only {inside.sum()} of {n} lie in {where}: is the unit another?"


def _shape_of(image: Image) -> tuple[int, int]:
    """Rows and columns of an image layer."""
    shape = finest(image).shape
    height, width = (shape[:-1] if image.rgb else shape)[-2:]
    return int(height), int(width)


def get_atoms_reader(
    path: str | Path | Sequence[str | Path],
) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the function that opens tables of atoms, None where a file is none.

    As :func:`napari_atomlens.widgets.open_save.reader.get_atoms_reader`, but where there is a
    window, it is asked what a list of another program does not say.
    """
    found = reader.get_atoms_reader(path)
    return None if found is None else read_asked


def read_asked(path: str | Path | Sequence[str | Path]) -> list[LayerTuple]:
    """Read tables of atoms, and positions of other programs as the user says they are.

    Raises
    ------
    FormatError
        If a file cannot be read.
    """
    layers: list[LayerTuple] = []
    for one in reader._paths(path):
        if one.suffix.lower() not in TEXTS or reader.is_own_table(one):
            layers.append(reader.atoms_layer(io.read_atoms(one), one))
            continue
        found = look_at_positions(one)
        told = _told(found)
        if told is not None:
            layers.append(positions_layer(found, told, one))
    return layers or NOTHING


def _told(found: Positions) -> Told | None:
    """Ask what positions are; None where the user wants none. Without a window nobody is asked."""
    window = main_window()
    if window is None:
        return Told()
    import napari

    viewer = napari.current_viewer()
    layers = [] if viewer is None else list(viewer.layers)
    images = [
        x for x in reversed(layers)
        if isinstance(x, napari.layers.Image) and is_given(x)
    ]  # fmt: skip
    images.sort(key=lambda x: not x.visible)
    return Question(found, images, window).answer()


def likely(found: Positions, image: Image | None) -> Unit:
    """Return the unit that the file says, else one in which positions and image agree."""
    said = found.unit
    for unit in UNITS.values():
        if said and (said == unit or said[:2] == unit[:2] or (said == "å" and unit == "angstrom")):
            return unit
    for unit in UNITS.values():
        told = Told(unit, image=image)
        if image is None or not told.places(found)[1] or not told.inside(found).all():
            continue
        places = told.places(found)[0]
        if (np.ptp(places, axis=0) > COVERED * np.asarray(_shape_of(image))).all():
            return unit
    return "px"


class Question:
    """The window that asks what positions are.

    Parameters
    ----------
    found : Positions
    images : sequence of napari.layers.Image
        In which they may lie, the most likely one first.
    parent : QWidget, optional
    """

    def __init__(self, found: Positions, images: Sequence[Image], parent: Any = None) -> None:
        from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QVBoxLayout

        self._found, self._images = found, list(images)
        self.dialog = QDialog(parent)
        self.dialog.setObjectName("own_positions")
        self.dialog.setWindowTitle("Positions of your own")
        unit = likely(found, images[0] if images else None)
        self._unit = self._choice("unit", [*UNITS], [*UNITS.values()].index(unit))
        self._first = self._choice("first_pixel", [*FIRST])
        self._order = self._choice("order", [*ORDERS])
        self._image = self._choice("image", [*(x.name for x in images), NO_IMAGE])
        self._said = QLabel()
        self._said.setObjectName("said")
        self._said.setWordWrap(True)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        self._open = buttons.button(QDialogButtonBox.StandardButton.Open)
        buttons.accepted.connect(self.dialog.accept)
        buttons.rejected.connect(self.dialog.reject)
        form = QFormLayout()
        form.addRow("Unit", self._unit)
        form.addRow("The first pixel", self._first)
        if not found.ordered:
            form.addRow("Columns", self._order)
        form.addRow("Image", self._image)
        column = QVBoxLayout(self.dialog)
        column.addWidget(QLabel(f"{found.name} holds {len(found.values)} positions."))
        column.addLayout(form)
        column.addWidget(self._said)
        column.addWidget(buttons)
        self.dialog.resize(440, self.dialog.sizeHint().height())
        self._show()

    def _choice(self, name: str, texts: Sequence[str], at: int = 0) -> QComboBox:
        from qtpy.QtWidgets import QComboBox

        made = QComboBox(self.dialog)
        made.setObjectName(name)
        made.addItems(list(texts))
        made.setCurrentIndex(at)
        made.currentIndexChanged.connect(self._show)
        if name == "order" and self._found.ordered:
            made.hide()
        return made

    def told(self) -> Told:
        """What is chosen now."""
        at = self._image.currentIndex()
        return Told(
            UNITS[self._unit.currentText()], FIRST[self._first.currentText()],
            ORDERS[self._order.currentText()], self._images[at] if at < len(self._images) else None,
        )  # fmt: skip

    def _show(self) -> None:
        try:
            text, fine = self.told().sentence(self._found), True
        except AtomLensError as error:
            text, fine = str(error), False
        self._said.setText(text)
        self._open.setEnabled(fine)

    def answer(self) -> Told | None:
        """Ask; None where it was cancelled."""
        from qtpy.QtWidgets import QDialog

        accepted = self.dialog.exec() == QDialog.DialogCode.Accepted
        told = self.told() if accepted else None
        self.dialog.deleteLater()
        return told


def positions_layer(found: Positions, told: Told, path: Path) -> LayerTuple:
    """Return positions as the layer tuple that shows them as atoms, on their image.

    Parameters
    ----------
    found : Positions
    told : Told
    path : pathlib.Path
    """
    places, in_pixels = told.places(found)
    table = _table(found, told, places, in_pixels)
    image = told.image if in_pixels else None
    movie = (image is not None and image.ndim == 3) or table["frame"].nunique() > 1
    if image is not None and image.ndim == 3 and "frame" not in found.others:
        table["frame"] = _shown_frame(image)
    spacing = points.spacing(places) if len(places) > 1 else float("nan")
    size = RING * spacing if np.isfinite(spacing) and spacing > 0 else 6.0
    columns = [
        *(["frame"] if movie else []),
        *(["y_px", "x_px"] if in_pixels else ["y_nm", "x_nm"]),
    ]
    keywords: dict[str, Any] = {
        **_place(image, 3 if movie else 2, in_pixels),
        "name": path.name, "features": table, "face_color": "transparent", "border_color": "red",
        "border_width": 0.2, "size": size,
        "metadata": {
            "file": {"path": str(path)},
            POSITIONS: {
                "file": path.name, "unit": told.unit or found.unit or "px",
                "first_pixel": told.first_pixel, "order": told.order,
                "spacing_px": float(spacing) if in_pixels else float("nan"),
                "source_id": "" if image is None else str(image.unique_id),
                "source_name": "" if image is None else image.name,
            },
        },
    }  # fmt: skip
    return np.array(table[columns], dtype=float), keywords, "points"


def _table(found: Positions, told: Told, places: np.ndarray, in_pixels: bool) -> Any:
    """Atoms table of positions, with the other columns of their file."""
    n, size = len(places), told.pixel_size_nm
    axes = ("y_px", "x_px") if in_pixels else ("y_nm", "x_nm")
    values: dict[str, object] = {a: places[:, k] for k, a in enumerate(axes)}
    if in_pixels and size is not None:
        values |= {"y_nm": places[:, 0] * size[0], "x_nm": places[:, 1] * size[1]}
    frames = np.asarray(found.others.get("frame", np.zeros(n, int)))
    order = np.argsort(frames, kind="stable")
    counts = np.arange(n) - np.searchsorted(frames[order], frames[order])
    ids = np.empty(n, int)
    ids[order] = frames[order] * tables.IDS_PER_FRAME + counts
    if len(frames) and frames.min() < 0:
        raise TableError(f"{found.name} has frames below 0 (slices count from 1).")
    values |= {"frame": frames, "atom_id": ids, "source": "given"}
    more = {k: v for k, v in found.others.items() if k not in tables.ATOMS}
    known = {k: v for k, v in found.others.items() if k == "species"}
    return tables.make("atoms", {**known, **values, **more}, n)


def _place(image: Image | None, ndim: int, in_pixels: bool) -> dict[str, Any]:
    """Where in the world they lie: on their image, else by themselves."""
    if image is None:
        unit = "pixel" if in_pixels else "nm"
        return {
            "units": ("pixel",) * (ndim - 2) + (unit, unit), "axis_labels": ("t", "y", "x")[-ndim:],
        }  # fmt: skip
    return place_of(image, min(ndim, image.ndim))


def _shown_frame(image: Image) -> int:
    """The frame of a movie that the viewer shows."""
    import napari

    viewer = napari.current_viewer()
    return 0 if viewer is None else current_frame(viewer, image)
