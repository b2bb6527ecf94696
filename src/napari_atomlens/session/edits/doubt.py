"""Which atoms to look at first: doubtful ones, the most doubtful of a frame before the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Atoms that are this certain are not worth a look.
CERTAIN = 0.9


def doubt(atoms: pd.DataFrame) -> np.ndarray:
    """How doubtful each atom is, 0 to 1.

    Atoms that the user edited are certain. Otherwise it is the larger of what lacks of the
    probability to 1 and, where an atom has no error bars although others of its frame have
    some, 0.3: its fit failed.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table.

    Returns
    -------
    ndarray, shape (n,)
    """
    if not len(atoms):
        return np.zeros(0)
    p = atoms["probability"].to_numpy(float)
    out = np.where(np.isfinite(p), 1 - p, 0.0)
    fitted = atoms["fit_ok"].astype(bool)
    some = fitted.groupby(atoms["frame"]).transform("any").to_numpy()
    out = np.maximum(out, np.where(some & ~fitted.to_numpy(), 0.3, 0.0))
    mine = atoms["edited"].astype(bool) | (atoms["source"].astype(str) == "user")
    return np.where(mine.to_numpy(), 0.0, out)


def next_doubtful(
    atoms: pd.DataFrame, frame: int, current: int | None = None, certain: float = CERTAIN
) -> int | None:
    """Id of the atom to look at next.

    The most doubtful one of the frame comes first, then the less doubtful ones, then those
    of the following frames, and those of the first frame after the last.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table.
    frame : int
        Frame that is shown.
    current : int, optional
        Atom that one looks at now.
    certain : float
        Atoms with a doubt of less than ``1 - certain`` are passed over.

    Returns
    -------
    int or None
        None where no atom is doubtful.
    """
    worth = doubt(atoms)
    table = pd.DataFrame(
        {"frame": atoms["frame"].to_numpy(), "id": atoms["atom_id"].to_numpy(), "doubt": worth}
    )[worth > 1 - certain + 1e-12]
    if not len(table):
        return None
    # frames from the one that is shown on, and round
    later = (table["frame"] - frame) % (int(atoms["frame"].max()) + 1)
    table = table.assign(later=later).sort_values(
        ["later", "doubt", "id"], ascending=[True, False, True], kind="stable"
    )
    ids = table["id"].tolist()
    if current in ids:
        return int(ids[(ids.index(current) + 1) % len(ids)])
    return int(ids[0])
