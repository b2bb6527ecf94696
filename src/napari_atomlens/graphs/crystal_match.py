"""A crystal on the columns of an image: how it is looked for, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from napari_atomlens.cards import Card, counted
from napari_atomlens.files import Json
from napari_atomlens.params import Params, param


@dataclass(frozen=True)
class MatchParams(Params):
    """How to match a crystal.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.MatchParams(scale_tolerance=0.05).max_index
    2
    """

    scale_tolerance: float = param(
        0.15, "how far the pixel size may be off, as a share of it", ge=0.001, le=0.5
    )
    max_index: int = param(
        2, "zone axes with indices up to this are tried (1 for cells of more than 30 atoms)",
        ge=1, le=3,
    )  # fmt: skip
    exponent: float = param(
        1.7, "power of Z that a column is bright with: 1.5 to 2 at high angles, about 1 in iDPC",
        ge=0.3, le=2.5,
    )  # fmt: skip
    min_columns: int = param(24, "regions of fewer columns are left out", ge=12, le=100_000)
    largest_vacancy: int = param(
        8, "more vacant sites that touch are a hole, not vacancies", unit="sites", ge=1, le=1000
    )
    least_probability: float = param(0.5, "defects that are less probable are left out", ge=0, le=1)


@dataclass(frozen=True, repr=False, eq=False)
class CrystalMatch(Card):
    """A crystal on the columns of an image: what :func:`match_crystal` found.

    Attributes
    ----------
    columns : pandas.DataFrame
        A row for each column of the image: table ``matched`` of :mod:`napari_atomlens.tables`.
    matches : pandas.DataFrame
        A row for each region of one lattice, the largest first: table ``matches``.
    defects : pandas.DataFrame
        Vacant, replaced and extra columns: table ``defects``.
    model : pandas.DataFrame
        Every column of the projected crystal within the regions: ``frame``, ``region``,
        ``y_px``, ``x_px``, ``site``, ``elements`` and ``seen`` (whether the image shows such
        columns).
    sentence : str
        What was found, for the user.
    messages : list of str
        More sentences: regions that do not fit, ties.
    pixel_size_nm : float or None
        What the crystal says it is, where it was not known.
    params : dict
        What was asked for, for the provenance.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("square", (160, 160), 12.0, seed=2)[1].atoms()
    >>> found = al.match_crystal(atoms, "Au", pixel_size_nm=0.017)
    >>> found
    Au along [001]
      match: Au along [001], ...
    >>> len(found.columns) == len(atoms)
    True
    """

    columns: pd.DataFrame
    matches: pd.DataFrame
    defects: pd.DataFrame
    model: pd.DataFrame
    sentence: str
    messages: list[str] = field(default_factory=list)
    pixel_size_nm: float | None = None
    params: Json = field(default_factory=dict)

    def _best(self, name: str) -> object:
        return self.matches[name].iloc[0]

    @property
    def crystal(self) -> str:
        """Name of the crystal that fits the largest region."""
        return str(self._best("crystal"))

    @property
    def zone_axis(self) -> str:
        """Zone axis of the largest region, such as "[110]"."""
        return str(self._best("zone_axis"))

    @property
    def rotation_rad(self) -> float:
        """Angle of the direction ``along`` of the largest region."""
        return float(str(self._best("rotation_rad")))

    @property
    def scale(self) -> float:
        """Size of the largest region over that of the crystal."""
        return float(str(self._best("scale")))

    @property
    def probability(self) -> float:
        """Probability of the match of the largest region against every other one."""
        return float(str(self._best("match_probability")))

    @property
    def lead(self) -> float:
        """How much better the match of the largest region is than the second, per column."""
        return float(str(self._best("lead")))

    def _title(self) -> str:
        return f"{self.crystal} along {self.zone_axis}"

    def _facts(self) -> dict[str, object]:
        kinds = counted(str(f) for f in self.defects["formula"])
        return {
            "match": self.sentence,
            "regions": f"{len(self.matches):,}",
            "columns": f"{len(self.columns):,}, of which "
            f"{int((self.columns['site'] >= 0).sum()):,} are on sites",
            "defects": f"{len(self.defects):,}: {kinds}" if len(self.defects) else "none",
            "messages": " ".join(self.messages),
        }
