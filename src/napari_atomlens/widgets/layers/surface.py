"""STM results become arguments of layers; no Qt and no viewer here."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens.params import as_dict
from napari_atomlens.stm.levelling import LevelParams
from napari_atomlens.stm.molecules import Film, FilmMovie
from napari_atomlens.stm.silicon import STEP_EDGE, SiliconResult
from napari_atomlens.stm.site_kinds import KINDS
from napari_atomlens.stm.traces import Comparison
from napari_atomlens.widgets.layers.roles import (
    ANOMALIES,
    ATOMS,
    DEFECTS,
    DIMERS,
    DISAGREE,
    EDGES,
    FLAT,
    FLIPS,
    KEY,
    MASK,
    MEAN,
    MOLECULES,
    PREPARED,
    PREVIEW,
    ROTATION,
    ROWS,
    TERRACES,
)

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_atomlens.runs.surface import SurfaceSites

#: Data, arguments and kind of a layer, as napari wants them.
LayerTuple = tuple[np.ndarray | list[np.ndarray], dict[str, object], str]


def kind_colours() -> dict[str, str]:
    """One colour for each kind of defect, far apart on the colour circle."""
    out = {}
    for k, kind in enumerate(KINDS):
        r, g, b = colorsys.hls_to_rgb((k * 0.381966) % 1.0, 0.62 - 0.12 * (k % 2), 0.9)
        out[kind] = f"#{int(255 * r):02x}{int(255 * g):02x}{int(255 * b):02x}"
    return out | {STEP_EDGE: "#ffffff"}


def common(source: Image, role: str, **more: object) -> dict[str, object]:
    """Name, calibration and our entry in the metadata of a layer made from `source`."""
    return {
        "name": f"{role}: {source.name}",
        "scale": tuple(float(s) for s in source.scale[-2:]),
        "translate": tuple(float(s) for s in source.translate[-2:]),
        "units": tuple(source.units[-2:]),
        "axis_labels": tuple(source.axis_labels[-2:]),
        "metadata": {
            KEY: {"role": role, "source_id": str(source.unique_id), "source_name": str(source.name),
                  **more}
        },
    }  # fmt: skip


def limits(image: np.ndarray) -> tuple[float, float]:
    """Contrast limits that outliers do not set."""
    low, high = np.nanpercentile(image, [0.5, 99.7])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def prepared_layer(
    image: np.ndarray, source: Image, params: LevelParams, *, preview: bool = False
) -> LayerTuple:
    """Levelled scan as an image layer that says how it was made."""
    role = PREVIEW if preview else PREPARED
    kwargs = common(source, role, parameters=as_dict(params))
    kwargs |= {"contrast_limits": limits(image), "colormap": "gray"}
    return np.asarray(image, np.float32), kwargs, "image"


def _text_features(table: pd.DataFrame) -> pd.DataFrame:
    out = table.copy()
    for column in ("kind", "species", "source"):
        if column in out:
            out[column] = pd.Categorical(out[column].astype(str))
    return out


def silicon_layers(result: SiliconResult, source: Image) -> list[LayerTuple]:
    """Layers of an analysed scan of H-Si(100), from below to above."""
    layers: list[LayerTuple] = []
    provenance = result.provenance
    size = max(2.0, 0.35 * result.row_px)
    flat = result.terraces.flat
    low, high = limits(flat)
    # every terrace at one height, so that its atoms are seen; nothing is measured in it again
    shown = common(source, FLAT) | {"contrast_limits": (low, high), "colormap": "gray"}
    layers.append((np.nan_to_num(flat, nan=low).astype(np.float32), shown, "image"))
    if result.terraces.labels.max() > 0:
        kwargs = common(source, TERRACES) | {"opacity": 0.25, "visible": False}
        layers.append((result.terraces.labels + 1, kwargs, "labels"))
    mask = common(source, MASK) | {"opacity": 0.35, "visible": False}
    layers.append((result.defect_mask.astype(np.uint8), mask, "labels"))
    if result.rows:
        kwargs = common(source, ROWS) | {
            "shape_type": "path", "edge_color": "#4cc9f0", "edge_width": 0.08 * result.row_px,
            "opacity": 0.5, "visible": False,
        }  # fmt: skip
        layers.append(([thinned(line, 2.0) for line in result.rows], kwargs, "shapes"))
    if result.terraces.lines:
        kwargs = common(source, EDGES) | {
            "shape_type": "path", "edge_color": "#ffffff", "edge_width": 0.2 * result.row_px,
            "features": result.terraces.edges,
        }  # fmt: skip
        layers.append(([thinned(line, 1.0) for line in result.terraces.lines], kwargs, "shapes"))
    if len(result.atoms):
        kwargs = common(source, DIMERS, provenance=provenance) | {
            "size": size, "face_color": "transparent", "border_color": "#4cc9f0",
            "border_width": 0.15, "features": _text_features(result.atoms), "visible": False,
        }  # fmt: skip
        layers.append((result.atoms[["y_px", "x_px"]].to_numpy(float), kwargs, "points"))
    layers.append(defects_layer(result.defects, source, result.row_px, provenance))
    return layers


def defects_layer(
    defects: pd.DataFrame, source: Image, row_px: float, provenance: dict[str, object]
) -> LayerTuple:
    """Defects as rings in the colour of their kind; step edges have lines of their own."""
    table = defects[defects["kind"] != STEP_EDGE].reset_index(drop=True)
    colours = kind_colours()
    kwargs = common(source, DEFECTS, provenance=provenance) | {
        "size": 1.5 * row_px, "face_color": "transparent", "border_width": 0.08,
        "features": _text_features(table),
        "border_color": [colours.get(str(k), "#ffffff") for k in table["kind"]] or "#ffffff",
    }  # fmt: skip
    return table[["y_px", "x_px"]].to_numpy(float), kwargs, "points"


def thinned(line: np.ndarray, least_px: float) -> np.ndarray:
    """Fewer points of a line: one for each `least_px` of its length, ends included."""
    if len(line) < 3:
        return line
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
    at = np.unique(np.searchsorted(along, np.arange(0, along[-1], least_px)))
    return np.asarray(line[np.unique(np.r_[at, len(line) - 1])])


def film_layers(film: Film, source: Image) -> list[LayerTuple]:
    """Molecules as points in the colour of up and down, and their rotation as vectors."""
    m = film.molecules
    colours = np.where(m["up"], "#ffb000", "#648fff")
    kwargs = common(source, MOLECULES, provenance={"couplings": film.couplings}) | {
        "size": 0.5 * film.spacing_px, "face_color": "transparent", "border_width": 0.12,
        "border_color": list(colours), "features": m,
    }  # fmt: skip
    angle = m["angle_rad"].to_numpy(float)
    length = 0.4 * film.spacing_px
    place = m[["y_px", "x_px"]].to_numpy(float)
    step = np.c_[-np.sin(angle), np.cos(angle)] * length
    arrows = np.stack([place, step], axis=1)
    vectors = common(source, ROTATION) | {
        "edge_color": "white", "edge_width": 0.06 * film.spacing_px, "vector_style": "line",
    }  # fmt: skip
    return [(arrows, vectors, "vectors"), (place, kwargs, "points")]


def gallery_image(gallery: Sequence[np.ndarray], columns: int = 12) -> np.ndarray:
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


def mended_layer(image: np.ndarray, pixel_size_nm: float, source: Image, what: str) -> LayerTuple:
    """Scan with another geometry as an image layer, beside the scan it was made from."""
    kwargs = common(source, PREPARED)
    low, high = limits(image)
    kwargs |= {
        "name": f"{what}: {source.name}", "contrast_limits": (low, high), "colormap": "gray",
        "scale": (pixel_size_nm, pixel_size_nm), "units": ("nm", "nm"),
    }  # fmt: skip
    return np.nan_to_num(image, nan=low).astype(np.float32), kwargs, "image"


def trace_layers(found: Comparison, source: Image) -> list[LayerTuple]:
    """Mean of both traces, and where they differ."""
    low, high = limits(found.mean)
    kwargs = common(source, MEAN) | {"contrast_limits": (low, high), "colormap": "gray"}
    mask = common(source, DISAGREE) | {"opacity": 0.5}
    return [
        (np.nan_to_num(found.mean, nan=low).astype(np.float32), kwargs, "image"),
        (found.disagree.astype(np.uint8), mask, "labels"),
    ]


def surface_layers(found: SurfaceSites, source: Image) -> list[LayerTuple]:
    """Sites of any surface as the dock Find atoms shows them; the unusual in squares."""
    spacing = found.spacing_px if np.isfinite(found.spacing_px) else 12.0
    more = {"spacing_px": spacing, "provenance": found.provenance}
    kwargs = common(source, ATOMS, **more) | {
        "name": f"atoms · {source.name}", "size": 0.5 * spacing, "face_color": "transparent",
        "border_color": "#4cc9f0", "border_width": 0.12, "features": _text_features(found.sites),
    }  # fmt: skip
    place = found.sites[["y_px", "x_px"]].to_numpy(float)
    layers: list[LayerTuple] = [(place, kwargs, "points")]
    if "anomaly" in found.sites:
        flagged = found.sites[found.sites["anomaly"].to_numpy(bool)].reset_index(drop=True)
        kwargs = common(source, ANOMALIES, **more) | {
            "name": f"anomalies · {source.name}", "size": 0.95 * spacing, "symbol": "square",
            "face_color": "transparent", "border_color": "#ffb000", "border_width": 0.09,
            "features": _text_features(flagged),
        }  # fmt: skip
        layers.append((flagged[["y_px", "x_px"]].to_numpy(float), kwargs, "points"))
    return layers


def flip_layers(found: FilmMovie, source: Image) -> list[LayerTuple]:
    """Molecules of every frame in the colour of their state, and a ring at every flip."""
    in_time = {
        "scale": tuple(float(s) for s in source.scale[-3:]), "units": tuple(source.units[-3:]),
        "translate": tuple(float(s) for s in source.translate[-3:]),
        "axis_labels": tuple(source.axis_labels[-3:]),
    }  # fmt: skip
    spacing = found.film.spacing_px
    t = found.tracks
    events = found.events.assign(to=pd.Categorical(found.events["to"]))
    kwargs = common(source, MOLECULES) | in_time | {
        "name": f"molecules in time: {source.name}", "size": 0.5 * spacing,
        "face_color": "transparent", "border_width": 0.12,
        "border_color": list(np.where(t["state"] == "up", "#ffb000", "#648fff")),
        "features": t.assign(state=pd.Categorical(t["state"])),
    }  # fmt: skip
    rings = common(source, FLIPS) | in_time | {
        "size": 1.1 * spacing, "face_color": "transparent", "border_color": "#ff2d78",
        "border_width": 0.08, "features": events,
    }  # fmt: skip
    columns = ["frame", "y_px", "x_px"]
    return [
        (t[columns].to_numpy(float), kwargs, "points"),
        (found.events[columns].to_numpy(float).reshape(-1, 3), rings, "points"),
    ]
