"""The layers of one source image: made once, updated in place, the user's edits kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.contours.tracing import label_image, outline
from napari_atomlens.points import inside_polygon
from napari_atomlens.runs.frame import FrameResult
from napari_atomlens.segmentation.zoo import role_of
from napari_atomlens.session.edits import actions
from napari_atomlens.session.edits.corrections import Change
from napari_atomlens.session.edits.rebase import SAME_ATOM
from napari_atomlens.widgets import convert, styles
from napari_atomlens.widgets.convert import KEY
from napari_atomlens.widgets.editor import Editor, editor_of

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

PROBABILITY, UNFAMILIAR, CONTOURS, ATOMS = "probability", "unfamiliar", "contours", "atoms"
#: From below to above.
ROLES = (PROBABILITY, UNFAMILIAR, CONTOURS, ATOMS)
AUTO, SHAPES, LABELS, NONE = "auto", "Shapes", "Labels", "none"
#: "auto" draws up to so many outlines of an image as shapes, which can be edited.
MAX_SHAPES = 2000
#: Labels are drawn finer than the image, up to this side of a frame and this size in all.
MAX_LABELS_SIDE, MAX_LABELS_BYTES = 2048, 2**28
#: Maps of all classes are kept up to this size, else only the one of all atoms together.
MAX_MAP_BYTES = 2**30
COMPUTED = ("area_px2", "perimeter_px", "major_px", "minor_px", "eccentricity",
            "orientation_rad", "solidity", "offset_y_px", "offset_x_px", "anomaly_p")  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which layers to make.

    Attributes
    ----------
    atoms, probability, unfamiliar : bool
        Points, and the two maps.
    contours : str
        "auto", "Shapes", "Labels" or "none".
    map_name : str
        Which of the class maps to show.
    """

    atoms: bool = True
    contours: str = AUTO
    probability: bool = True
    unfamiliar: bool = True
    map_name: str = "any atom"


@dataclass(frozen=True)
class Drawn:
    """The result of a frame, and its outlines as labels where they are wanted as such."""

    result: FrameResult
    labels: np.ndarray | None = None


def entry(layer: Any) -> dict[str, Any]:
    """Our entry in the metadata of a layer, empty where the layer is not ours."""
    found = layer.metadata.get(KEY)
    return found if isinstance(found, dict) else {}


class Outputs:
    """Keeps the layers that belong to one source image.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    source : napari.layers.Image
    """

    def __init__(self, viewer: napari.viewer.Viewer, source: Any) -> None:
        self._viewer, self._source = viewer, source
        self.source_id = str(source.unique_id)
        self.source_name = str(source.name)
        self.wanted = Wanted()
        self.classes: tuple[str, ...] = ()
        self.spacing_px = float("nan")
        self.pixel_size: tuple[float, float] | None = None
        self._dropped: set[str] = set()
        self._layers: dict[str, Any] = {}
        self._busy = False
        self._kind = NONE
        self._editor: Editor | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._store: dict[int, tuple[pd.DataFrame, list[np.ndarray]]] = {}
        self._zoom = 1
        self._drawn: int | None = None
        self._frame = 0
        self._maps: np.ndarray | None = None
        self._unfamiliar: np.ndarray | None = None
        self._spacings: list[float] = []
        self._provenance: dict[str, Any] = {}
        self._shape: tuple[int, ...] = ()
        self.layer(ATOMS)  # one that is there already: mark what the user does to it

    # ---------------------------------------------------------------- the run

    def begin(
        self,
        wanted: Wanted,
        shape: tuple[int, ...],
        pixel_size: tuple[float, float] | None,
        provenance: dict[str, Any],
    ) -> None:
        """Prepare for results.

        Parameters
        ----------
        wanted : Wanted
            Which layers to make or update.
        shape : tuple of int
            (T, H, W) of the source.
        pixel_size : tuple of float or None
            (y, x) in nm.
        provenance : dict
            What made the results; its "frames" are filled here.
        """
        self.wanted, self.pixel_size, self._provenance = wanted, pixel_size, provenance
        self._dropped, self._spacings = set(), []
        self.source_name = str(self._source.name)
        if shape != self._shape:
            self._maps = self._unfamiliar = None
            self._store.clear()
        self._shape = shape
        # Labels or Shapes is decided anew, a store of outlines only serves Shapes
        self._kind = wanted.contours
        if self._kind == AUTO and self.is_movie:
            self._kind = LABELS
        self._zoom = self._label_zoom()

    def draw(self, result: FrameResult) -> Drawn:
        """Draw what takes time; called in the thread, so it touches no layer."""
        few = self._kind == AUTO and len(result.outlines) <= MAX_SHAPES
        if self._kind in (SHAPES, NONE) or few:
            return Drawn(result)
        return Drawn(result, self._label_image(result.outlines))

    def _label_image(self, outlines: list[np.ndarray]) -> np.ndarray:

        shape = (self._shape[1] * self._zoom, self._shape[2] * self._zoom)
        labels = label_image(convert.zoomed(outlines, self._zoom), shape)
        if not self.is_movie:
            return labels
        top = int(np.iinfo(np.uint16).max)
        return np.where(labels > top, (labels - 1) % top + 1, labels).astype(np.uint16)

    @property
    def is_movie(self) -> bool:
        """Whether the layers have a time axis."""
        return bool(self._source.ndim == 3)

    def apply(self, drawn: Sequence[Drawn], frame: int) -> None:
        """Put the results of some frames into the layers.

        Parameters
        ----------
        drawn : sequence of Drawn
        frame : int
            The frame that is shown now.
        """
        results = [d.result for d in drawn]
        self.classes = results[0].classes
        self._frame = frame
        found = [r.spacing_px for r in results if np.isfinite(r.spacing_px)]
        self._spacings += found
        if self._spacings:
            self.spacing_px = float(np.median(self._spacings))
        done = self._provenance.setdefault("frames", [])
        done += [int(r.frame) for r in results]
        new = self.layer(ATOMS) is None
        with self._own_changes():
            if self._wants(PROBABILITY, self.wanted.probability):
                self._apply_probability(results)
            if self._wants(UNFAMILIAR, self.wanted.unfamiliar):
                self._apply_unfamiliar(results)
            if self._wants(ATOMS, self.wanted.atoms):
                self._apply_atoms(results)
            if self._wants(CONTOURS, self._kind != NONE):
                self._apply_contours(drawn)
        atoms = self.layer(ATOMS)
        if new and atoms is not None:  # its rows are what the features table shows next
            self._viewer.layers.selection.active = atoms

    @property
    def is_busy(self) -> bool:
        """Whether layers are being changed by us, not by the user."""
        return self._busy

    def drop(self, role: str) -> None:
        """Do not make a layer again that the user has removed during a run."""
        self._dropped.add(role)

    def _wants(self, role: str, asked: bool) -> bool:
        return asked and role not in self._dropped

    # ----------------------------------------------------------------- layers

    def layer(self, role: str) -> Any:
        """Our layer with this role for this source, None where there is none."""
        known = self._layers.get(role)
        if known is not None and known in self._viewer.layers:
            return known
        self._forget(role)
        ids = {str(layer.unique_id) for layer in self._viewer.layers}
        for layer in self._viewer.layers:
            mine = entry(layer)
            if mine.get("role") != role:
                continue
            # by id, or by name where the layers come from an earlier session
            if mine.get("source_id") == self.source_id or (
                mine.get("source_id") not in ids and mine.get("source_name") == self.source_name
            ):
                self._adopt(role, layer)
                return layer
        return None

    def _adopt(self, role: str, layer: Any) -> None:
        self._layers[role] = layer
        if role == ATOMS and "atom_id" in layer.features:
            self._follow(editor_of(layer))
        elif role == CONTOURS and self._type_of(layer) == "Shapes":
            layer.events.data.connect(self._on_contours_edited)

    def _forget(self, role: str) -> None:
        layer = self._layers.pop(role, None)
        if layer is None:
            return
        if role == ATOMS:
            self._follow(None)
        elif role == CONTOURS and self._type_of(layer) == "Shapes":
            layer.events.data.disconnect(self._on_contours_edited)
            self._drawn = None

    def close(self) -> None:
        """Disconnect from the layers; they stay."""
        for role in list(self._layers):
            self._forget(role)

    @staticmethod
    def _type_of(layer: Any) -> str:
        return str(layer.__class__.__name__)  # of what a proxy stands for, too

    def _add(self, role: str, layer: Layer) -> None:
        """Add a layer below those of ours that belong above it."""
        above = [
            self._viewer.layers.index(other)
            for r in ROLES[ROLES.index(role) + 1 :]
            if (other := self.layer(r)) is not None
        ]
        self._viewer.layers.insert(min(above, default=len(self._viewer.layers)), layer)
        self._adopt(role, layer)

    def _common(self, role: str) -> dict[str, Any]:
        """Arguments that every new layer of ours shares: its place in the world, and its entry."""
        source = self._source
        return {
            "name": f"{role} · {source.name}",
            "scale": source.scale,
            "translate": source.translate,
            "rotate": source.rotate,
            "shear": source.shear,
            "affine": source.affine,
            "units": source.units,
            "axis_labels": source.axis_labels,
            "metadata": {KEY: self._entry(role, [])},
        }

    def _entry(self, role: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
        """Metadata entry; a run leaves the list when later runs have redone all its frames."""
        fresh = set(self._provenance.get("frames", []))
        older = []
        for run in runs:
            if run.get("started") == self._provenance.get("started"):
                continue
            frames = [f for f in run.get("frames", []) if f not in fresh]
            if frames:
                older.append({**run, "frames": frames})
        return {
            "role": role,
            "source_id": self.source_id,
            "source_name": self.source_name,
            "spacing_px": self.spacing_px,
            "classes": self._species(),
            "runs": [*older, self._provenance],
        }

    def _refresh_common(self, role: str, layer: Any) -> None:
        """Follow the source's place in the world and note the run."""
        layer.metadata[KEY] = self._entry(role, entry(layer).get("runs", []))
        place = {"scale": self._source.scale, "translate": self._source.translate}
        if role == CONTOURS and self._type_of(layer) == "Labels":
            place = self._label_place()
        for name, value in place.items():
            if not np.array_equal(getattr(layer, name), value):
                setattr(layer, name, value)
        for name in ("units", "axis_labels"):
            if tuple(getattr(layer, name)) != tuple(getattr(self._source, name)):
                setattr(layer, name, getattr(self._source, name))

    @contextlib.contextmanager
    def _own_changes(self) -> Iterator[None]:
        """What happens inside is not the user's doing."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    # ------------------------------------------------------------------ atoms

    def _follow(self, editor: Editor | None) -> None:
        """Make the contours anew when the atoms are edited."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._editor is not None:
            self._editor.watchers.remove(self._on_change)
        self._editor = editor
        if editor is not None:
            editor.watchers.append(self._on_change)
            self._unsubscribe = editor.corrections.derived.subscribe(
                "contours", self._remake_contours
            )

    def atoms(self) -> pd.DataFrame:
        """Atoms table as the layer shows it, the user's edits marked."""
        if self.layer(ATOMS) is None or self._editor is None:
            return tables.empty("atoms")
        self._editor.sync()
        return self._editor.corrections.atoms()

    def _species(self) -> list[str]:
        return [c for c in self.classes if role_of(c) == "column"]

    def _apply_atoms(self, results: Sequence[FrameResult]) -> None:
        from napari.layers import Points

        frames = [r.frame for r in results]
        parts = [r.atoms for r in results if len(r.atoms)]
        fresh = pd.concat(parts, ignore_index=True) if parts else tables.empty("atoms")
        layer = self.layer(ATOMS)
        size = styles.atom_size(self.spacing_px)
        if layer is None:
            fresh = fresh.sort_values(["frame", "atom_id"], kind="stable", ignore_index=True)
            data = convert.points_from_atoms(fresh, self._source.ndim)
            features = convert.features_from_atoms(fresh, self._species())
            colours = styles.class_colours([*self._species(), *features["species"].cat.categories])
            style = styles.AtomStyle(size=size, border_color_cycle=colours)
            layer = Points(
                data, ndim=self._source.ndim, features=features,
                **style.as_kwargs(), **self._common(ATOMS),
            )  # fmt: skip
            editor_of(layer, fresh).show_defaults()
            self._add(ATOMS, layer)
        elif self._editor is not None:
            before = entry(layer).get("spacing_px", float("nan"))
            self._editor.rerun(fresh, frames, self.spacing_px)
            if np.isfinite(self.spacing_px) and not abs(before / self.spacing_px - 1) < 0.05:
                layer.current_size = size
                layer.size = size
            self._refresh_common(ATOMS, layer)

    # --------------------------------------------------------------- contours

    def _apply_contours(self, drawn: Sequence[Drawn]) -> None:
        results = [d.result for d in drawn]
        if self._kind == AUTO:
            few = max(len(r.outlines) for r in results) <= MAX_SHAPES
            self._kind = SHAPES if few else LABELS
        layer = self.layer(CONTOURS)
        if layer is not None and self._type_of(layer) != self._kind:
            self._forget(CONTOURS)
            self._viewer.layers.remove(layer)
        for d in drawn:
            r, labels = d.result, d.labels
            species = r.atoms.set_index("atom_id")["species"].astype(str)
            table = r.contours.assign(
                species=r.contours["atom_id"].map(species).fillna(""), edited=False
            )
            table, which = self._of_atoms(r.frame, table, r.atoms)
            new = (table, [np.asarray(r.outlines[i], np.float32) for i in which])
            if len(which) < len(r.outlines):
                labels = None  # drawn anew, without what the user deleted
            if r.frame in self._store:
                new = convert.merge_outlines(self._store[r.frame], new, self.spacing_px)
            if self._editor is not None:
                mine = self._editor.corrections.contours(r.frame)
                for atom_id, tracing in mine.items():
                    new = _with_outline(*new, r.frame, atom_id, tracing, True)
                labels = None if mine else labels
            if self._kind == SHAPES:
                self._store[r.frame] = new
            else:
                # only what the user drew must be remembered: memory does not grow with frames
                if convert.is_users(new[0]).any():
                    self._store[r.frame] = new
                    labels = None
                self._show_labels(
                    r.frame, new[0], self._label_image(new[1]) if labels is None else labels
                )
        if self._kind == SHAPES:
            if self.layer(CONTOURS) is None:
                from napari.layers import Shapes

                style = styles.ContourStyle(styles.edge_width(self.spacing_px))
                self._add(
                    CONTOURS,
                    Shapes(
                        None, ndim=self._source.ndim,
                        **style.as_kwargs(), **self._common(CONTOURS),
                    ),
                )  # fmt: skip
            if self._frame in {r.frame for r in results}:
                self._drawn = None
            self.show_frame(self._frame)
        layer = self.layer(CONTOURS)
        if layer is not None:
            self._refresh_common(CONTOURS, layer)
            if self._kind == LABELS and self._frame in {r.frame for r in results}:
                layer.refresh()

    def _of_atoms(
        self, frame: int, table: pd.DataFrame, atoms: pd.DataFrame
    ) -> tuple[pd.DataFrame, list[int]]:
        """Contours of a run for the atoms that there are: which rows stay, with which ids."""
        editor = self._editor
        if editor is None or not len(editor.corrections.journal):
            return table, list(range(len(table)))
        now = editor.corrections.columns(frame)
        ids = table["atom_id"].replace(editor.corrections.renamed).to_numpy().copy()
        places = atoms.set_index("atom_id")[["y_px", "x_px"]].reindex(table["atom_id"]).to_numpy()
        lost = ~np.isin(ids, now.ids)
        if lost.any() and len(now):  # the user's atom in the place of the model's
            from scipy.spatial import cKDTree

            radius = SAME_ATOM * self.spacing_px if np.isfinite(self.spacing_px) else 1.0
            gap, near = cKDTree(now.positions).query(np.nan_to_num(places[lost], nan=-1e9))
            found = now.ids[near]
            ids[lost] = np.where((gap < radius) & ~np.isin(found, ids), found, -1)
            lost[lost] = ids[lost] < 0
        which = np.flatnonzero(~lost)
        return table.assign(atom_id=ids).iloc[which].reset_index(drop=True), which.tolist()

    def _remake_contours(self, frames: frozenset[int]) -> None:
        """Outline the atoms of edited frames anew, from the map of all atoms together."""
        layer, editor = self.layer(CONTOURS), self._editor
        if layer is None or editor is None or self._maps is None:
            return

        with self._own_changes():
            for f in sorted(frames):
                if not 0 <= f < self._shape[0]:
                    continue
                atoms = editor.corrections.table(f)
                p = np.asarray(self._maps[0][f], np.float32)
                contours, outlines = outline(p, atoms, frame=f)
                species = atoms.set_index("atom_id")["species"].astype(str)
                table = contours.assign(
                    species=contours["atom_id"].map(species).fillna(""), edited=False
                )
                new = (table, [np.asarray(o, np.float32) for o in outlines])
                if f in self._store:
                    new = convert.merge_outlines(self._store[f], new, self.spacing_px)
                if self._type_of(layer) == "Shapes":
                    self._store[f] = new
                    if f == self._drawn:
                        self._drawn = None
                else:
                    self._show_labels(f, new[0], self._label_image(new[1]))
            if self._type_of(layer) == "Shapes":
                self.show_frame(self._frame)
            else:
                layer.refresh()

    def _label_zoom(self) -> int:
        """How many times finer than the image the labels are."""
        source = self._source
        turned = np.any(np.asarray(source.shear)) or not np.allclose(
            source.rotate, np.eye(source.ndim)
        )
        if turned:  # their place in the world would need more than scale and translation
            return 1
        itemsize = 2 if self.is_movie else 4
        return convert.label_zoom(self._shape, itemsize, MAX_LABELS_SIDE, MAX_LABELS_BYTES)

    def _label_place(self) -> dict[str, Any]:
        """Scale and translation that lay the finer labels onto the image."""
        zoom, scale = self._zoom, np.array(self._source.scale, float)
        offset = np.zeros(len(scale))
        offset[-2:] = (1 - zoom) / (2 * zoom) * scale[-2:]
        scale[-2:] /= zoom
        return {"scale": scale, "translate": np.asarray(self._source.translate) + offset}

    def _show_labels(self, frame: int, table: pd.DataFrame, labels: np.ndarray) -> None:
        layer = self.layer(CONTOURS)
        shape = (self._shape[0], *labels.shape) if self.is_movie else labels.shape
        if layer is None or layer.data.shape != shape:
            # zeros take no memory until they are written
            empty = np.zeros(shape, labels.dtype)
            if layer is None:
                self._add_labels(empty)
                layer = self.layer(CONTOURS)
            else:
                layer.data = empty
        if self.is_movie:
            layer.data[frame] = labels
        else:
            layer.data = labels
            layer.features = table.assign(index=np.arange(1, len(table) + 1))

    def _add_labels(self, data: np.ndarray) -> None:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        style = styles.ContourLabelsStyle()
        layer = Labels(
            data,
            colormap=DirectLabelColormap(color_dict={None: style.colour, 0: "transparent"}),
            opacity=style.opacity,
            **(self._common(CONTOURS) | self._label_place()),
        )
        # about two thirds of an image pixel: thin, and still whole when zoomed out
        layer.contour = self._zoom // 2 + 1
        self._add(CONTOURS, layer)

    def show_frame(self, frame: int) -> None:
        """Draw the outlines of the frame that is shown, where they are shapes."""
        self._frame = frame
        layer = self.layer(CONTOURS)
        if layer is None or self._type_of(layer) != "Shapes" or self._drawn == frame:
            return
        if self._drawn is None and frame not in self._store and layer.nshapes:
            return  # of an earlier session: leave them
        table, outlines = self._store.get(frame, (None, []))
        with self._own_changes():
            layer.selected_data = set()
            layer.data = []
            if outlines and table is not None:
                colours = styles.class_colours([*self._species(), *table["species"].unique()])
                style = styles.ContourStyle(styles.edge_width(self.spacing_px))
                layer.add(
                    convert.shapes_from_outlines(outlines, frame, self._source.ndim),
                    shape_type="polygon",
                    edge_color=[colours[s] for s in table["species"]],
                    edge_width=style.edge_width,
                    face_color=style.face_color,
                )
                layer.features = table
                layer.selected_data = set()
        self._drawn = frame

    def _on_contours_edited(self, event: Any) -> None:
        """Keep what the user drew, changed or removed, so that it comes back with its frame."""
        action = str(getattr(event.action, "value", event.action))
        layer = self._layers.get(CONTOURS)
        if self._busy or layer is None or self._drawn is None:
            return
        if action not in ("added", "changed", "removed"):
            return
        frame = self._drawn
        before = self._drawn_outlines(frame)
        table = layer.features.copy()
        n = len(layer.data)
        if "edited" not in table or len(table) != n:
            table = tables.make("contours", {"species": "", "edited": True}, n)
        rows = np.unique(np.asarray(event.data_indices, dtype=int) % max(n, 1))
        outlines = convert.outlines_from_shapes(layer.data)
        if action != "removed" and n:
            table.loc[rows, list(COMPUTED)] = np.nan
            table.loc[rows, "edited"] = True
            if action == "added":
                table.loc[rows, "frame"] = frame
                for row in rows:
                    rest = set(table["atom_id"].drop(index=row)) | set(before)
                    table.loc[row, "atom_id"] = self._outlined_atom(frame, outlines[row], rest)
            with self._own_changes():
                layer.features = table
        self._store[frame] = (table, outlines)
        if self._editor is None:
            return
        ids = [int(i) for i in table["atom_id"]]
        now = dict(zip(ids, outlines, strict=True))
        touched = [ids[r] for r in rows] if action != "removed" else set(before) - set(now)
        with self._own_changes():  # the layer shows it already
            for i in touched:
                self._editor.perform(actions.draw_contour, frame, i, before.get(i), now.get(i))

    def _drawn_outlines(self, frame: int) -> dict[int, np.ndarray]:
        """Outlines of a frame as they were last known, by the id of their atom."""
        table, outlines = self._store.get(frame, (None, []))
        ids = [] if table is None else [int(i) for i in table["atom_id"]]
        return dict(zip(ids, outlines, strict=True))

    def _outlined_atom(self, frame: int, tracing: np.ndarray, taken: set[int]) -> int:
        """Id of the atom inside of a new outline; a new negative one where there is none."""
        if self._editor is not None:
            atoms = self._editor.corrections.columns(frame)
            free = ~np.isin(atoms.ids, list(taken))
            mine = np.flatnonzero(inside_polygon(atoms.positions, tracing) & free)
            if len(mine):
                gap = atoms.positions[mine] - tracing.mean(0)
                return int(atoms.ids[mine[np.hypot(*gap.T).argmin()]])
        spare = -2 - frame * tables.IDS_PER_FRAME
        while spare in taken:
            spare -= 1
        return spare

    def _on_change(self, change: Change) -> None:
        """Draw an outline as it is after an undo or a redo."""
        edit, editor = change.edit, self._editor
        if edit.action != "contour" or not edit.detail or editor is None or self._busy:
            return
        f, atom_id = edit.frame, int(edit.detail["atom_id"])
        flat = edit.detail["before" if change.undone else "after"]
        tracing = None if flat is None else np.array(flat, np.float32).reshape(-1, 2)
        table, outlines = self._store.get(f, (tables.empty("contours"), []))
        table, outlines = _with_outline(
            table, outlines, f, atom_id, tracing, atom_id in editor.corrections.contours(f)
        )
        self._store[f] = (table, outlines)
        layer = self.layer(CONTOURS)
        if layer is not None and self._type_of(layer) == "Shapes" and f == self._drawn:
            self._drawn = None
            with self._own_changes():
                self.show_frame(f)

    # ------------------------------------------------------------------- maps

    def map_names(self) -> tuple[str, ...]:
        """Names of the class maps that can be shown now."""
        names = convert.shown_maps(self.classes) if self.classes else ("any atom",)
        return names[: len(self._maps)] if self._maps is not None else names

    def show_map(self, name: str) -> None:
        """Let the probability layer show another class."""
        layer = self.layer(PROBABILITY)
        if layer is None or self._maps is None or name not in self.map_names():
            return
        self.wanted = Wanted(**{**self.wanted.__dict__, "map_name": name})
        layer.data = self._view(self._maps[self.map_names().index(name)])

    def _view(self, maps: np.ndarray) -> np.ndarray:
        return maps if self.is_movie else maps[0]

    def _apply_probability(self, results: Sequence[FrameResult]) -> None:
        names = convert.shown_maps(self.classes)
        each = int(np.prod(self._shape)) * 2
        n = len(names) if each * len(names) <= MAX_MAP_BYTES else 1
        if self._maps is None or len(self._maps) != n:
            self._maps = np.zeros((n, *self._shape), np.float16)
        for r in results:
            for k, name in enumerate(names[:n]):
                self._maps[k, r.frame] = convert.map_of(r.probabilities, r.classes, name)
        which = names.index(self.wanted.map_name) if self.wanted.map_name in names[:n] else 0
        style = styles.ProbabilityStyle()
        self._apply_map(PROBABILITY, self._view(self._maps[which]), style, results)

    def _apply_unfamiliar(self, results: Sequence[FrameResult]) -> None:
        if self._unfamiliar is None:
            self._unfamiliar = np.zeros(self._shape, np.float16)
        for r in results:
            self._unfamiliar[r.frame] = r.unfamiliar
        style = styles.UnfamiliarStyle()
        self._apply_map(UNFAMILIAR, self._view(self._unfamiliar), style, results)

    def _apply_map(
        self, role: str, data: np.ndarray, style: styles.LayerStyle, results: Sequence[FrameResult]
    ) -> None:
        layer = self.layer(role)
        if layer is None:
            from napari.layers import Image

            self._add(role, Image(data, **style.as_kwargs(), **self._common(role)))
            return
        if not np.may_share_memory(np.asarray(layer.data), data):
            layer.data = data
        elif self._frame in {r.frame for r in results}:
            layer.refresh()
        self._refresh_common(role, layer)


def _with_outline(
    table: pd.DataFrame,
    outlines: list[np.ndarray],
    frame: int,
    atom_id: int,
    tracing: np.ndarray | None,
    edited: bool,
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Contours of a frame with another outline of one atom; without one where it is None."""
    rest = (table["atom_id"] != atom_id).to_numpy()
    table = table[rest].reset_index(drop=True)
    outlines = [o for o, keep in zip(outlines, rest, strict=True) if keep]
    if tracing is None:
        return table, outlines
    row = tables.make(
        "contours", {"frame": frame, "atom_id": atom_id, "species": "", "edited": edited}, 1
    )
    table = pd.concat([table, row], ignore_index=True) if len(table) else row
    table["edited"] = table["edited"].astype(object).map(lambda v: v is True)
    return table, [*outlines, np.asarray(tracing, np.float32)]
