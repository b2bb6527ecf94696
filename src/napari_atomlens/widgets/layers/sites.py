"""Sites that a dock has found or described, as atoms of their session, and the unusual ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Points

from napari_atomlens import tables
from napari_atomlens.contours.report import describe_all
from napari_atomlens.errors import ImageError, TableError
from napari_atomlens.session.edits.actions import COMPARED
from napari_atomlens.session.measured import unknown
from napari_atomlens.session.session import EXCHANGED
from napari_atomlens.widgets.base.images import finest
from napari_atomlens.widgets.layers import convert
from napari_atomlens.widgets.layers.atoms import Editor, editor_of, show_atoms
from napari_atomlens.widgets.layers.registry import layers_of
from napari_atomlens.widgets.layers.roles import ANOMALIES, ATOMS, KEY, entry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from napari_atomlens.contours.anomalies import AnomalyParams
    from napari_atomlens.image import Pixels, PixelSize
    from napari_atomlens.progress import Progress
    from napari_atomlens.session.pixels import KnownPixels
    from napari_atomlens.widgets.layers.layer_set import LayerSet

#: Where the classes are kept in our entry of the layer of the atoms.
KEPT = "site classes"
#: Columns that are measured anew, whatever they were.
ANEW = ("anomaly", "raw_", "site_", "sublattice")
#: Source of a site that holds no atom.
VACANT = "lattice"
#: Columns of the anomalies that their layer shows.
SHOWN = (
    "frame", "atom_id", "kind", "anomaly_score", "anomaly_p", "anomaly_q", "anomaly_reason",
    "source",
)  # fmt: skip
#: Distance of nearest sites where nothing is known.
SPACING_PX = 12.0


def show_sites(
    layers: LayerSet,
    sites: pd.DataFrame,
    frame: int,
    spacing_px: float,
    provenance: Mapping[str, Any],
) -> Points | None:
    """Put sites of one frame under the edits of the session, and show its atoms.

    Parameters
    ----------
    layers : LayerSet
        Of the image.
    sites : pandas.DataFrame
        Atoms table with whatever was measured; vacant sites are left out.
    frame : int
    spacing_px : float
        Distance of nearest sites.
    provenance : mapping

    Returns
    -------
    napari.layers.Points or None
        None where there is no atom.
    """
    session = layers.image_session
    there = layers.layer(ATOMS)
    if there is not None:
        session = editor_of(there).session
    atoms = sites[(sites["source"] != VACANT).to_numpy()].reset_index(drop=True)
    session.measured.drop(COMPARED)  # of another analysis
    session.measured.note(atoms, atoms)
    session.rerun(atoms[list(tables.ATOMS)], [frame], spacing_px)
    if there is None:
        there = show_atoms(layers, session, spacing_px)
    if there is not None:
        layers.note(ATOMS, spacing_px=spacing_px, provenance=dict(provenance))
        layers.drawn(ATOMS)
    return there


def show_anomalies(layers: LayerSet, flagged: pd.DataFrame, spacing_px: float) -> Points | None:
    """Show sites unlike the others in squares, coloured by how unlike they are.

    Parameters
    ----------
    layers : LayerSet
        Of the image, or of the atoms where there is no image.
    flagged : pandas.DataFrame
        The unusual sites only.
    spacing_px : float
        Distance of nearest sites, NaN where it is not known.
    """
    flagged = flagged.sort_values("anomaly_score", ascending=False, ignore_index=True)
    features = flagged[[c for c in SHOWN if c in flagged]]
    ndim = layers.source.ndim
    spacing = spacing_px if np.isfinite(spacing_px) and spacing_px > 0 else SPACING_PX
    colour: dict[str, Any] = {}
    if len(flagged):
        colour = {"border_color": "anomaly_score", "border_colormap": "plasma"}
    return layers.show(
        ANOMALIES, Points, convert.points_from_atoms(flagged, ndim), features=features,
        style={"symbol": "square", "face_color": "transparent", "border_width": 0.09},
        note={"spacing_px": spacing}, size=0.95 * spacing, **colour,
    )  # fmt: skip


# ------------------------------------------------------------------ what is measured on sites


@dataclass(frozen=True)
class Begun:
    """The atoms of a layer when a job began.

    Attributes
    ----------
    data : ndarray, shape (n, 2) or (n, 3)
    features : pandas.DataFrame
    pixels : KnownPixels
        Of the image.
    maps : ndarray or None
        Probability of any atom (t, y, x), as the session has it.
    pixel_size_nm : tuple of float or None
    revision : int
        Of the session.
    """

    data: np.ndarray
    features: pd.DataFrame
    pixels: KnownPixels
    maps: np.ndarray | None
    pixel_size_nm: PixelSize | None
    revision: int

    @property
    def n_frames(self) -> int:
        """How many frames hold atoms."""
        return len(np.unique(convert.frames_of(self.data)))

    def atoms(self) -> pd.DataFrame:
        """Atoms table in the order of the points."""
        known = [c for c in self.features if c in tables.ATOMS]
        return convert.atoms_from_points(
            self.data[:, -3:], self.features[known], self.pixel_size_nm
        )


@dataclass(frozen=True)
class Described:
    """What was measured on every atom of a layer.

    Attributes
    ----------
    atoms : pandas.DataFrame
        Atoms table, in the order of the points when the job began.
    columns : pandas.DataFrame
        What was measured, in the same order.
    flagged : pandas.DataFrame
        Sites that are unlike the others, vacant ones among them.
    n_sites : int
        All of them.
    """

    atoms: pd.DataFrame
    columns: pd.DataFrame
    flagged: pd.DataFrame
    n_sites: int


def describe(begun: Begun, params: AnomalyParams, progress: Progress) -> Iterator[Described]:
    """Describe all sites and flag the unusual, frame by frame; for a thread.

    Parameters
    ----------
    begun : Begun
    params : AnomalyParams
    progress : Progress

    Yields
    ------
    Described
        Once, at the end.
    """
    atoms = begun.atoms()
    for done, total, table in describe_all(
        begun.pixels.stack, atoms, begun.maps, pixel_size_nm=begun.pixel_size_nm, params=params,
        progress=progress,
    ):  # fmt: skip
        progress(done, total)
        if table is not None:
            yield _described(table, atoms, begun.features)


def _described(table: pd.DataFrame, atoms: pd.DataFrame, features: pd.DataFrame) -> Described:
    flagged = table[table["anomaly"].to_numpy(bool)].reset_index(drop=True)
    mine = table.drop_duplicates("atom_id").set_index("atom_id")
    fresh = [c for c in mine if c not in features or str(c).startswith(ANEW)]
    columns = mine[fresh].reindex(atoms["atom_id"].to_numpy()).reset_index(drop=True)
    if "anomaly" in columns:
        columns["anomaly"] = columns["anomaly"].map(lambda v: v is True or v == 1).astype(bool)
        columns["anomaly_reason"] = columns["anomaly_reason"].fillna("").astype(str)
    return Described(atoms, columns, flagged, len(table))


class SiteLayers:
    """The layer of some atoms, what is measured on them, and the layer of the unusual ones.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    atoms : napari.layers.Points
    image : napari.layers.Image or None
        That the atoms belong to.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, atoms: Points, image: Image | None = None
    ) -> None:
        self._atoms, self._image = atoms, image
        mine = layers_of(viewer, atoms)
        self._editor: Editor | None = None
        if entry(atoms).get("role") == ATOMS and "atom_id" in atoms.features:
            self._editor = editor_of(atoms)
        of_image = None if image is None else layers_of(viewer, image)
        session = self._editor.session if self._editor else of_image and of_image.session
        self.session = session or mine.session
        # the set of the session: what it draws is marked when it is stale
        self._layers = of_image if of_image and of_image.session is self.session else mine

    def begin(self, pixel_size_nm: PixelSize | None, pixels: Pixels) -> Begun:
        """Note what a job begins with.

        Raises
        ------
        ImageError
            If the image is neither an image nor a movie.
        """
        atoms, image, session = self._atoms, self._image, self.session
        if image is None or session is None:
            raise ImageError("These atoms have no image.")
        if self._editor is not None:
            self._editor.check()
        known = session.set_pixels(pixels, bool(image.rgb), image.axis_labels)
        maps = session.results.map()
        if maps is not None and maps.shape[-2:] != known.stack.shape[-2:]:
            maps = None
        features = atoms.features.reset_index(drop=True).copy()
        data = np.array(atoms.data, float)
        return Begun(data, features, known, maps, pixel_size_nm, session.revision)

    def take(self, found: Described, begun: Begun, provenance: Mapping[str, Any]) -> Iterator[None]:
        """Keep what was measured, and frame the unusual sites: one layer a step.

        Yields
        ------
        None
            After each step but the last.

        Raises
        ------
        ImageError, TableError
            If the pixels were exchanged, or atoms without ids came or went meanwhile.
        """
        session = self.session
        assert session is not None and self._image is not None  # it began with them
        if not begun.pixels.are_of(finest(self._image)):
            raise ImageError(EXCHANGED)
        self._note(found.columns, found.atoms)
        yield
        session.put("anomalies", found.flagged, provenance, begun.revision)
        spacing = float(entry(self._atoms).get("spacing_px", float("nan")))
        show_anomalies(self._layers, found.flagged, spacing)

    def take_classes(
        self,
        labels: np.ndarray,
        names: Mapping[int, str],
        kept: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the class of every atom.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
            In the order of the points, -1 where an atom is of none.
        names : mapping of int to str
            Of the classes.
        kept : mapping
            What is kept with the layer: what the machine found and what the user made of it.
        params : mapping, optional
            How they were found; by default as before.
        """
        atoms = self._begun_atoms()
        self._note(pd.DataFrame({"anomaly_class": labels}), atoms)
        self._atoms.metadata[KEY] = {**entry(self._atoms), KEPT: dict(kept)}
        session = self.session
        if session is not None:
            table = atoms[["frame", "atom_id", "y_px", "x_px"]].assign(
                anomaly_class=labels, class_name=[names[int(k)] for k in labels]
            )
            before = session.provenance("classes").get("parameters", {})
            session.put(
                "classes", table, {"parameters": before if params is None else dict(params)}
            )

    def _begun_atoms(self) -> pd.DataFrame:
        features = self._atoms.features.reset_index(drop=True)
        known = [c for c in features if c in tables.ATOMS]
        return convert.atoms_from_points(np.asarray(self._atoms.data)[:, -3:], features[known])

    def paint(self, shade: np.ndarray | None, colours: Sequence[str]) -> None:
        """Colour the atoms, each by an index into some colours; without, as they come."""
        if shade is None:
            ours = entry(self._atoms).get("role") == ATOMS and "unfamiliar" in self._atoms.features
            self._atoms.face_color = "unfamiliar" if ours else "transparent"
            return
        rgba = np.array([[*bytes.fromhex(c[1:]), 255] for c in colours]) / 255
        self._atoms.face_color = rgba[shade % len(rgba)]

    def _note(self, columns: pd.DataFrame, atoms: pd.DataFrame) -> None:
        """Put columns into the features of the atoms on which they were measured."""
        layer, editor = self._atoms, self._editor
        features = layer.features.reset_index(drop=True)
        if "atom_id" in features:
            ids = pd.to_numeric(features["atom_id"], errors="coerce").fillna(-1).to_numpy(int)
            place = pd.Index(atoms["atom_id"]).get_indexer(ids)
            old = atoms[["y_px", "x_px"]].to_numpy(float)[place]
            same = (place >= 0) & (old == np.asarray(layer.data)[:, -2:]).all(axis=1)
        elif len(features) == len(atoms):
            place, same = np.arange(len(atoms)), np.ones(len(atoms), bool)
        else:
            raise TableError("Points came or went meanwhile; do it again.")
        mine = columns.iloc[place].reset_index(drop=True)
        if not same.all():  # new, or elsewhere: nothing was measured there
            for name in mine:
                mine.loc[~same, name] = unknown(mine[name].dtype)
        rest = features.drop(columns=[c for c in mine if c in features])
        whole = pd.concat([rest, mine], axis=1)
        if editor is None:
            layer.features = whole
            return
        editor.session.measured.note(columns.assign(atom_id=atoms["atom_id"].to_numpy()), atoms)
        with editor.own_changes():
            layer.features = whole
            editor.show_defaults()
