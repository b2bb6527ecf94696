"""What a search for defects hands on: a finding, and the words of its formula."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

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
