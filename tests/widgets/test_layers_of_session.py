"""Layers of a session without a window: what they show, and what they never carry over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_analysis import FakeAnalysis, lattice
from napari.components import ViewerModel
from napari.layers import Image, Points
from napari.utils.events import Event

from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.session.edits import actions
from napari_atomlens.session.registry import SESSIONS
from napari_atomlens.widgets.layers.atoms import EDITOR, Editor, editor_of
from napari_atomlens.widgets.layers.contours import LABELS, SHAPES
from napari_atomlens.widgets.layers.image_layers import ImageLayers, LayerRequest
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import ATOMS, CONTOURS


@pytest.fixture(autouse=True)
def autosave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path / "autosave"))
    yield


def found(image: np.ndarray, frame: int = 0) -> FrameResult:
    return FakeAnalysis.one(np.asarray(image, float), frame, AnalysisParams(), None)


def run(outputs: ImageLayers, contours: str = SHAPES, frames: int = 1, **wanted: bool) -> None:
    data = outputs.layers.source.data
    stack = data if data.ndim == 3 else data[None]
    outputs.begin(
        LayerRequest(contours=contours, **wanted), stack.shape, None, {"started": contours}
    )
    drawn = [outputs.draw(found(stack[f], f)) for f in range(frames)]
    outputs.apply(drawn, 0)


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(lattice(4), name="gold")
    return viewer


def source_of(viewer: ViewerModel) -> Image:
    return viewer.layers[[x.name for x in viewer.layers].index("gold")]


def outputs_of(viewer: ViewerModel) -> ImageLayers:
    """What a dock gets."""
    return layers_of(viewer, source_of(viewer)).part(ImageLayers)


def editor_with_measures(viewer: ViewerModel) -> Editor:
    """Atoms whose layer shows what docks have measured on them."""
    outputs = outputs_of(viewer)
    run(outputs)
    layer: Points = outputs.layer(ATOMS)
    n = len(layer.data)
    layer.features = layer.features.assign(
        anomaly=True, anomaly_score=35.0, exx=0.02, moment=np.arange(n) + 1.0, region=7,
        anomaly_reason="stretched", kind=pd.Categorical(["a"] * n),
    )  # fmt: skip
    editor = layer.metadata[EDITOR]
    assert isinstance(editor, Editor) and editor.problem == ""
    layer.selected_data = {5}  # napari copies the features of the selected one to new ones
    return editor


MEASURED = ("anomaly", "anomaly_score", "exx", "moment", "region", "anomaly_reason", "kind")


def emptied(features: pd.DataFrame, names: tuple[str, ...] = MEASURED) -> bool:
    return all(
        bool((features[n].isna() | features[n].astype(object).isin([-1, "", False])).all())
        for n in names
    )


@pytest.mark.parametrize("how", ["add", "move", "split", "merge", "napari adds", "napari drags"])
def test_an_atom_carries_nothing_that_was_measured_on_another(
    viewer: ViewerModel, how: str
) -> None:
    editor = editor_with_measures(viewer)
    layer = editor.layer
    before = layer.features.copy()
    old = set(editor.ids())
    if how == "add":
        editor.perform(actions.add, 0, 12.0, 12.0, "column")
    elif how == "move":
        editor.perform(actions.move, [5], [(20.0, 16.0)])
    elif how == "split":
        editor.perform(actions.split, 5, [(17.0, 18.0), (19.0, 18.0)])
    elif how == "merge":
        editor.perform(actions.merge, [5, 6])
    elif how == "napari adds":
        layer.add([[12.0, 12.0]])
    else:
        layer.data[5] += 2.0
        layer.events.data(
            value=layer.data, action="changed", data_indices=(5,), vertex_indices=((),)
        )
    assert editor.problem == "" and len(editor.corrections.journal) == 1
    now = layer.features
    mine = ~now["atom_id"].isin(old) | (now["atom_id"] == 5) & (how in ("move", "napari drags"))
    assert mine.sum() == (2 if how == "split" else 1)
    assert emptied(now[mine]) and now["edited"][mine].all()
    rest = now[~mine].set_index("atom_id")[list(MEASURED)].astype(object)
    known = before.set_index("atom_id").loc[rest.index, list(MEASURED)].astype(object)
    pd.testing.assert_frame_equal(rest, known)


def test_another_species_is_compared_with_nothing_yet(viewer: ViewerModel) -> None:
    editor = editor_with_measures(viewer)
    editor.perform(actions.set_species, [5], "bright column")
    row = editor.layer.features.set_index("atom_id").loc[[5]]
    assert emptied(row, ("anomaly", "anomaly_score", "anomaly_reason"))
    assert row["exx"].item() == 0.02 and row["kind"].item() == "a"


def test_what_the_session_knows_comes_back_with_an_undo(viewer: ViewerModel) -> None:
    editor = editor_with_measures(viewer)
    features = editor.layer.features
    editor.session.measured.note(features[["atom_id", "exx"]], features)
    editor.perform(actions.move, [5], [(20.0, 16.0)])
    assert np.isnan(editor.layer.features.set_index("atom_id").loc[5, "exx"])
    editor.undo()
    assert editor.layer.features.set_index("atom_id").loc[5, "exx"] == 0.02


# ------------------------------------------------------------------- two docks on one image


@pytest.mark.parametrize("kinds", [(SHAPES, SHAPES), (SHAPES, LABELS), (LABELS, LABELS)])
def test_two_on_one_image_show_the_same_and_neither_unsubscribes_the_other(
    viewer: ViewerModel, kinds: tuple[str, str]
) -> None:
    run(outputs_of(viewer), kinds[0])
    two = outputs_of(viewer)
    run(two, kinds[1], probability=False)
    session = two.session
    assert SESSIONS.get(two.source_id) is session
    editor = editor_of(two.layer(ATOMS))
    assert editor.session is session and len(viewer.layers) == 5
    assert SESSIONS.get(editor.layer_id) is session
    layer = two.layer(CONTOURS)
    del two
    gc.collect()  # both docks are closed
    editor.perform(actions.delete, [5])
    assert 5 not in set(layer.features["atom_id"]) and len(layer.features) == 15
    if kinds[1] == SHAPES:
        assert len(layer.data) == 15
    three = outputs_of(viewer)  # a dock that is opened again
    assert three.session is session
    editor.perform(actions.delete, [6])
    three.show_frame(0)
    assert 6 not in set(session.table("contours")["atom_id"])
    assert three.layer(CONTOURS) is layer and 6 not in set(layer.features["atom_id"])


def test_what_is_drawn_is_told_once_however_many_show_it(viewer: ViewerModel) -> None:
    run(outputs_of(viewer))
    outputs_of(viewer).show_frame(0)
    session, layer = outputs_of(viewer).session, outputs_of(viewer).layer(CONTOURS)
    session.edit(actions.delete, [5])
    journal = session.corrections.journal
    assert len(journal) == 1 and len(layer.data) == 15  # nobody took it for the user's drawing
    layer.selected_data = {3}
    layer.remove_selected()
    assert [e.action for e in journal.holds()] == ["delete", "contour"]
    gc.collect()  # no dock is open
    layer.selected_data = {4}
    layer.remove_selected()
    assert [e.action for e in journal.holds()] == ["delete", "contour", "contour"]
    session.undo()
    session.undo()
    assert len(layer.data) == 15 and set(layer.features["atom_id"]) == {*range(16)} - {5}


def test_a_movie_followed_without_maps_loses_outlines_of_what_is_deleted() -> None:
    viewer = ViewerModel()
    viewer.add_image(lattice(4, frames=2), name="gold")
    outputs = outputs_of(viewer)
    run(outputs, LABELS, frames=2, probability=False, unfamiliar=False)
    labels = outputs.layer(CONTOURS)
    before = [int((labels.data[f] > 0).sum()) for f in range(2)]
    editor = editor_of(outputs.layer(ATOMS))
    editor.perform(actions.delete, [5])
    after = [int((labels.data[f] > 0).sum()) for f in range(2)]
    assert after[0] == pytest.approx(before[0] * 15 / 16, rel=0.05) and after[1] == before[1]
    assert not editor.session.is_stale("contours")


def test_pixels_that_were_exchanged_meanwhile_are_noticed(viewer: ViewerModel) -> None:
    source = source_of(viewer)
    outputs = outputs_of(viewer)
    run(outputs)
    atoms = outputs.layer(ATOMS).features.copy()
    outputs.begin(LayerRequest(contours=SHAPES), (1, *source.data.shape), None, {"started": "2"})
    late = outputs.draw(found(source.data))
    source.data = source.data + 1.0
    with pytest.raises(ImageError, match="exchanged while they were analysed"):
        outputs.apply([late], 0)
    pd.testing.assert_frame_equal(outputs.layer(ATOMS).features, atoms)
    run(outputs)  # and again on the new ones
    assert outputs.session.state("atoms") == "fresh"


def test_after_its_layer_was_removed_atoms_begin_from_nothing(viewer: ViewerModel) -> None:
    outputs = outputs_of(viewer)
    run(outputs)
    first = outputs.session
    editor = editor_of(outputs.layer(ATOMS))
    editor.perform(actions.delete, [5])
    viewer.layers.remove(editor.layer)
    run(outputs)
    assert outputs.session is not first and len(outputs.layer(ATOMS).data) == 16
    assert len(editor.layer.data) == 15 and editor.session is first
    # the removed layer goes on showing its own
    editor.undo()
    assert len(editor.layer.data) == 16 and len(outputs.session.corrections.journal) == 0


def test_a_copied_layer_is_edited_on_its_own(viewer: ViewerModel) -> None:
    outputs = outputs_of(viewer)
    run(outputs)
    layer = outputs.layer(ATOMS)
    data, attributes, _ = layer.as_layer_data_tuple()
    copy = Points(data, **attributes)
    mine, other = editor_of(layer), editor_of(copy)
    assert mine is not other and mine.session is not other.session
    other.perform(actions.delete, [5])
    assert len(copy.data) == 15 and len(layer.data) == 16


def test_an_edit_of_the_session_is_shown_by_the_layer(viewer: ViewerModel) -> None:
    outputs = outputs_of(viewer)
    run(outputs)
    session, layer = outputs.session, outputs.layer(ATOMS)
    layer.add([[3.0, 3.0]])
    assert session.edit(actions.delete, [5]) is not None
    assert len(layer.data) == 16 and 5 not in set(layer.features["atom_id"])
    session.undo()
    session.undo()
    assert len(layer.data) == 16 and len(session.corrections.journal) == 0
    editor_of(layer).close()
    session.edit(actions.delete, [5])
    assert len(layer.data) == 16 and EDITOR not in layer.metadata


# ------------------------------------------------------------- one kind into the other, places


@pytest.mark.parametrize("frames", [1, 2])
def test_outlines_turn_into_the_other_kind_with_every_edit(frames: int) -> None:
    viewer = ViewerModel()
    viewer.add_image(lattice(4, frames=frames if frames > 1 else 0), name="gold")
    outputs = outputs_of(viewer)
    run(outputs, SHAPES, frames=frames)
    session, contours = outputs.session, outputs.contours
    session.edit(actions.delete, [5])
    shapes = outputs.layer(CONTOURS)
    shapes.selected_data = {3}
    shapes.remove_selected()
    shapes.visible = False
    row = 0
    drawn = shapes.data[row].copy()
    drawn[:, -2:] += 0.5
    shapes.data = [drawn, *shapes.data[1:]]  # one is pulled about
    mine = int(shapes.features["atom_id"].iloc[row])
    known = session.outlines.by_atom(0)
    at = [x.name for x in viewer.layers]
    contours.convert(LABELS)
    labels = outputs.layer(CONTOURS)
    assert contours.kind == LABELS and not labels.visible
    assert [x.name for x in viewer.layers] == at, "in the same place"
    frame = np.asarray(labels.data[0] if frames > 1 else labels.data)
    wide = [o for o in known.values() if len(o) > 4]  # faint atoms have outlines of a pixel
    assert len(known) == 14 and len(np.unique(frame)) - 1 == len(wide) > 10
    assert frames == 1 or (np.asarray(labels.data[1]) > 0).any(), "the other frames as well"
    contours.convert(SHAPES)
    again = outputs.layer(CONTOURS)
    assert contours.kind == SHAPES and not again.visible and again.nshapes == 14
    ids = again.features["atom_id"].tolist()
    assert set(ids) == set(known) and mine in ids
    for atom_id, outline in zip(ids, again.data, strict=True):
        np.testing.assert_allclose(outline[:, -2:], known[atom_id], atol=1e-5)
    session.undo()
    assert len(session.corrections.journal) >= 1


def test_shapes_of_an_earlier_session_turn_into_labels_too(viewer: ViewerModel) -> None:
    run(outputs_of(viewer), SHAPES)
    data, attributes, _ = outputs_of(viewer).layer(CONTOURS).as_layer_data_tuple()
    other = ViewerModel()
    source = other.add_image(lattice(4), name="gold")
    other.add_shapes(data, **attributes)  # by name: its image has another id now
    contours = layers_of(other, source).part(ImageLayers).contours
    assert contours.kind == SHAPES
    contours.convert(LABELS)
    labels = layers_of(other, source).layer(CONTOURS)
    assert len(np.unique(labels.data)) - 1 == 16
    contours.convert(SHAPES)
    assert layers_of(other, source).layer(CONTOURS).nshapes == 16
    viewer.layers.clear()
    empty = layers_of(viewer, viewer.add_image(lattice(4), name="silver")).part(ImageLayers)
    with pytest.raises(ParameterError, match="There are no outlines"):
        empty.contours.convert(LABELS)


@pytest.mark.parametrize("kind", [SHAPES, LABELS])
@pytest.mark.parametrize("what", ["pyramid", "rgb", "turned"])
def test_pyramids_colours_and_turned_images_have_their_layers_in_place(
    kind: str, what: str
) -> None:
    viewer, image = ViewerModel(), lattice(4)
    if what == "pyramid":
        viewer.add_image([image, image[::2, ::2]], multiscale=True, name="gold", scale=(0.5, 0.5))
    elif what == "rgb":
        grey = np.clip(255 * image / image.max(), 0, 255).astype(np.uint8)
        viewer.add_image(np.stack([grey] * 3, -1), rgb=True, name="gold", scale=(3, 3))
    else:
        viewer.add_image(image, name="gold", rotate=30, shear=(0.2,), translate=(5, -3))
    source, outputs = source_of(viewer), outputs_of(viewer)
    outputs.begin(LayerRequest(contours=kind), (1, *image.shape), None, {"started": "1"})
    outputs.apply([outputs.draw(found(image))], 0)
    source.scale = np.asarray(source.scale) * 2  # and it is calibrated later
    assert len(outputs.layer(ATOMS).data) == 16
    for y, x in outputs.layer(ATOMS).data:
        world = np.asarray(source.data_to_world((y, x)))
        np.testing.assert_allclose(outputs.layer(ATOMS).data_to_world((y, x)), world)
        layer = outputs.layer(CONTOURS)
        if kind == LABELS:  # the atom lies inside its label, wherever the image lies
            inside = np.round(layer.world_to_data(world)).astype(int)
            assert layer.data[tuple(inside)] > 0
        else:
            np.testing.assert_allclose(layer.data_to_world((y, x)), world)
    probability = outputs.layer("probability")
    np.testing.assert_allclose(probability.data_to_world((3, 4)), source.data_to_world((3, 4)))


def test_only_outlines_that_are_seen_to_differ_are_drawn_anew(viewer: ViewerModel) -> None:
    outputs = outputs_of(viewer)
    run(outputs, SHAPES)
    session, layer = outputs.session, outputs.layer(CONTOURS)
    table, outlines = session.outlines[0]
    ids = table["atom_id"].tolist()
    wide = [k for k, o in enumerate(outlines) if len(o) > 4]
    gone: list[int] = []
    came: list[int] = []

    def hear(event: Event) -> None:
        action = str(getattr(event.action, "value", event.action))
        if action == "removing":
            gone.extend(layer.features["atom_id"].iloc[list(event.data_indices)])
        elif action == "added":
            came.append(layer.nshapes)

    def show(edited: dict[int, bool], by: dict[int, float], turned: int = 0) -> None:
        gone.clear()
        came.clear()
        now = table.assign(edited=[edited.get(k, False) for k in range(len(table))])
        session.outlines[0] = (
            now,
            [
                np.roll(o, turned, axis=0) + np.float32(by.get(k, 0.0))
                for k, o in enumerate(outlines)
            ],
        )
        session.outlines_changed.emit(frozenset([0]))

    layer.events.data.connect(hear)
    show({}, {k: 0.004 for k in wide}, turned=1)  # as a rounded map gives them
    assert gone == [] and came == []
    one, other = wide[3], wide[7]
    show({}, {one: 0.3})
    assert gone == [ids[one]] and len(came) == 1, "one was exchanged"
    show({other: True}, {one: 0.3, other: 0.004})
    assert gone == [ids[other]] and len(came) == 1, "the user's is as it was drawn"
    drawn = dict(zip(layer.features["atom_id"], layer.data, strict=True))
    for k in wide:
        exact = 1e-5 if k in (one, other) else 0.01
        np.testing.assert_allclose(drawn[ids[k]], session.outlines[0][1][k], atol=exact)
