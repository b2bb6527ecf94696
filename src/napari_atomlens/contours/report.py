"""Everything about every site in one table: contours, the raw image, and what is unusual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens.contours.anomalies import AnomalyParams, find_anomalies
from napari_atomlens.contours.descriptors import describe_contours
from napari_atomlens.contours.evidence import describe_sites
from napari_atomlens.contours.polygons import ragged
from napari_atomlens.contours.tracing import trace
from napari_atomlens.image import Pixels, as_stack
from napari_atomlens.progress import ProgressLike, as_progress

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def describe_all(
    image: ArrayLike | Pixels,
    atoms: pd.DataFrame,
    probability: ArrayLike | Pixels | None = None,
    *,
    pixel_size_nm: tuple[float, float] | None = None,
    params: AnomalyParams = AnomalyParams(),
    progress: ProgressLike = None,
) -> Iterator[tuple[int, int, pd.DataFrame | None]]:
    """Describe all sites of an image or movie, frame by frame.

    Parameters
    ----------
    image : array-like, shape (H, W) or (T, H, W)
    atoms : pandas.DataFrame
        Atoms table.
    probability : array-like, optional
        Probability of a column, (H, W) or (T, H, W), for the contours; without it there are
        the measurements on the raw image only.
    pixel_size_nm : tuple of float, optional
        (y, x).
    params : AnomalyParams
    progress : Progress or callable, optional
        Asked before each frame whether to stop.

    Yields
    ------
    done, total, table
        Frames done and in all; the table comes with the last, None before.
    """
    stack = as_stack(image)
    maps = None if probability is None else as_stack(probability)
    frames = sorted(int(f) for f in atoms["frame"].unique())
    parts, watch = [], as_progress(progress)
    for done, frame in enumerate(frames, start=1):
        if watch.stopped:
            return
        mine = atoms[atoms["frame"] == frame].reset_index(drop=True)
        one = np.asarray(stack[frame])
        sites = describe_sites(one, mine.assign(frame=0)).assign(frame=frame)
        if maps is not None and len(mine):
            plane = np.asarray(maps[frame], np.float32)
            centres = mine[["y_px", "x_px"]].to_numpy(float)
            # the sites found just now serve the offsets of the contours
            found = mine.assign(frame=0, **{
                c: sites[c].to_numpy()[: len(mine)] for c in ("site_y_px", "site_x_px")
            })  # fmt: skip
            contours = describe_contours(
                {0: ragged(*trace(plane, centres))}, found, probability=plane, image=one,
                pixel_size_nm=pixel_size_nm,
            ).drop(columns=["frame", "anomaly_p", "anomaly_class"])  # fmt: skip
            fresh = [c for c in contours if c == "atom_id" or c not in sites]
            sites = sites.merge(contours[fresh], on="atom_id", how="left", validate="1:1")
        rest = [c for c in mine if c == "atom_id" or c not in sites]
        parts.append(sites.merge(mine[rest], on="atom_id", how="left", validate="1:1"))
        if done < len(frames):
            yield done, len(frames), None
    if parts:
        table = pd.concat(parts, ignore_index=True)
        yield len(frames), len(frames), find_anomalies(table, params)
