"""Long movies: results go to disk frame by frame, and a killed run goes on where it stopped.

The folder holds Parquet parts of a fixed number of frames. A part is complete or not there at
all: it is written beside its place and renamed. Memory holds the frames of one part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from napari_atomlens import __version__, analysis, tables
from napari_atomlens.analysis import AnalysisParams
from napari_atomlens.errors import FormatError
from napari_atomlens.params import as_dict

#: Frames per part: what a killed run has to do again at most.
PART = 50
_TABLES = ("atoms", "contours")


def _fingerprint(movie: Any, params: AnalysisParams, frames: list[int]) -> str:
    """What a folder must have been made of to be continued."""
    head = {
        "version": __version__, "parameters": as_dict(params),
        "shape": [int(s) for s in movie.shape], "frames": [frames[0], frames[-1], len(frames)],
        "first_frame": analysis.image_hash(movie[frames[0]]),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def _write_part(folder: Path, name: str, number: int, table: pd.DataFrame) -> None:
    place = folder / f"{name}-{number:06d}.parquet"
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
        from napari_atomlens.io import read

        image = read(source)[0]
        source = image.data
        pixel_size_nm = image.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
    movie = analysis.as_stack(source)
    order = list(range(movie.shape[0])) if frames is None else [int(f) for f in frames]
    if not order:
        return
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    note = where / "movie.json"
    mark = _fingerprint(movie, params, order)
    if note.exists():
        try:
            known = json.loads(note.read_text(encoding="utf-8"))["fingerprint"]
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
        }  # fmt: skip
        temporary = note.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(text, indent=1, default=str) + "\n", encoding="utf-8")
        os.replace(temporary, note)
    parts = [order[k : k + PART] for k in range(0, len(order), PART)]
    # the part of the atoms is written last: where it is, its part is complete
    todo = [k for k in range(len(parts)) if not (where / f"atoms-{k:06d}.parquet").exists()]
    done = len(order) - sum(len(parts[k]) for k in todo)
    if progress and done:
        progress(done, len(order))
    size = analysis.check_pixel_size(pixel_size_nm)
    wanted = [f for k in todo for f in parts[k]]
    if not wanted:
        return
    kept: dict[str, list[pd.DataFrame]] = {n: [] for n in _TABLES}
    at, left = 0, len(parts[todo[0]])
    for result in analysis.analyze_frames(
        movie, params, pixel_size_nm=size, frames=wanted, cancelled=cancelled
    ):
        for name in _TABLES:
            kept[name].append(getattr(result, name))
        done, left = done + 1, left - 1
        if not left:
            for name in reversed(_TABLES):
                full = [t for t in kept[name] if len(t)]
                table = pd.concat(full, ignore_index=True) if full else tables.empty(name)
                _write_part(where, name, todo[at], table)
            kept = {n: [] for n in _TABLES}
            at += 1
            left = len(parts[todo[at]]) if at < len(todo) else 0
        if progress:
            progress(done, len(order))
        yield result.frame, result.atoms


def load_stream(
    folder: str | Path, name: str = "atoms", columns: list[str] | None = None
) -> pd.DataFrame:
    """Read what :func:`stream_movie` wrote, as far as it is complete.

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
    files = sorted(where.glob(f"{name}-??????.parquet"))
    if not files:
        raise FormatError(f"{where.name} holds no {name}.")
    parts = []
    for file in files:
        try:
            parts.append(pd.read_parquet(file, columns=columns))
        except Exception as error:  # damaged files raise errors of every type
            raise FormatError(f"{file.name} is damaged: {type(error).__name__}.") from error
    full = [p for p in parts if len(p)]
    return pd.concat(full, ignore_index=True) if full else parts[0]
