"""Chemical rules: which atoms are bonded, which are at home, and what the others are called.

Rules are data that a user edits and keeps as TOML. Lengths are in nm.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_atomlens.errors import ParameterError
from napari_atomlens.files import user_file, write_whole
from napari_atomlens.params import Params, number_between, param
from napari_atomlens.untrusted import path_of, read_toml

#: Stands for any species in a bond rule.
ANY = "*"
#: Name of rules that know nothing but the distance of nearest columns; px where none is known.
GENERIC = "generic"


@dataclass(frozen=True)
class BondRule:
    """Bond lengths of one pair of species.

    Attributes
    ----------
    a, b : str
        Species, in either order; "*" stands for any that has no rule of its own.
    min_nm, max_nm : float
        Two atoms are bonded if their distance lies between these.
    ideal_nm : float
        Usual length; 0 where it is not known (three quarters of the longest are assumed).
    """

    a: str
    b: str
    min_nm: float
    max_nm: float
    ideal_nm: float = 0.0

    @property
    def usual_nm(self) -> float:
        """Usual length in nm, guessed where it is not known."""
        return self.ideal_nm or 0.75 * self.max_nm


@dataclass(frozen=True)
class SpeciesRule:
    """What one species may do.

    Attributes
    ----------
    name : str
    min_coordination, max_coordination : int
        Allowed numbers of bonds. What is above loses its longest bonds, those to host atoms
        first; what is below, inside of the crystal, stands beside a vacancy.
    label : str
        Name of the defect that one such atom makes, such as "V_S" or "Mo_W"; without it the
        formula of a defect counts its atoms (Si3C6).
    """

    name: str
    min_coordination: int = 0
    max_coordination: int = 6
    label: str = ""


@dataclass(frozen=True)
class Rules(Params):
    """The chemistry of one material.

    Attributes
    ----------
    host : tuple of str
        Species of the perfect crystal; all others are foreign.
    bonds : tuple of BondRule
    species : tuple of SpeciesRule
    classes : tuple of (str, str)
        Class of the model and the species it stands for, such as ("bright column", "Si").
        A class that is not listed is a species of its own name.
    known : tuple of str
        Formulas with a name in the literature or of no news to the user; a defect of any other
        formula counts as a new type. Empty: every formula is new.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> from dataclasses import replace
    >>> wider = replace(al.preset("graphene-si"), ring_size=6, name="mine")
    >>> wider.save("mine.toml").name
    'mine.toml'
    >>> al.Rules.load("mine.toml") == wider
    True
    """

    name: str = param("rules", "name of the rules")
    host: tuple[str, ...] = param((), "species of the perfect crystal")
    bonds: tuple[BondRule, ...] = param((), "bond lengths by pair of species")
    species: tuple[SpeciesRule, ...] = param((), "allowed coordination and name by species")
    classes: tuple[tuple[str, str], ...] = param((), "species that a class of the model stands for")
    reference_nm: float = param(
        0.0,
        "distance between nearest columns of the perfect crystal; the measure where the pixel "
        "size is unknown",
        unit="nm",
        ge=0,
        le=100,
    )
    ring_size: int = param(6, "atoms in a ring of the perfect crystal", ge=3, le=24)
    share_neighbours: bool = param(
        True, "foreign atoms that share a host neighbour belong to one defect"
    )
    known: tuple[str, ...] = param((), "formulas that are not news")
    chord: float = param(
        1.2,
        "the longest bond of a triangle, over its usual length, is dropped if it is longer than "
        "this times the mean of the other two: a second neighbour; 0 keeps all",
        ge=0,
        le=10,
    )

    weigh: bool = param(
        False,
        "weigh the detector's odds with chemistry beside foreign atoms, where the tails of a "
        "bright atom hide and invent neighbours",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for word, kind in (("bonds", BondRule), ("species", SpeciesRule)):
            rules = getattr(self, word)
            if not isinstance(rules, tuple) or not all(isinstance(r, kind) for r in rules):
                raise ParameterError(f"{word} must be a tuple of {kind.__name__}.")
        for word in ("host", "known"):
            names = getattr(self, word)
            if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names):
                raise ParameterError(f"{word} is {names!r}, but must be a list of names.")
        if not self.host:
            raise ParameterError(f"The rules {self.name!r} name no host species.")
        if not self.bonds:
            raise ParameterError(f"The rules {self.name!r} have no bond.")
        for rule in self.bonds:
            low, high = rule.min_nm, rule.max_nm
            if not (math.isfinite(low) and math.isfinite(high) and 0 <= low < high):
                raise ParameterError(
                    f"The bond {rule.a}-{rule.b} goes from {low:g} to {high:g} nm, but the minimum "
                    "must be at least 0 and below the maximum."
                )
        pairs = [frozenset((r.a, r.b)) for r in self.bonds]
        if len(set(pairs)) < len(pairs):
            raise ParameterError(f"The rules {self.name!r} have two bonds for one pair of species.")
        for s in self.species:
            if not 0 <= s.min_coordination <= s.max_coordination:
                raise ParameterError(
                    f"The coordination of {s.name} goes from {s.min_coordination} to "
                    f"{s.max_coordination}, but the minimum must be at least 0 and at most the "
                    "maximum."
                )
        if len({s.name for s in self.species}) < len(self.species):
            raise ParameterError(f"The rules {self.name!r} list one species twice.")

    @property
    def is_generic(self) -> bool:
        """Whether the rules know nothing but a distance: any pair may be bonded, in any number."""
        return all(rule.a == rule.b == ANY for rule in self.bonds) and not any(
            s.min_coordination or s.label for s in self.species
        )

    @property
    def max_nm(self) -> float:
        """Longest bond of any pair, in nm."""
        return max(rule.max_nm for rule in self.bonds)

    def names(self) -> tuple[str, ...]:
        """All species that the rules name, host first."""
        named = [s.name for s in self.species] + [n for r in self.bonds for n in (r.a, r.b)]
        return tuple(dict.fromkeys(n for n in [*self.host, *named] if n != ANY))

    def species_rule(self, name: str) -> SpeciesRule:
        """Rule of one species, the permissive default where it has none."""
        return next((s for s in self.species if s.name == name), SpeciesRule(name))

    def bounds(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Shortest and longest bond of every pair of `names`, in nm.

        Returns
        -------
        low, high : ndarray, shape (n, n)
            A pair without a rule, not even one with "*", has ``high`` 0: no bond.
        """
        low, high, _ = self.lengths(names)
        return low, high

    def lengths(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shortest, longest and usual bond of every pair of `names`, in nm (see `bounds`)."""
        low, high, usual = (np.zeros((len(names), len(names))) for _ in range(3))
        # the more general rules first, so that the special ones win
        for rule in sorted(self.bonds, key=lambda r: -(ANY in (r.a, r.b)) - (r.a == r.b == ANY)):
            for a, b in ((rule.a, rule.b), (rule.b, rule.a)):
                rows = [i for i, n in enumerate(names) if a in (ANY, n)]
                columns = [j for j, n in enumerate(names) if b in (ANY, n)]
                low[np.ix_(rows, columns)] = rule.min_nm
                high[np.ix_(rows, columns)] = rule.max_nm
                usual[np.ix_(rows, columns)] = rule.usual_nm
        return low, high, usual

    def scaled(self, factor: float) -> Rules:
        """Return the same rules with every length times `factor`.

        Raises
        ------
        ParameterError
            If that is no number between 0.001 and 1000.
        """
        factor = number_between("factor", factor, 1e-3, 1e3)
        bonds = tuple(
            dataclasses.replace(
                r,
                min_nm=r.min_nm * factor,
                max_nm=r.max_nm * factor,
                ideal_nm=r.ideal_nm * factor,
            )
            for r in self.bonds
        )
        return dataclasses.replace(self, bonds=bonds, reference_nm=self.reference_nm * factor)

    def as_dict(self) -> dict[str, object]:
        """Return the rules as plain data, as TOML and provenance hold them."""
        return {
            "name": self.name,
            "host": list(self.host),
            "reference_nm": self.reference_nm,
            "ring_size": self.ring_size,
            "share_neighbours": self.share_neighbours,
            "chord": self.chord,
            "weigh": self.weigh,
            "known": list(self.known),
            "classes": dict(self.classes),
            "bonds": [dataclasses.asdict(r) for r in self.bonds],
            "species": [dataclasses.asdict(s) for s in self.species],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Rules:
        """Build rules from what :meth:`as_dict` gave.

        Raises
        ------
        ParameterError
            If a value is missing, unknown or out of bounds.
        """
        try:
            bonds = tuple(
                BondRule(
                    str(r["a"]),
                    str(r["b"]),
                    float(r["min_nm"]),
                    float(r["max_nm"]),
                    float(r.get("ideal_nm", 0.0)),
                )
                for r in data["bonds"]
            )
            species = tuple(SpeciesRule(**s) for s in data.get("species", []))
            rest: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v
                for k, v in data.items()
                if k not in ("bonds", "species", "classes")
            }
            classes = tuple((str(k), str(v)) for k, v in data.get("classes", {}).items())
            return cls(bonds=bonds, species=species, classes=classes, **rest)
        except ParameterError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ParameterError(
                f"These rules cannot be used: {type(error).__name__}: {error}."
            ) from error

    def to_toml(self) -> str:
        """Return the rules as TOML text."""
        import tomli_w

        return tomli_w.dumps(self.as_dict())

    def save(self, path: str | Path) -> Path:
        """Write the rules as a TOML file, whole or not at all.

        Raises
        ------
        FormatError
            If it cannot be written.
        """
        with user_file(path_of(path)) as target:
            return write_whole(target, self.to_toml())

    @classmethod
    def load(cls, path: str | Path) -> Rules:
        """Read rules from a TOML file.

        Raises
        ------
        FormatError
            If the file is missing or no TOML.
        ParameterError
            If a value is missing, unknown or out of bounds.
        """
        return cls.from_dict(read_toml(path_of(path)))


_SILICON = ("Si1C3", "Si1C4", "Si2C4", "Si2C5", "Si2C6", "Si3C4", "Si3C6", "Si4C6")
_CARBON_RINGS = ("5-7", "5-7-7-5", "5-8-5", "5-9", "V_C")
_UNIVERSAL = (("column", "C"), ("bright column", "Si"))


def _graphene_si(
    name: str, c_c: float, si_c: float, si_si: float, coordination: int, chord: float
) -> Rules:
    return Rules(
        name,
        host=("C",),
        bonds=(
            BondRule("C", "C", 0.09, c_c, 0.142),
            BondRule("Si", "C", 0.09, si_c, 0.175),
            BondRule("Si", "Si", 0.12, si_si, 0.225),
        ),
        species=(
            SpeciesRule("C", 3, 3),
            SpeciesRule("Si", 3, coordination),
        ),
        classes=_UNIVERSAL,
        reference_nm=0.142,
        known=_SILICON + _CARBON_RINGS,
        chord=chord,
        weigh=chord > 0,
    )


def _mx2(metal: str, chalcogen: str, bond: float, metals: tuple[str, ...]) -> Rules:
    """Rules of a 2H monolayer seen from above; `bond` is the projected M-X distance in nm."""
    names_of_mx2 = {("W", "S"): "mx2", ("M", "X"): "MX2"}
    others = tuple(m for m in metals if m != metal)
    pair = f"{chalcogen}2"
    # a model that knows light from heavy does not know which element it is; what is heavier
    # than Mo is W, or what no microscope tells from it
    heavy = "W_Mo" if metal == "Mo" else f"heavy_{metal}"
    unnamed = {"light metal": f"light_{metal}", "heavy metal": heavy}
    bright, antisite = f"bright {pair}", f"{metal} on {pair}"
    metal_like, chalcogen_like = [metal, *others, *unnamed], [pair, chalcogen, bright, antisite]
    return Rules(
        names_of_mx2.get((metal, chalcogen), f"{metal}{pair}"),
        host=(metal, pair),
        bonds=tuple(
            BondRule(m, x, 0.55 * bond, 1.40 * bond, bond)
            for m in metal_like
            for x in chalcogen_like
        ),
        species=(
            SpeciesRule(metal, 3, 3),
            *(SpeciesRule(m, 3, 3, f"{m}_{metal}") for m in others),
            *(SpeciesRule(m, 3, 3, label) for m, label in unnamed.items()),
            SpeciesRule(pair, 3, 3),
            SpeciesRule(chalcogen, 0, 3, f"V_{chalcogen}"),
            SpeciesRule(bright, 0, 3, f"bright_{pair}"),
            SpeciesRule(antisite, 0, 3, f"{metal}_{pair}"),
        ),
        classes=(
            ("metal", metal),
            ("chalcogen pair", pair),
            ("single chalcogen", chalcogen),
            ("bright column", metal),
            ("column", pair),
        ),
        reference_nm=bond,
        share_neighbours=False,
        known=(
            f"V_{chalcogen}",
            f"V_{pair}",
            f"V_{metal}",
            f"{metal}_{pair}",
            *(f"{m}_{metal}" for m in others),
            *unnamed.values(),
        ),
    )


def _boron_nitride() -> Rules:
    """Hexagonal boron nitride: of its two kinds of columns nitrogen is the brighter one."""
    bond = 0.2504 / math.sqrt(3)
    return Rules(
        "h-BN",
        host=("N", "B"),
        bonds=tuple(BondRule(a, b, 0.55 * bond, 1.40 * bond, bond) for a, b in (("N", "B"),)),
        species=(SpeciesRule("N", 3, 3), SpeciesRule("B", 3, 3)),
        classes=(("bright column", "N"), ("column", "B")),
        reference_nm=bond,
        share_neighbours=False,
        known=("V_B", "V_N"),
    )


_METALS = ("W", "Mo", "V", "Nb", "Re", "Ta", "Cr", "Fe")


def presets() -> dict[str, Rules]:
    """Rules that come with the plugin, by name.

    ``graphene-si`` has the wider bounds (Si-C 240, Si-Si 300 pm, coordination 6);
    ``graphene-si-published`` those of the published library (210 and 250 pm, coordination 4).
    ``mx2`` is WS2; MoS2, WSe2, MoSe2 and WTe2 differ in species and length only; ``MX2`` names no
    element, for images whose pixel size is unknown.
    """
    graphene = Rules(
        "graphene",
        host=("C",),
        bonds=(BondRule("C", "C", 0.09, 0.192, 0.142),),
        species=(SpeciesRule("C", 3, 3),),
        classes=(("column", "C"), ("bright column", "C")),
        reference_nm=0.142,
        known=_CARBON_RINGS,
    )
    perovskite = Rules(
        "perovskite",
        host=("A", "B"),
        bonds=(
            # oxygen that is half seen, 195 pm from both, is bonded to neither
            BondRule("A", "B", 0.215, 0.36, 0.2761),
            BondRule("A", "weak", 0.215, 0.36, 0.2761),
            BondRule("B", "weak", 0.215, 0.36, 0.2761),
        ),
        species=(
            SpeciesRule("A", 4, 4),
            SpeciesRule("B", 4, 4),
            SpeciesRule("weak", 0, 4, "weak_column"),
        ),
        classes=(
            ("A", "A"),
            ("B", "B"),
            ("bright column", "A"),
            ("column", "B"),
            ("weak column", "weak"),
        ),
        reference_nm=0.2761,
        ring_size=4,
        share_neighbours=False,
        known=("V_A", "V_B", "weak_column"),
    )
    every = [
        graphene,
        _graphene_si("graphene-si", 0.192, 0.240, 0.300, 6, 1.2),
        _graphene_si("graphene-si-published", 0.175, 0.210, 0.250, 4, 0.0),
        # projected M-X distance: a / sqrt(3)
        _mx2("W", "S", 0.315 / math.sqrt(3), _METALS),
        _mx2("Mo", "S", 0.316 / math.sqrt(3), _METALS),
        _mx2("W", "Se", 0.328 / math.sqrt(3), _METALS),
        _mx2("Mo", "Se", 0.329 / math.sqrt(3), _METALS),
        _mx2("W", "Te", 0.352 / math.sqrt(3), _METALS),
        _mx2("M", "X", 0.315 / math.sqrt(3), ()),
        _boron_nitride(),
        perovskite,
    ]
    return {rules.name: rules for rules in every}


def preset(name: str) -> Rules:
    """Return the rules of a name of :func:`presets`.

    Raises
    ------
    ParameterError
        If there are none of that name.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.preset("graphene-si").host
    ('C',)
    """
    every = presets()
    if not isinstance(name, str) or name not in every:
        known = ", ".join(every)
        raise ParameterError(f"There are no rules {str(name)[:60]!r}; there are {known}.")
    return every[name]
