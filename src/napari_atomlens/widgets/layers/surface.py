"""Layers of a scan of a surface: what was prepared, found and compared in it."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Points, Shapes, Vectors

from napari_atomlens.errors import ImageError
from napari_atomlens.params import as_dict
from napari_atomlens.session.session import EXCHANGED
from napari_atomlens.stm.site_kinds import KINDS, STEP_EDGE
from napari_atomlens.widgets.base.images import finest, pixel_size_of
from napari_atomlens.widgets.layers import placing, roles
from napari_atomlens.widgets.layers.sites import show_anomalies, show_sites

if TYPE_CHECKING:
    from napari_atomlens.image import PixelSize
    from napari_atomlens.runs.surface import SurfaceSites
    from napari_atomlens.session.pixels import KnownPixels
    from napari_atomlens.session.session import Session
    from napari_atomlens.stm.groups import DefectGroups
    from napari_atomlens.stm.levelling import LevelParams
    from napari_atomlens.stm.molecules import Film, FilmMovie
    from napari_atomlens.stm.silicon import SiliconResult
    from napari_atomlens.stm.traces import Comparison
    from napari_atomlens.widgets.layers.layer_set import LayerSet

UP, DOWN = "#ffb000", "#648fff"
RING, GREY = "#4cc9f0", "gray"
#: Patches beside each other in the gallery.
GALLERY_COLUMNS = 12


def kind_colours() -> dict[str, str]:
    """One colour for each kind of defect, far apart on the colour circle."""
    out = {}
    for k, kind in enumerate(KINDS):
        r, g, b = colorsys.hls_to_rgb((k * 0.381966) % 1.0, 0.62 - 0.12 * (k % 2), 0.9)
        out[kind] = f"#{int(255 * r):02x}{int(255 * g):02x}{int(255 * b):02x}"
    return out | {STEP_EDGE: "#ffffff"}


def limits(image: np.ndarray) -> tuple[float, float]:
    """Contrast limits that outliers do not set."""
    low, high = np.nanpercentile(image, [0.5, 99.7])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


@dataclass(frozen=True)
class Picture:
    """Pixels ready to be shown, and their contrast limits."""

    data: np.ndarray
    limits: tuple[float, float]


def picture_of(image: np.ndarray) -> Picture:
    """Make pixels ready to be shown; what is missing becomes dark."""
    low, high = limits(image)
    return Picture(np.nan_to_num(image, nan=low).astype(np.float32), (low, high))


def thinned(line: np.ndarray, least_px: float) -> np.ndarray:
    """Fewer points of a line: one for each `least_px` of its length, ends included."""
    if len(line) < 3:
        return line
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
    at = np.unique(np.searchsorted(along, np.arange(0, along[-1], least_px)))
    return np.asarray(line[np.unique(np.r_[at, len(line) - 1])])


def gallery_image(gallery: Sequence[np.ndarray], columns: int = GALLERY_COLUMNS) -> np.ndarray:
    """One row of patches for each class, the typical ones first; empty places are NaN."""
    if not gallery:
        return np.zeros((1, 1))
    side = gallery[0].shape[1]
    out = np.full((len(gallery) * (side + 2), columns * (side + 2)), np.nan)
    for g, patches in enumerate(gallery):
        for k, patch in enumerate(patches[:columns]):
            r, c = g * (side + 2), k * (side + 2)
            out[r : r + side, c : c + side] = patch - np.median(patch)
    return out


def _features(table: pd.DataFrame) -> pd.DataFrame:
    """Table as features; few different texts become categories."""
    out = table.reset_index(drop=True)
    for column in ("kind", "species", "source", "state", "to"):
        if column in out:
            out[column] = pd.Categorical(out[column].astype(str))
    return out


def _colours(names: pd.Series, colours: Mapping[str, str]) -> np.ndarray | str:
    """Colours (n, 4) of texts; any colour where there is none."""
    if not len(names):
        return "#ffffff"
    codes, found = pd.factorize(names.astype(str))
    rgb = [bytes.fromhex(colours.get(str(n), "#ffffff")[1:]) for n in found]
    return np.c_[np.array([list(v) for v in rgb]) / 255, np.ones(len(rgb))][codes]


@dataclass(frozen=True)
class SiliconDrawing:
    """A scan of H-Si(100) as it is drawn, made ready off the thread of the window."""

    flat: Picture
    rows: list[np.ndarray]
    edges: list[np.ndarray]
    dimers: pd.DataFrame
    defects: pd.DataFrame
    colours: np.ndarray | str


def draw_silicon(result: SiliconResult) -> SiliconDrawing:
    """Make ready what is shown of an analysed scan of H-Si(100)."""
    marked = result.defects[(result.defects["kind"] != STEP_EDGE).to_numpy()]
    return SiliconDrawing(
        # every terrace at one height, so that its atoms are seen; nothing is measured in it again
        picture_of(result.terraces.flat),
        [thinned(line, 2.0) for line in result.rows],
        [thinned(line, 1.0) for line in result.terraces.lines],
        _features(result.atoms), _features(marked), _colours(marked["kind"], kind_colours()),
    )  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """The scan that a job begins with.

    Attributes
    ----------
    pixels : KnownPixels
    frame : int
    pixel_size_nm : tuple of float or None
        (y, x).
    revision : int
        Of the session.
    """

    pixels: KnownPixels
    frame: int
    pixel_size_nm: PixelSize | None
    revision: int

    def read(self) -> np.ndarray:
        """Pixels (H, W) of its frame."""
        return np.asarray(self.pixels.stack[self.frame])


class SurfaceLayers:
    """The layers that are made from one scan; the tables that they show are of its session.

    Parameters
    ----------
    layers : LayerSet
        Of the scan.
    """

    def __init__(self, layers: LayerSet) -> None:
        self._layers = layers

    def close(self) -> None:
        """Nothing is listened to."""

    @property
    def session(self) -> Session:
        """Session of the scan."""
        return self._layers.image_session

    @property
    def _source(self) -> Image:
        source = self._layers.source
        assert isinstance(source, Image)
        return source

    def begin(self, frame: int, pixel_size_nm: PixelSize | None) -> Scan:
        """Tell the session what is going to be looked at.

        Raises
        ------
        ImageError
            If it is neither an image nor a movie.
        """
        source, session = self._source, self.session
        session.pixel_size = pixel_size_nm
        known = session.set_pixels(finest(source), bool(source.rgb), source.axis_labels)
        return Scan(known, frame, pixel_size_nm, session.revision)

    def check(self, scan: Scan) -> None:
        """See whether the pixels are still those that a job began with.

        Raises
        ------
        ImageError
            If they were exchanged meanwhile.
        """
        if not scan.pixels.are_of(finest(self._source)):
            raise ImageError(EXCHANGED)

    # ------------------------------------------------------------------ pictures

    def _image(self, role: str, picture: Picture, **attributes: Any) -> Image | None:
        return self._layers.show(
            role, Image, picture.data, ndim=2, style={"colormap": GREY},
            contrast_limits=picture.limits, **attributes,
        )  # fmt: skip

    def preview(self, picture: Picture) -> None:
        """Show what a setting does, until the layer is removed."""
        self._image(roles.PREVIEW, picture)

    def levelled(self, picture: Picture, params: LevelParams) -> Image | None:
        """Show the levelled scan; the layer says how it was made."""
        layer = self._image(roles.PREPARED, picture)
        self._layers.note(roles.PREPARED, parameters=as_dict(params))
        return layer

    def mended(self, role: str, picture: Picture, pixel_nm: float, scan: Scan) -> Image | None:
        """Show the scan with another geometry, its upper left corner where that of the scan is.

        Parameters
        ----------
        role : str
            ``SQUARE`` or ``UNDRIFTED``.
        picture : Picture
        pixel_nm : float
            Its pixel size, the same in both directions.
        scan : Scan
            What it was made from.
        """
        place = _place_with(self._source, pixel_nm, scan.pixel_size_nm)
        return self._layers.show(
            role, Image, picture.data, ndim=2, free=True, style={"colormap": GREY},
            contrast_limits=picture.limits, **place,
        )  # fmt: skip

    def traces(self, found: Comparison, mean: Picture) -> None:
        """Show the mean of both traces, and where they differ."""
        self._image(roles.MEAN, mean)
        self._layers.show(
            roles.DISAGREE, Labels, found.disagree.astype(np.uint8), ndim=2,
            style={"opacity": 0.5},
        )  # fmt: skip

    # ------------------------------------------------------------------ H-Si(100)

    def silicon(self, result: SiliconResult, drawing: SiliconDrawing, scan: Scan) -> None:
        """Keep the tables of an analysed scan of H-Si(100), and show them."""
        made = {
            "terraces": result.terraces.table, "step edges": result.terraces.edges,
            "dimers": result.atoms, "surface defects": result.defects,
        }  # fmt: skip
        self._put(made, result.provenance, scan)
        show, row = self._layers.show, result.row_px
        self._image(roles.FLAT, drawing.flat)
        steps = result.terraces.labels.max() > 0
        for role, labels, opacity in (
            (roles.TERRACES, result.terraces.labels + 1 if steps else None, 0.25),
            (roles.MASK, result.defect_mask.astype(np.uint8), 0.35),
        ):
            if labels is None:
                self._layers.remove(role)
            else:
                show(role, Labels, labels, ndim=2, style={"opacity": opacity, "visible": False})
        paths: dict[str, Any] = {"shape_type": "path", "edge_color": RING, "edge_width": 0.08 * row}
        show(
            roles.ROWS, Shapes, drawing.rows, ndim=2,
            style={"opacity": 0.5, "visible": False}, **paths,
        )  # fmt: skip
        paths |= {"edge_color": "#ffffff", "edge_width": 0.2 * row}
        show(
            roles.EDGES, Shapes, drawing.edges, ndim=2, features=result.terraces.edges, **paths
        )  # fmt: skip
        show(
            roles.DIMERS, Points, _places(drawing.dimers), ndim=2, features=drawing.dimers,
            style={"face_color": "transparent", "border_color": RING, "border_width": 0.15,
                   "visible": False},
            note={"provenance": result.provenance}, size=max(2.0, 0.35 * row),
        )  # fmt: skip
        self._defects(drawing.defects, drawing.colours, row, result.provenance)

    def _defects(
        self,
        table: pd.DataFrame,
        colours: np.ndarray | str,
        row_px: float,
        provenance: Mapping[str, object],
    ) -> None:
        self._layers.show(
            roles.SURFACE_DEFECTS, Points, _places(table), ndim=2, features=table,
            style={"face_color": "transparent", "border_width": 0.08},
            note={"provenance": dict(provenance)}, size=1.5 * row_px, border_color=colours,
        )  # fmt: skip

    def groups(
        self, result: SiliconResult, groups: DefectGroups, picture: Picture, scan: Scan
    ) -> None:
        """Keep the classes of defects, and show typical ones of each beside the scan."""
        table = result.defects.assign(group=groups.label)
        made = {"surface defects": table, "classes of defects": groups.table}
        self._put(made, result.provenance, scan)
        marked = table[(table["kind"] != STEP_EDGE).to_numpy()]
        colours = _colours(marked["kind"], kind_colours())
        self._defects(_features(marked), colours, result.row_px, result.provenance)
        if not len(groups.table):
            self._layers.remove(roles.GALLERY)
            return
        width = finest(self._source).shape[-2 if self._source.rgb else -1]
        self._layers.show(
            roles.GALLERY, Image, picture.data, ndim=2, free=True, style={"colormap": GREY},
            contrast_limits=picture.limits, **_place_beside(self._source, 1.05 * width),
        )  # fmt: skip

    # -------------------------------------------------------- films, other surfaces

    def film(self, film: Film, scan: Scan) -> None:
        """Keep the molecules of a film, and show them by up and down, with their rotation."""
        m, provenance = film.molecules, {"couplings": film.couplings}
        self._put({"molecules": m.assign(frame=scan.frame)}, provenance, scan)
        angle = m["angle_rad"].to_numpy(float)
        step = np.c_[-np.sin(angle), np.cos(angle)] * (0.4 * film.spacing_px)
        self._layers.show(
            roles.ROTATION, Vectors, np.stack([_places(m), step], axis=1), ndim=2,
            style={"edge_color": "white", "vector_style": "line"},
            edge_width=0.06 * film.spacing_px,
        )  # fmt: skip
        up = m["up"].map({True: "up", False: "down"})
        self._molecules(roles.MOLECULES, _places(m), m, up, film.spacing_px, provenance)

    def _molecules(
        self,
        role: str,
        data: np.ndarray,
        table: pd.DataFrame,
        state: pd.Series,
        spacing_px: float,
        provenance: Mapping[str, object],
    ) -> None:
        self._layers.show(
            role, Points, data, ndim=data.shape[1], features=_features(table),
            style={"face_color": "transparent", "border_width": 0.12},
            note={"provenance": dict(provenance)}, size=0.5 * spacing_px,
            border_color=_colours(state, {"up": UP, "down": DOWN}),
        )  # fmt: skip

    def flips(self, found: FilmMovie, scan: Scan) -> None:
        """Keep the molecules of a movie, and show them in every frame, with a ring at each flip."""
        provenance = {"couplings": found.film.couplings}
        self._put({"molecule tracks": found.tracks, "flips": found.events}, provenance, scan)
        spacing, columns = found.film.spacing_px, ["frame", "y_px", "x_px"]
        self._molecules(
            roles.IN_TIME, found.tracks[columns].to_numpy(float), found.tracks,
            found.tracks["state"], spacing, provenance,
        )  # fmt: skip
        self._layers.show(
            roles.FLIPS, Points, found.events[columns].to_numpy(float).reshape(-1, 3), ndim=3,
            features=_features(found.events),
            style={"face_color": "transparent", "border_color": "#ff2d78", "border_width": 0.08},
            size=1.1 * spacing,
        )  # fmt: skip

    def sites(self, found: SurfaceSites, scan: Scan) -> None:
        """Let the session have the sites of a surface as its atoms; the unusual are framed."""
        session = self.session
        sites = found.sites.assign(frame=scan.frame)
        show_sites(self._layers, sites, scan.frame, found.spacing_px, found.provenance)
        if "anomaly" not in sites:
            self._layers.remove(roles.ANOMALIES)
            return
        session.put("anomalies", sites[sites["anomaly"].to_numpy(bool)], found.provenance)
        show_anomalies(self._layers, session.table("anomalies"), found.spacing_px)

    def _put(
        self, made: Mapping[str, pd.DataFrame], provenance: Mapping[str, Any], scan: Scan
    ) -> None:
        whole = {n: t if "frame" in t else t.assign(frame=scan.frame) for n, t in made.items()}
        self.session.put_all(whole, provenance, scan.revision)


def _places(table: pd.DataFrame) -> np.ndarray:
    return np.array(table[["y_px", "x_px"]], float).reshape(-1, 2)


def _place_with(source: Image, pixel_nm: float, size: PixelSize | None) -> dict[str, Any]:
    """Place of an image with other pixels whose outer corner is that of the source."""
    place = placing.place_of(source, 2)
    old, turn = np.array(place["scale"], float), place["rotate"]
    assert size is not None  # nobody makes pixels square without
    nm_of_world = np.array(size) / np.abs(old)
    new = pixel_nm / nm_of_world
    place["translate"] = place["translate"] + turn @ ((new - old) / 2)
    place["scale"] = new
    known = pixel_size_of(source)
    if known is None or not np.allclose(known, size):  # a pixel size that was typed
        place["units"] = ("nm", "nm")
        place["scale"], place["translate"] = new * nm_of_world, place["translate"] * nm_of_world
    return place


def _place_beside(source: Image, right_px: float) -> dict[str, Any]:
    """Place to the right of the source, in its pixels."""
    place = placing.place_of(source, 2)
    step = np.array([0.0, right_px]) * place["scale"]
    place["translate"] = place["translate"] + place["rotate"] @ step
    return place
