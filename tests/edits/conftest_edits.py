"""A small movie of atoms to correct."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_atomlens import tables

SPACING = 10.0


def machine_atoms(n_frames: int = 3, side: int = 4, seed: int = 0) -> pd.DataFrame:
    """Atoms on a square lattice, as a model would give them."""
    rng = np.random.default_rng(seed)
    parts = []
    for f in range(n_frames):
        places = SPACING * np.argwhere(np.ones((side, side))) + 5 + rng.normal(0, 0.3, (side**2, 2))
        kept = places[rng.random(side**2) < 0.9]
        n = len(kept)
        parts.append(
            tables.make(
                "atoms",
                {
                    "frame": f, "atom_id": f * tables.IDS_PER_FRAME + np.arange(n),
                    "y_px": kept[:, 0], "x_px": kept[:, 1], "y_nm": kept[:, 0] * 0.1,
                    "x_nm": kept[:, 1] * 0.1, "species": "column",
                    "probability": rng.uniform(0.5, 1, n), "amplitude": 1.0, "sigma_px": 2.0,
                    "fit_ok": True, "source": "fit", "aspect": rng.uniform(1, 1.2, n),
                },
                n,
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)
