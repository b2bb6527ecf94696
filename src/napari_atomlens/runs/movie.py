"""Long movies: results go to disk frame by frame, and a killed run goes on where it stopped.

The folder holds Parquet parts of a fixed number of frames. A part is complete or not there at
all: it is written beside its place and renamed. The frames of the part that is being made are
single files until it is complete, so that a killed run has nothing to do again but the frames it
was at. Memory holds the frames of one part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_atomlens import __version__, tables
from napari_atomlens.errors import FormatError
from napari_atomlens.image import as_stack, check_pixel_size, image_hash
from napari_atomlens.io.formats.readers import read
from napari_atomlens.params import as_dict
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs.params import AnalysisParams
from napari_atomlens.runs.plan import ENOUGH
from napari_atomlens.tracking.changes import ChangeParams
from napari_atomlens.tracking.following import follow, save_followed
from napari_atomlens.tracking.linking import LinkParams

if TYPE_CHECKING:
    from napari_atomlens.tracking.changes import ChangeParams
    from napari_atomlens.tracking.following import Followed
    from napari_atomlens.tracking.linking import LinkParams

#: Frames per part.
PART = 50
_TABLES = ("atoms", "contours")


def _fingerprint(movie: Any, params: AnalysisParams, frames: list[int]) -> str:
    """What a folder must have been made of to be continued."""
    head = {
        "version": __version__, "parameters": as_dict(params),
        "shape": [int(s) for s in movie.shape], "frames": [frames[0], frames[-1], len(frames)],
        "first_frame": image_hash(movie[frames[0]]),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def _write_note(note: Path, text: dict[str, Any]) -> None:
    temporary = note.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(text, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, note)


def _write(place: Path, table: pd.DataFrame) -> None:
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    table.to_parquet(temporary, index=False)
    os.replace(temporary, place)


def stream_movie(
    source: Any,
    folder: str | Path,
    params: AnalysisParams = AnalysisParams(),
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    frames: list[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Analyse a movie into a folder; yields as it goes, and goes on where an earlier run stopped.

    Parameters
    ----------
    source : path or array-like, shape (T, H, W)
        dask and zarr arrays and files are read one frame at a time.
    folder : path
        Where the parts go; made if it is missing.
    params : AnalysisParams
    pixel_size_nm : float or tuple of float, optional
        Overrides what the file says.
    frames : list of int, optional
        Which frames; all by default.
    progress : callable, optional
        Called with (frames done, frames in all), frames of earlier runs included.
    cancelled : callable, optional
        Asked between frames; finished parts stay.

    Yields
    ------
    frame : int
    atoms : pandas.DataFrame
        Atoms of that frame, as soon as they are there (those of earlier runs are not repeated).

    Raises
    ------
    FormatError
        If the folder holds the results of another movie or of other parameters.
    """
    if isinstance(source, (str, Path)):
        image = read(source)[0]
        source = image.data
        pixel_size_nm = image.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
    movie = as_stack(source)
    order = list(range(movie.shape[0])) if frames is None else [int(f) for f in frames]
    if not order:
        return
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    note = where / "movie.json"
    mark = _fingerprint(movie, params, order)
    if note.exists():
        try:
            text = json.loads(note.read_text(encoding="utf-8"))
            known = text["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{where.name} is damaged: its movie.json cannot be read.") from error
        if known != mark:
            raise FormatError(
                f"{where.name} holds the results of another movie or of other parameters; "
                "choose another folder."
            )
    else:
        text = {
            "fingerprint": mark, "atomlens": __version__, "parameters": as_dict(params),
            "n_frames": len(order), "part": PART, "pixel_size_nm": pixel_size_nm,
            "image_shape": [int(s) for s in movie.shape],
        }  # fmt: skip
        _write_note(note, text)
    parts = [order[k : k + PART] for k in range(0, len(order), PART)]
    # the atoms are written last: where they are, the part or the frame is complete
    todo = [k for k in range(len(parts)) if not _part(where, "atoms", k).exists()]
    slots = [(k, i) for k in todo for i in range(len(parts[k]))]
    ready = {s for s in slots if _single(where, "atoms", *s).exists()}
    missing = [s for s in slots if s not in ready]
    done = len(order) - len(missing)
    if progress and done:
        progress(done, len(order))
    size = check_pixel_size(pixel_size_nm)
    for k in todo:  # an earlier run ended between the last frame of a part and the part
        if all((k, i) in ready for i in range(len(parts[k]))):
            _close_part(where, k, len(parts[k]))
    if not missing:
        return
    # what the first frames gave (scale, model, window) is that of later runs as well
    model = str(text.get("model") or params.model)
    given = params.spacing_px or float(text.get("spacing_px") or 0.0)
    window = int(text.get("window", params.window))
    for slot, result in zip(
        missing,
        loop.analyze_frames(
            movie, replace(params, model=model, spacing_px=given, window=window),
            pixel_size_nm=size, frames=[parts[k][i] for k, i in missing], cancelled=cancelled,
        ),
        strict=False,
    ):  # fmt: skip
        for name in reversed(_TABLES):
            _write(_single(where, name, *slot), getattr(result, name))
        if not given and len(result.atoms) >= ENOUGH:
            given = text["spacing_px"] = float(result.spacing_px)
            text["window"], text["model"] = int(result.window), str(result.model)
            _write_note(note, text)
        ready.add(slot)
        part = slot[0]
        if all((part, i) in ready for i in range(len(parts[part]))):
            _close_part(where, part, len(parts[part]))
        done += 1
        if progress:
            progress(done, len(order))
        yield result.frame, result.atoms


def _part(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}-{number:06d}.parquet"


def _single(folder: Path, name: str, part: int, index: int) -> Path:
    """File of one frame of a part that is not complete."""
    return folder / f"{name}-{part:06d}-{index:03d}.parquet"


def _close_part(folder: Path, number: int, n_frames: int) -> None:
    """Join the files of the frames of a part."""
    for name in reversed(_TABLES):
        single = [_single(folder, name, number, i) for i in range(n_frames)]
        full = [t for f in single if len(t := _read(f))]
        table = pd.concat(full, ignore_index=True) if full else tables.empty(name)
        _write(_part(folder, name, number), table)
    for name in _TABLES:
        for i in range(n_frames):
            _single(folder, name, number, i).unlink(missing_ok=True)


def _read(file: Path, columns: list[str] | None = None) -> pd.DataFrame:
    try:
        return pd.read_parquet(file, columns=columns)
    except Exception as error:  # damaged files raise errors of every type
        raise FormatError(f"{file.name} is damaged: {type(error).__name__}.") from error


def load_stream(
    folder: str | Path, name: str = "atoms", columns: list[str] | None = None
) -> pd.DataFrame:
    """Read what :func:`stream_movie` wrote so far.

    Parameters
    ----------
    folder : path
    name : str
        "atoms" or "contours".
    columns : list of str, optional
        Only these; four columns are enough for linking and take a fifth of the memory.

    Raises
    ------
    FormatError
        If there is nothing, or a part is damaged.
    """
    where = Path(folder)
    whole = {f.stem: f for f in where.glob(f"{name}-??????.parquet")}
    single = [
        f
        for f in where.glob(f"{name}-??????-???.parquet")
        if f.stem.rpartition("-")[0] not in whole
    ]
    files = sorted([*whole.values(), *single], key=lambda f: f.stem)
    if not files:
        raise FormatError(f"{where.name} holds no {name}.")
    parts = [_read(f, columns) for f in files]
    full = [p for p in parts if len(p)]
    return pd.concat(full, ignore_index=True) if full else parts[0]


#: What following needs of the atoms; a third of the memory of the whole table.
_FOLLOWED = (
    "frame", "atom_id", "y_px", "x_px", "y_nm", "x_nm", "species", "amplitude", "sigma_px",
    "background", "y_err_px", "x_err_px", "fit_ok",
)  # fmt: skip
_OUTLINES = ("frame", "atom_id", "area_px2", "major_px", "minor_px", "orientation_rad",
             "offset_y_px", "offset_x_px")  # fmt: skip


def follow_stream(
    folder: str | Path,
    *,
    linking: LinkParams | None = None,
    changes: ChangeParams | None = None,
    progress: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Followed:
    """Follow everything that :func:`stream_movie` found, and write it beside it.

    ``tracks.csv``, ``dumbbells.csv``, ``changes.csv``, ``events.csv``, ``drift.csv`` and
    ``provenance.json``; nothing is written where it is cancelled.

    Parameters
    ----------
    folder : path
        A folder of :func:`stream_movie`, complete or as far as it is.
    linking, changes : LinkParams, ChangeParams, optional
    progress : callable, optional
        Called with what is being done.
    cancelled : callable, optional
        Asked between the stages.

    Raises
    ------
    FormatError
        If the folder holds no atoms, or is damaged.
    """
    where = Path(folder)
    linking, changes = linking or LinkParams(), changes or ChangeParams()
    try:
        note = json.loads((where / "movie.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{where.name} is no folder of an analysed movie.") from error
    atoms = load_stream(where, columns=list(_FOLLOWED))
    outlines = None
    if next(where.glob("contours-*.parquet"), None) is not None:
        outlines = load_stream(where, "contours", columns=list(_OUTLINES))
    followed = follow(
        atoms, outlines, linking=linking, changes=changes, pixel_size_nm=note.get("pixel_size_nm"),
        progress=progress, cancelled=cancelled,
    )  # fmt: skip
    if not (cancelled and cancelled()):
        save_followed(
            followed, where,
            {**note, "linking": as_dict(linking), "changes": as_dict(changes),
             "frames_followed": int(atoms["frame"].nunique())},
        )  # fmt: skip
    return followed
