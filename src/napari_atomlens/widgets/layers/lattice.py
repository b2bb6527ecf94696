"""The layers of one measured lattice: made once, updated in place, known by their metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_atomlens.lattice.lattice import MEASURED, Lattice
from napari_atomlens.widgets.layers import convert, styles
from napari_atomlens.widgets.layers import convert_lattice as lattice
from napari_atomlens.widgets.layers.atoms import EDITOR, Editor
from napari_atomlens.widgets.layers.roles import ARROWS, KEY, MAP, VACANCIES, entry

if TYPE_CHECKING:
    import napari.viewer

ROLES = (MAP, ARROWS, VACANCIES)
DIVERGING, SEQUENTIAL = "coolwarm", "viridis"
#: Column that leads from a row of the measured table to the point of the layer.
ROW = "layer_row"


@dataclass(frozen=True)
class Shown:
    """Which layers to make.

    Attributes
    ----------
    arrows : str
        "from the sites", "polar" or "none".
    factor : float
        Enlargement of the arrows, 0 to choose it.
    map_name : str
        A key of :data:`convert_lattice.QUANTITIES`, "none" for no map.
    vacancies : bool
    """

    arrows: str = lattice.FROM_SITES
    factor: float = 0.0
    map_name: str = "strain xx"
    vacancies: bool = True


class MeasuredLayers:
    """Keeps the layers that belong to one layer of atoms.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    source : napari.layers.Points
        The atoms.
    """

    def __init__(self, viewer: napari.viewer.Viewer, source: Any) -> None:
        self._viewer, self._source = viewer, source
        self.source_id = str(source.unique_id)
        self.found: Lattice | None = None
        self.spacing_px = float("nan")
        self.factor = 1.0
        self.limits = (0.0, 1.0)
        self.unit, self.colormap = "", SEQUENTIAL

    def layer(self, role: str) -> Any:
        """Our layer with this role for these atoms, None where there is none."""
        ids = {str(x.unique_id) for x in self._viewer.layers}
        for x in self._viewer.layers:
            mine = entry(x)
            if mine.get("role") != role:
                continue
            # by id, or by name where the layers come from an earlier session
            if mine.get("source_id") == self.source_id or (
                mine.get("source_id") not in ids
                and mine.get("source_name") == str(self._source.name)
            ):
                return x
        return None

    def apply(self, found: Lattice, shown: Shown) -> None:
        """Show a new result."""
        self.found = found
        nearest = found.lattices["nearest_px"].to_numpy(float)
        self.spacing_px = float(np.nanmedian(nearest)) if len(nearest) else float("nan")
        self.write_features()
        self.show(shown)

    def show(self, shown: Shown) -> None:
        """Make, update or remove the layers."""
        if self.found is None:
            return
        self._show_map(shown.map_name)
        self._show_arrows(shown.arrows, shown.factor)
        self._show_vacancies(shown.vacancies)

    # ---------------------------------------------------------------- layers

    @property
    def _of(self) -> str:
        """Name of the image that the atoms are of, as far as it is known."""
        return str(entry(self._source).get("source_name") or self._source.name)

    def _common(self, role: str) -> dict[str, Any]:
        source = self._source
        return {
            "name": f"{role} · {self._of}",
            "scale": source.scale,
            "translate": source.translate,
            "rotate": source.rotate,
            "shear": source.shear,
            "affine": source.affine,
            "units": source.units,
            "axis_labels": source.axis_labels,
            "metadata": {KEY: self._entry(role)},
        }

    def _entry(self, role: str) -> dict[str, Any]:
        return {
            "role": role,
            "source_id": self.source_id,
            "source_name": str(self._source.name),
            "spacing_px": self.spacing_px,
            "parameters": {} if self.found is None else self.found.params,
        }

    def _remove(self, role: str) -> None:
        layer = self.layer(role)
        if layer is not None:
            self._viewer.layers.remove(layer)

    def _add(self, role: str, layer: Any) -> None:
        """Add a layer: the map below the atoms, the others on top."""
        layers = self._viewer.layers
        active = layers.selection.active
        at = len(layers)
        if role == MAP and self._source in layers:
            at = layers.index(self._source)
        layers.insert(at, layer)
        if active is not None and active in layers:
            layers.selection.active = active

    def _refresh(self, role: str, layer: Any) -> None:
        layer.metadata[KEY] = self._entry(role)
        for name in ("scale", "translate"):
            value = getattr(self._source, name)
            if not np.array_equal(getattr(layer, name), value):
                setattr(layer, name, value)
        for name in ("units", "axis_labels"):
            if tuple(getattr(layer, name)) != tuple(getattr(self._source, name)):
                setattr(layer, name, getattr(self._source, name))

    def _show_map(self, name: str) -> None:
        from napari.layers import Points

        if self.found is None or name == "none":
            self._remove(MAP)
            return
        atoms = lattice.real_atoms(self.found.atoms)
        atoms = atoms[(atoms["region"] >= 0).to_numpy()]
        values, self.unit = lattice.values_of(atoms, name)
        known = np.isfinite(values)
        atoms, values = atoms[known], values[known]
        around = lattice.QUANTITIES[name].around_zero
        self.limits = lattice.limits_of(values, around)
        self.colormap = DIVERGING if around else SEQUENTIAL
        data = convert.points_from_atoms(atoms, self._source.ndim)
        features = atoms.drop(columns=[ROW], errors="ignore").reset_index(drop=True)
        features["value"] = values
        layer = self.layer(MAP)
        size = 0.8 * self.spacing_px if np.isfinite(self.spacing_px) else 5.0
        if layer is None:
            if not len(data):
                return
            style = styles.MapStyle(size, "value", self.colormap, self.limits)
            layer = Points(
                data, ndim=self._source.ndim, features=features,
                **style.as_kwargs(), **self._common(MAP),
            )  # fmt: skip
            self._add(MAP, layer)
        else:
            layer.selected_data = set()
            layer.data = data
            layer.features = features
            layer.current_size = size
            layer.size = size
            if len(data):
                layer.face_color = "value"
                layer.face_colormap = self.colormap
                layer.face_contrast_limits = self.limits
                layer.refresh_colors()
            self._refresh(MAP, layer)
        layer.name = f"{name} · {self._of}"

    def _show_arrows(self, kind: str, factor: float) -> None:
        from napari.layers import Vectors

        if self.found is None or kind == lattice.NO_ARROWS:
            self._remove(ARROWS)
            return
        data, features = lattice.arrows(self.found.atoms, kind, self._source.ndim)
        self.factor = factor if factor > 0 else lattice.arrow_factor(data, self.spacing_px)
        layer = self.layer(ARROWS)
        width = 0.09 * self.spacing_px if np.isfinite(self.spacing_px) else 1.0
        if layer is not None and (len(layer.data) == 0 or not len(data)):
            # an empty layer of vectors cannot be coloured by a feature later
            self._viewer.layers.remove(layer)
            layer = None
        if layer is None:
            if not len(data):
                return
            style = styles.ArrowStyle(self.factor, width)
            layer = Vectors(
                data, ndim=self._source.ndim, features=features,
                **style.as_kwargs(), **self._common(ARROWS),
            )  # fmt: skip
            self._add(ARROWS, layer)
        else:
            layer.data = data
            layer.features = features
            layer.length = self.factor
            layer.edge_width = width
            layer.refresh_colors()
            self._refresh(ARROWS, layer)
        what = "displacements" if kind == lattice.FROM_SITES else "polar displacements"
        layer.name = f"{what} × {self.factor:g} · {self._of}"

    def _show_vacancies(self, wanted: bool) -> None:
        from napari.layers import Points

        rows = None if self.found is None else lattice.vacancies_of(self.found.atoms)
        layer = self.layer(VACANCIES)
        if rows is None or not wanted or (layer is None and not len(rows)):
            self._remove(VACANCIES)
            return
        data = convert.points_from_atoms(rows, self._source.ndim)
        features = rows.drop(columns=[ROW], errors="ignore").reset_index(drop=True)
        size = 0.55 * self.spacing_px if np.isfinite(self.spacing_px) else 5.0
        if layer is None:
            layer = Points(
                data, ndim=self._source.ndim, features=features,
                **styles.VacancyStyle(size).as_kwargs(), **self._common(VACANCIES),
            )  # fmt: skip
            self._add(VACANCIES, layer)
            return
        layer.selected_data = set()
        layer.data = data
        layer.features = features
        layer.current_size = size
        layer.size = size
        self._refresh(VACANCIES, layer)

    # ----------------------------------------------------------- the atoms layer

    def write_features(self) -> None:
        """Put what was measured into the features of the atoms, where they are still the same."""
        if self.found is None or self._source not in self._viewer.layers:
            return
        atoms = lattice.real_atoms(self.found.atoms)
        features = self._source.features.reset_index(drop=True).copy()
        if ROW not in atoms or len(atoms) != len(features):
            return
        rows = atoms[ROW].to_numpy(int)
        for column in ["sublattice", "site_y_px", "site_x_px", *MEASURED]:
            measured = atoms[column].to_numpy()
            values = np.empty_like(measured)
            values[rows] = measured
            features[column] = values
        editor = self._source.metadata.get(EDITOR)
        if isinstance(editor, Editor):  # it knows of which atoms this is true
            editor.session.measured.note(atoms[["atom_id", *MEASURED]], atoms)
        self._source.features = features
