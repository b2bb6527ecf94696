"""Sets of layers without a window: found, placed, updated in place, marked, let go."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes, Vectors
from napari.utils._proxies import PublicOnlyProxy

import napari_atomlens as al
from napari_atomlens import tables
from napari_atomlens.errors import ParameterError
from napari_atomlens.session.edits import actions
from napari_atomlens.widgets.layers.atoms import show_atoms
from napari_atomlens.widgets.layers.layer_set import LayerSet
from napari_atomlens.widgets.layers.registry import all_layers, layers_of
from napari_atomlens.widgets.layers.roles import (
    ATOMS,
    BONDS,
    CONTOURS,
    DEFECTS,
    KEY,
    MAP,
    PROBABILITY,
    VACANCIES,
    entry,
)

PLACES = np.array([[2.0, 3.0], [6.0, 4.0]])


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((9, 9)), name="gold")
    return viewer


def image_of(viewer: ViewerModel, name: str = "gold") -> Image:
    return next(x for x in viewer.layers if x.name == name)


def names(viewer: ViewerModel) -> list[str]:
    return [x.name for x in viewer.layers]


def show(layers: LayerSet, role: str, data: Any = PLACES, **more: Any) -> Any:
    return layers.show(role, Points, data, **more)


# ------------------------------------------------------------------------------ in the list


def test_layers_lie_directly_above_their_image_in_the_order_of_roles(viewer: ViewerModel) -> None:
    gold = image_of(viewer)
    silver = viewer.add_image(np.zeros((9, 9)), name="silver")
    for role in (DEFECTS, ATOMS, CONTOURS, PROBABILITY):
        kind, data = (Image, np.ones((9, 9))) if role == PROBABILITY else (Points, PLACES)
        layers_of(viewer, gold).show(role, kind, data)
    atoms = layers_of(viewer, gold).layer(ATOMS)
    for role in (VACANCIES, MAP, BONDS):
        show(layers_of(viewer, atoms), role)
    show(layers_of(viewer, silver), ATOMS)
    assert names(viewer) == [
        "gold", *(f"{r} · gold" for r in (PROBABILITY, MAP, CONTOURS, BONDS, ATOMS, VACANCIES,
                                          DEFECTS)), "silver", "atoms · silver",
    ]  # fmt: skip


def test_the_active_layer_stays(viewer: ViewerModel) -> None:
    gold = image_of(viewer)
    viewer.layers.selection.active = gold
    show(layers_of(viewer, gold), ATOMS)
    assert viewer.layers.selection.active is gold
    layers_of(viewer, gold).remove(ATOMS)
    assert viewer.layers.selection.active is gold


def test_restored_layers_lie_on_their_image_that_is_opened_later() -> None:
    viewer = ViewerModel()
    mine = {"role": ATOMS, "source_id": "long gone", "source_name": "gold"}
    atoms = viewer.add_points(PLACES, name="atoms · gold", metadata={KEY: mine})
    of_atoms = {"role": VACANCIES, "source_id": str(atoms.unique_id), "source_name": atoms.name}
    viewer.add_points(PLACES, name="vacancies · gold", metadata={KEY: of_atoms})
    other = viewer.add_image(np.zeros((9, 9)), name="silver")
    layers_of(viewer, other)  # a dock looks on
    gold = viewer.add_image(np.zeros((9, 9)), name="gold")
    assert names(viewer) == ["silver", "gold", "atoms · gold", "vacancies · gold"]
    layers = layers_of(viewer, gold)
    assert layers.layer(ATOMS) is atoms
    assert entry(atoms)["source_id"] == str(gold.unique_id), "it has an owner again"
    # what is restored while others are open does not lie on those
    viewer.layers.remove(atoms)
    viewer.add_image(np.zeros((9, 9)), name="copper")
    again = Points(PLACES, name="atoms · gold", metadata={KEY: mine})
    viewer.add_layer(again)
    assert names(viewer) == ["silver", "gold", "atoms · gold", "vacancies · gold", "copper"]
    assert layers.layer(ATOMS) is again


# ------------------------------------------------------------------------------- in the world


@pytest.mark.parametrize("ndim", [2, 3])
def test_layers_follow_the_place_of_their_image(viewer: ViewerModel, ndim: int) -> None:
    turn = np.eye(ndim)
    turn[-2:, -2:] = [[0.8, -0.6], [0.6, 0.8]]
    stack = viewer.add_image(
        np.zeros((9,) * ndim), name="turned", scale=(0.2,) * ndim, translate=(3.0,) * ndim,
        rotate=turn, units=("nm",) * ndim,
    )  # fmt: skip
    layers = layers_of(viewer, stack)
    places = np.column_stack([np.ones((2, ndim - 2)), PLACES])
    atoms = show(layers, ATOMS, places)
    flat = show(layers, "of a frame", PLACES, ndim=2)
    fine = layers.show(CONTOURS, Labels, np.zeros((9,) * (ndim - 2) + (36, 36), int), zoom=4)
    assert fine is not None

    def follow() -> None:
        for place in places:
            want = np.asarray(stack.data_to_world(place))
            np.testing.assert_allclose(atoms.data_to_world(place), want, atol=1e-9)
            np.testing.assert_allclose(flat.data_to_world(place[-2:]), want[-2:], atol=1e-9)
            at = np.array(place)
            at[-2:] = at[-2:] * 4 + 1.5  # the middle of the sixteen
            np.testing.assert_allclose(fine.data_to_world(at), want, atol=1e-9)
        for one in (atoms, fine):
            assert one.units == stack.units and one.axis_labels == stack.axis_labels

    follow()
    stack.scale, stack.translate = (0.5,) * ndim, (-1.0,) * ndim
    stack.shear = (0.1,) if ndim == 2 else (0.0, 0.0, 0.1)
    follow()
    affine = np.eye(ndim + 1)
    affine[-3, -2], affine[-2, -1] = 0.3, 7
    stack.affine, stack.units = affine, ("um",) * ndim
    follow()


def test_pyramids_and_colours_are_sources_as_well(viewer: ViewerModel) -> None:
    pyramid = viewer.add_image(
        [np.zeros((64, 64)), np.zeros((32, 32))], multiscale=True, name="pyramid", scale=(0.5, 0.5)
    )
    rgb = viewer.add_image(np.zeros((9, 9, 3), np.uint8), rgb=True, name="rgb", scale=(3, 3))
    for source in (pyramid, rgb):
        layer = show(layers_of(viewer, source), ATOMS)
        np.testing.assert_allclose(
            layer.data_to_world((4, 5)), np.asarray(source.scale) * (4, 5), atol=1e-9
        )


# ------------------------------------------------------------------------------------ in place


def test_nothing_to_show_makes_no_layer_and_empties_one_that_is_there(viewer: ViewerModel) -> None:
    layers = layers_of(viewer, image_of(viewer))
    assert show(layers, ATOMS, np.zeros((0, 2))) is None
    assert layers.show(CONTOURS, Shapes, []) is None and names(viewer) == ["gold"]
    points = show(layers, ATOMS)
    triangle = np.array([[0, 0], [0, 5], [5, 5]])
    shapes = layers.show(CONTOURS, Shapes, [triangle, triangle + 1], edge_color=["red", "blue"])
    arrows = layers.show(BONDS, Vectors, np.zeros((3, 2, 2)))
    assert shapes is not None and arrows in viewer.layers
    assert show(layers, ATOMS, np.zeros((0, 2))) is points and len(points.data) == 0
    assert layers.show(CONTOURS, Shapes, []) is shapes and shapes.nshapes == 0
    assert layers.show(BONDS, Vectors, np.zeros((0, 2, 2))) is None
    assert arrows not in viewer.layers, "vectors cannot be filled again"
    layers.show(CONTOURS, Shapes, [triangle], edge_color=["green"])
    assert shapes.nshapes == 1 and len(shapes.edge_color) == 1


def test_an_update_leaves_to_the_user_what_is_his(viewer: ViewerModel) -> None:
    layers = layers_of(viewer, image_of(viewer))
    points = show(layers, ATOMS, style={"symbol": "x"}, size=2,
                  features=pd.DataFrame({"a": [1, 2]}))  # fmt: skip
    points.symbol, points.visible, points.name = "disc", False, "mine"
    points.selected_data = {0}
    more = np.vstack([PLACES, [8, 8]])
    assert show(layers, ATOMS, more, style={"symbol": "x"}, size=4,
                features=pd.DataFrame({"a": [5, 6, 7]})) is points  # fmt: skip
    assert set(map(str, points.symbol)) == {"disc"} and not points.visible
    assert points.name == "mine" and not points.selected_data
    assert (points.size == 4).all() and points.features["a"].tolist() == [5, 6, 7]


def test_a_layer_of_another_kind_is_replaced_where_it_lies(viewer: ViewerModel) -> None:
    layers = layers_of(viewer, image_of(viewer))
    layers.show(CONTOURS, Shapes, [np.array([[0, 0], [0, 5], [5, 5]])])
    show(layers, ATOMS)
    layers.show(CONTOURS, Labels, np.ones((9, 9), int))
    assert names(viewer) == ["gold", "contours · gold", "atoms · gold"]
    assert isinstance(viewer.layers[1], Labels)


# --------------------------------------------------------------------------------------- stale


def test_what_no_longer_follows_is_marked_on_the_layer_itself(viewer: ViewerModel) -> None:
    layers = layers_of(viewer, image_of(viewer))
    session = layers.session
    assert session is not None
    session.edit(actions.add, 0, 2.0, 3.0, "Au")
    session.put("bonds", tables.empty("bonds"))
    bonds, gone = show(layers, BONDS), show(layers, DEFECTS)
    assert not bonds.name.endswith("(stale)")
    change = session.edit(actions.add, 0, 6.0, 4.0, "Au")
    assert change is not None
    assert bonds.name == "bonds · gold (stale)" and entry(bonds)["stale"]
    assert not gone.name.endswith("(stale)"), "of this the session knows nothing"
    bonds.name = "my bonds (stale)"
    session.put("bonds", tables.empty("bonds"))
    assert bonds.name == "my bonds (stale)", "made anew, but not drawn yet"
    show(layers, BONDS, PLACES[:1])
    assert bonds.name == "my bonds" and not entry(bonds)["stale"]


def test_a_layer_found_again_is_marked_at_once(viewer: ViewerModel) -> None:
    gold = image_of(viewer)
    session = layers_of(viewer, gold).session
    assert session is not None
    session.put("bonds", tables.empty("bonds"))
    session.edit(actions.add, 0, 2.0, 3.0, "Au")
    assert show(layers_of(viewer, gold), MAP).name == "lattice map · gold"
    layer = viewer.add_points(
        PLACES, name="b", metadata={KEY: {"role": BONDS, "source_id": str(gold.unique_id)}}
    )
    layers_of(viewer, gold).layer(BONDS)
    assert layer.name == "b (stale)"


def test_a_layer_that_was_saved_stale_is_stale_until_it_is_drawn_anew(viewer: ViewerModel) -> None:
    """Displacements of atoms that have moved since came back from a project without their mark."""
    gold = image_of(viewer)
    session = layers_of(viewer, gold).session
    assert session is not None
    session.put("bonds", tables.empty("bonds"))  # as the project has it
    mine = {"role": BONDS, "source_id": str(gold.unique_id), "stale": True}
    layer = viewer.add_points(PLACES, name="bonds · gold (stale)", metadata={KEY: mine})
    layers = layers_of(viewer, gold)
    assert layers.layer(BONDS) is layer
    layers.mark()
    assert layer.name == "bonds · gold (stale)" and entry(layer)["stale"]
    session.put("bonds", tables.empty("bonds"))
    show(layers, BONDS, PLACES[:1])
    assert layer.name == "bonds · gold" and not entry(layer)["stale"]


# -------------------------------------------------------------------------------- for how long


def test_everybody_gets_the_same_set_proxies_included(viewer: ViewerModel) -> None:
    gold = image_of(viewer)
    layers = layers_of(viewer, gold)
    proxy = PublicOnlyProxy(viewer)
    assert layers_of(proxy, proxy.layers[0]) is layers  # type: ignore[arg-type]
    other = ViewerModel()
    assert layers_of(other, other.add_image(np.zeros((9, 9)))) is not layers


class Follower:
    """A part that counts."""

    closed = 0

    def __init__(self, layers: LayerSet) -> None:
        self.layers, self.heard = layers, [""]
        layers.found.connect(self._on_found)
        layers.lost.connect(self._on_lost)

    def _on_found(self, role: str, layer: object) -> None:
        self.heard.append(f"+{role}")

    def _on_lost(self, role: str, layer: object) -> None:
        self.heard.append(f"-{role}")

    def close(self) -> None:
        type(self).closed += 1


def test_a_part_lives_as_long_as_the_layers(viewer: ViewerModel) -> None:
    gold = image_of(viewer)
    part = layers_of(viewer, gold).part(Follower)
    assert layers_of(viewer, gold).part(Follower) is part
    points = show(layers_of(viewer, gold), ATOMS)
    viewer.layers.remove(gold)
    assert Follower.closed == 0 and part.heard == ["", "+atoms"], "its atoms are still there"
    viewer.layers.remove(points)
    assert Follower.closed == 1 and part.heard[-1] == "-atoms"
    assert not all_layers(viewer)


def test_nothing_is_left_of_what_is_closed() -> None:
    def callbacks(*emitters: Any) -> int:
        return sum(len(e.callbacks) for group in emitters for e in group.emitters.values())

    viewer = ViewerModel()
    keep = viewer.add_image(np.zeros((9, 9)), name="keep")
    show(layers_of(viewer, keep), ATOMS)
    before = None
    for _ in range(5):
        image = viewer.add_image(np.zeros((9, 9)), name="gold")
        layers = layers_of(viewer, image)
        show(layers, ATOMS)
        show(layers_of(viewer, layers.layer(ATOMS)), BONDS)
        gone = [weakref.ref(layers), weakref.ref(layers.session)]
        for layer in list(viewer.layers)[2:]:
            viewer.layers.remove(layer)
        del image, layers, layer
        gc.collect()
        assert [r() for r in gone] == [None, None]
        now = callbacks(viewer.layers.events, keep.events), len(all_layers(viewer))
        assert before is None or now == before
        before = now
    last = weakref.ref(layers_of(viewer, keep))
    del viewer, keep
    gc.collect()
    assert last() is None, "a viewer that goes takes its sets with it"


def test_what_is_made_anew_in_a_moment_is_not_marked(viewer: ViewerModel) -> None:
    layers = layers_of(viewer, image_of(viewer))
    session = layers.session
    assert session is not None
    session.edit(actions.add, 0, 2.0, 3.0, "Au")
    derived, later, made = session.corrections.derived, [], [1]
    derived.subscribe("bonds and defects", lambda frames: made.append(len(frames)))
    session.put("bonds", tables.empty("bonds"))
    bonds = show(layers, BONDS)
    said: list[str] = []
    bonds.events.name.connect(lambda event: said.append(bonds.name))
    derived.later = later.append
    session.edit(actions.add, 0, 6.0, 4.0, "Au")
    assert session.is_stale("bonds") and not session.stale()
    while later[-1]():
        pass
    assert made == [1, 1] and said == [], "its name did not flicker"
    derived.subscribe("bonds and defects", lambda frames: None, at_once=False)
    session.edit(actions.add, 0, 7.0, 7.0, "Au")
    assert bonds.name.endswith("(stale)"), "this one waits for the button"


def test_a_console_finds_the_session_of_every_layer(viewer: ViewerModel) -> None:
    gold = image_of(viewer)
    with pytest.raises(ParameterError, match="No atoms are known of gold yet"):
        al.session_of(gold)
    assert al.sessions(viewer) == []
    layers = layers_of(viewer, gold)
    session = layers.session
    assert session is not None
    session.edit(actions.add, 0, 2.0, 3.0, "Au")
    atoms = show_atoms(layers, session)
    assert atoms is not None
    vacancies = show(layers_of(viewer, atoms), VACANCIES)
    viewer.add_points(PLACES, name="somebody else's")
    proxy = PublicOnlyProxy(viewer)
    for one in (gold, atoms, vacancies, proxy.layers[0], proxy.layers[1], proxy.layers[2]):
        assert al.session_of(one) is session
    assert al.sessions(viewer) == [session] == al.sessions(proxy)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="No atoms are known of somebody"):
        al.session_of(viewer.layers[-1])
