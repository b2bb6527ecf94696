"""Recipes of the materials whose models come with the plugin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_atomlens.graphs.projection import ProjectedColumns
from napari_atomlens.simulation.material_scenes import Defect, Recipe


def _monolayer(metal: str, chalcogen: str, a_nm: float) -> ProjectedColumns:
    """2H monolayer along its normal: metal, and a chalcogen pair."""
    b = a_nm / np.sqrt(3)
    cell = np.array([[0, a_nm], [1.5 * b, a_nm / 2]])
    return ProjectedColumns(
        f"{metal}{chalcogen}2", cell, np.array([[0, 0], [b, 0]]), ((metal,), (chalcogen,) * 2)
    )


def tmd() -> Recipe:
    """2H monolayers in which the metal is brighter than the pair of chalcogens.

    In MoSe2, WTe2 and MoTe2 it is not, and which column is the metal cannot be told from
    brightness: they are no part of it.
    """
    structures = (
        _monolayer("W", "S", 0.315), _monolayer("Mo", "S", 0.316), _monolayer("W", "Se", 0.328),
        _monolayer("Nb", "S", 0.332), _monolayer("Ta", "S", 0.336), _monolayer("Re", "S", 0.318),
    )  # fmt: skip
    metals = ("V", "Ti", "Cr", "Nb", "Mo", "Ta", "W", "Re")
    return Recipe(
        "tmd", "2H-MX2 monolayer", structures, (("metal", "chalcogen pair"),) * len(structures),
        (
            Defect("chalcogen pair", "single chalcogen", take=1, fraction=(0.004, 0.15)),
            Defect("chalcogen pair", "", fraction=(0.003, 0.05)),
            Defect("metal", "", fraction=(0.003, 0.03)),
            # mixed chalcogens are pairs as well
            Defect("chalcogen pair", "chalcogen pair", ("Se", "Te"), take=1, ratio=(1.2, 4.0),
                   fraction=(0.02, 0.4)),
            Defect("chalcogen pair", "chalcogen pair", ("Se", "Te"), ratio=(1.2, 4.0),
                   fraction=(0.02, 0.4)),
            Defect("metal", "light metal", metals, ratio=(0.2, 0.75), fraction=(0.004, 0.12)),
            Defect("metal", "heavy metal", metals, ratio=(1.3, 6.0), fraction=(0.004, 0.12)),
        ),
    )  # fmt: skip


def perovskite() -> Recipe:
    """ABO3 along <001> in which A is brighter than B with its oxygen; other O is too faint."""

    def cubic(a_site: str, b_site: str, a_nm: float) -> ProjectedColumns:
        half = a_nm / 2
        places = np.array([[0, 0], [half, half], [half, 0], [0, half]])
        return ProjectedColumns(
            f"{a_site}{b_site}O3", a_nm * np.eye(2), places,
            ((a_site,), (b_site, "O"), ("O",), ("O",)),
        )  # fmt: skip

    structures = (
        cubic("Sr", "Ti", 0.3905), cubic("Ba", "Ti", 0.4000), cubic("Pb", "Ti", 0.395),
        cubic("La", "Mn", 0.389), cubic("Nd", "Mn", 0.385), cubic("Bi", "Fe", 0.396),
        cubic("Dy", "Sc", 0.395), cubic("Pb", "Zr", 0.412), cubic("Nd", "Ni", 0.381),
    )  # fmt: skip
    return Recipe(
        "perovskite", "ABO3 perovskite <001>", structures, (("A", "B", "", ""),) * len(structures),
        (
            Defect("A", "weak column", keep=(0.35, 0.7), fraction=(0.003, 0.08)),
            Defect("B", "weak column", keep=(0.3, 0.65), fraction=(0.003, 0.08)),
            Defect("A", "", fraction=(0.002, 0.03)),
            Defect("B", "", fraction=(0.002, 0.03)),
        ),
        thick=True,
    )  # fmt: skip


RECIPES: dict[str, Callable[[], Recipe]] = {f.__name__: f for f in (tmd, perovskite)}
