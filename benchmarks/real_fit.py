"""The joint fit on real images: spread of dumbbell lengths, lattice vectors, a published fit.

    python benchmarks/real_fit.py --data FOLDER

Nobody knows the true positions of real atoms. Dumbbells of a perfect crystal are all alike, so
that the spread of their lengths measures the error (and whatever the scan did to the image); the
joint fit is held against a careful fit of each pair alone by two Gaussians on a plane. Of other
lattices the spread of the vectors between next neighbours along the lattice is compared with that
of a single-Gaussian fit of each column. The Pb nanoparticle has a published model fit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from report import Report
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.atoms.refine import FitParams, fit_columns
from napari_atomlens.runs.params import AnalysisParams

DUMBBELLS = ("Si_110_tilt_HAADF85.dm3", "CdTe_110_tilt_HAADF149.dm3", "03_afterimage_8nm_crp.png")
LATTICES = (
    "tmd-stem/Partially_converted_12.tif",
    "tmd-stem/MoS2_stem_Exp-000-2.npy",
    "perovskite-stem/FigS6_0716__Cryo_NSMO110_5-1Mx_0p5us_1024px_REGISTERED.tif",
    "perovskite-stem/10_dso_8nm_none_none.png",
)


def spread(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation: outliers do not count."""
    return float(1.4826 * np.median(np.abs(values - np.median(values, axis=0))))


def gaussians(image: np.ndarray, start: np.ndarray, sigma: float, reach: float) -> np.ndarray:
    """Fit the columns of one patch, widths shared, on a plane; positions (k, 2) or NaN."""
    low = np.maximum(np.floor(start.min(0) - reach).astype(int), 0)
    high = np.minimum(np.ceil(start.max(0) + reach).astype(int) + 1, image.shape)
    patch = image[low[0] : high[0], low[1] : high[1]].astype(float)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
    near = np.min(np.hypot(y - start[:, 0, None, None], x - start[:, 1, None, None]), 0) < reach
    y, x, data = y[near], x[near], patch[near]
    k, scale = len(start), max(float(np.ptp(data)), 1e-9)
    data = (data - data.min()) / scale

    def residual(v: np.ndarray) -> np.ndarray:
        total = v[0] + v[1] * (y - start[0, 0]) + v[2] * (x - start[0, 1])
        for a, cy, cx in v[4:].reshape(k, 3):
            total = total + a * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * v[3] ** 2))
        return total - data

    guess = np.r_[0.2, 0, 0, sigma, np.c_[np.full(k, 0.7), start].ravel()]
    try:
        found = least_squares(residual, guess, method="lm", max_nfev=400)
    except ValueError:
        return np.full((k, 2), np.nan)
    places = found.x[4:].reshape(k, 3)[:, 1:]
    return places if np.abs(places - start).max() < reach else np.full((k, 2), np.nan)


def pairs_of(p: np.ndarray) -> np.ndarray:
    """Mutual nearest neighbours, those whose distance is typical."""
    d, i = cKDTree(p).query(p, k=2)
    mutual = (i[i[:, 1], 1] == np.arange(len(p))) & (np.arange(len(p)) < i[:, 1])
    pairs = np.c_[np.arange(len(p)), i[:, 1]][mutual]
    length = d[mutual, 1]
    return pairs[np.abs(length / np.median(length) - 1) < 0.25]


def dumbbells(data: Path) -> list[str]:
    """Spread of the dumbbell length, joint fit against a fit of each pair."""
    lines = [
        "| dumbbells | pairs | length (px) | spread, joint (px) | spread, each pair alone (px) "
        "| ratio | stated error of a length (px) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in DUMBBELLS:
        image = al.read(data / "dumbbells-stem" / name)[0]
        pixels = np.asarray(image.data, float)
        atoms = al.analyze(pixels, params=AnalysisParams(contours=False)).atoms
        atoms = atoms[atoms.fit_ok]
        p = atoms[["y_px", "x_px"]].to_numpy()
        e = np.hypot(atoms.y_err_px, atoms.x_err_px).to_numpy() / np.sqrt(2)
        pairs = pairs_of(p)
        length = np.hypot(*(p[pairs[:, 0]] - p[pairs[:, 1]]).T)
        reach = 0.6 * float(np.median(length))
        sigma = float(np.median(atoms.sigma_px))
        alone = np.array([np.hypot(*np.diff(gaussians(pixels, p[q], sigma, reach), axis=0)[0])
                          for q in pairs])  # fmt: skip
        both = np.isfinite(alone)
        stated = float(np.median(np.hypot(e[pairs[:, 0]], e[pairs[:, 1]])))
        one, other = spread(length[both]), spread(alone[both])
        lines.append(
            f"| {name} | {both.sum()} | {np.median(length):.2f} | {one:.3f} | {other:.3f} "
            f"| {one / other:.2f} | {stated:.3f} |"
        )
        print(lines[-1], flush=True, file=sys.stderr)
    return lines


def vectors(data: Path) -> list[str]:
    """Spread of the displacement from the lattice, joint fit against single columns."""
    lines = [
        "| lattice | columns | spread of neighbour vectors, joint (px) | each column alone (px) "
        "| ratio |",
        "|---|---|---|---|---|",
    ]
    for name in LATTICES:
        image = al.read(data / name)[0]
        pixels = np.asarray(image.data, float)
        result = al.analyze(pixels, params=AnalysisParams(contours=False))
        atoms = result.atoms[result.atoms.fit_ok].reset_index(drop=True)
        p = atoms[["y_px", "x_px"]].to_numpy()
        measured = al.measure_lattice(atoms).atoms
        reach, sigma = 0.5 * result.spacing_px, float(np.median(atoms.sigma_px))
        alone = np.array([gaussians(pixels, q[None], sigma, reach)[0] for q in p])
        # second differences along the lattice: smooth distortions of the scan cancel
        tree = cKDTree(p)
        ids = measured.set_index("atom_id").sublattice.reindex(atoms.atom_id).to_numpy()
        values = []
        for axis_pairs in triples(p, tree, ids, result.spacing_px):
            a, b, c = axis_pairs
            values.append(np.stack([p[a] - 2 * p[b] + p[c], alone[a] - 2 * alone[b] + alone[c]]))
        both = np.concatenate(values, axis=1)
        both = both[:, np.isfinite(both).all((0, 2))]
        one, other = (spread(v.ravel()) / np.sqrt(6) for v in both)
        lines.append(f"| {name} | {both.shape[1]} | {one:.3f} | {other:.3f} | {one / other:.2f} |")
        print(lines[-1], flush=True, file=sys.stderr)
    return lines


def triples(p: np.ndarray, tree: cKDTree, kind: np.ndarray, spacing: float):
    """Columns of one sublattice with both neighbours at opposite, equal distances."""
    for i in range(len(p)):
        near = [j for j in tree.query_ball_point(p[i], 2.6 * spacing) if j != i]
        near = [j for j in near if kind[j] == kind[i] and kind[i] >= 0]
        for j in near:
            opposite, k = tree.query(2 * p[i] - p[j])
            if k > j and opposite < 0.2 * spacing and kind[k] == kind[i]:
                yield [j], [i], [k]


def nanoparticle(data: Path) -> list[str]:
    """Pb nanoparticle: distance from the published positions."""
    import scipy.io

    file = scipy.io.loadmat(
        data / "with-truth/statstem-pb-nanoparticle.mat", squeeze_me=True, struct_as_record=False
    )
    pixel = 22.0
    image = file["input"].obs.astype(float)
    published = file["output"].coordinates[:, ::-1] / 0.22 - 1
    start = file["input"].coordinates[:, 1::-1] / 0.22 - 1
    spacing = float(np.median(cKDTree(published).query(published, k=2)[0][:, 1]))
    inner = np.all((published > 6) & (published < np.array(image.shape) - 7), axis=1)
    strong = file["output"].eta > 700
    lines = [
        "| Pb nanoparticle | columns | width (pm; published 111) | RMS per axis (pm) "
        "| of columns above half of the mean height (pm) | median distance (pm) |",
        "|---|---|---|---|---|---|",
    ]
    models = {
        "the published model: one width, flat background, unweighted": FitParams(
            width="shared", background_spacings=100, noise="uniform"
        ),
        "flat background, noise as found": FitParams(width="shared", background_spacings=100),
        "our default: local background": FitParams(),
    }
    for name, params in models.items():
        fit = fit_columns(image, start, spacing, params)
        use = fit.ok & inner
        error = np.c_[fit.y, fit.x] - published
        lines.append(
            f"| {name} | {use.sum()} | {np.median(fit.sigma) * pixel:.0f} "
            f"| {np.sqrt(np.mean(error[use] ** 2)) * pixel:.1f} "
            f"| {np.sqrt(np.mean(error[use & strong] ** 2)) * pixel:.1f} "
            f"| {np.median(np.hypot(*error[use].T)) * pixel:.1f} |"
        )
        print(lines[-1], flush=True, file=sys.stderr)
    return lines


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    with Report("real_fit", parser) as report:
        args = report.args
        lines = [*dumbbells(args.data), "", *vectors(args.data), "", *nanoparticle(args.data)]
        print("\n".join(lines))
        if args.out:
            args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
