"""Crystals to match columns with: the ones that are known by name, and those from files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_atomlens.errors import FormatError, ParameterError
from napari_atomlens.graphs.projection import brightness

if TYPE_CHECKING:
    from ase import Atoms

#: Elements that share a site are left out of its name below this share.
LEAST_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class UnitCell:
    """The cell of a crystal and the atoms in it.

    Attributes
    ----------
    name : str
    cell_nm : ndarray, shape (3, 3)
        Lattice vectors as rows.
    positions_nm : ndarray, shape (n, 3)
    symbols : tuple of str
        Chemical symbol of each atom, or elements with their shares, as "Nb0.7Sn0.3".
    layer : bool
        A single layer, seen from above only.
    """

    name: str
    cell_nm: np.ndarray
    positions_nm: np.ndarray
    symbols: tuple[str, ...]
    layer: bool = False


def _made(
    name: str,
    cell: Sequence[Sequence[float]] | np.ndarray,
    atoms: Sequence[tuple[str, Sequence[float]]],
    layer: bool = False,
) -> UnitCell:
    """Make a cell of fractional positions."""
    vectors = np.asarray(cell, float)
    places = np.array([p for _, p in atoms], float) @ vectors
    return UnitCell(name, vectors, places, tuple(s for s, _ in atoms), layer)


def _hexagonal(a: float, c: float) -> np.ndarray:
    return np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])


#: Height of the cell of a single layer.
_VACUUM = 2.0
_FACES = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))


def _graphene(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    first, second = elements
    atoms = [(first, (1 / 3, 2 / 3, 0.5)), (second, (2 / 3, 1 / 3, 0.5))]
    return _made(name, _hexagonal(a, _VACUUM), atoms, layer=True)


def _two_h(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    metal, x = elements
    half = 0.5 * c / _VACUUM
    atoms = [(metal, (1 / 3, 2 / 3, 0.5)), (x, (2 / 3, 1 / 3, 0.5 + half)),
             (x, (2 / 3, 1 / 3, 0.5 - half))]  # fmt: skip
    return _made(name, _hexagonal(a, _VACUUM), atoms, layer=True)


def _one_t(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    metal, x = elements
    half = 0.5 * c / _VACUUM
    atoms = [(metal, (0, 0, 0.5)), (x, (1 / 3, 2 / 3, 0.5 + half)), (x, (2 / 3, 1 / 3, 0.5 - half))]
    return _made(name, _hexagonal(a, _VACUUM), atoms, layer=True)


def _perovskite(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    big, small, x = elements
    places = ((0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
    atoms = [(big, (0, 0, 0)), (small, (0.5, 0.5, 0.5)), *((x, p) for p in places)]
    return _made(name, np.diag([a, a, c]), atoms)


def _tilted_perovskite(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    """ABO3 whose octahedra are tilted as in GdFeO3 (Pbnm), with the places of DyScO3.

    Seen along <110> its A columns are shifted to and fro, by about 3 % of the cell.
    """
    big, small, x = elements
    cell = np.diag([a, 1.0503 * a, c])
    signs = ((1, 1, 1), (1, -1, -1), (-1, -1, 1), (-1, 1, -1))
    shifts = ((0, 0, 0), (0.5, 0.5, 0), (0, 0, 0.5), (0.5, 0.5, 0.5))

    def general(place: tuple[float, float, float]) -> np.ndarray:
        four = np.array(signs) * place + shifts
        return four if place[2] == 0.25 else np.r_[four, -four]

    places = [
        *((big, p) for p in general((-0.0172, 0.0608, 0.25))),
        *((small, p) for p in ((0, 0.5, 0), (0.5, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5))),
        *((x, p) for p in general((0.1196, 0.4459, 0.25))),
        *((x, p) for p in general((-0.3071, 0.3040, 0.0608))),
    ]
    return _made(name, cell, [(s, np.mod(p, 1.0).tolist()) for s, p in places])


def _rock_salt(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    one, other = elements
    shifted = [tuple(np.add(p, (0.5, 0, 0)) % 1) for p in _FACES]
    return _made(name, a * np.eye(3), [*((one, p) for p in _FACES), *((other, p) for p in shifted)])


def _fcc(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    return _made(name, a * np.eye(3), [(elements[0], p) for p in _FACES])


def _bcc(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    return _made(name, a * np.eye(3), [(elements[0], (0, 0, 0)), (elements[0], (0.5, 0.5, 0.5))])


def _hcp(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    atoms = [(elements[0], (1 / 3, 2 / 3, 0.25)), (elements[0], (2 / 3, 1 / 3, 0.75))]
    return _made(name, _hexagonal(a, c), atoms)


def _zincblende(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    one, other = elements[0], elements[-1]
    inner = [tuple(np.add(p, 0.25) % 1) for p in _FACES]
    return _made(name, a * np.eye(3), [*((one, p) for p in _FACES), *((other, p) for p in inner)])


def _wurtzite(name: str, elements: Sequence[str], a: float, c: float) -> UnitCell:
    one, other = elements
    u = 3 / 8
    atoms = [(one, (1 / 3, 2 / 3, 0)), (one, (2 / 3, 1 / 3, 0.5)),
             (other, (1 / 3, 2 / 3, u)), (other, (2 / 3, 1 / 3, 0.5 + u))]  # fmt: skip
    return _made(name, _hexagonal(a, c), atoms)


Maker = Callable[[str, Sequence[str], float, float], UnitCell]
#: Structures by name: how they are made, and how many elements each has.
STRUCTURES: dict[str, tuple[Maker, int]] = {
    "graphene": (_graphene, 2), "2H": (_two_h, 2), "1T": (_one_t, 2),
    "perovskite": (_perovskite, 3), "tilted perovskite": (_tilted_perovskite, 3),
    "rock salt": (_rock_salt, 2), "fcc": (_fcc, 1), "bcc": (_bcc, 1), "hcp": (_hcp, 1),
    "diamond": (_zincblende, 1), "zincblende": (_zincblende, 2), "wurtzite": (_wurtzite, 2),
}  # fmt: skip
#: Crystals by name: structure, elements, a and c in nm (of a layer the thickness between the
#: outer atoms). Perovskites are taken as cubic or tetragonal.
KNOWN: dict[str, tuple[str, tuple[str, ...], float, float]] = {
    "graphene": ("graphene", ("C", "C"), 0.2461, 0),
    "h-BN": ("graphene", ("B", "N"), 0.2504, 0),
    **{
        f"{m}{x}2": ("2H", (m, x), a, h)
        for m, x, a, h in (
            ("Mo", "S", 0.3160, 0.313), ("W", "S", 0.3153, 0.314), ("Mo", "Se", 0.3288, 0.334),
            ("W", "Se", 0.3282, 0.336), ("Mo", "Te", 0.3519, 0.360), ("W", "Te", 0.3550, 0.361),
            ("Nb", "S", 0.3320, 0.313), ("Nb", "Se", 0.3445, 0.335), ("Ta", "S", 0.3340, 0.313),
        )
    },
    **{
        f"1T-{m}{x}2": ("1T", (m, x), a, h)
        for m, x, a, h in (
            ("Ta", "S", 0.3365, 0.300), ("Ti", "S", 0.3407, 0.285), ("Ti", "Se", 0.3540, 0.310),
            ("Pt", "Se", 0.3727, 0.254), ("Hf", "S", 0.3630, 0.290), ("Sn", "S", 0.3648, 0.296),
            ("Mo", "S", 0.3180, 0.315), ("V", "Se", 0.3356, 0.314),
        )
    },
    **{
        f"{a_site}{b}O3": ("perovskite", (a_site, b, "O"), a, c)
        for a_site, b, a, c in (
            ("Sr", "Ti", 0.3905, 0.3905), ("Ba", "Ti", 0.3992, 0.4036),
            ("Pb", "Ti", 0.3904, 0.4152), ("La", "Al", 0.3790, 0.3790),
            ("Sr", "Ru", 0.3930, 0.3930), ("La", "Mn", 0.3880, 0.3880),
            ("Bi", "Fe", 0.3965, 0.3965),
            ("K", "Ta", 0.3989, 0.3989), ("Pb", "Zr", 0.4130, 0.4130), ("Nd", "Ni", 0.3807, 0.3807),
        )
    },
    "DyScO3": ("tilted perovskite", ("Dy", "Sc", "O"), 0.5443, 0.7901),
    "GdScO3": ("tilted perovskite", ("Gd", "Sc", "O"), 0.5480, 0.7932),
    "CsPbBr3": ("perovskite", ("Cs", "Pb", "Br"), 0.5870, 0.5870),
    **{
        f"{m}{x}": ("rock salt", (m, x), a, 0)
        for m, x, a in (
            ("Mg", "O", 0.4212), ("Na", "Cl", 0.5640), ("Ni", "O", 0.4177), ("Ti", "N", 0.4240),
            ("Pb", "Te", 0.6462), ("Pb", "Se", 0.6124), ("Pb", "S", 0.5936), ("Eu", "O", 0.5141),
        )
    },
    **{
        e: ("fcc", (e,), a, 0)
        for e, a in (
            ("Au", 0.4078), ("Ag", 0.4086), ("Cu", 0.3615), ("Al", 0.4050), ("Ni", 0.3524),
            ("Pt", 0.3924), ("Pd", 0.3891), ("Pb", 0.4951), ("Ir", 0.3839), ("Rh", 0.3803),
        )
    },
    **{
        e: ("bcc", (e,), a, 0)
        for e, a in (
            ("Fe", 0.2866), ("W", 0.3165), ("Mo", 0.3147), ("Cr", 0.2885), ("Nb", 0.3301),
            ("Ta", 0.3303), ("V", 0.3024),
        )
    },
    **{
        e: ("hcp", (e,), a, c)
        for e, a, c in (
            ("Ti", 0.2951, 0.4684), ("Mg", 0.3209, 0.5211), ("Co", 0.2507, 0.4070),
            ("Zn", 0.2665, 0.4947), ("Ru", 0.2706, 0.4282), ("Zr", 0.3232, 0.5147),
        )
    },
    **{
        e if e != "C" else "diamond": ("diamond", (e,), a, 0)
        for e, a in (("Si", 0.5431), ("Ge", 0.5658), ("C", 0.3567), ("Sn", 0.6489))
    },
    **{
        f"{m}{x}": ("zincblende", (m, x), a, 0)
        for m, x, a in (
            ("Ga", "As", 0.5653), ("Cd", "Te", 0.6482), ("In", "P", 0.5869), ("In", "As", 0.6058),
            ("Ga", "P", 0.5451), ("Ga", "Sb", 0.6096), ("In", "Sb", 0.6479), ("Al", "As", 0.5661),
            ("Zn", "S", 0.5409), ("Zn", "Se", 0.5668), ("Zn", "Te", 0.6104), ("Hg", "Te", 0.6460),
            ("Si", "C", 0.4360),
        )
    },
    **{
        f"{m}{x}": ("wurtzite", (m, x), a, c)
        for m, x, a, c in (
            ("Ga", "N", 0.3189, 0.5185), ("Al", "N", 0.3112, 0.4982), ("In", "N", 0.3545, 0.5703),
            ("Zn", "O", 0.3250, 0.5207), ("Cd", "Se", 0.4299, 0.7010), ("Cd", "S", 0.4137, 0.6716),
        )
    },
}  # fmt: skip


def build_crystal(
    structure: str, elements: Sequence[str], a_nm: float, c_nm: float = 0.0, name: str = ""
) -> UnitCell:
    """Build the cell of a structure that is known by name.

    Parameters
    ----------
    structure : str
        A key of `STRUCTURES`: "graphene" (and h-BN), "2H", "1T", "perovskite",
        "tilted perovskite", "rock salt", "fcc", "bcc", "hcp", "diamond", "zincblende", "wurtzite".
    elements : sequence of str
        Such as ("Sr", "Ti", "O").
    a_nm, c_nm : float
        Lattice parameters; of a layer `c_nm` is the distance between its outer atoms. Of a cubic
        structure `c_nm` is not needed.
    name : str
        By default the elements.

    Raises
    ------
    ParameterError
        If there is no such structure, or the elements or lengths make no sense.

    Examples
    --------
    >>> build_crystal("fcc", ["Au"], 0.4078).symbols
    ('Au', 'Au', 'Au', 'Au')
    """
    if structure not in STRUCTURES:
        raise ParameterError(
            f"There is no structure {structure!r}; there are {', '.join(STRUCTURES)}."
        )
    make, n = STRUCTURES[structure]
    if len(elements) != n:
        raise ParameterError(f"{structure} has {n} element{'s' * (n > 1)}, not {len(elements)}.")
    brightness(elements, 1.0)
    if not 0.1 < a_nm < 10 or not 0 <= c_nm < 10:
        raise ParameterError(f"A cell of {a_nm:g} nm is none of a crystal.")
    return make(name or "".join(elements), elements, a_nm, c_nm or a_nm)


def list_crystals() -> list[str]:
    """Names of the crystals that are known.

    Examples
    --------
    >>> "SrTiO3" in list_crystals()
    True
    """
    return list(KNOWN)


def _shared(info: Mapping[str, Any], kinds: np.ndarray, symbols: list[str]) -> list[str]:
    """Write sites that several elements share, or that are not full, with their shares."""
    shared = {int(k): dict(v) for k, v in dict(info.get("occupancy") or {}).items()}
    out = []
    for kind, symbol in zip(kinds.tolist(), symbols, strict=True):
        parts = {s: float(v) for s, v in shared.get(int(kind), {}).items() if v > LEAST_SHARE}
        whole = len(parts) < 2 and abs(sum(parts.values()) - 1) < LEAST_SHARE
        if not parts or whole:
            out.append(next(iter(parts), symbol))
        else:
            order = sorted(parts, key=lambda s: (-parts[s], s))
            out.append("".join(s if parts[s] == 1 else f"{s}{parts[s]:.3g}" for s in order))
    return out


#: More atoms in a cell are those of a simulation box: each zone axis would take minutes.
MOST_ATOMS = 1500


def from_structure(structure: Atoms, name: str = "") -> UnitCell:
    """Return the cell of an ASE structure; sites that elements share are kept as such.

    Raises
    ------
    ParameterError
        If it has no cell or no atoms, or more than `MOST_ATOMS`.
    """
    cell = np.asarray(structure.cell[:], float) / 10
    periodic = [bool(p) for p in structure.pbc]
    numbers = np.isfinite(cell).all() and np.isfinite(structure.positions).all()
    if not numbers or abs(np.linalg.det(cell)) < 1e-9 or not len(structure):
        raise ParameterError("The crystal needs a cell with a volume, and atoms in it.")
    if len(structure) > MOST_ATOMS:
        raise ParameterError(
            f"The cell of the crystal holds {len(structure):,} atoms, more than {MOST_ATOMS:,}; "
            "give the smallest cell that repeats it."
        )
    symbols = [str(s) for s in structure.get_chemical_symbols()]
    if "spacegroup_kinds" in structure.arrays:
        symbols = _shared(structure.info, structure.arrays["spacegroup_kinds"], symbols)
    layer = periodic == [True, True, False]
    title = name or str(structure.get_chemical_formula(mode="metal", empirical=True))
    return UnitCell(title, cell, np.asarray(structure.positions, float) / 10, tuple(symbols), layer)


def read_crystal(path: str | Path) -> UnitCell:
    """Read a CIF, or anything else that ASE reads.

    Raises
    ------
    FormatError
        If the file is not there, is no structure, or ASE is not installed.
    """
    path = Path(path)
    try:
        from ase.io import read
    except ImportError:
        raise FormatError(
            "Crystals are read with ASE: pip install 'napari-atomlens[formats]' brings it."
        ) from None
    if path.is_dir():
        raise FormatError(f"{path} is a folder, not a file of a crystal.")
    if not path.is_file():
        raise FormatError(f"There is no file {path.name}.")
    try:
        found = read(str(path))
    # whatever a reader of ASE raises on a file that it cannot read
    except Exception as error:
        raise FormatError(f"{path.name} is no structure that ASE reads.") from error
    return from_structure(found[-1] if isinstance(found, list) else found, path.stem)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace(" ", "")


def find_crystal(given: object) -> UnitCell:
    """Return the crystal that is meant: by its name, a file, or a structure of ASE.

    Raises
    ------
    FormatError, ParameterError
        If it is none of these.

    Examples
    --------
    >>> find_crystal("SrTiO3").symbols
    ('Sr', 'Ti', 'O', 'O', 'O')
    """
    if isinstance(given, UnitCell):
        return given
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        if not str(text).strip():
            raise ParameterError("A crystal needs a name or a CIF file.")
        known = {_plain(name): name for name in KNOWN}
        # of a material that is known in one structure, its formula says enough
        known |= {p: n for n in KNOWN if (p := _plain(n).removeprefix("1t")) not in known}
        name = known.get(_plain(str(text)).removeprefix("2h"))
        if name is not None:
            structure, elements, a, c = KNOWN[name]
            return build_crystal(structure, elements, a, c, name)
        if Path(text).suffix or Path(text).exists():
            return read_crystal(text)
        near = difflib.get_close_matches(str(text), list(KNOWN), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "give a CIF file."
        raise ParameterError(f"There is no crystal {text!r}; {hint}")
    if hasattr(given, "get_chemical_symbols") and hasattr(given, "cell"):
        return from_structure(given)  # type: ignore[arg-type]
    raise ParameterError(
        f"A crystal is a name, a CIF file or an ASE structure, not {type(given).__name__}."
    )
