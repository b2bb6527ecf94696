"""What made a result: parameters, versions, hashes. Every run keeps this one record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

import numpy as np
import pandas as pd

from napari_atomlens import __version__
from napari_atomlens.atoms.quality import Quality, mean_quality
from napari_atomlens.files import Json
from napari_atomlens.image import Stack, image_hash
from napari_atomlens.io.formats.choice import sentence_of
from napari_atomlens.params import as_dict
from napari_atomlens.runs.plan import Plan
from napari_atomlens.runs.source import Source
from napari_atomlens.segmentation.runtime import half_precision

#: So many frames of a movie are hashed at most.
HASHED = 8


def begin(plan: Plan, source: Source) -> Json:
    """Return the record of a run before its first frame.

    Parameters
    ----------
    plan : Plan
    source : Source
    """
    return {
        "atomlens": __version__,
        "parameters": as_dict(plan.params),
        "model": plan.model.name,
        "model_chosen": plan.reason or "given",
        "contrast": "dark columns" if plan.dark else "bright columns",
        "square_pixels": list(plan.stretch),
        "notes": list(plan.notes),
        "precision": "bfloat16" if half_precision() else "float32",
        "model_sha256": plan.model.file_hash(),
        "file": source.name,
        **({"files": list(source.files)} if source.files else {}),
        "image": source.image_name or source.name,
        "images_left_out": list(source.left_out),
        **({"image_asked": source.asked} if source.asked else {}),
        "image_sha256": pixels_hash(source.movie),
        "image_shape": [int(s) for s in source.movie.shape],
        "pixel_size_nm": plan.pixel_size_nm,
        "technique": plan.technique,
        "window": plan.window,
        "spacing_px": {},
    }


def pixels_hash(movie: Stack) -> str:
    """Hash of the pixels of an image; of a movie of its size, type and a few of its frames.

    A movie may be larger than memory: its first frame, its last and others between them, evenly
    spaced, at most :data:`HASHED` in all, tell it from others. Frames that cannot be read count
    as such.

    Parameters
    ----------
    movie : Stack, shape (T, H, W)

    Returns
    -------
    str
        64 hexadecimal digits; "" where no frame can be read.
    """
    n = len(movie)
    if n == 1:
        return _frame_hash(movie, 0)
    chosen = sorted({round(k) for k in np.linspace(0, n - 1, min(n, HASHED))})
    found = [(k, _frame_hash(movie, k)) for k in chosen]
    if not any(text for _, text in found):
        return ""
    shape = [int(s) for s in movie.shape]
    return hashlib.sha256(json.dumps([shape, str(movie.dtype), found]).encode()).hexdigest()


def _frame_hash(movie: Stack, frame: int) -> str:
    """Hash of one frame, "" where it cannot be read."""
    try:
        return image_hash(np.asarray(movie[frame]))
    except (OSError, ValueError, RuntimeError):  # told by the analysis of this frame
        return ""


def finished(head: Json, rows: pd.DataFrame) -> Json:
    """Return the record with what the frames say.

    Parameters
    ----------
    head : mapping
        Of :func:`begin`.
    rows : pandas.DataFrame
        One row per frame: ``frame``, ``spacing_px``, ``window``, and its quality.
    """
    spacing = dict(zip(rows["frame"].astype(int).astype(str), rows["spacing_px"], strict=True))
    return {
        **head,
        "window": int(rows["window"].max()) if len(rows) else 1,
        "spacing_px": {f: float(s) for f, s in spacing.items()},
        "quality": _qualities(rows),
    }


def _qualities(rows: pd.DataFrame) -> Json:
    """Quality of each frame that has one."""
    names = [f.name for f in fields(Quality)]
    if not set(names) <= set(rows):
        return {}
    known = rows.dropna(subset=names)
    return {
        str(int(f)): {n: float(row[n]) for n in names}
        for f, (_, row) in zip(known["frame"], known.iterrows(), strict=True)
    }


def quality_of(record: Json) -> Quality | None:
    """Mean quality of the frames of a record; None where it tells nothing of it."""
    found = record.get("quality") or {}
    return mean_quality(Quality(**one) for one in found.values())


def messages_of(head: Json, rows: pd.DataFrame) -> list[str]:
    """Sentences for the user: what was decided and why, and what is wrong with which frame."""
    many = int((head.get("image_shape") or [1])[0]) > 1
    said = rows[rows["message"] != ""] if len(rows) else rows
    out = [
        f"Frame {f}: {text}" if many else str(text)
        for f, text in zip(said["frame"], said["message"], strict=True)
    ]
    out[:0] = [str(note) for note in head.get("notes") or ()]
    reason = head.get("model_chosen", "given")
    if reason != "given" and head.get("model") != "universal":
        out.insert(0, str(reason))
    asked = str(head.get("image_asked", ""))
    if choice := sentence_of(str(head.get("image", "")), head.get("images_left_out") or (), asked):
        out.insert(0, choice)
    return out
