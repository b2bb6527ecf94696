"""Graphs as files: bonds, defects and their strain against a reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_atomlens.errors import ParameterError, TableError
from napari_atomlens.files import user_file, write_whole
from napari_atomlens.graphs.library import Entry
from napari_atomlens.io.export.structures import checked
from napari_atomlens.io.export.tables import write_table
from napari_atomlens.tables import check_table
from napari_atomlens.untrusted import path_of

if TYPE_CHECKING:
    import networkx as nx

#: Symmetric graphs have many mappings onto each other; so many are tried.
MOST_MAPPINGS = 2000


def element(species: str) -> str:
    """Chemical symbol of a species: "S2" (two S above each other) is S; "A" is X (unknown)."""
    letters = species.rstrip("0123456789")
    known = letters[:1].isupper() and len(letters) <= 2 and letters not in ("A", "X")
    return letters if known else "X"


def _line(text: str) -> str:
    """A text between quotation marks in one line."""
    return " ".join(text.split()).replace('"', "'").replace("\\", "/")


def _word(text: str) -> str:
    """A text that is one word."""
    return re.sub(r"[\s\"]+", "_", text.strip()) or "none"


def extxyz(entries: Sequence[Entry]) -> str:
    """Extended XYZ, one frame for each entry, in angstrom; y points up, z is 0.

    ASE reads it with ``ase.io.read(name, index=":")``.
    """
    text = []
    for e in entries:
        comment = (
            'Properties=species:S:1:pos:R:3:column:S:1 pbc="F F F" '
            f'formula="{_line(e.formula)}" kind="{_line(e.kind)}" uid={_word(e.uid)}'
        )
        text += [str(len(e.species)), comment]
        for s, (y, x) in zip(e.species, 10 * e.places_nm, strict=True):
            text.append(f"{element(s):<3s}{x:12.5f}{-y:12.5f}{0.0:12.5f} {_word(s)}")
    return "\n".join(text) + "\n"


def cif(entry: Entry, margin_nm: float = 0.5) -> str:
    """CIF of one entry in a box (P1) with a margin on every side."""
    places = np.column_stack([entry.places_nm[:, 1], -entry.places_nm[:, 0]])
    low = places.min(axis=0) - margin_nm
    size = np.r_[np.ptp(places, axis=0) + 2 * margin_nm, 2 * margin_nm]
    fraction = np.column_stack([(places - low) / size[:2], np.full(len(places), 0.5)])
    name = "".join(c if c.isalnum() else "_" for c in entry.formula)
    lines = [
        f"data_{name}",
        "_symmetry_space_group_name_H-M 'P 1'",
        "_symmetry_Int_Tables_number 1",
    ]
    lines += [f"_cell_length_{a} {10 * v:.5f}" for a, v in zip("abc", size, strict=True)]
    lines += [f"_cell_angle_{a} 90" for a in ("alpha", "beta", "gamma")]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", "'x, y, z'", "loop_"]
    lines += [f"_atom_site_{c}" for c in ("label", "type_symbol", "fract_x", "fract_y", "fract_z")]
    for k, (s, f) in enumerate(zip(entry.species, fraction, strict=True)):
        lines.append(f"{element(s)}{k + 1} {element(s)} {f[0]:.6f} {f[1]:.6f} {f[2]:.6f}")
    return "\n".join(lines) + "\n"


def graphml(entry: Entry) -> str:
    """GraphML of one entry."""
    import networkx as nx

    return "\n".join(nx.generate_graphml(entry.networkx()))


def table(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row for each atom of each entry, with what is known of the entry."""
    parts = [
        pd.DataFrame(
            {
                "id": e.id, "uid": e.uid, "formula": e.formula, "kind": e.kind, "score": e.score,
                "source": e.source, "created": e.created, "tags": " ".join(e.tags),
                "notes": e.notes, "atom": np.arange(len(e.species)), "species": e.species,
                "y_nm": e.places_nm[:, 0], "x_nm": e.places_nm[:, 1],
            }
        ).assign(**{f"property_{k}": v for k, v in e.properties.items()})
        for e in entries
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def to_graph(atoms: pd.DataFrame, bonds: pd.DataFrame) -> nx.Graph:
    """Return atoms and bonds as a networkx graph; its nodes are atom ids."""
    import networkx as nx

    table = checked(atoms, "atom_id", "y_px", "x_px")
    bonds = check_table(bonds, ("atom_a", "atom_b"), "bonds", places=False)
    lost = (set(bonds["atom_a"]) | set(bonds["atom_b"])) - set(table["atom_id"])
    if lost:
        raise TableError(f"{len(lost)} atoms of the bonds are not in the table of atoms.")
    graph = nx.Graph()
    for rows, add in ((table, graph.add_node), (bonds, graph.add_edge)):
        keys = ["atom_id"] if rows is table else ["atom_a", "atom_b"]
        for row in rows.to_dict("records"):
            given = {
                str(k): v.item() if isinstance(v, np.generic) else v
                for k, v in row.items()
                if k not in keys and isinstance(v, (str, int, float, bool, np.generic))
            }
            add(*(int(row[k]) for k in keys), **given)
    return graph


def write_graphml(path: str | Path, atoms: pd.DataFrame, bonds: pd.DataFrame) -> Path:
    """Write atoms and bonds as GraphML, which Gephi, igraph, networkx and yEd read."""
    import networkx as nx

    with user_file(path) as target:
        return write_whole(target, lambda file: nx.write_graphml(to_graph(atoms, bonds), file))


def save(entries: Sequence[Entry], path: str | Path) -> list[Path]:
    """Write entries by the suffix of `path`: .xyz, .extxyz, .csv, or .cif and .graphml.

    The last two hold one structure each: of several entries, file names get the number.

    Raises
    ------
    ParameterError
        If there is nothing to write or the suffix is none of these.
    FormatError
        If a file cannot be written.
    """
    target = path_of(path)
    if not isinstance(entries, Sequence) or not all(isinstance(e, Entry) for e in entries):
        raise ParameterError("What is exported is a list of entries of a library.")
    if not entries:
        raise ParameterError("There is no defect to export.")
    kind = target.suffix.lower()
    if kind in (".xyz", ".extxyz"):
        with user_file(target):
            write_whole(target, extxyz(entries))
    elif kind == ".csv":
        with user_file(target):
            write_table(target, table(entries))
    elif kind in (".cif", ".graphml"):
        write = cif if kind == ".cif" else graphml
        if len(entries) > 1:
            names = [target.with_stem(f"{target.stem}-{k + 1}") for k in range(len(entries))]
        else:
            names = [target]
        for name, entry in zip(names, entries, strict=True):
            with user_file(name):
                write_whole(name, write(entry))
        return names
    else:
        raise ParameterError(
            f"{target.name} has no suffix that can be written: .extxyz, .xyz, .cif, .graphml, .csv."
        )
    return [target]


def strain(entry: Entry, reference: Entry) -> dict[str, float]:
    """Strain of a defect against a reference of the same type.

    Of all ways to lay the one graph on the other, also mirrored, the one that fits best is
    taken; the deformation ``F`` that maps the reference on the defect (least squares) gives
    the Green-Lagrange strain ``E = (F^T F - I) / 2`` in the axes of the reference (x to the
    right, y up as drawn).

    Returns
    -------
    dict
        ``e_xx``, ``e_yy``, ``e_xy``, ``dilation`` (trace), ``shear`` (difference of the principal
        strains), and ``rms_nm``, what the deformation does not explain.

    Raises
    ------
    ParameterError
        If the two are not isomorphic or have fewer than three atoms.
    """
    from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

    if len(entry.species) < 3:
        raise ParameterError("The strain of fewer than three atoms is not defined.")
    matcher = GraphMatcher(
        reference.networkx(), entry.networkx(), categorical_node_match("species", "")
    )
    flip = np.array([1.0, -1.0])
    here = entry.places_nm[:, ::-1] * flip
    there = reference.places_nm[:, ::-1] * flip
    there = there - there.mean(axis=0)
    best: tuple[float, np.ndarray] | None = None
    for mapping in islice(matcher.isomorphisms_iter(), MOST_MAPPINGS):
        order = np.array([mapping[i] for i in range(len(there))])
        target = here[order] - here[order].mean(axis=0)
        u, _, vt = np.linalg.svd(there.T @ target)
        rigid = float(((there @ (u @ vt) - target) ** 2).sum())
        affine = there @ np.linalg.lstsq(there, target, rcond=None)[0]
        # what no deformation explains counts; of equal ones the smaller deformation wins
        misfit = float(((affine - target) ** 2).sum()) + 1e-3 * rigid
        if best is None or misfit < best[0]:
            best = misfit, target
    if best is None:
        raise ParameterError(
            f"{entry.formula} cannot be laid on {reference.formula}: they are of different types."
        )
    if np.linalg.matrix_rank(there, tol=1e-6) < 2:
        raise ParameterError("The atoms of the reference lie on one line.")
    solution = np.linalg.lstsq(there, best[1], rcond=None)[0]
    deformation = solution.T
    green = 0.5 * (deformation.T @ deformation - np.eye(2))
    low, high = np.linalg.eigvalsh(green)
    left = best[1] - there @ solution
    return {
        "e_xx": float(green[0, 0]),
        "e_yy": float(green[1, 1]),
        "e_xy": float(green[0, 1]),
        "dilation": float(np.trace(green)),
        "shear": float(high - low),
        "rms_nm": float(np.sqrt((left**2).sum(axis=1).mean())),
    }
