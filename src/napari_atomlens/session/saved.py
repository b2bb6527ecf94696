"""Sessions in a project without a window: saved, and opened again with every edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_atomlens.image import PixelSize, to_nm
from napari_atomlens.session.edits import Corrections
from napari_atomlens.session.project import CORRECTIONS, load_workspace, save_workspace
from napari_atomlens.session.result_layers import LayerTuple, layers_of_result
from napari_atomlens.session.session import Session

KEY = "napari-atomlens"


def save_session(session: Session, path: str | Path) -> Path:
    """Write a session as a project, as a window of its image would.

    Parameters
    ----------
    session : Session
    path : path
        ``.atomlens`` is added where it is missing.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    FormatError
        If it cannot be written, or a window has the project open.
    """
    results, pixels = session.results, session.pixels
    frames = max([*session.corrections.frames(), 0]) + 1
    shape = pixels.stack.shape if pixels is not None else results.shape or (frames, 0, 0)
    provenance = results.provenance | {
        "image": session.name, "image_shape": list(shape), "pixel_size_nm": session.pixel_size,
        "spacing_px": {"0": session.spacing_px},
    }  # fmt: skip
    payload: dict[str, Any] = {
        "atoms": session.features(), "provenance": provenance, "frames": [],
        "probabilities": np.zeros(0), "classes": results.classes,
        "outlines": {f: session.outlines[f][1] for f in session.outlines},
    }  # fmt: skip
    layers = layers_of_result(payload, session.name)
    _, attributes, _ = layers[-1]
    attributes["metadata"][CORRECTIONS] = session.corrections
    attributes["metadata"][KEY]["runs"] = results.runs
    if pixels is not None:
        place = {k: attributes[k] for k in ("scale", "units", "axis_labels")}
        layers.insert(0, (pixels.data, {"name": session.name, **place}, "image"))
    return save_workspace(path, layers)


def open_sessions(path: str | Path) -> list[Session]:
    """Open the sessions of a project that a window or :func:`save_session` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Session
        One for each layer of atoms that can be edited, with its pixels where they are there.

    Raises
    ------
    FormatError
        If it is missing, not a project, damaged or of a later version.
    """
    layers = load_workspace(path).layers
    found = [_session_of(a, layers) for _, a, _ in layers if CORRECTIONS in a["metadata"]]
    return [session for session in found if session is not None]


def _session_of(attributes: dict[str, Any], layers: list[LayerTuple]) -> Session | None:
    """Session of a layer of atoms, and of the image that is named as the one it was found in."""
    corrections = attributes["metadata"][CORRECTIONS]
    if not isinstance(corrections, Corrections):
        return None
    entry = attributes["metadata"].get(KEY) or {}
    name = str(entry.get("source_name") or attributes.get("name", ""))
    session = Session(name, _pixel_size(attributes))
    session.corrections = corrections
    session.results.runs = list(entry.get("runs", []))
    for data, image, kind in layers:
        if kind == "image" and image.get("name") == name:
            labels = image.get("axis_labels") or ()
            session.set_pixels(data, bool(image.get("rgb")), labels)
    return session


def _pixel_size(attributes: dict[str, Any]) -> PixelSize | None:
    """Pixel size (y, x) in nm by the scale of a layer, None where its units are no lengths."""
    scale, units = attributes.get("scale"), attributes.get("units")
    if scale is None or units is None:
        return None
    y, x = (to_nm(s, str(u)) for s, u in zip(list(scale)[-2:], list(units)[-2:], strict=True))
    return (y, x) if y and x else None
