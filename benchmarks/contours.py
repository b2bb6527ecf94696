"""Every figure of contours, anomalies and classes, as Markdown.

Usage: ``python benchmarks/contours.py [--figure 1 2 3 4 5] [--images 50] [--out FILE]``.
Figure 5's frame rate opens a window: run it under ``scripts/with_display.sh`` without a screen.
Seeds are those of "benchmark", which nothing is trained or tuned on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gallery import defect_gallery
from report import Report
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens.contours import describe_sites, find_anomalies
from napari_atomlens.contours.classes import ClassParams, classify_sites
from napari_atomlens.contours.naming import name_defects
from napari_atomlens.contours.polygons import ragged
from napari_atomlens.contours.tracing import trace
from napari_atomlens.simulation import seed_for
from napari_atomlens.simulation.formation import render_columns, render_truth
from napari_atomlens.simulation.surfaces import WS2_TYPES, manganite, ws2


def cpu(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least CPU seconds of some calls, all threads together, and the last result."""
    best, result = np.inf, None
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


def blobs(side: int, spacing: float, radius: float, seed: int) -> dict[str, Any]:
    """A grid of rendered ellipses with sub-pixel centres, and their truth."""
    rng = np.random.default_rng(seed)
    n = side * side
    centre = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
    centre = (centre.reshape(-1, 2) + 1) * spacing + rng.uniform(-1, 1, (n, 2))
    aspect, angle = rng.uniform(1, 1.8, n), rng.uniform(-np.pi / 2, np.pi / 2, n)
    shape = (int((side + 1) * spacing),) * 2
    cover, _, _ = render_truth(
        shape, centre[:, 0], centre[:, 1], np.full(n, radius), aspect, angle, np.zeros(n), 1.3
    )
    soft = render_columns(
        shape, centre[:, 0], centre[:, 1], np.ones(n), radius / 1.17741, aspect, angle
    )
    return {"centre": centre, "aspect": aspect, "angle": angle, "cover": cover, "soft": soft}


def figure_1(args: argparse.Namespace) -> list[str]:
    """Area, aspect and angle of rendered ellipses."""
    lines = [
        "| rendered as | radius (px) | ellipses | area, worst (mean) | aspect, worst | "
        "angle, worst (aspect >= 1.2) | centre, worst (px) |",
        "|---|---|---|---|---|---|---|",
    ]
    for radius, spacing in ((4, 20), (5, 24), (6, 28), (8, 36)):
        b = blobs(40, spacing, radius, seed_for("benchmark", 4100 + radius))
        for name in ("cover", "soft"):
            vertices, counts = trace(b[name], b["centre"], 0.5)
            table = al.describe_contours(ragged(vertices, counts))
            area = table.area_px2 / (np.pi * radius**2) - 1
            aspect = table.aspect / b["aspect"] - 1
            turn = (table.orientation_rad - b["angle"] + np.pi / 2) % np.pi - np.pi / 2
            off = np.abs(table[["centroid_y_px", "centroid_x_px"]].to_numpy() - b["centre"]).max()
            clear = b["aspect"] >= 1.2
            what = "coverage, one pixel soft" if name == "cover" else "Gaussian, at half height"
            lines.append(
                f"| {what} | {radius} | {len(table)} | {100 * area.abs().max():.1f} % "
                f"({100 * area.mean():+.1f} %) | {100 * aspect.abs().max():.1f} % | "
                f"{np.rad2deg(turn[clear].abs().max()):.2f} deg | {off:.3f} |"
            )
    return lines


def axial_mean(angle: np.ndarray) -> float:
    """Mean direction of axes, radians."""
    return float(np.angle(np.exp(2j * np.asarray(angle)).sum()) / 2)


def one_surface(k: int, spacing: float, anomalous: float) -> dict[str, float]:
    """Analyse a manganite-like image from pixels to flags; what came out."""
    from sklearn.metrics import roc_auc_score

    preferred = np.deg2rad(-80 + 160 * ((k * 0.618) % 1))
    image, truth = manganite(
        1000, spacing_px=spacing, anomalous=anomalous, preferred_rad=preferred,
        seed=seed_for("benchmark", 4200 + k + (1000 if anomalous == 0 else 0)),
    )  # fmt: skip
    sites = find_anomalies(describe_sites(image, al.analyze(image, keep_maps=False).atoms))
    _, which = cKDTree(truth[["site_y_px", "site_x_px"]]).query(sites[["y_px", "x_px"]])
    kind = truth.kind.to_numpy()[which]
    judged = sites.anomaly_p.notna().to_numpy()
    flag = sites.anomaly.to_numpy()
    if not anomalous:
        return {"flagged": flag.sum() / judged.sum()}
    odd = kind != "ordinary"
    out = {
        "auroc": roc_auc_score(odd[judged], sites.anomaly_score[judged]),
        "false": float((flag & ~odd).sum()), "said": float(flag.sum()),
        "found": float((flag & odd).sum()), "odd": float((odd & judged).sum()),
    }  # fmt: skip
    for name in ("stretched", "moved"):
        part = judged & ((kind == name) | ~odd)
        out[f"auroc {name}"] = roc_auc_score(odd[part], sites.anomaly_score[part])
    # the rose: orientation of those flagged because they are stretched
    rose = flag & sites.anomaly_reason.str.contains("^stretched|^0.*, stretched").to_numpy()
    planted = axial_mean(truth.angle_rad[truth.kind == "stretched"])
    if rose.sum() >= 3:
        turn = axial_mean(sites.raw_orientation_rad[rose]) - preferred
        out["turn"] = np.rad2deg((turn + np.pi / 2) % np.pi - np.pi / 2)
        turn = planted - preferred
        out["drawn"] = np.rad2deg((turn + np.pi / 2) % np.pi - np.pi / 2)
    return out


def figure_2(args: argparse.Namespace) -> list[str]:
    """Anomalies of a manganite-like surface."""
    lines = [
        f"{args.images} images each of about 1,000 sites, SNR 5, scan-line noise included, 3 % "
        "anomalous (aspect 1.3, or off by 0.1 of the lattice constant), found by the universal "
        "network; nominal rate 5 %.",
        "",
        "| px per lattice constant | AUROC (stretched / moved) | false among flagged, pooled "
        "(mean) | found | flagged on clean images | rose: rms error of the axis, one image "
        "(mean) |",
        "|---|---|---|---|---|---|",
    ]
    for spacing in (16.2, 12.0):
        rows = pd.DataFrame([one_surface(k, spacing, 0.03) for k in range(args.images)])
        # of few images none may have enough that are flagged for being stretched
        rows = rows.reindex(columns=[*rows.columns.union(["turn", "drawn"], sort=False)])
        clean = pd.DataFrame([one_surface(k, spacing, 0.0) for k in range(args.images)])
        share = rows.false / rows.said.clip(lower=1)
        lines.append(
            f"| {spacing:g} | {rows.auroc.mean():.4f} "
            f"({rows['auroc stretched'].mean():.3f} / "
            f"{rows['auroc moved'].mean():.3f}) | {100 * rows.false.sum() / rows.said.sum():.1f} % "
            f"({100 * share.mean():.1f} %) | {100 * rows.found.sum() / rows.odd.sum():.0f} % | "
            f"{100 * clean.flagged.mean():.2f} % | {np.sqrt((rows.turn**2).mean()):.1f} deg "
            f"({rows.turn.mean():+.1f} deg); the planted ones themselves: "
            f"{np.sqrt((rows.drawn**2).mean()):.1f} deg |"
        )
    return lines


def likelihood_ratio(image: np.ndarray, truth: pd.DataFrame) -> np.ndarray:
    """Defect type of each site by the best test there is.

    Positions, widths, background and all other columns are known; Poisson likelihood of each
    height that may occur, with its prior.

    Returns
    -------
    ndarray of str
        "" for intact, else as in the truth without the joining of neighbours.
    """
    width = float(truth.sigma_px.iloc[0])
    radius = int(np.ceil(4 * width))
    y, x = truth.y_px.to_numpy(), truth.x_px.to_numpy()
    true = truth.amplitude.to_numpy()
    model = truth.attrs["background"] + render_columns(image.shape, y, x, true, width)
    pad = radius + 8
    counts, mean = np.pad(image, pad), np.pad(model, pad, constant_values=1.0)
    inside = np.pad(np.ones(image.shape), pad)
    axis = np.arange(-radius, radius + 1)
    rows = np.rint(y).astype(int)[:, None] + axis
    cols = np.rint(x).astype(int)[:, None] + axis
    g = (
        np.exp(-0.5 * ((rows - y[:, None]) / width) ** 2)[:, :, None]
        * np.exp(-0.5 * ((cols - x[:, None]) / width) ** 2)[:, None]
    )
    index = (
        np.clip(rows + pad, 0, counts.shape[0] - 1)[:, :, None],
        np.clip(cols + pad, 0, counts.shape[1] - 1)[:, None],
    )
    n, rest, seen = counts[index], mean[index] - true[:, None, None] * g, inside[index]
    metal = truth.sublattice.to_numpy() == 0
    expected = truth.expected.to_numpy()
    best, name = np.full(len(truth), -np.inf), np.full(len(truth), "", object)
    share = truth.groupby("sublattice").amplitude.transform("size").to_numpy()
    for factor_metal, factor_pair, metal_name, pair_name in (
        (1.0, 1.0, "", ""), (0.42, 0.5, "M_W", "V_S"), (1.0, 0.0, "", "V_S2"),
    ):  # fmt: skip
        height = expected * np.where(metal, factor_metal, factor_pair)
        prior = np.array([
            max(np.mean(np.isclose(true[metal == m] / expected[metal == m], f)), 1 / share.max())
            for m, f in ((True, factor_metal), (False, factor_pair))
        ])  # fmt: skip
        expect = np.maximum(rest + height[:, None, None] * g, 1e-9)
        score = (seen * (n * np.log(expect) - expect)).sum((1, 2))
        score += np.log(np.where(metal, prior[0], prior[1]))
        better = score > best
        best[better] = score[better]
        name[better] = np.where(metal, metal_name, pair_name)[better]
    return name


def joined(truth: pd.DataFrame, name: np.ndarray) -> np.ndarray:
    """Names after joining neighbours, by the same rule as ours."""
    places = truth[["y_px", "x_px"]].to_numpy()
    spacing = float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))
    a, b = np.flatnonzero(name == "M_W"), np.flatnonzero(name == "V_S")
    out = name.copy()
    if len(a) and len(b):
        near = cKDTree(places[a]).sparse_distance_matrix(
            cKDTree(places[b]), 1.35 * spacing, output_type="coo_matrix"
        )
        out[a[near.row]] = out[b[near.col]] = "M_W+V_S"
    return out


def figure_3(args: argparse.Namespace) -> list[str]:
    """Point defects of WS2, beside the likelihood-ratio test."""
    images = max(4, args.images // 5)
    lines = [
        f"{images} images of 512 x 512 px per dose; background 0.05 of the W peak; types by site.",
        "",
        "| counts per S2 | type | planted | precision | recall | "
        "likelihood ratio: precision | recall |",
        "|---|---|---|---|---|---|---|",
    ]
    for counts in (1000, 300):
        found: dict[str, np.ndarray] = {t: np.zeros(6) for t in WS2_TYPES}
        for k in range(images):
            image, truth = ws2(counts, seed=seed_for("benchmark", 4300 + k + counts))
            atoms = al.analyze(image, keep_maps=False).atoms
            sites = name_defects(find_anomalies(describe_sites(image, atoms)))
            distance, which = cKDTree(truth[["y_px", "x_px"]]).query(sites[["y_px", "x_px"]])
            spacing = 11.0
            inner = truth[["y_px", "x_px"]].to_numpy()
            whole = ((inner > spacing) & (inner < 511 - spacing)).all(1)
            best = joined(truth, likelihood_ratio(image, truth))
            said = np.full(len(truth), "", object)
            near = distance < 0.4 * spacing
            said[which[near]] = sites.defect.to_numpy()[near]
            # what is called a defect where there is no site is false too
            stray = sites.defect.to_numpy()[~near]
            for t in WS2_TYPES:
                real = whole & (truth.defect == t).to_numpy()
                ours, theirs = whole & (said == t), whole & (best == t)
                found[t] += [
                    real.sum(), (ours & real).sum(), ours.sum() + (stray == t).sum(),
                    (theirs & real).sum(), theirs.sum(), 0,
                ]  # fmt: skip
        for t, (real, hit, said_n, hit_lr, said_lr, _) in found.items():
            lines.append(
                f"| {counts} | {t} | {real:.0f} | {hit / max(said_n, 1):.3f} | {hit / real:.3f} | "
                f"{hit_lr / max(said_lr, 1):.3f} | {hit_lr / real:.3f} |"
            )
    return lines


def figure_4(args: argparse.Namespace) -> list[str]:
    """Six defect types in three orientations."""
    from sklearn.metrics import adjusted_rand_score

    lines = [
        "Six defect types of WS2, each in three orientations, 15 of every one; mean over 5 images.",
        "",
        "| counts per S2 | method | turned by the symmetry | classes | "
        "adjusted Rand index (worst) |",
        "|---|---|---|---|---|",
    ]
    for counts in (1000, 300):
        for method in ("hdbscan", "mixture", "mean-shift"):
            for fold in (0, 1):
                scores, number = [], []
                for k in range(5):
                    image, sites = defect_gallery(counts, seed=seed_for("benchmark", 4400 + k))
                    found = classify_sites(
                        image, sites, ClassParams(method=method, fold=fold, most=24)
                    )
                    scores.append(adjusted_rand_score(sites.defect, found.label))
                    number.append(found.label.max() + 1)
                lines.append(
                    f"| {counts} | {method} | {'no (plain)' if fold else 'yes'} | "
                    f"{np.mean(number):.1f} | {np.mean(scores):.3f} ({min(scores):.3f}) |"
                )
    return lines


def figure_5(args: argparse.Namespace) -> list[str]:
    """CPU time of the descriptors of 10,000 contours, and frames per second of the plot."""
    from skimage.measure import regionprops_table

    from napari_atomlens.contours.polygons import fill_polygons

    b = blobs(100, 20.3, 6, seed_for("benchmark", 4500))
    cover, centre = b["cover"], b["centre"]
    image = 10 * cover + np.random.default_rng(seed_for("benchmark", 4501)).normal(
        0, 1, cover.shape
    )
    atoms = pd.DataFrame(
        {"frame": 0, "atom_id": np.arange(len(centre)), "y_px": centre[:, 0], "x_px": centre[:, 1]}
    )
    traced, (vertices, counts) = cpu(lambda: trace(cover, centre, 0.5))
    outlines = ragged(vertices, counts)
    described, _ = cpu(
        lambda: al.describe_contours(outlines, atoms, image=image, probability=cover)
    )
    which, rows, cols = fill_polygons(vertices, cover.shape)
    labels = np.zeros(cover.shape, np.int32)
    labels[rows, cols] = which + 1
    masked, ours = cpu(lambda: al.describe_contours(labels, image=image, probability=cover))
    names = (
        "label", "area", "centroid", "axis_major_length", "axis_minor_length", "eccentricity",
        "orientation", "moments_hu", "solidity", "perimeter", "equivalent_diameter_area",
        "intensity_mean", "intensity_max",
    )  # fmt: skip
    skimage, theirs = cpu(lambda: regionprops_table(labels, image, properties=names), 2)
    pairs = {"area_px2": "area", "major_px": "axis_major_length", "minor_px": "axis_minor_length",
             "eccentricity": "eccentricity", "centroid_y_px": "centroid-0",
             **{f"hu_{k + 1}": f"moments_hu-{k}" for k in range(7)}}  # fmt: skip
    worst = max(
        float(np.max(np.abs(ours[a] - theirs[t]) / np.maximum(np.abs(theirs[t]), 1e-12)))
        for a, t in pairs.items()
    )
    lines = [
        "| 10,000 blobs in one run | CPU s |",
        "|---|---|",
        f"| sub-pixel outlines (marching squares) | {traced:.2f} |",
        f"| all descriptors of the outlines ({ours.shape[1]} columns, surroundings included) | "
        f"{described:.2f} |",
        f"| all descriptors of the same blobs as labels, outlines included | {masked:.2f} |",
        f"| scikit-image regionprops_table, {len(names)} of them | {skimage:.2f} |",
        "",
        f"Largest relative difference of the moment descriptors from scikit-image's: {worst:.1e}.",
    ]
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen" or not (
        os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")
    ):
        return [*lines, "", "No screen: the frame rate was not measured."]
    rate = measure_frame_rate(100_000)
    return [
        *lines, "",
        f"Scatter plot of 100,000 points while dragging: {rate['pan']:.0f} frames per second "
        f"(panning), {rate['lasso']:.0f} (drawing a lasso); picking the nearest point "
        f"{1000 * rate['pick_s']:.2f} ms.",
    ]  # fmt: skip


def measure_frame_rate(n: int, seconds: float = 3.0) -> dict[str, float]:
    """Frames per second of a scatter plot of n points while it is dragged.

    Every step moves the view and waits until it is painted, as a mouse does.

    Returns
    -------
    dict of str to float
        "pan" and "lasso" in frames per second, "pick_s" for one pick.
    """
    import pyqtgraph as pg
    from qtpy.QtWidgets import QApplication

    from napari_atomlens.widgets.base.plots import SHADES, Scatter, viridis

    app = pg.mkQApp()
    rng = np.random.default_rng(0)
    plot = Scatter()
    plot.resize(700, 500)
    x, y = rng.normal(size=(2, n))
    plot.show_points(x, y, (np.clip(x, -2, 2) * 3.9 + 8).astype(int) % SHADES, viridis(SHADES))
    plot.mark_selected(np.arange(0, n, max(1, n // 200)))
    plot.show()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        QApplication.processEvents()
    box = plot.getViewBox()
    rates = {}
    for what in ("pan", "lasso"):
        frames, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            step = 0.02 if frames % 40 < 20 else -0.02
            if what == "pan":
                box.translateBy(x=step, y=step / 2)
            else:
                t = np.linspace(0, 5, 10 + frames % 200)
                plot._line.setData(np.cos(t), np.sin(t) + step)
            plot.viewport().repaint()
            app.processEvents()
            frames += 1
        rates[what] = frames / (time.perf_counter() - start)
    plot.pick(0.0, 0.0)
    start = time.perf_counter()
    for k in range(100):
        plot.pick(0.001 * k, 0.0)
    rates["pick_s"] = (time.perf_counter() - start) / 100
    plot.close()
    return rates


def real(file: Path, out: Path) -> list[str]:
    """Flag the sites of a real image: an overlay as PNG, and a line for each of the strongest."""
    from skimage.io import imsave

    source = al.read(file)[0]
    image = np.squeeze(np.asarray(source.data, float))
    atoms = al.analyze(image, keep_maps=False).atoms
    sites = name_defects(find_anomalies(describe_sites(image, atoms)))
    flagged = sites[sites.anomaly].sort_values("anomaly_score", ascending=False)
    low, high = np.percentile(image, [0.5, 99.8])
    zoom = max(1, 1536 // max(image.shape))
    grey = np.kron(np.clip((image - low) / (high - low), 0, 1), np.ones((zoom, zoom)))
    colour = np.stack([grey] * 3, -1)
    marks = {
        "V_S": (1, 0.6, 0),
        "V_S2": (1, 0.2, 0.2),
        "M_W": (0.3, 0.8, 1),
        "other": (0.4, 1, 0.4),
    }
    spacing = float(
        np.median(cKDTree(atoms[["y_px", "x_px"]]).query(atoms[["y_px", "x_px"]], k=2)[0][:, 1])
    )
    t = np.linspace(0, 2 * np.pi, 200)
    for row in flagged.itertuples():  # a few dozen
        for radius in (0.5, 0.53, 0.56):
            y = (zoom * (row.y_px + radius * spacing * np.sin(t))).astype(int)
            x = (zoom * (row.x_px + radius * spacing * np.cos(t))).astype(int)
            ok = (y >= 0) & (x >= 0) & (y < grey.shape[0]) & (x < grey.shape[1])
            colour[y[ok], x[ok]] = marks.get(row.defect, (0.8, 0.4, 1))
    out.mkdir(parents=True, exist_ok=True)
    imsave(out / f"{file.stem}.png", (255 * colour).astype(np.uint8), check_contrast=False)
    lines = [
        f"{file.name}: {len(sites)} sites ({sites.kind.value_counts().to_dict()}, "
        f"{(sites.source == 'lattice').sum()} vacant), {len(flagged)} flagged at 5 %: "
        f"{flagged.defect.value_counts().to_dict()}. Overlay in {out.name}/{file.stem}.png.",
        "", "| y, x (px) | kind | named | reason |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {r.y_px:.0f}, {r.x_px:.0f} | {r.kind} | {r.defect} | {r.anomaly_reason} |"
        for r in flagged.head(40).itertuples()
    ]
    return lines


FIGURES = {1: figure_1, 2: figure_2, 3: figure_3, 4: figure_4, 5: figure_5}
TITLES = {
    1: "Shape of rendered ellipses", 2: "Manganite-like surface", 3: "Point defects of WS2",
    4: "Classes of rotated defects", 5: "Speed",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=int, nargs="+", default=list(FIGURES), choices=FIGURES)
    parser.add_argument("--images", type=int, default=50, help="images of figure 2")
    parser.add_argument("--out", type=Path, help="write the Markdown there, too")
    parser.add_argument("--real", type=Path, nargs="+", help="real images instead of figures")
    with Report("contours", parser) as report:
        args = report.args
        if args.real:
            for file in args.real:
                print("\n".join(real(file, (args.out or Path("out/contours")))), flush=True)
            return
        text = []
        for number in args.figure:
            part = [f"## {number}. {TITLES[number]}", "", *FIGURES[number](args), ""]
            print("\n".join(part), flush=True)
            text += part
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
