"""Tables that sum a lattice up: regions, sublattices, distances, messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from napari_atomlens import tables
from napari_atomlens.lattice.cell import matched_to, name_of
from napari_atomlens.lattice.dislocations import Core
from napari_atomlens.lattice.grain import Grain
from napari_atomlens.lattice.lattice import (
    FIRST_VACANCY,
    MEASURED,
    FrameLattice,
    Lattice,
    LatticeParams,
)
from napari_atomlens.lattice.latticefit import LatticeFit, describe_cell
from napari_atomlens.lattice.strain import Polar, bonds
from napari_atomlens.params import as_dict


def describe_regions(
    frame: int,
    region: int,
    grain: Grain,
    fit: LatticeFit,
    measured: list[tuple[Grain, LatticeFit]],
    table: pd.DataFrame,
    points: np.ndarray,
    vacant: pd.DataFrame,
    polar: Polar,
    stretch: np.ndarray,
    nm: np.ndarray,
    bright: np.ndarray,
    result: FrameLattice,
) -> None:
    """Add the rows of a region to the tables of lattices, sublattices and distances."""
    position = points[grain.rows]
    centre = position.mean(0) / stretch
    basis = fit.basis()
    row: dict[str, object] = {
        "frame": frame, "region": region, "n_atoms": len(grain.rows), "n_vacant": len(vacant),
        "n_sublattices": len(basis), "kind": name_of(fit.cell), "y_px": centre[0],
        "x_px": centre[1], "rms_px": fit.rms,
        "basis": tuple((round(float(a), 6), round(float(b), 6)) for a, b in basis),
        "turn_rad": matched_to(fit.cell, measured[0][1].cell)[1] if region else 0.0,
    }  # fmt: skip
    for vector, name in zip(fit.cell / stretch, "ab", strict=True):
        row[f"{name}_y_px"], row[f"{name}_x_px"] = vector
    # lengths in square pixels (those along x), and in nm
    for unit, length in (("px", np.ones(2)), ("nm", np.full(2, nm[1]))):
        if not np.isfinite(length).all():
            continue
        for name, (value, error) in describe_cell(fit.cell, fit.covariance, length).items():
            suffix = "rad" if name in ("angle", "direction") else unit
            row[f"{name}_{suffix}"], row[f"{name}_err_{suffix}"] = value, error
    pairs = bonds(grain)
    difference = position[pairs[:, 1]] - position[pairs[:, 0]]
    length = np.linalg.norm(difference, axis=1)
    variance = (table[["y_err_px", "x_err_px"]].to_numpy(float) * stretch)[grain.rows] ** 2
    unit_vector = difference / np.maximum(length, 1e-12)[:, None]
    spread = np.sqrt((unit_vector**2 * (variance[pairs].sum(1))).sum(1))
    ids = table["atom_id"].to_numpy()[grain.rows]
    result.distances.append(
        tables.make(
            "distances",
            {
                "frame": frame, "region": region, "atom_a": ids[pairs[:, 0]],
                "atom_b": ids[pairs[:, 1]], "sublattice_a": grain.sublattice[pairs[:, 0]],
                "sublattice_b": grain.sublattice[pairs[:, 1]], "length_px": length,
                "length_err_px": spread, "length_nm": length * nm[1],
                "length_err_nm": spread * nm[1],
            },
            len(pairs),
        )
    )  # fmt: skip
    row["nearest_px"] = float(np.median(length)) if len(length) else np.nan
    row["nearest_nm"] = row["nearest_px"] * nm[1]
    result.lattices.append(row)
    inverse = np.linalg.inv(fit.cell)
    shift = position - fit.sites(grain.cells, grain.sublattice)
    species = table["species"].to_numpy()[grain.rows].astype(str)
    vacant_of = vacant["sublattice"].to_numpy() if len(vacant) else np.zeros(0, int)
    for s in range(len(basis)):
        mine = grain.sublattice == s
        error = np.sqrt(
            (fit.origin_err[s] ** 2 + (fit.origin_err[0] ** 2 if s else 0)) @ inverse**2
        )
        names, counts = np.unique(species[mine], return_counts=True)
        moved = np.c_[polar.dy, polar.dx][mine]
        known = np.isfinite(moved).all(1)
        sub: dict[str, object] = {
            "frame": frame, "region": region, "sublattice": s, "n_atoms": int(mine.sum()),
            "n_vacant": int((vacant_of == s).sum()), "along_a": basis[s, 0],
            "along_b": basis[s, 1], "along_a_err": error[0] if s else 0.0,
            "along_b_err": error[1] if s else 0.0, "amplitude": bright[s],
            "species": str(names[counts.argmax()]) if len(names) else "",
            "rms_px": float(np.sqrt((shift[mine] ** 2).mean())) if mine.any() else np.nan,
        }  # fmt: skip
        if known.sum() >= 2:
            mean = moved[known].mean(0) / stretch
            standard = moved[known].std(0, ddof=1) / np.sqrt(known.sum()) / stretch
            sub |= {"polar_dy_px": mean[0], "polar_dx_px": mean[1],
                    "polar_dy_err_px": standard[0], "polar_dx_err_px": standard[1],
                    "against": int(polar.against[mine][known][0])}  # fmt: skip
        result.sublattices.append(sub)


def describe_cores(
    frame: int,
    region: int,
    fit: LatticeFit,
    cores: Sequence[Core],
    beside: Sequence[int],
    stretch: np.ndarray,
    nm: np.ndarray,
    result: FrameLattice,
) -> None:
    """Add the rows of the dislocations of a region; `beside` is a region behind each, or -1."""
    places = np.array([c.place for c in cores]).reshape(-1, 2)
    for k, core in enumerate(cores):
        vector = core.burgers @ fit.cell
        length = float(np.linalg.norm(vector))
        # the error of m a + n b along itself
        along = np.kron(core.burgers, vector / length)
        error = float(np.sqrt(max(along @ fit.covariance @ along, 0.0)))
        gaps = np.linalg.norm(np.delete(places, k, 0) - core.place, axis=1)
        y, x = core.place / stretch
        result.dislocations.append(
            {
                "frame": frame, "region": region, "other_region": beside[k], "y_px": y, "x_px": x,
                "y_nm": y * nm[0],
                "x_nm": x * nm[1], "burgers_a": int(core.burgers[0]),
                "burgers_b": int(core.burgers[1]), "burgers_y_px": vector[0] / stretch[0],
                "burgers_x_px": vector[1], "burgers_px": length, "burgers_err_px": error,
                "burgers_nm": length * nm[1], "burgers_err_nm": error * nm[1],
                "direction_rad": float(np.arctan2(-vector[0], vector[1])),
                "next_px": float(gaps.min()) if len(gaps) else np.nan,
            }
        )  # fmt: skip


def describe_order(result: FrameLattice, region: int, nm: np.ndarray) -> None:
    """Add what makes the cell larger to the row of a region, the last of the table."""
    order = result.orders[region]
    if order is None:
        return
    row = result.lattices[-1]
    row |= {"superstructure": order.kind, "times": order.times}
    if order.kind == "movement":
        row |= {"moved_px": order.amount, "moved_err_px": order.error,
                "moved_nm": order.amount * nm[1], "moved_err_nm": order.error * nm[1]}  # fmt: skip
    else:
        row |= {"brighter": order.amount, "brighter_err": order.error}


def _said_of_order(row: Mapping[str, object]) -> str:
    """Sentence about the superstructure of a region."""
    cells = f"Region {row['region']} has a cell {row['times']} times the simple one: "
    if row["superstructure"] == "brightness":
        change = 100 * float(np.expm1(float(str(row["brighter"]))))
        return f"{cells}atoms that would be alike differ in brightness by {change:.0f} %."
    nm = float(str(row["moved_nm"]))
    unit, factor, name = ("pm", 1000.0, "nm") if np.isfinite(nm) else ("px", 1.0, "px")
    amount, error = (factor * float(str(row[f"{c}_{name}"])) for c in ("moved", "moved_err"))
    digits = 1 if unit == "pm" else 3
    return f"{cells}atoms move in turns by {amount:.{digits}f} ± {error:.{digits}f} {unit}."


def message_of(result: FrameLattice, n: int) -> str:
    """One or two sentences about a frame, empty where nothing is to be said."""
    if not result.lattices:
        if n < 12:
            return "No lattice was found: there are too few atoms for one."
        return "No lattice was found: the atoms have no common translation."
    said = [_said_of_order(row) for row in result.lattices if row.get("superstructure")]
    if result.holes:
        sites = sum(h["n_sites"] for h in result.holes)
        k = len(result.holes)
        said.append(
            f"{k} gap{'s' if k > 1 else ''} of {sites} empty sites in all "
            f"{'are holes' if k > 1 else 'is a hole'}, not vacancies."
        )
    if result.faint:
        said.append(
            f"{result.faint} empty site{'s are' if result.faint > 1 else ' is'} of a sublattice "
            "too faint for all of its columns to be found, and not counted as vacant."
        )
    if result.hidden:
        k = result.hidden
        said.append(
            f"{k} empty site{'s lie' if k > 1 else ' lies'} where the background is high "
            f"(contamination) and {'are' if k > 1 else 'is'} not counted as vacant."
        )
    return " ".join(said)


def join_frames(
    parts: list[FrameLattice],
    params: LatticeParams,
    reference: str | Sequence[object] | np.ndarray,
    size: tuple[float, float] | None,
    *,
    many: bool,
) -> Lattice:
    """Put the frames together and give the vacant sites their ids."""
    if parts:
        atoms = pd.concat([p.atoms for p in parts], ignore_index=True)
    else:
        atoms = tables.empty("atoms").assign(**{c: pd.Series(dtype=d) for c, d in MEASURED.items()})
    vacant = (atoms["source"] == "lattice").to_numpy()
    ids = atoms["atom_id"].to_numpy(np.int64).copy()
    frame = atoms["frame"].to_numpy(np.int64)
    if vacant.any():
        order = pd.Series(np.ones(vacant.sum(), int)).groupby(frame[vacant]).cumsum() - 1
        fresh = frame[vacant] * tables.IDS_PER_FRAME + FIRST_VACANCY + order.to_numpy()
        if np.isin(fresh, ids[~vacant]).any():  # a table with ids of its own kind
            fresh = ids[~vacant].max() + 1 + np.arange(vacant.sum())
        ids[vacant] = fresh
        atoms["atom_id"] = ids

    def rows(name: str, found: Sequence[Mapping[str, object]]) -> pd.DataFrame:
        unknown = {tables.F: np.nan, tables.I: -1, tables.B: False, tables.S: ""}
        columns = {
            c: [r.get(c, unknown[kind]) for r in found]
            for c, kind in tables.TABLES[name].items() if any(c in r for r in found)
        }  # fmt: skip
        return tables.make(name, columns, len(found))

    distances = [d for p in parts for d in p.distances if len(d)]
    messages = [f"Frame {p.frame}: {p.message}" if many else p.message for p in parts if p.message]
    if not parts:
        messages.append("No lattice was found: there is no atom.")
    return Lattice(
        atoms=atoms,
        lattices=rows("lattices", [r for p in parts for r in p.lattices]),
        sublattices=rows("sublattices", [_complete(r) for p in parts for r in p.sublattices]),
        distances=pd.concat(distances, ignore_index=True)
        if distances
        else tables.empty("distances"),
        holes=rows("holes", [r for p in parts for r in p.holes]),
        dislocations=rows("dislocations", [r for p in parts for r in p.dislocations]),
        messages=messages,
        params={
            **as_dict(params),
            "reference": reference
            if isinstance(reference, str)
            else np.asarray(reference).tolist(),
            "pixel_size_nm": size,
        },
    )


def _complete(row: dict[str, object]) -> dict[str, object]:
    """Return a row of sublattices with the columns that it may lack."""
    unknown = {c: -1 if d == tables.I else np.nan for c, d in tables.SUBLATTICES.items()}
    return {**unknown, **row}
