"""Matching a crystal: zone axis, rotation, sites, defects, refusals and polarity on known truth.

    python benchmarks/match.py [--only right wrong polarity time images] [--repeats 1]

30 crystals and zone axes, 800 columns each, the scale off by up to 12 %, 2 % of strain and slow
waves of the scan, 1 % vacant, 0.4 % extra and 0.5 % of the columns with what stands in another; 300
counts in the faintest column (places and volumes with the errors of a fit). `--only images` draws the
same as images, finds the columns with `analyze` and matches those.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from math import pi

import numpy as np
import pandas as pd
from report import Report
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.graphs.crystals import UnitCell, build_crystal, find_crystal
from napari_atomlens.graphs.views import View, axis_name, views_of
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.column_lists import ColumnList, Told, list_columns, nearest_of
from napari_atomlens.simulation.scenes import Scene, add_dose

RIGHT: list[tuple[str, tuple[int, int, int]]] = [
    ("graphene", (0, 0, 1)), ("h-BN", (0, 0, 1)), ("MoS2", (0, 0, 1)), ("WSe2", (0, 0, 1)),
    ("MoSe2", (0, 0, 1)), ("1T-TaS2", (0, 0, 1)), ("1T-PtSe2", (0, 0, 1)),
    ("SrTiO3", (0, 0, 1)), ("SrTiO3", (1, 1, 0)), ("SrTiO3", (1, 1, 1)), ("BaTiO3", (0, 0, 1)),
    ("PbTiO3", (0, 0, 1)), ("PbTiO3", (1, 0, 0)), ("CsPbBr3", (0, 0, 1)), ("SrRuO3", (0, 0, 1)),
    ("NaCl", (0, 0, 1)), ("MgO", (1, 1, 0)), ("PbTe", (1, 1, 0)),
    ("Au", (0, 0, 1)), ("Au", (1, 1, 0)), ("Pt", (1, 1, 1)), ("Fe", (0, 0, 1)), ("W", (1, 1, 1)),
    ("Si", (1, 1, 0)), ("Ge", (1, 1, 2)), ("GaAs", (1, 1, 0)), ("CdTe", (1, 1, 0)),
    ("GaAs", (0, 0, 1)), ("GaN", (1, 0, 0)), ("GaN", (0, 0, 1)),
]  # fmt: skip

#: Columns of the first, asked for as the second: another cell, another basis, another scale.
WRONG: list[tuple[object, tuple[int, int, int], object, tuple[int, int, int] | None, float]] = [
    # monolayers have one view: nothing of another lattice is one of them
    *((name, axis, layer, None, 1.0)
      for name, axis in (("SrTiO3", (0, 0, 1)), ("Au", (0, 0, 1)), ("GaAs", (1, 1, 0)),
                         ("Si", (1, 1, 0)), ("SrTiO3", (1, 1, 0)), ("MgO", (1, 1, 0)),
                         ("GaN", (1, 0, 0)))
      for layer in ("graphene", "MoS2", "1T-TaS2")),
    # other cells along the axis that is told
    ("GaAs", (1, 1, 0), "GaAs", (0, 0, 1), 1.0), ("GaAs", (1, 1, 0), "GaAs", (1, 1, 1), 1.0),
    ("SrTiO3", (0, 0, 1), "SrTiO3", (1, 1, 0), 1.0), ("SrTiO3", (0, 0, 1), "SrTiO3", (1, 1, 1), 1.0),
    ("SrTiO3", (1, 1, 0), "SrTiO3", (0, 0, 1), 1.0), ("Au", (1, 1, 0), "Au", (1, 1, 1), 1.0),
    ("Au", (0, 0, 1), "Au", (1, 1, 0), 1.0), ("Fe", (0, 0, 1), "Fe", (1, 1, 1), 1.0),
    ("GaN", (0, 0, 1), "GaN", (1, 0, 0), 1.0), ("GaN", (1, 0, 0), "GaN", (0, 0, 1), 1.0),
    ("Ge", (1, 1, 2), "Ge", (1, 1, 0), 1.0), ("PbTe", (1, 1, 0), "PbTe", (0, 0, 1), 1.0),
    # the same cell with another basis
    ("MoS2", (0, 0, 1), "1T-MoS2", None, 1.0), ("1T-PtSe2", (0, 0, 1), ("2H", ("Pt", "Se"), 0.3727, 0.254), None, 1.0),
    ("Si", (1, 1, 0), ("fcc", ("Si",), 0.5431, 0), (1, 1, 0), 1.0),
    (("fcc", ("Ge",), 0.5658, 0), (1, 1, 0), "Ge", (1, 1, 0), 1.0),
    ("GaAs", (1, 1, 0), ("rock salt", ("Ga", "As"), 0.5653, 0), (1, 1, 0), 1.0),
    ("MgO", (1, 1, 0), ("zincblende", ("Mg", "O"), 0.4212, 0), (1, 1, 0), 1.0),
    (("wurtzite", ("Ga", "As"), 0.399, 0.652), (1, 0, 0), "GaAs", (1, 1, 0), 1.0),
    ("graphene", (0, 0, 1), ("fcc", ("Au",), 0.348, 0), (1, 1, 1), 1.0),
    (("hcp", ("Ti",), 0.2951, 0.4684), (1, 0, 0), ("fcc", ("Ti",), 0.411, 0), (1, 1, 0), 1.0),
    # the same pattern with one kind of column where there are two
    ("MoS2", (0, 0, 1), ("graphene", ("Mo", "Mo"), 0.316, 0), None, 1.0),
    ("h-BN", (0, 0, 1), "graphene", None, 1.0),
    # the scale beyond 15 %
    *((name, axis, name, axis, scale)
      for name, axis in (("graphene", (0, 0, 1)), ("MoS2", (0, 0, 1)), ("GaAs", (1, 1, 0)),
                         ("SrTiO3", (1, 1, 0)), ("Au", (1, 1, 0)), ("GaN", (1, 0, 0)),
                         ("SrTiO3", (0, 0, 1)), ("Si", (1, 1, 0)), ("NaCl", (0, 0, 1)))
      for scale in (0.77, 1.27)),
    ("graphene", (0, 0, 1), "MoS2", None, 1.0), ("MoS2", (0, 0, 1), "graphene", None, 1.0),
    ("h-BN", (0, 0, 1), "WSe2", None, 1.0), ("WSe2", (0, 0, 1), "h-BN", None, 1.0),
]  # fmt: skip
FAULTS = Told(strain=0.02, wave_px=0.5, missing=0.01, extra=0.004, replaced=0.005)


@dataclass
class Score:
    """How one match went."""

    axis: bool
    turn_deg: float
    sites: float
    n: int
    vacant: tuple[int, int, int]
    antisites: tuple[int, int, int]
    seconds: float
    text: str
    tie: bool = False


def crystal_of(given: object) -> UnitCell:
    if isinstance(given, tuple):
        structure, elements, a, c = given
        return build_crystal(structure, elements, a, c, f"{structure} {''.join(elements)}")
    return find_crystal(given)


def view_of(given: object, axis: tuple[int, int, int]) -> View:
    return views_of(crystal_of(given), axis)[0]


def turn_error(true: np.ndarray, found: np.ndarray, cell: np.ndarray) -> float:
    """Rotation between two maps of a lattice into the image, but for what repeats it, in degrees."""
    whole = np.rint(cell @ true @ np.linalg.inv(found) @ np.linalg.inv(cell))
    if abs(abs(np.linalg.det(whole)) - 1) > 1e-6:
        return float("nan")
    near = np.linalg.inv(cell) @ whole @ cell @ found
    left = np.linalg.inv(near) @ true
    return float(abs(np.rad2deg(np.arctan2(left[0, 1] - left[1, 0], np.trace(left)))))


def matrix_of(match: al.CrystalMatch, view: View) -> np.ndarray:
    """Map from the crystal to the image, by least squares on the ideal sites."""
    c = match.columns[match.columns["site"] >= 0]
    c = c[c["region"] == match.matches["region"].iloc[0]]
    cells = c[["cell_m", "cell_n"]].to_numpy() @ view.columns.cell_nm
    places = cells + view.columns.places_nm[c["site"].to_numpy()]
    design = np.c_[places, np.ones(len(places))]
    return np.linalg.lstsq(design, c[["site_y_px", "site_x_px"]].to_numpy(), rcond=None)[0][:2]


def counted(true: np.ndarray, found: np.ndarray, reach: float) -> tuple[int, int, int]:
    """Found and there, found, there."""
    if not len(true) or not len(found):
        return 0, len(found), len(true)
    return int((cKDTree(found).query(true)[0] < reach).sum()), len(found), len(true)


def score(drawn: ColumnList, view: View, atoms: pd.DataFrame, asked: object,
          truth: pd.DataFrame, started: float) -> Score:  # fmt: skip
    """Match and compare; `truth` says what is where: y, x, elements, occupant."""
    try:
        match = al.match_crystal(atoms, asked, pixel_size_nm=drawn.pixel_size_nm)
    except al.AtomLensError as error:
        return Score(False, float("nan"), 0.0, len(atoms), (0, 0, 0), (0, 0, 0),
                     time.process_time() - started, str(error))  # fmt: skip
    seconds = time.process_time() - started
    named = axis_name(view.axis), axis_name([-i for i in view.axis])
    right = match.zone_axis in named
    if not right:  # another name of the same view
        other = [v for v in views_of(view.crystal) if axis_name(v.axis) == match.zone_axis
                 or axis_name([-i for i in v.axis]) == match.zone_axis]  # fmt: skip
        right = any(
            sorted(v.labels) == sorted(view.labels)
            and abs(v.area_nm2 - view.area_nm2) < 1e-5
            and abs(v.nearest_nm() - view.nearest_nm()) < 1e-4
            for v in other
        )
        turn = float("nan")
        for v in other[:1]:
            turn = same_turn(drawn, view, match, v) if right else float("nan")
    else:
        turn = turn_error(drawn.matrix, matrix_of(match, view), view.columns.cell_nm)
    tree = cKDTree(truth[["y", "x"]].to_numpy())
    spacing = nearest_of(view, np.arange(len(view.labels))) / drawn.pixel_size_nm
    gap, near = tree.query(match.columns[["y_px", "x_px"]].to_numpy())
    close = gap < 0.4 * spacing
    hit = (match.columns["elements"].to_numpy() == truth["elements"].to_numpy()[near]) & close
    counted_columns = close & (truth["elements"].to_numpy()[near] != "")
    defects = match.defects
    places = defects[["y_px", "x_px"]].to_numpy()
    vacant = (defects["kind"] == "vacancy").to_numpy()
    anti = (defects["kind"] == "antisite").to_numpy()
    replaced = (truth["elements"] != truth["occupant"]).to_numpy()
    side = max(atoms["y_px"].max(), atoms["x_px"].max())
    cell = np.linalg.norm(view.columns.cell_nm, axis=1).max() / drawn.pixel_size_nm
    inner = ((drawn.vacant > cell) & (drawn.vacant < side - cell)).all(1)
    # of columns too faint to be seen nobody can say that one is missing
    inner &= np.isin(drawn.vacant_elements.astype(str), truth["elements"].astype(str))
    within = ((places > cell) & (places < side - cell)).all(1)
    tie = not right and any(f"{view.crystal.name} {n}" in m for m in match.messages for n in named)
    return Score(
        right, turn, float(hit[counted_columns].mean()), int(counted_columns.sum()),
        counted(drawn.vacant[inner], places[vacant & within], 0.4 * spacing),
        counted(truth[["y", "x"]].to_numpy()[replaced], places[anti], 0.4 * spacing),
        seconds, match.sentence, tie,
    )  # fmt: skip


def same_turn(drawn: ColumnList, view: View, match: al.CrystalMatch, named: View) -> float:
    """Rotation error where the same view has another name: by the fitted sites alone."""
    found = matrix_of(match, named)
    steps = named.columns.cell_nm @ found @ np.linalg.inv(drawn.matrix)
    whole = np.rint(steps @ np.linalg.inv(view.columns.cell_nm))
    left = np.linalg.lstsq(whole @ view.columns.cell_nm, steps, rcond=None)[0]
    return float(abs(np.rad2deg(np.arctan2(left[0, 1] - left[1, 0], np.trace(left)))))


def truth_of(drawn: ColumnList) -> pd.DataFrame:
    return pd.DataFrame(
        {"y": drawn.atoms["y_px"], "x": drawn.atoms["x_px"], "elements": drawn.elements,
         "occupant": drawn.occupant}
    )  # fmt: skip


def draw(k: int, name: object, axis: tuple[int, int, int], told: Told, scale: float = 0.0,
         n: int = 800) -> tuple[ColumnList, View]:  # fmt: skip
    rng = np.random.default_rng(seed_for("benchmark", 19_000_000 + k))
    view = view_of(name, axis)
    scale = scale or float(rng.uniform(0.88, 1.12))
    return list_columns(view, rng, told, n_columns=n, rotation_rad=float(rng.uniform(0, 2 * pi)),
                        scale=scale), view  # fmt: skip


def image_of(drawn: ColumnList, counts: float, rng: np.random.Generator, weakest: float
             ) -> np.ndarray:  # fmt: skip
    """Draw columns as an image."""
    a = drawn.atoms
    side = int(np.ceil(max(a["y_px"].max(), a["x_px"].max()))) + 1
    n = len(a)
    amplitude = a["amplitude"].to_numpy() / weakest
    scene = Scene(
        (side, side), a["y_px"].to_numpy(), a["x_px"].to_numpy(), amplitude,
        np.full(n, drawn.sigma_px), np.ones(n), np.zeros(n), np.full(n, "column", dtype=object),
        np.full((side, side), 0.2), np.zeros((side, side), bool), 8.0, "crystal",
    )  # fmt: skip
    return add_dose(scene, counts, rng, weakest=1.0)


def right(repeats: int, images: bool, counts: float) -> list[str]:
    lines = [
        "| crystal | columns | axis | rotation error (deg) | sites (%) | vacancies F1 | "
        "antisites F1 | CPU (s) |", "|" + "---|" * 8,
    ]  # fmt: skip
    scores: list[Score] = []
    for r in range(repeats):
        for k, (name, axis) in enumerate(RIGHT):
            told = Told(**{**FAULTS.__dict__, "counts": np.inf if images else counts})
            if images:
                told = Told(**{**told.__dict__, "faintest": 0.0})
            drawn, view = draw(1000 * r + k, name, axis, told, n=800 if not images else 1000)
            truth, atoms = truth_of(drawn), drawn.atoms
            start = time.process_time()
            if images:
                weights = view.weights(1.7)
                weakest = 100 * weights[weights >= 0.1 * weights.max()].min()
                rng = np.random.default_rng(seed_for("benchmark", 19_500_000 + 1000 * r + k))
                image = image_of(drawn, counts, rng, weakest)
                atoms = al.analyze(
                    image, pixel_size_nm=drawn.pixel_size_nm, keep_maps=False,
                    params=al.AnalysisParams(contours=False, model="universal"),
                ).atoms  # fmt: skip
                faint = {x for x, w in zip(view.labels, weights, strict=True)
                         if w < 0.1 * weights.max()}  # fmt: skip
                truth = truth[~truth["elements"].isin(faint)].reset_index(drop=True)
                start = time.process_time()
            one = score(drawn, view, atoms, name, truth, start)
            scores.append(one)
            lines.append(
                f"| {name} {axis_name(axis)} | {len(atoms)} | {'yes' if one.axis else 'tie' if one.tie else 'no'} | "
                f"{one.turn_deg:.3f} | {100 * one.sites:.2f} | {f1(one.vacant)} | "
                f"{f1(one.antisites)} | {one.seconds:.2f} |"
            )  # fmt: skip
            if not one.axis or one.sites < 0.99:
                lines.append(f"| ({one.text}) | | | | | | | |")
    n = len(scores)
    turn = np.array([s.turn_deg for s in scores])
    total = [
        tuple(np.sum([getattr(s, w) for s in scores], axis=0)) for w in ("vacant", "antisites")
    ]
    good = sum(s.axis and s.turn_deg < 0.3 and s.sites >= 0.99 for s in scores)
    return [
        *lines, "", "| | of all | target |", "|---|---|---|",
        f"| zone axis right | {sum(s.axis for s in scores)} of {n} | all |",
        f"| a tie that names the right one | {sum(s.tie for s in scores)} of {n} | |",
        f"| rotation within 0.3 degrees | {int((turn < 0.3).sum())} of {n} | all |",
        f"| sites of at least 99 % of the columns right | {sum(s.sites >= 0.99 for s in scores)} of "
        f"{n} | all |", f"| all three | {good} of {n} | all |",
        f"| F1 of vacancies | {f1(total[0])} | |", f"| F1 of antisites | {f1(total[1])} | |", "",
    ]  # fmt: skip


def f1(counts: tuple[int, int, int]) -> str:
    hit, found, there = counts
    return f"{2 * hit / (found + there):.3f}" if found + there else ""


def wrong(repeats: int, counts: float) -> list[str]:
    lines = ["| columns of | asked for | said |", "|---|---|---|"]
    n = refused = 0
    for r in range(repeats):
        for k, (name, axis, asked, as_axis, scale) in enumerate(WRONG):
            told = Told(**{**FAULTS.__dict__, "counts": counts})
            drawn, view = draw(5000 + 1000 * r + k, name, axis, told, scale=scale)
            n += 1
            target = crystal_of(asked)
            try:
                found = al.match_crystal(
                    drawn.atoms, target, as_axis, pixel_size_nm=drawn.pixel_size_nm
                )
            except al.MatchError:
                refused += 1
            else:
                lines.append(f"| {view.name} x {scale:g} | {target.name} {as_axis or ''} | "
                             f"{found.sentence} |")  # fmt: skip
    return [
        *(lines if n > refused else []), "", "| | of all | target |", "|---|---|---|",
        f"| wrong crystals refused | {refused} of {n} ({100 * refused / n:.1f} %) | >= 95 % |", "",
    ]  # fmt: skip


def polarity(grains: int) -> list[str]:
    lines = ["| crystal | counts | grains right | mean probability | told (p > 0.95) |",
             "|---|---|---|---|---|"]  # fmt: skip
    for j, name in enumerate(("GaAs", "CdTe", "InP", "GaN")):
        axis = (1, 1, 0) if name != "GaN" else (1, 0, 0)
        for counts in (60.0, 300.0):
            right, told = [], []
            for k in range(grains):
                drawn, _ = draw(
                    100_000 + 1000 * j + k, name, axis, Told(strain=0.01, counts=counts), n=120
                )
                try:
                    m = al.match_crystal(drawn.atoms, name, axis, pixel_size_nm=drawn.pixel_size_nm)
                except al.MatchError:
                    right.append(False)
                    continue
                known = m.columns["elements"].to_numpy() == drawn.elements
                right.append(known.mean() > 0.9)
                told.append(m.probability)
            lines.append(
                f"| {name} {axis_name(axis)} | {counts:g} | {sum(right)} of {grains} | "
                f"{np.mean(told):.3f} | {sum(p > 0.95 for p in told)} |"
            )
    return [*lines, ""]


def timed() -> list[str]:
    lines = ["| crystal | columns | CPU (s) | target |", "|---|---|---|---|"]
    for k, (name, axis) in enumerate((("SrTiO3", (0, 0, 1)), ("GaAs", (1, 1, 0)),
                                      ("MoS2", (0, 0, 1)), ("GaN", (1, 0, 0)))):  # fmt: skip
        drawn, _ = draw(900_000 + k, name, axis, FAULTS, n=5000)
        taken = []
        for _ in range(3):
            start = time.process_time()
            al.match_crystal(drawn.atoms, name, pixel_size_nm=drawn.pixel_size_nm)
            taken.append(time.process_time() - start)
        lines.append(
            f"| {name} {axis_name(axis)} | {len(drawn.atoms):,} | {min(taken):.2f} | <= 2 |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=["right", "wrong", "polarity", "time"],
                        choices=["right", "wrong", "polarity", "time", "images"])  # fmt: skip
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--grains", type=int, default=60)
    parser.add_argument("--counts", type=float, default=300)
    with Report("match", parser) as report:
        args = report.args
        parts = {
            "right": ("The crystal that it is", lambda: right(args.repeats, False, args.counts)),
            "wrong": ("Another crystal", lambda: wrong(args.repeats, args.counts)),
            "polarity": ("Polarity", lambda: polarity(args.grains)),
            "time": ("Time", timed),
            "images": ("From images", lambda: right(args.repeats, True, args.counts)),
        }
        print("# Matching a crystal\n")
        for name in args.only:
            title, made = parts[name]
            print("\n".join([f"## {title}", "", *made()]), flush=True)


if __name__ == "__main__":
    main()
