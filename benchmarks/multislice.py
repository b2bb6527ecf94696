"""Multislice images by abTEM, and how well the fast linear simulator follows them.

    python benchmarks/multislice.py [--out runs/multislice] [--minutes 20] [--bank FILE] [--fit-only]

Needs the extra ``[train]`` for the images; ``--fit-only`` does not. An image that is there already
is not computed again, so that a run that was stopped goes on. Lattices are static (no frozen
phonons), potentials those of Lobato. Of every image the linear model of the training scenes is
fitted: all columns have one shape, a Gaussian and a wider one beneath it, and a height of their
own; positions are the true ones. The bank, a few kB, keeps what the fits gave: widths, tails,
heights by what stands in a column, and the residual.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import Report
from scipy.optimize import least_squares, nnls

#: Inner and outer angle of the detector in mrad, convergence and sampling (nm), by kV.
SETTINGS = {
    60: (80.0, 180.0, 31.0, 0.0088),
    100: (80.0, 160.0, 30.0, 0.0076),
    200: (70.0, 130.0, 23.0, 0.0063),
    300: (60.0, 110.0, 21.0, 0.0058),
}
STEP_NM = 0.02
#: Knots of the radial profile of a column, and how far it reaches.
KNOT_NM, REACH_NM = 0.015, 0.45


@dataclass(frozen=True)
class Case:
    """One image."""

    sample: str
    kv: int
    defocus_nm: float = 0.0
    cs_um: float = 0.0
    thickness_nm: float = 0.0

    @property
    def name(self) -> str:
        """Name of its file."""
        thick = f"-{self.thickness_nm:g}nm" if self.thickness_nm else ""
        return f"{self.sample}{thick}-{self.kv}kV-df{self.defocus_nm:g}-cs{self.cs_um:g}"


MONOLAYERS = ("C-Si1C3", "C-Si1C4", "WS2-V_S", "WS2-Mo_W", "MoS2-V_S", "MoS2-W_Mo")
CASES = [
    *(Case(s, 60) for s in MONOLAYERS),
    *(Case(s, kv, 0, 0, t) for s, t in (("Si110", 5), ("SrTiO3", 5)) for kv in (100, 300)),
    *(Case(s, 100) for s in MONOLAYERS),
    *(Case(s, 60, df) for s in ("C-Si1C3", "WS2-V_S") for df in (-3, 3)),
    *(Case(s, 60, 0, 10) for s in ("C-Si1C3", "MoS2-V_S")),
    *(Case(s, 300) for s in ("C-Si1C3", "WS2-Mo_W", "MoS2-V_S")),
    *(Case(s, 200, 0, 0, t) for t in (2, 10) for s in ("Si110", "SrTiO3")),
    *(Case(s, 200, 5, 0, 5) for s in ("Si110", "SrTiO3")),
    *(Case(s, 200) for s in ("WS2-V_S", "MoS2-W_Mo")),
]  # fmt: skip


def honeycomb(a_nm: float, cells: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sublattices (x, y in nm) of an orthogonal honeycomb, and its size."""
    b = a_nm / np.sqrt(3)
    one = np.array([[0, 0], [a_nm / 2, 1.5 * b]])
    shift = np.array([[i * a_nm, j * 3 * b] for i in range(cells[0]) for j in range(cells[1])])
    first = (shift[:, None] + one).reshape(-1, 2)
    return first, first + np.array([0, b]), np.array([cells[0] * a_nm, cells[1] * 3 * b])


def monolayer(sample: str) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Atoms (x, y, z in nm), symbols, size of the cell and the defect's place."""
    host, defect = sample.split("-")
    height = 0.6
    if host == "C":
        a, b, size = honeycomb(0.246, (8, 5))
        flat = np.r_[a, b] + 0.03
        places, symbols = np.c_[flat, np.full(len(flat), height / 2)], ["C"] * len(flat)
        k = int(np.linalg.norm(flat - size / 2, axis=1).argmin())
        if defect == "Si1C4":  # Si in a divacancy: between two atoms that are gone
            gap = np.linalg.norm(flat - flat[k], axis=1)
            other = int(np.where(gap > 1e-6, gap, 9).argmin())
            places[k, :2] = (flat[k] + flat[other]) / 2
            symbols[k] = "Si"
            keep = np.arange(len(flat)) != other
            places, symbols = places[keep], [s for s, t in zip(symbols, keep, strict=True) if t]
            return places, symbols, np.r_[size, height], places[np.flatnonzero(keep) == k][0, :2]
        symbols[k] = "Si"
        gap = flat - flat[k]
        length = np.linalg.norm(gap, axis=1)
        near = (length > 0.01) & (length < 0.16)
        places[near, :2] += 0.033 * gap[near] / length[near, None]  # Si-C 175 pm as seen
        return places, symbols, np.r_[size, height], flat[k]
    metal, spacing = ("W", 0.315) if host == "WS2" else ("Mo", 0.316)
    m, s, size = honeycomb(spacing, (6, 4))
    m, s = m + 0.03, s + 0.03
    z = height / 2
    places = np.r_[np.c_[m, np.full(len(m), z)], np.c_[s, np.full(len(s), z - 0.156)],
                   np.c_[s, np.full(len(s), z + 0.156)]]  # fmt: skip
    symbols = [metal] * len(m) + ["S"] * (2 * len(s))
    if defect == "V_S":
        k = int(np.linalg.norm(s - size / 2, axis=1).argmin())
        keep = np.arange(len(places)) != len(m) + k
        return places[keep], [x for x, t in zip(symbols, keep, strict=True) if t], np.r_[
            size, height], s[k]  # fmt: skip
    k = int(np.linalg.norm(m - size / 2, axis=1).argmin())
    symbols[k] = defect.split("_")[0]
    return places, symbols, np.r_[size, height], m[k]


def thick(sample: str, thickness_nm: float) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Atoms of a thick crystal, symbols, size of the cell and the size of the scanned cell."""
    if sample == "Si110":
        a = 0.5431
        cell = np.array([a / np.sqrt(2), a, a / np.sqrt(2)])
        # along <110>: x is [1 -1 0]/2, y [0 0 1], z [1 1 0]/2
        basis = np.array([[0, 0, 0], [0, 0.25, 0.5], [0.5, 0.5, 0.5], [0.5, 0.75, 0]])
        symbols, repeat = ["Si"] * 4, (5, 4)
    else:
        cell = np.full(3, 0.3905)
        basis = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        symbols, repeat = ["Sr", "Ti", "O", "O", "O"], (5, 5)
    n = max(1, round(thickness_nm / cell[2]))
    shift = np.array(
        [[i, j, k] for i in range(repeat[0]) for j in range(repeat[1]) for k in range(n)]
    )
    places = ((shift[:, None] + basis) * cell).reshape(-1, 3)
    return places, symbols * len(shift), np.array([*repeat, n]) * cell, cell[:2]


def simulate(case: Case) -> dict[str, Any]:
    """Compute one image with abTEM: intensity (y, x), its origin, and the atoms."""
    import abtem
    from ase import Atoms

    abtem.config.set({"diagnostics.progress_bar": False})
    inner, outer, semiangle, sampling = SETTINGS[case.kv]
    if case.thickness_nm:
        places, symbols, size, cell = thick(case.sample, case.thickness_nm)
        start, end = 2 * cell, 3 * cell
    else:
        places, symbols, size, middle = monolayer(case.sample)
        start, end = middle - 0.42, middle + 0.42
    gpts = [int(np.ceil(s / sampling / 16) * 16) for s in size[:2]]
    atoms = Atoms(symbols, 10 * places, cell=10 * size, pbc=True)
    potential = abtem.Potential(
        atoms, gpts=gpts, slice_thickness=2 if case.thickness_nm else 1.5,
        parametrization="lobato", projection="infinite",
    ).build(lazy=False)  # fmt: skip
    n = np.maximum(np.rint((end - start) / STEP_NM).astype(int), 4)
    scan = abtem.GridScan(
        tuple(10 * start), tuple(10 * end), gpts=tuple(n.tolist()), endpoint=False
    )
    probe = abtem.Probe(
        energy=1e3 * case.kv, semiangle_cutoff=semiangle, defocus=10 * case.defocus_nm,
        Cs=1e4 * case.cs_um,
    )  # fmt: skip
    detector = abtem.AnnularDetector(inner=inner, outer=outer)
    measured = probe.scan(potential, scan=scan, detectors=detector, lazy=False)
    image = np.asarray(measured.array, float).T  # abTEM's first axis is x
    return {"image": image, "start_nm": start, "step_nm": (end - start) / n, "places_nm": places,
            "symbols": np.array(symbols), "size_nm": size, "periodic": bool(case.thickness_nm)}  # fmt: skip


def columns(data: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Columns (x, y in nm) with images across the border, and what stands in each."""
    from napari_atomlens.graphs.projection import formula

    flat, symbols = data["places_nm"][:, :2], data["symbols"]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, (x, y) in enumerate(flat):
        groups[round(x / 0.02), round(y / 0.02)].append(i)
    # of a thick crystal every column of one kind is the same, however many atoms it holds
    names = [
        formula(sorted(set(symbols[g]) if data["periodic"] else symbols[g].tolist()))
        for g in groups.values()
    ]
    at = np.array([flat[g].mean(0) for g in groups.values()])
    shifts = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) * data["size_nm"][:2]
    return (at[None] + shifts[:, None]).reshape(-1, 2), names * len(shifts)


def fit(data: dict[str, Any]) -> dict[str, Any]:
    """Fit the linear model to an image: widths, tail, heights by kind of column, residual."""
    image = data["image"]
    rows, cols = (np.arange(n) for n in image.shape)
    y = data["start_nm"][1] + rows * data["step_nm"][1]
    x = data["start_nm"][0] + cols * data["step_nm"][0]
    at, names = columns(data)
    kinds = list(dict.fromkeys(names))
    gap = [
        (np.subtract.outer(y, at[np.array(names) == k, 1])[:, None, :] ** 2
         + np.subtract.outer(x, at[np.array(names) == k, 0])[None, :, :] ** 2)
        for k in kinds
    ]  # fmt: skip

    def model(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sigma, wide, tail = np.exp(v[0]), np.exp(v[0]) + np.exp(v[1]), 1 / (1 + np.exp(-v[2]))
        shapes = [
            ((1 - tail) * np.exp(-0.5 * g / sigma**2) + tail * np.exp(-0.5 * g / wide**2)).sum(-1)
            for g in gap
        ]
        design = np.stack([np.ones(image.size), *(s.ravel() for s in shapes)], axis=1)
        heights, _ = nnls(design, image.ravel())
        return heights, design @ heights - image.ravel()

    # a background of nothing is the start, not a bound: nnls keeps heights and background positive
    best = least_squares(lambda v: model(v)[1] / image.std(), [np.log(0.04), np.log(0.06), -2.0],
                         diff_step=1e-3, max_nfev=60)  # fmt: skip
    heights, rest = model(best.x)
    profile, by_profile, other = fit_profile(image, gap, heights)
    sigma, wide = float(np.exp(best.x[0])), float(np.exp(best.x[0]) + np.exp(best.x[1]))
    tail = float(1 / (1 + np.exp(-best.x[2])))
    if wide < 1.1 * sigma or tail > 0.95:  # one Gaussian does it
        sigma, tail = wide, 0.0
    return {
        "sigma_nm": round(sigma, 5),
        "wide_nm": round(wide, 5),
        "tail": round(tail, 4),
        "heights": named(kinds, heights[1:]),
        "residual": round(float(rest.std() / image.std()), 5),
        "profile": [round(float(v), 5) for v in profile],
        "profile_heights": named(kinds, by_profile),
        "profile_residual": round(other, 5),
    }  # fmt: skip


def named(kinds: list[str], heights: np.ndarray) -> dict[str, float]:
    """Heights over the largest, by what stands in the columns."""
    return {k: round(float(h / heights.max()), 5) for k, h in zip(kinds, heights, strict=True)}


def fit_profile(
    image: np.ndarray, gap: list[np.ndarray], heights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit one radial profile for all columns, of any shape, and the heights, in turn.

    What is left is not due to the shape of the columns: it is what linear imaging leaves out.

    Returns
    -------
    profile : ndarray, shape (n,)
        At 0, KNOT_NM, 2 KNOT_NM ...; 1 at the centre.
    heights : ndarray
    residual : float
        Rms over the standard deviation of the image.
    """
    n = round(REACH_NM / KNOT_NM)
    # hat functions of the distance, summed over the columns of each kind
    hats = []
    for g in gap:
        r = np.sqrt(g) / KNOT_NM
        low = np.floor(r).astype(int)
        part = r - low
        table = np.zeros((image.size, n + 1))
        pixel = np.broadcast_to(np.arange(image.size).reshape(*image.shape, 1), r.shape)
        for index, weight in ((low, 1 - part), (low + 1, part)):
            inside = index < n
            np.add.at(table, (pixel[inside], index[inside]), weight[inside])
        hats.append(table[:, :n])
    level, flat = heights[1:].copy(), image.ravel()
    profile = np.zeros(n)
    for _ in range(40):
        design = sum(h * t for h, t in zip(level, hats, strict=True))
        profile, _ = nnls(np.asarray(design), flat)
        profile /= max(profile[0], 1e-12)
        level, _ = nnls(np.stack([t @ profile for t in hats], axis=1), flat)
    rest = sum(h * (t @ profile) for h, t in zip(level, hats, strict=True)) - flat
    return profile, level, float(np.std(rest) / image.std())


#: Pairs of kinds of columns whose heights tell the power of Z.
PAIRS = (("Si", "C"), ("W", "S2"), ("Mo", "S2"), ("W", "Mo"), ("Sr", "OTi"))


def power(heights: dict[str, float], a: str, b: str) -> float:
    """Exponent n with which sum(Z**n) gives the ratio of two heights."""
    from scipy.optimize import brentq

    from napari_atomlens.graphs.projection import brightness

    content = {"S2": ("S", "S"), "OTi": ("O", "Ti")}
    one, two = content.get(a, (a,)), content.get(b, (b,))
    ratio = np.log(heights[a] / heights[b])

    def off(n: float) -> float:
        return float(np.log(brightness(one, n) / brightness(two, n)) - ratio)

    return float(brentq(off, 0.2, 4)) if off(0.2) * off(4) < 0 else float("nan")


def main() -> None:
    """Compute what is missing, fit everything, print Markdown and write the bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/multislice"))
    parser.add_argument("--minutes", type=float, default=20.0, help="CPU time at most")
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--fit-only", action="store_true")
    with Report("multislice", parser) as report:
        args = report.args
        args.out.mkdir(parents=True, exist_ok=True)
        for case in CASES:
            file = args.out / f"{case.name}.npz"
            if file.exists() or args.fit_only or time.process_time() > 60 * args.minutes:
                continue
            begun = time.process_time()
            data = simulate(case)
            fresh = file.with_suffix(".tmp.npz")
            np.savez_compressed(fresh, **data, seconds=time.process_time() - begun)
            fresh.replace(file)
            print(f"{case.name}: {time.process_time() - begun:.0f} s of CPU", flush=True)
        bank: dict[str, Any] = {}
        spent = 0.0
        for case in CASES:
            file = args.out / f"{case.name}.npz"
            if file.exists():
                with np.load(file) as stored:
                    data = {k: stored[k] for k in stored.files}
                spent += float(data["seconds"])
                bank[case.name] = fit(data)
        print(f"\n{len(bank)} of {len(CASES)} images, {spent / 60:.1f} minutes of CPU.\n")
        print("| image | Gaussian: width (pm), tail (share, pm) | residual | free profile: heights | "
              "power of Z | residual |")  # fmt: skip
        print("|---|---|---|---|---|---|")
        for name, b in bank.items():
            h = b["profile_heights"]
            powers = {f"{p}/{q}": power(h, p, q) for p, q in PAIRS
                      if h.get(p, 0) > 0 and h.get(q, 0) > 0}  # fmt: skip
            b["power"] = {k: round(v, 3) for k, v in powers.items() if np.isfinite(v)}
            tail = f"{b['tail']:.2f}, {1e3 * b['wide_nm']:.0f}" if b["tail"] > 0.005 else "none"
            print(f"| {name} | {1e3 * b['sigma_nm']:.0f}, {tail} | {100 * b['residual']:.1f} % | "
                  + ", ".join(f"{k} {v:.3f}" for k, v in h.items()) + " | "
                  + ", ".join(f"{k} {v:.2f}" for k, v in b["power"].items())
                  + f" | {100 * b['profile_residual']:.1f} % |")  # fmt: skip
        for key, what in (("residual", "the Gaussian columns of the training scenes"),
                          ("profile_residual", "linear imaging with a free profile")):  # fmt: skip
            rest = np.array([b[key] for b in bank.values()])
            if len(rest):
                report.figure(f"residual of {what}, median", 100 * float(np.median(rest)), "%")
                print(f"\nResidual of {what}, rms over the standard deviation of the image: median "
                      f"{100 * np.median(rest):.1f} %, worst {100 * rest.max():.1f} %.")  # fmt: skip
        if args.bank:
            text = json.dumps({"abtem": "1.0.11", "knot_nm": KNOT_NM, "settings": SETTINGS,
                               "images": bank})  # fmt: skip
            args.bank.write_text(text.replace('}, "', '},\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
