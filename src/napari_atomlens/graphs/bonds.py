"""From atoms to bonds: one spatial index, one mask, no loop over atoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.cards import Card, counted
from napari_atomlens.familiar import familiar
from napari_atomlens.graphs.choose import choose_rules
from napari_atomlens.graphs.geometry import (
    as_seen,
    as_species,
    drop_chords,
    in_nm,
    relax_coordination,
)
from napari_atomlens.graphs.occupancy import site_species
from napari_atomlens.graphs.plausible import dimness, log_odds, select
from napari_atomlens.graphs.rings import MAX_RING, Rings, trace_rings
from napari_atomlens.graphs.rules import Rules, preset
from napari_atomlens.lattice.sites import vacant_sites
from napari_atomlens.params import of_kind
from napari_atomlens.points import near_pairs
from napari_atomlens.tables import check_atoms

if TYPE_CHECKING:
    import networkx as nx

#: Log odds that a foreign atom has over a host atom of the same probability.
BRIGHT = 2.0
#: Classes of models: of any lattice, and of TMDs.
UNNAMED = ("column", "bright column")
CHALCOGENS = ("chalcogen pair", "single chalcogen")
METALS = ("metal", "light metal", "heavy metal")


@dataclass(frozen=True, repr=False, eq=False)
class BondGraph(Card):
    """Atoms and the bonds between them.

    Attributes
    ----------
    atoms : pandas.DataFrame
        Atoms table; the species are those of the rules, rows are numbered from 0.
    bonds : pandas.DataFrame
        Bonds table (see :mod:`napari_atomlens.tables`).
    rules : Rules
        As they were applied.
    places_nm : ndarray, shape (n, 2)
        (y, x) in the unit of the rules: nm by the pixel size, or by the lattice where that
        is unknown.
    drawn_nm : ndarray, shape (n, 2)
        The same where the detector saw the atoms (columns ``seen_y_px`` and ``seen_x_px``),
        as far as the table tells: what is bonded is decided there. Beside a bright atom a
        fit can slip along its tails; lengths and angles are still those of the fit.
    pairs : ndarray of int, shape (m, 2)
        Rows of the bonded atoms, in the order of `bonds`.
    calibrated : bool
        Whether the pixel size was known.
    shape_px : tuple of int or None
        (H, W) of the image, None where it is unknown: what its border cuts cannot be told then.
    given : pandas.DataFrame or None
        The atoms table that the graph was made of, vacant sites included.
    note : str
        What the rules could not tell, as a sentence.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("honeycomb", (128, 128), 10.0)[1].atoms()
    >>> al.bond(atoms, al.preset("graphene-si"))
    Bond graph of ... atoms
      bonds: ...
      species: ... C
      rules: graphene-si
      lengths: by the lattice
    """

    atoms: pd.DataFrame
    bonds: pd.DataFrame
    rules: Rules
    places_nm: np.ndarray
    drawn_nm: np.ndarray
    pairs: np.ndarray
    calibrated: bool = True
    shape_px: tuple[int, int] | None = None
    given: pd.DataFrame | None = None
    note: str = ""

    def _title(self) -> str:
        return f"Bond graph of {len(self.atoms):,} atoms"

    def _facts(self) -> dict[str, object]:
        return {
            "bonds": f"{len(self):,}",
            "species": counted(self.atoms["species"]),
            "rules": self.rules.name,
            "lengths": "by the pixel size" if self.calibrated else "by the lattice",
            "note": self.note,
        }

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def rings(self) -> Rings:
        """Rings of up to 24 atoms (see :func:`napari_atomlens.graphs.rings.trace_rings`)."""
        places = self.drawn_nm
        frame = self.atoms["frame"].to_numpy()
        if len(frame) and frame.min() != frame.max():  # side by side, so that none cross
            reach = 2.0 * float(np.ptp(places, axis=0).max()) + 1.0
            index = np.unique(frame, return_inverse=True)[1]
            places = places + np.column_stack([np.zeros(len(frame)), reach * index])
        return trace_rings(places, self.pairs, MAX_RING)

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of bonds of each atom, shape (n,)."""
        return np.bincount(self.pairs.ravel(), minlength=len(self.atoms))

    @cached_property
    def foreign(self) -> np.ndarray:
        """Mask of the atoms that are not of the host, shape (n,)."""
        return ~self.atoms["species"].isin(self.rules.host).to_numpy()

    @property
    def knows_vacant(self) -> bool:
        """Whether the vacant sites came with the atoms, or were measured already."""
        if "vacant" in self.__dict__:
            return True
        given = self.given
        return given is not None and bool((given.get("source", pd.Series()) == "lattice").any())

    @cached_property
    def vacant(self) -> pd.DataFrame:
        """Sites without an atom, as the lattice has them: frame, y_px, x_px, species or NaN.

        See :func:`napari_atomlens.lattice.vacant_sites`; the species is the most frequent one of
        the sublattice.
        """
        given = self.atoms if self.given is None else self.given
        if "atom_id" not in given:
            given = given.assign(atom_id=np.arange(len(given), dtype=np.int64))
        species = self.atoms.set_index("atom_id")["species"].reindex(given["atom_id"])
        found = vacant_sites(given, species.to_numpy(object))
        names = found["label"].to_numpy(object)
        return found[["frame", "y_px", "x_px"]].assign(species=names)

    def networkx(self, frame: int | None = None) -> nx.Graph:
        """Return the graph of one frame, or of all, with atom ids as nodes.

        Nodes carry ``species``, ``y_px``, ``x_px`` and ``frame``; edges ``length_px`` and
        ``length_nm``.
        """
        import networkx as nx

        atoms, bonds = self.atoms, self.bonds
        if frame is not None:
            atoms, bonds = atoms[atoms["frame"] == frame], bonds[bonds["frame"] == frame]
        graph = nx.Graph()
        columns = ["species", "y_px", "x_px", "frame"]
        records = atoms[columns].to_dict("records")
        graph.add_nodes_from(zip(atoms["atom_id"].tolist(), records, strict=True))
        graph.add_edges_from(
            (a, b, {"length_px": p, "length_nm": m})
            for a, b, p, m in zip(
                bonds["atom_a"].tolist(),
                bonds["atom_b"].tolist(),
                bonds["length_px"].tolist(),
                bonds["length_nm"].tolist(),
                strict=True,
            )
        )
        return graph


def _name_species(atoms: pd.DataFrame, rules: Rules) -> tuple[pd.DataFrame, str]:
    """Give the atoms the species of the rules; what is no atom after all goes. And a sentence.

    Of a TMD the universal model only sees columns: there the sublattice and the amplitude
    say which is which. They also tell a single chalcogen from a pair better than a model of
    TMDs does, which has not seen the whole lattice. What the user said is left alone.
    """
    said = as_species(atoms["species"], rules)
    pairs = [h for h in rules.host if h[-1:] == "2"]
    if not len(atoms) or rules.ring_size != 6 or len(pairs) != 1:
        return atoms.assign(species=said), ""
    users = atoms["edited"].to_numpy(bool) if "edited" in atoms else np.zeros(len(atoms), bool)
    unnamed = atoms["species"].isin(UNNAMED).to_numpy()
    chalcogen = atoms["species"].isin(CHALCOGENS).to_numpy()
    model = atoms["species"].isin((*CHALCOGENS, *METALS)).to_numpy()
    if not ((unnamed | users).all() or (model | users).all()):
        return atoms.assign(species=said), ""
    metal = next(h for h in rules.host if h not in pairs)
    single = pairs[0][:-1]
    told = site_species(atoms, metal, pairs[0], single)
    if told is None:
        return atoms.assign(species=said), ""
    # what the rules have no word for stays what the model said
    known = np.isin(told.species, ("", *rules.names()))
    over = unnamed | (chalcogen & ~users & (told.species != metal))
    named = np.where(over & known, told.species, said.to_numpy(object))
    kept = atoms.assign(species=named)[named != ""].reset_index(drop=True)
    return kept, told.note


def _bonded(clean: pd.DataFrame, drawn: np.ndarray, rules: Rules) -> np.ndarray:
    """Rows of the atoms that are bonded by the rules, shape (m, 2)."""
    frame = clean["frame"].to_numpy()
    pairs, length = near_pairs(drawn, frame, rules.max_nm)
    names = tuple(clean["species"].unique())
    code = pd.Categorical(clean["species"], categories=list(names)).codes.astype(np.int64)
    low, high, usual = rules.lengths(names)
    kinds = code[pairs[:, 0]], code[pairs[:, 1]]
    good = (length >= low[kinds]) & (length <= high[kinds])
    pairs = pairs[good]
    kinds = code[pairs[:, 0]], code[pairs[:, 1]]
    length = length[good] / usual[kinds]
    good = drop_chords(pairs, length, len(clean), rules.chord)
    pairs, length = pairs[good], length[good]
    most = np.array([rules.species_rule(n).max_coordination for n in names], int)
    host = np.array([n in rules.host for n in names], bool)
    if len(names):
        pairs = pairs[relax_coordination(pairs, length, most[code], host[code])]
    return pairs


def bond(
    atoms: pd.DataFrame,
    rules: Rules | str = "auto",
    *,
    shape_px: tuple[int, int] | None = None,
    unfamiliar: bool = False,
) -> BondGraph:
    """Connect atoms by chemical rules.

    Parameters
    ----------
    atoms : pandas.DataFrame
        Atoms table of one or more frames. Vacant sites (``source`` "lattice") are left out.
    rules : Rules or str
        Rules, the name of a preset (see :func:`napari_atomlens.graphs.rules.presets`), or
        "auto", which chooses from the atoms (see
        :func:`napari_atomlens.graphs.choose.choose_rules`).
    shape_px : tuple of int, optional
        (H, W) of the image: a defect that its border cuts has neighbours that nobody sees, and
        is left out by :func:`~napari_atomlens.graphs.find_defects`.
    unfamiliar : bool
        Take in atoms whose neighbourhood is unlike what the model was trained on (see
        :func:`napari_atomlens.familiar.is_unfamiliar`).

    Returns
    -------
    BondGraph

    Raises
    ------
    ParameterError
        If a column is missing, a position is not finite or an atom_id appears twice.
    CalibrationError
        If the pixel size is unknown and the rules give no reference.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> atoms = al.simulate("honeycomb", (128, 128), 10.0)[1].atoms()
    >>> graph = al.bond(atoms, "graphene-si")
    >>> bool(graph.bonds["length_px"].between(9.9, 10.1).all())
    True
    """
    clean = check_atoms(atoms) if unfamiliar else familiar(check_atoms(atoms))
    if isinstance(rules, str):
        rules = choose_rules(clean)[0] if rules == "auto" else preset(rules)
    rules = of_kind(Rules, rules)
    clean, note = _name_species(clean, rules)
    places, calibrated = in_nm(clean, rules)
    drawn = as_seen(clean, places)
    if rules.weigh and "probability" in clean:
        keep = _believed(clean, drawn, rules)
        clean, places, drawn = clean[keep].reset_index(drop=True), places[keep], drawn[keep]
    pairs = _bonded(clean, drawn, rules)
    table = _table(clean, pairs, places, calibrated)
    return BondGraph(clean, table, rules, places, drawn, pairs, calibrated, shape_px, atoms, note)


def _believed(atoms: pd.DataFrame, places: np.ndarray, rules: Rules) -> np.ndarray:
    """Mask of the atoms that chemistry leaves in (see :mod:`napari_atomlens.graphs.plausible`)."""
    names = tuple(atoms["species"].unique())
    code = pd.Categorical(atoms["species"], categories=list(names)).codes.astype(np.int64)
    pairs, length = near_pairs(places, atoms["frame"].to_numpy(), 1.1 * rules.max_nm)
    odds = log_odds(atoms["probability"].to_numpy(float))
    if "amplitude" in atoms:
        host = atoms["species"].isin(rules.host).to_numpy()
        amplitude = atoms["amplitude"].to_numpy(float)
        usual = np.nanmedian(amplitude[host]) if np.isfinite(amplitude[host]).any() else np.nan
        if usual > 0:
            odds -= np.where(host, dimness(amplitude, usual), 0.0)
        # a bright column stands far above the noise
        odds += np.where(host, 0.0, BRIGHT)
    return select(pairs, length, code, names, odds, rules)


def _table(
    atoms: pd.DataFrame, pairs: np.ndarray, places: np.ndarray, calibrated: bool
) -> pd.DataFrame:
    """Bonds table of the pairs of rows; lengths between the fitted positions."""
    a, b = pairs[:, 0], pairs[:, 1]
    ids, species = atoms["atom_id"].to_numpy(np.int64), atoms["species"].to_numpy(object)
    step = atoms[["y_px", "x_px"]].to_numpy(dtype=float)
    step, step_nm = step[a] - step[b], places[a] - places[b]
    return tables.make(
        "bonds",
        {
            "frame": atoms["frame"].to_numpy(np.int64)[a],
            "atom_a": ids[a],
            "atom_b": ids[b],
            "species_a": species[a],
            "species_b": species[b],
            "length_px": np.hypot(step[:, 0], step[:, 1]),
            "length_nm": np.hypot(step_nm[:, 0], step_nm[:, 1]) if calibrated else np.nan,
        },
        len(pairs),
    )
