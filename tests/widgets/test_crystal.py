"""A crystal is matched in the Chemistry dock, clicked as a user clicks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand import Hand
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QPushButton

from napari_atomlens.graphs.crystals import find_crystal
from napari_atomlens.graphs.views import views_of
from napari_atomlens.simulation.column_lists import Told, list_columns
from napari_atomlens.widgets.layers.atoms import editor_of
from napari_atomlens.widgets.layers.roles import KEY, STALE

WAIT = 60_000
PIXEL = 0.02
pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="napari's canvas needs OpenGL, which Qt's offscreen platform lacks; see make test",
)
CIF = """data_mos2
_cell_length_a 3.16
_cell_length_b 3.16
_cell_length_c 20
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mo1 Mo 0.3333333 0.6666667 0.5
S1 S 0.6666667 0.3333333 0.5783
S2 S 0.6666667 0.3333333 0.4217
"""


class Bench:
    """A viewer with the columns of MoS2, and the dock."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        view = views_of(find_crystal("MoS2"), (0, 0, 1))[0]
        told = Told(missing=0.01, replaced=0.008)
        self.columns = list_columns(
            view, np.random.default_rng(2), told, n_columns=400, pixel_size_nm=PIXEL,
            rotation_rad=0.3,
        )  # fmt: skip
        atoms = self.columns.atoms
        side = int(atoms[["y_px", "x_px"]].to_numpy().max()) + 6
        place = {"scale": (PIXEL, PIXEL), "units": ("nm", "nm")}
        viewer.add_image(np.zeros((side, side), np.float32), name="film", **place)
        self.points = viewer.add_points(
            atoms[["y_px", "x_px"]].to_numpy(), name="atoms", **place,
            features=atoms,
        )  # fmt: skip
        self.dock, self.widget = viewer.window.add_plugin_dock_widget(
            "napari-atomlens", "Chemistry"
        )

    def child(self, kind: type, name: str) -> Any:
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def choose(self, crystal: str, axis: str = "[001]") -> None:
        self.child(QComboBox, "crystal").setCurrentText(crystal)
        self.child(QComboBox, "zone_axis").setCurrentText(axis)

    def match(self) -> str:
        with self.qtbot.waitSignal(self.widget.finished, timeout=WAIT):
            self.qtbot.mouseClick(self.child(QPushButton, "match"), Qt.MouseButton.LeftButton)
        return str(self.child(QLabel, "status").text())

    def layers(self, role: str) -> list[Any]:
        return [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]


@pytest.fixture
def bench(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Bench]:
    made = Bench(make_napari_viewer(show=True), qtbot)
    made.child(object, "match_section").expand(animate=False)
    yield made
    made.widget.cleanup()


def test_a_match_is_drawn_over_the_atoms_and_kept_in_the_session(bench: Bench) -> None:
    bench.choose("MoS2")
    said = bench.match()
    assert said.startswith("MoS2 along [001]")
    (model,) = bench.layers("crystal")
    gap = np.linalg.norm(bench.points.data[:, None] - model.data[None], axis=-1)
    assert np.median(gap.min(1)) < 1
    labels = model.features["elements"].to_numpy()[gap.argmin(1)]
    assert (labels == bench.columns.elements).mean() > 0.98
    assert model.scale == pytest.approx(bench.points.scale)
    assert len(np.unique(model.border_color, axis=0)) == 2  # one colour for each kind of column
    (defects,) = bench.layers("defects of the crystal")
    assert {"Mo_S2", "S2_Mo"} & set(defects.features["formula"])
    assert defects.features["formula"].str.startswith("V_").any()
    session = editor_of(bench.points).session
    assert len(session.table("matched")) == len(bench.points.data)
    assert session.provenance("matched")["match"]["crystal"] == "MoS2"
    # once more: the same layers; an edit makes them stale
    bench.match()
    assert bench.layers("crystal") == [model]
    bench.viewer.layers.selection.active = bench.points
    bench.points.mode = "select"
    bench.points.selected_data = {3}
    Hand(bench.viewer).press("Delete")
    bench.qtbot.waitUntil(lambda: model.name.endswith(STALE), timeout=5000)


def test_another_crystal_is_refused_in_a_sentence_and_nothing_is_drawn(bench: Bench) -> None:
    bench.choose("SrTiO3", "any low-index one")
    said = bench.match()
    assert said.startswith("SrTiO3 does not fit these columns")
    assert not bench.layers("crystal")


def test_a_file_joins_the_list(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "mine.cif"
    path.write_text(CIF, encoding="utf-8")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (str(path), ""))
    bench.qtbot.mouseClick(bench.child(QPushButton, "open_crystal"), Qt.MouseButton.LeftButton)
    assert bench.child(QComboBox, "crystal").currentText() == "mine.cif"
    assert bench.match().startswith("mine along [001]")
