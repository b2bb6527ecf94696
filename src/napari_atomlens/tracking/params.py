"""What linking and following may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_atomlens.params import Params, param


@dataclass(frozen=True)
class LinkParams(Params):
    """How atoms are followed from frame to frame. Zero means "find it in the movie".

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import pandas as pd
    >>> truth = al.simulate("honeycomb", (96, 96), 12.0)[1]
    >>> atoms = pd.concat([truth.atoms(frame=t) for t in range(5)], ignore_index=True)
    >>> linked = al.link(atoms, al.LinkParams(motion="last", max_gap=0))
    """

    search_px: float = param(
        0.0, "farthest an atom goes between frames, drift apart; 0 takes 0.45 of the spacing",
        unit="px", ge=0, le=1e4,
    )  # fmt: skip
    max_gap: int = param(
        3, "frames an atom may be missed before its track ends; -1 for any number", ge=-1, le=10**6
    )
    motion: Literal["auto", "last", "site", "velocity"] = param(
        "auto",
        "where an atom is expected: as the movie shows, where it was last, where it was on "
        "average, or on with its velocity",
    )
    drift: Literal["auto", "none"] = param("auto", "remove the drift that is common to all atoms")
    species: Literal["varies", "stays"] = param(
        "varies", "whether the species of an atom may change along its track"
    )
    jump_px: float = param(
        0.0, "an atom that vanishes is the one that appears within this distance; 0 takes a "
        "spacing, where atoms are few and their number stays; -1 for never",
        unit="px", ge=-1, le=1e5,
    )  # fmt: skip


@dataclass(frozen=True)
class DumbbellParams(Params):
    """How dumbbells are found and followed. Zero means "find it in the movie".

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.DumbbellParams(length_px=6.0, polar="never").polar
    'never'
    """

    length_px: float = param(
        0.0, "length of a dumbbell; 0 finds it", unit="px", ge=0, le=1e4
    )  # fmt: skip
    separation: float = param(
        1.25, "second neighbours of most columns are at least this much further than the first; "
        "else there are no dumbbells", ge=1.0, le=10,
    )  # fmt: skip
    max_gap: int = param(
        -1,
        "frames a dumbbell may be missed and still be itself; -1 for any number",
        ge=-1,
        le=10**6,
    )
    polar: Literal["auto", "always", "never"] = param(
        "auto", "whether column a is the brighter one: found, always or never"
    )


@dataclass(frozen=True)
class MovingDefectParams(Params):
    """How defects are followed. Zero means "find it in the movie".

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.MovingDefectParams(search_px=20.0, max_gap=0).search_px
    20.0
    """

    search_px: float = param(
        0.0, "farthest a defect goes between frames; 0 takes 6 times the spacing of the atoms",
        unit="px", ge=0, le=1e4,
    )  # fmt: skip
    max_gap: int = param(2, "frames a defect may be missed before its track ends", ge=-1, le=10**6)
