"""Recipes from a crystal file and a few lines of TOML: a model for a lab's own material.

A recipe file looks like this; every line may be left out::

    material = "WSe2 monolayer"
    zone_axis = [0, 0, 1]
    thick = false            # a crystal of many layers
    exponent = [1.5, 2.0]    # brightness of a column: sum of Z**n
    faintest = 0.08          # dimmer columns, over the brightest, are not looked for

    [classes]                # names for columns by what stands in them
    W = "metal"
    Se2 = "chalcogen pair"

    [[defects]]
    vacancy = "Se"           # element, or class of columns
    atoms = 1                # so many of them; all by default
    class = "single Se"      # what is left is called so; "" is a hole

    [[defects]]
    replace = "W"
    by = ["Mo", "V"]
    class = "light metal"

    [[defects]]
    vacancy = "Sr"           # of a thick column some atoms are missing
    left = [0.4, 0.7]        # brightness that is left
    class = "weak Sr"
    share = [0.01, 0.1]      # share of the columns
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.files import Json
from napari_atomlens.graphs.crystals import read_crystal
from napari_atomlens.graphs.projection import ProjectedColumns, formula, project
from napari_atomlens.simulation.material_scenes import Defect, Recipe
from napari_atomlens.untrusted import read_toml

_KEYS = {"material", "zone_axis", "thick", "exponent", "faintest", "classes", "defects",
         "merge_nm", "technique", "boundaries"}  # fmt: skip
_DEFECT_KEYS = {"vacancy", "replace", "by", "atoms", "class", "left", "share"}


def project_file(
    path: str | Path, zone_axis: Sequence[int], merge_nm: float = 0.03
) -> ProjectedColumns:
    """Read a CIF, or anything else that ASE reads, and project it along a zone axis.

    Raises
    ------
    FormatError
        If the file is not there, is no structure, or ASE is not installed.
    ParameterError
        If the crystal cannot be projected along the axis.
    """
    crystal = read_crystal(path)
    return project(
        crystal.cell_nm, crystal.positions_nm, crystal.symbols, zone_axis, merge_nm=merge_nm,
        name=crystal.name,
    )  # fmt: skip


def _defect(data: Json) -> Defect:
    if wrong := set(data) - _DEFECT_KEYS:
        raise ParameterError(f"A defect has no {sorted(wrong)[0]!r}; see the manual of recipes.")
    if ("vacancy" in data) == ("replace" in data):
        raise ParameterError("A defect names either what is missing (vacancy) or what is replaced.")
    if "replace" in data and not data.get("by"):
        raise ParameterError(f"What takes the place of {data['replace']}? Say it with by = ...")
    by = data.get("by", ())
    left, share = data.get("left", (0.0, 0.0)), data.get("share", (0.003, 0.06))
    for word, two in (("left", left), ("share", share)):
        if len(two) != 2 or not 0 <= two[0] <= two[1] <= 1:
            raise ParameterError(f"{word} must be two numbers between 0 and 1, low and high.")
    if share[0] <= 0:
        raise ParameterError("share must be above 0.")
    return Defect(
        str(data.get("vacancy", data.get("replace"))), str(data.get("class", "")),
        (by,) if isinstance(by, str) else tuple(str(b) for b in by), int(data.get("atoms", 0)),
        (float(left[0]), float(left[1])), fraction=(float(share[0]), float(share[1])),
    )  # fmt: skip


def _check_shares(data: Json) -> None:
    for word in ("merge_nm", "faintest", "boundaries"):
        if not 0 <= float(data.get(word, 0)) <= 1:
            raise ParameterError(f"{word} is {data[word]}, but must lie between 0 and 1.")


def make_recipe(name: str, crystal: str | Path, recipe: str | Path | None = None) -> Recipe:
    """Make a recipe of a crystal file and, if there is one, a recipe file.

    Without a recipe file the beam is along c, columns are named by what stands in them, and the
    defects are one atom missing of each kind of column.

    Parameters
    ----------
    name : str
        Name of the model.
    crystal, recipe : path

    Returns
    -------
    Recipe

    Raises
    ------
    FormatError, ParameterError
        If a file cannot be read, or says something that cannot be.
    """
    data: Json = {} if recipe is None else read_toml(Path(recipe))
    if wrong := set(data) - _KEYS:
        raise ParameterError(f"A recipe has no {sorted(wrong)[0]!r}; see the manual of recipes.")
    try:
        _check_shares(data)
        low, high = (float(v) for v in data.get("exponent", (1.5, 2.0)))
        exponent = (low, high)
        columns = project_file(
            crystal, data.get("zone_axis", (0, 0, 1)), float(data.get("merge_nm", 0.03))
        )
        called = {str(k): str(v) for k, v in data.get("classes", {}).items()}
        contents = [formula(a) for a in columns.atoms]
        bright = columns.weights(float(np.mean(exponent))) >= float(data.get("faintest", 0.08))
        classes = tuple(
            called.get(c, c) if b else "" for c, b in zip(contents, bright, strict=True)
        )
        if missing := set(called) - set(contents):
            raise ParameterError(
                f"No column holds {sorted(missing)[0]}; the columns along this axis are "
                f"{', '.join(dict.fromkeys(contents))}."
            )
        if "defects" in data:
            defects = tuple(_defect(d) for d in data["defects"])
        else:
            defects = tuple(
                Defect(n, f"{n} less {a[-1]}" if len(a) > 1 else "", take=1)
                for n, a in dict(zip(classes, columns.atoms, strict=True)).items()
                if n
            )
        return Recipe(
            name, str(data.get("material", columns.name)), (columns,), (classes,), defects,
            exponent, str(data.get("technique", "STEM")), float(data.get("boundaries", 0.15)),
            bool(data.get("thick", False)),
        )  # fmt: skip
    except (TypeError, ValueError, AttributeError, OverflowError, KeyError) as error:
        if isinstance(error, (FormatError, ParameterError)):
            raise
        raise ParameterError(f"The recipe cannot be used: {error}.") from error
