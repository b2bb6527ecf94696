"""Which atoms stand where the image is like what the model was trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Atoms above this are left out of what is made of atoms: nobody knows whether they are any.
UNFAMILIAR = 0.5


def is_unfamiliar(atoms: pd.DataFrame) -> np.ndarray:
    """Mask of the atoms whose neighbourhood is unlike what the model was trained on.

    Lattice, bonds, defects and counts leave them out by default. What the user added, moved or
    said is never left out, nor are atoms of which nobody knows how familiar they are.

    Examples
    --------
    >>> import pandas as pd
    >>> is_unfamiliar(pd.DataFrame({"unfamiliar": [0.1, 0.9, 0.9], "edited": [False, False, True]}))
    array([False,  True, False])
    """
    if "unfamiliar" not in atoms:
        return np.zeros(len(atoms), bool)
    mask = atoms["unfamiliar"].to_numpy(float) > UNFAMILIAR
    if "edited" in atoms:
        mask &= ~atoms["edited"].to_numpy(bool)
    if "source" in atoms:
        mask &= ~atoms["source"].astype(str).isin(("user", "lattice")).to_numpy()
    return np.asarray(mask)


def familiar(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return the atoms that are not :func:`is_unfamiliar`, their rows numbered from 0."""
    return atoms[~is_unfamiliar(atoms)].reset_index(drop=True)
