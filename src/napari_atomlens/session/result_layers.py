"""The layers of an analysed image that was saved without a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.familiar import UNFAMILIAR
from napari_atomlens.session.results import ANY_ATOM, map_of

#: Data, attributes and type of a layer, as napari has them.
LayerTuple = tuple[Any, dict[str, Any], str]


def layers_of_result(payload: Mapping[str, Any], name: str) -> list[LayerTuple]:
    """Layers of an analysed image, as :meth:`napari_atomlens.Result.save` wrote it."""
    about = _About(payload, name)
    return [
        *_map_layer(payload, about),
        *_contour_layer(payload, about),
        _atom_layer(payload, about),
    ]


class _About:
    """What the layers of an analysed image share.

    Attributes
    ----------
    n_frames, ndim : int
    spacing_px : float
        NaN where it is not known.
    """

    def __init__(self, payload: Mapping[str, Any], name: str) -> None:
        self.provenance: dict[str, Any] = payload["provenance"]
        shape = self.provenance.get("image_shape") or [1]
        self.n_frames = int(shape[0])
        self.ndim = 3 if self.n_frames > 1 else 2
        self.image = str(self.provenance.get("image", name))
        spacing = [v for v in self.provenance.get("spacing_px", {}).values() if v == v]
        self.spacing_px = float(np.median(spacing)) if spacing else float("nan")

    def attributes(self, role: str, **more: Any) -> dict[str, Any]:
        """Attributes of a layer."""
        movie, size = self.ndim == 3, self.provenance.get("pixel_size_nm")
        entry = {
            "role": role, "source_id": "", "source_name": self.image,
            "spacing_px": self.spacing_px, "runs": [dict(self.provenance)],
        }  # fmt: skip
        return {
            "scale": ((1.0,) if movie else ()) + (tuple(size) if size else (1.0, 1.0)),
            "units": (("pixel",) if movie else ()) + (("nm", "nm") if size else ("pixel", "pixel")),
            "axis_labels": ("t", "y", "x")[-self.ndim :],
            "name": f"{role} · {self.image}",
            **more,
            "metadata": {"napari-atomlens": entry},
        }


#: Faces of atoms: filled where their neighbourhood is unfamiliar, else nothing.
UNFAMILIAR_FACE: dict[str, object] = {
    "face_color": "unfamiliar",
    "face_colormap": {
        "colors": [[0.0, 0.0, 0.0, 0.0], [0.55, 0.0, 0.25, 0.9]], "name": "unfamiliar atoms",
        "nan_color": "transparent",
    },
    "face_contrast_limits": (UNFAMILIAR - 1e-3, UNFAMILIAR + 1e-3),
}  # fmt: skip


def _map_layer(payload: Mapping[str, Any], about: _About) -> list[LayerTuple]:
    """Map of all atoms together, where maps were kept."""
    frames = [int(f) for f in payload["frames"]]
    if not frames or not payload["probabilities"].size:
        return []
    probabilities = np.asarray(payload["probabilities"])
    maps = np.zeros((about.n_frames, *probabilities.shape[-2:]), np.float16)
    for f, one in zip(frames, probabilities, strict=True):
        maps[f] = map_of(one, payload["classes"], ANY_ATOM)
    look = {"contrast_limits": (0.0, 1.0), "colormap": "viridis", "visible": False}
    attributes = about.attributes("probability", **look)
    return [(maps if about.ndim == 3 else maps[0], attributes, "image")]


def _contour_layer(payload: Mapping[str, Any], about: _About) -> list[LayerTuple]:
    """Outlines as shapes, where there are any."""
    outlines = [
        np.column_stack([np.full(len(o), float(f)), o])[:, -about.ndim :]
        for f, group in payload["outlines"].items()
        for o in group
    ]
    look = {"shape_type": "polygon", "face_color": "transparent", "edge_color": "#3ddc97",
            "edge_width": 0.4}  # fmt: skip
    return [(outlines, about.attributes("contours", **look), "shapes")] if outlines else []


def _atom_layer(payload: Mapping[str, Any], about: _About) -> LayerTuple:
    """Atoms as points."""
    atoms: pd.DataFrame = payload["atoms"]
    columns = ["frame", "y_px", "x_px"][-about.ndim :]
    features = tables.make("atoms", {str(c): atoms[c].to_numpy() for c in atoms}, len(atoms))
    features["species"] = pd.Categorical(features["species"].astype(str))
    size = 0.33 * about.spacing_px if np.isfinite(about.spacing_px) else 4.0
    attributes = about.attributes(
        "atoms", features=features, ndim=about.ndim, **UNFAMILIAR_FACE,
        border_color="#4cc9f0", border_width=0.2, size=size,
    )  # fmt: skip
    return np.array(atoms[columns], dtype=float).reshape(-1, about.ndim), attributes, "points"
