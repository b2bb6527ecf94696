"""What a search for defects hands on: a finding, and the words of its formula."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass
class Finding:
    """One defect on the way to its row."""

    rows: np.ndarray  # all its atoms
    core: np.ndarray  # those that make it a defect
    formula: str
    kind: str
    pairs: np.ndarray
    log_score: float
    rings: list[int] = field(default_factory=list)
    coordination: int = -1
    angle_std: float = float("nan")
    named: bool = False  # by what it is, whatever its neighbours
    place: np.ndarray | None = None  # of what is not there
    length_px: float = float("nan")  # of a line
    area_px2: float = float("nan")  # of what covers one


#: A defect has at most so many atoms; what has more is a line with a length or a region with an
#: area.
MOST_ATOMS = 60


def bounded(found: Finding, places: np.ndarray, spacing_px: float) -> Finding:
    """Return a defect of at most `MOST_ATOMS` atoms: those nearest to its centre.

    Parameters
    ----------
    found : Finding
    places : ndarray, shape (n, 2)
        Of all atoms, in pixels.
    spacing_px : float
        Usual length of a bond.

    Returns
    -------
    Finding
        As it is, if it is small. Boundaries get their length, everything else its area and the
        kind "disordered region"; formulas of hundreds of atoms are left out.
    """
    mine = places[found.rows]
    if found.kind == "grain boundary" and len(mine) > 1:
        found = replace(found, length_px=float(np.hypot(*np.ptp(mine, axis=0))))
    if len(found.rows) <= MOST_ATOMS:
        return found
    line = found.kind == "grain boundary"
    centre = mine.mean(axis=0)
    order = np.argsort(np.linalg.norm(mine - centre, axis=1), kind="stable")[:MOST_ATOMS]
    rows = np.sort(found.rows[order])
    core = found.core[np.isin(found.core, rows)]
    return replace(
        found, rows=rows, core=core if len(core) else rows,
        pairs=found.pairs[np.isin(found.pairs, rows).all(axis=1)],
        formula=found.kind if line else "disordered region",
        kind=found.kind if line else "disordered region", place=centre, rings=[],
        area_px2=float("nan") if line else _area(mine, spacing_px),
    )  # fmt: skip


def _area(places: np.ndarray, spacing_px: float) -> float:
    """Area within reach of some places: squares of half a spacing that hold one or touch it."""
    cell = max(spacing_px, 1e-9)
    squares = np.unique(np.floor(places / cell).astype(np.int64), axis=0)
    return float(len(squares) * cell**2)


def hill(counts: Counter[str], host: tuple[str, ...]) -> str:
    """Write a formula: foreign species first, then the host's, each with its number."""
    foreign = sorted(s for s in counts if s not in host)
    own = [s for s in host if s in counts]
    return "".join(
        f"({s}){counts[s]}" if s[-1:].isdigit() else f"{s}{counts[s]}" for s in [*foreign, *own]
    )


def join_labels(labels: list[str]) -> str:
    """Join the names of point defects: Mo_W+V_S, 2V_S."""
    counts = Counter(labels)
    return "+".join(f"{n}{name}" if n > 1 else name for name, n in sorted(counts.items()))
