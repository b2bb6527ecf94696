"""Names that hold: species, vacancies and defects by name, against the truth.

    python benchmarks/names.py [--data FOLDER] [--only species real vacancies pristine] [--seeds 1]

``species``: crystals of two or more kinds of columns, simulated (heights as Z to a power between
1.5 and 2, profiles of the multislice bank, 2 % distortion, a wedge of thickness), at 60, 300 and
3,000 counts in the faintest column that is looked for; `auto`, the pixel size told and not told.
A column is right if it is found, and called what most columns of its kind are called while those
of the other kinds are called otherwise. ``pristine``: defects that `result.defects` names in the
same crystals, which have none. ``real`` and ``vacancies`` need the folder with images that have
a truth.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from report import Report, figure
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.graphs.projection import brightness
from napari_atomlens.simulation.bank import column_profile, load_bank

#: Cell (nm, rows (y, x)), columns (fraction a, fraction b, name, atoms), faintest that is looked
#: for over the brightest, thick or a monolayer.
HEX = np.array([[0, 1.0], [np.sqrt(3) / 2, 0.5]])


def mx2(a: float, metal: str, chalcogen: str) -> tuple:
    """2H monolayer along its normal."""
    pair = ((0, 0, metal, (metal,)), (1 / 3, 1 / 3, f"{chalcogen}2", (chalcogen,) * 2))
    return a * HEX, pair, False


def cubic(a: float, one: str, two: str) -> tuple:
    """ABO3 along <001>; columns of O alone are too faint to be asked for."""
    return a * np.eye(2), ((0, 0, one, (one,)), (0.5, 0.5, two, (two, "O"))), True


def zincblende(a: float, one: str, two: str) -> tuple:
    """Dumbbells along <110>."""
    cell = np.array([[0, a / np.sqrt(2)], [a / 2, a / np.sqrt(8)]])
    return cell, ((0, 0, one, (one,)), (-0.25, 0.5, two, (two,))), True


CRYSTALS = {
    "MoS2": mx2(0.316, "Mo", "S"),
    "WSe2": mx2(0.328, "W", "Se"),
    "h-BN": (0.2504 * HEX, ((0, 0, "B", ("B",)), (1 / 3, 1 / 3, "N", ("N",))), False),
    "SrTiO3": cubic(0.3905, "Sr", "Ti"),
    "PbTiO3": cubic(0.395, "Pb", "Ti"),
    "SrRuO3": cubic(0.393, "Sr", "Ru"),
    "GaAs": zincblende(0.5653, "Ga", "As"),
    "GaN": (
        np.array([[0, 0.3189 * np.sqrt(3)], [0.5186, 0]]),
        ((0, 0, "Ga", ("Ga",)), (0.5, 0.5, "Ga", ("Ga",))), True,
    ),
    "CsPbBr3": (
        0.5874 * np.eye(2),
        ((0, 0, "Pb-Br", ("Pb", "Br")), (0.5, 0.5, "Cs", ("Cs",)), (0, 0.5, "Br", ("Br",)),
         (0.5, 0, "Br", ("Br",))), True,
    ),
}  # fmt: skip
COUNTS = (60, 300, 3000)
SIDE = 384


def truth_of(name: str, counts: float, seed: int) -> tuple[np.ndarray, float, pd.DataFrame]:
    """Image, pixel size in nm, and columns (y_px, x_px, kind) of one simulated crystal."""
    cell, columns, thick = CRYSTALS[name]
    rng = np.random.default_rng([*name.encode(), int(counts), seed])
    power = rng.uniform(1.6, 2.0)
    spots = np.array([[f[0], f[1]] for f in columns]) @ cell
    gap = np.linalg.norm(
        spots[:, None, None] - spots[None, :, None]
        + np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ cell, axis=-1,
    )  # fmt: skip
    pixel = gap[gap > 1e-6].min() / rng.uniform(9.0, 14.0)
    turn = rng.uniform(0, np.pi)
    r = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    bend = np.eye(2) + rng.uniform(-0.02, 0.02, (2, 2))
    vectors = cell @ r @ bend / pixel
    n = int(3 * SIDE / np.linalg.norm(vectors, axis=1).min()) + 2
    grid = np.stack(np.meshgrid(np.arange(-n, n), np.arange(-n, n), indexing="ij"), -1)
    parts = []
    for fa, fb, kind, atoms in columns:
        place = (grid.reshape(-1, 2) + np.array([fa, fb])) @ vectors + SIDE / 2
        part = pd.DataFrame(place, columns=["y_px", "x_px"]).assign(kind=kind)
        parts.append(part.assign(height=brightness(atoms, power)))
    table = pd.concat(parts, ignore_index=True)
    inside = ((table[["y_px", "x_px"]] > -15) & (table[["y_px", "x_px"]] < SIDE + 14)).all(axis=1)
    table = table[inside].reset_index(drop=True)
    table[["y_px", "x_px"]] += rng.normal(0, 0.004 / pixel, (len(table), 2))
    table["height"] /= table["height"].max()
    if thick:
        table["height"] *= 1 + 0.2 * (table["x_px"] / SIDE - 0.5)
    prefix = ("Si110", "SrTiO3") if thick else ("WS2", "MoS2", "C-")
    names = [i for i in load_bank()["image"] if i.startswith(prefix)]
    image = _drawn(table, pixel, names[int(rng.integers(len(names)))])
    # the size of the source, which the bank leaves out
    image = ndi.gaussian_filter(image, rng.uniform(0.030, 0.045) / pixel)
    image += rng.uniform(0.02, 0.15) * image.mean()
    weakest = table["height"].min()
    # counts in the whole of the faintest column
    area = (image.mean() * SIDE**2) / table["height"].sum()
    return rng.poisson(image * counts / (area * weakest)).astype(np.float32), pixel, table


def _drawn(table: pd.DataFrame, pixel: float, image: str) -> np.ndarray:
    """Sum of columns of a profile of the bank."""
    radius, height = column_profile(image)
    reach = int(np.ceil(radius[-1] / pixel))
    out = np.zeros((SIDE + 2 * reach + 40,) * 2)
    y, x = (table[c].to_numpy() for c in ("y_px", "x_px"))
    at = np.arange(-reach, reach + 1)
    for yi, xi, h in zip(y, x, table["height"], strict=True):
        cy, cx = round(yi), round(xi)
        far = np.hypot(at[:, None] + cy - yi, at[None] + cx - xi) * pixel
        top, left = cy + 20, cx + 20
        out[top : top + len(at), left : left + len(at)] += h * np.interp(
            far, radius, height, right=0
        )
    return out[reach + 20 : reach + 20 + SIDE, reach + 20 : reach + 20 + SIDE]


def right_share(atoms: pd.DataFrame, truth: pd.DataFrame, margin: float, reach: float) -> float:
    """Share of the true columns that are found and called what their kind is called."""
    at = truth[["y_px", "x_px"]].to_numpy()
    truth = truth[((at > margin) & (at < SIDE - 1 - margin)).all(axis=1)]
    far, row = cKDTree(atoms[["y_px", "x_px"]]).query(truth[["y_px", "x_px"]])
    called = np.where(far < reach, atoms["species"].to_numpy(str)[row], "")
    kind = truth["kind"].to_numpy(str)
    usual = {k: Counter(c for c in called[kind == k] if c).most_common(1) for k in set(kind)}
    names = {k: v[0][0] for k, v in usual.items() if v}
    taken = Counter(names.values())
    # two kinds of one name cannot be told: only the more frequent kind has it
    for name, times in taken.items():
        if times > 1:
            same = [k for k in names if names[k] == name]
            best = max(same, key=lambda k: (kind == k).sum())
            for k in same:
                if k != best:
                    names[k] = "?"
    return float(np.mean([c == names.get(k, "?") for c, k in zip(called, kind, strict=True)]))


def species_table(
    names: Iterable[str],
    image_of: Callable[[str, float, int], tuple[np.ndarray, float, pd.DataFrame]],
    seeds: int,
    told: Sequence[bool] = (True, False),
) -> None:
    """Print species and false defects of crystals, with the pixel size told and not."""
    head = [f"{c:,} {'told' if t else 'not told'}" for c in COUNTS for t in told]
    print("| crystal | " + " | ".join(head) + " | false defects per 1,000 sites |")
    print("|---|" + "---|" * (len(head) + 1))
    for name in names:
        shares: dict[str, list[float]] = {h: [] for h in head}
        false, sites = 0, 0
        seen: Counter[str] = Counter()
        for counts in COUNTS:
            for seed in range(seeds):
                image, pixel, truth = image_of(name, counts, seed)
                for known in told:
                    result = al.analyze(
                        image, pixel_size_nm=pixel if known else None,
                        params=al.AnalysisParams(contours=False),
                    )  # fmt: skip
                    spacing = result.spacing_px
                    share = right_share(result.atoms, truth, 1.5 * spacing, 0.4 * spacing)
                    shares[f"{counts:,} {'told' if known else 'not told'}"].append(100 * share)
                    if counts >= 300:
                        false += len(result.defects)
                        seen.update(result.defects["formula"])
                        sites += len(result.atoms)
        row = " | ".join(f"{np.mean(shares[h]):.1f}" for h in head)
        note = ", ".join(f"{n} {f}" for f, n in seen.most_common(3))
        print(f"| {name} | {row} | {1000 * false / max(sites, 1):.1f} ({note}) |", flush=True)


def simulated(seeds: int, only: list[str]) -> None:
    """Print species and false defects of simulated crystals."""
    print("## Species, simulated (%)\n")
    species_table(only or CRYSTALS, truth_of, seeds)
    print()


def wse2(data: Path) -> None:
    """Print species of the published WSe2."""
    import tifffile

    print("## WSe2, real\n\n| pixel size | columns | found | W right | Se2 right | all (%) |")
    print("|---|---|---|---|---|---|")
    for path in sorted((data / "wse2-stem").glob("*.tif")):
        truth = pd.read_csv(path.with_suffix(".csv"))
        for told in (0.0377, None):
            atoms = al.analyze(tifffile.imread(path), pixel_size_nm=told).atoms
            far, row = cKDTree(atoms[["y_px", "x_px"]]).query(truth[["y_px", "x_px"]])
            called = np.where(far < 2, atoms["species"].to_numpy(str)[row], "")
            metal = np.isin(called, ("bright column", "metal", "W", "light metal", "heavy metal"))
            is_w = truth["type"].to_numpy() == "W"
            rest = (called != "") & ~metal
            right = int(metal[is_w].sum() + rest[~is_w].sum())
            print(
                f"| {'told' if told else 'not told'} | {len(truth)} | {(far < 2).sum()} | "
                f"{metal[is_w].sum()} of {is_w.sum()} | {rest[~is_w].sum()} of {(~is_w).sum()} | "
                f"{100 * right / len(truth):.1f} |", flush=True,
            )  # fmt: skip
    print()


def _blobs(mask: np.ndarray) -> np.ndarray:
    """Centres (y, x) of the blobs of a mask."""
    label, n = ndi.label(mask)
    return np.array(ndi.center_of_mass(mask, label, range(1, n + 1))).reshape(-1, 2)


def named_sites(defects: pd.DataFrame, symbol: str) -> dict[int, np.ndarray]:
    """Places of the rows that name vacancies of so many atoms of a column: 1 and 2."""
    one = re.compile(rf"(?:^|\+)(\d*)V_{symbol}(?=\+|$)")
    two = re.compile(rf"(?:^|\+)(\d*)V_{symbol}2(?=\+|$)")
    found: dict[int, list] = {1: [], 2: []}
    for formula, y, x in defects[["formula", "y_px", "x_px"]].itertuples(index=False):
        for k, pattern in ((1, one), (2, two)):
            for times in pattern.findall(formula):
                found[k] += [(y, x)] * int(times or 1)
    return {k: np.array(v, float).reshape(-1, 2) for k, v in found.items()}


def _f1(found: np.ndarray, truth: np.ndarray, reach: float, shape: tuple[int, int]) -> str:
    """F1 of places away from the border, a truth counted once, with the numbers behind it."""
    inner = [p[((p > 6) & (p < np.array(shape) - 7)).all(axis=1)] for p in (found, truth)]
    found, truth = inner
    if not len(truth) or not len(found):
        return f"0.000 ({len(truth)} true, {len(found)} named)"
    left = np.ones(len(truth), bool)
    hit = 0
    tree = cKDTree(truth)
    for p in found:
        near = [i for i in tree.query_ball_point(p, reach) if left[i]]
        if near:
            left[min(near, key=lambda i: float(((truth[i] - p) ** 2).sum()))] = False
            hit += 1
    return f"{2 * hit / (len(found) + len(truth)):.3f} ({len(truth)} true, {len(found)} named)"


def on_atoms(result: al.Result) -> int:
    """Number of vacancies named where the table has an atom of p > 0.5."""
    rows = result.defects[result.defects["kind"] == "vacancy"]
    rows = rows[rows["formula"].str.fullmatch(r"V_\w*2|V_[A-Z][a-z]?|V")]
    rows = rows[~rows["formula"].str.fullmatch(r"V_(S|Se|Te|X)")]  # one atom of two is left there
    sure = result.atoms[result.atoms["probability"] > 0.5][["y_px", "x_px"]]
    if not len(rows):
        return 0
    far = cKDTree(sure).query(rows[["y_px", "x_px"]])[0]
    return int((far < 0.4 * result.spacing_px).sum())


def vacancies(data: Path) -> None:
    """Print vacancies by the default path on two images with masks."""
    import tifffile

    print("## Vacancies by `result.defects`, images with masks (F1)\n")
    print("| image | rules | single | double | either | on an atom | other names |")
    print("|---|---|---|---|---|---|---|")
    folder = data / "with-truth"
    with np.load(folder / "sim0_labels.npz") as labels:
        masks = {k: _blobs(labels[k] > 0) for k in ("Se", "vacancy")}
    image = tifffile.imread(folder / "sim0_input.tiff")
    _row("WSe2-2xTe2x", image, None, masks["Se"], masks["vacancy"])
    _row("WSe2-2xTe2x, pixel size told", image, 0.328 / np.sqrt(3) / 9.457, masks["Se"],
         masks["vacancy"])  # fmt: skip
    mos2 = data / "tmd-stem"
    name = "MoS2_incostem_29_17_1_0.tif"
    single, double = (_blobs(tifffile.imread(mos2 / f"{k}vacancy_{name}") > 127) for k in (1, 2))
    image = tifffile.imread(mos2 / f"Image{name}")
    _row("MoS2 incostem", image, None, single, double)
    _row("MoS2 incostem, pixel size told", image, 0.316 / np.sqrt(3) / 8.993, single, double)
    print()


def _row(
    name: str, image: np.ndarray, pixel: float | None, single: np.ndarray, double: np.ndarray
) -> None:
    params = al.AnalysisParams(contours=False)
    result = al.analyze(image, pixel_size_nm=pixel, params=params)
    defects, rules = result.defects, result.bond_graph.rules
    symbol = next((h[:-1] for h in rules.host if h.endswith("2")), "S")
    found = named_sites(defects, symbol)
    plain = defects["formula"].str.fullmatch(rf"((^|\+)\d*V_{symbol}2?)+")
    other = Counter(defects["formula"][~plain.fillna(False).astype(bool)]).most_common(4)
    reach = 0.6 * result.spacing_px
    shape = (image.shape[0], image.shape[1])
    print(
        f"| {name} | {rules.name} | {_f1(found[1], single, reach, shape)} | "
        f"{_f1(found[2], double, reach, shape)} | "
        f"{_f1(np.vstack([*found.values()]), np.vstack([single, double]), 2 * reach, shape)} | "
        f"{on_atoms(result)} | "
        f"{', '.join(f'{n} {f}' for f, n in other)} |", flush=True,
    )  # fmt: skip


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with images that have a truth")
    parser.add_argument("--only", nargs="*", default=["species", "real", "vacancies"])
    parser.add_argument("--crystals", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    with Report("names", parser) as report:
        args = report.args
        if "species" in args.only:
            simulated(args.seeds, args.crystals)
        if args.data is not None and "real" in args.only:
            wse2(args.data)
        if args.data is not None and "vacancies" in args.only:
            vacancies(args.data)
        figure("seeds", args.seeds)


if __name__ == "__main__":
    main()
