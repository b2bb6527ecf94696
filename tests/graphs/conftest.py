"""Atoms tables of relaxed graphene with known defects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from napari_atomlens import tables
from napari_atomlens.simulation.graphene_defects import Sheet, graphene_sheet


def atoms_of(sheet: Sheet, *, pixel_size_nm: float | None = 0.01, frame: int = 0) -> pd.DataFrame:
    """Atoms table of a sheet."""
    places = sheet.places_nm
    size = pixel_size_nm or 0.01
    nm = places if pixel_size_nm else np.full_like(places, np.nan)
    return tables.make(
        "atoms",
        {
            "frame": frame, "atom_id": np.arange(len(places)) + 10_000_000 * frame,
            "y_px": places[:, 0] / size, "x_px": places[:, 1] / size,
            "y_nm": nm[:, 0], "x_nm": nm[:, 1], "species": sheet.species, "probability": 0.99,
        },
        len(places),
    )  # fmt: skip


@pytest.fixture(scope="session")
def table() -> Callable[..., pd.DataFrame]:
    """Make the atoms table of a sheet."""
    return atoms_of


@pytest.fixture(scope="session")
def sheets() -> dict[str, Sheet]:
    """One sheet for each kind of defect."""
    names = ("Si1C3", "Si1C4", "Si2C4", "Si2C5", "Si2C6", "Si3C6", "Si4C6")
    return {
        n: graphene_sheet((2.6, 2.6), [(n, (1.3, 1.3))], rotation_rad=0.3, seed=2)
        for n in (*names, "Stone-Wales", "5-8-5", "V_C")
    }
