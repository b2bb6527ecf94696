"""Figures of the bond graph, the defects and the library; prints Markdown.

Usage: ``python benchmarks/chemistry.py [--data FOLDER] [--only formulas images unseen rings ...]``.
The real images are not part of this repository; without them their sections are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report import Report, figure

import napari_atomlens as al
from napari_atomlens.graphs import count_types, learn_bounds, trace_rings
from napari_atomlens.graphs.bonds import bond
from napari_atomlens.graphs.defects import find_defects
from napari_atomlens.graphs.library import DefectLibrary, Entry, entries_of
from napari_atomlens.graphs.rules import preset
from napari_atomlens.simulation.faults import shot_noise
from napari_atomlens.simulation.formation import render_columns
from napari_atomlens.simulation.graphene_defects import Sheet, graphene_sheet

NAMES = ("Si1C3", "Si1C4", "Si2C4", "Si2C5", "Si2C6", "Si3C4", "Si3C6", "Si4C6")


def published(data: Path) -> list[dict[str, Any]]:
    """Files of the published library: image, pixel size, and the stored defects."""
    import h5py

    files = []
    for path in sorted((data / "graphene-si/library").glob("*/*.hdf5")):
        with h5py.File(path) as file:
            image = np.squeeze(file["nn_input"][()]).astype(float)
            pixel = float(file["nn_input"].attrs["scan size"]) / 1000 / image.shape[1]
            stored = [file[k][()] for k in file if k.startswith("defect_coord")]
        tables = []
        for rows in stored:
            t = pd.DataFrame(
                {"y_px": [float(r[1]) for r in rows], "x_px": [float(r[0]) for r in rows],
                 "species": [r[2].decode() for r in rows]}
            )  # fmt: skip
            tables.append(t.assign(y_nm=t.y_px * pixel, x_nm=t.x_px * pixel))
        files.append(
            {"label": path.parent.name, "name": f"{path.parent.name}/{path.stem}", "image": image,
             "pixel": pixel, "defects": tables}
        )  # fmt: skip
    return files


def atoms_of(sheet: Sheet, frame: int = 0) -> pd.DataFrame:
    p = sheet.places_nm
    return pd.DataFrame(
        {"frame": frame, "y_px": 100 * p[:, 0], "x_px": 100 * p[:, 1], "y_nm": p[:, 0],
         "x_nm": p[:, 1], "species": sheet.species}
    )  # fmt: skip


def jittered(atoms: pd.DataFrame, sigma: float, rng: np.random.Generator) -> pd.DataFrame:
    shift = rng.normal(0, sigma, (len(atoms), 2))
    moved = atoms.copy()
    moved[["y_nm", "x_nm"]] += shift
    moved[["y_px", "x_px"]] += 100 * shift
    return moved


def formulas(data: Path) -> list[str]:
    """Figure 1: formulas from stored and from true positions."""
    lines = ["| positions | published bounds | wide preset |", "|---|---|---|"]
    files = published(data) if data.exists() else []
    both = ("graphene-si-published", "graphene-si")
    if files:
        cells = []
        for rules in both:
            right = [
                list(find_defects(bond(d, rules))["formula"]) == [f["label"]]
                for f in files for d in f["defects"]
            ]  # fmt: skip
            cells.append(f"{sum(right)} of {len(right)}")
        lines.append(f"| stored | {' | '.join(cells)} |")
        for sigma in (0.010, 0.015):
            cells = []
            for rules in both:
                rng = np.random.default_rng(0)
                right = [
                    list(find_defects(bond(jittered(d, sigma, rng), rules))["formula"])
                    == [f["label"]]
                    for f in files for d in f["defects"] for _ in range(20)
                ]  # fmt: skip
                cells.append(f"{100 * np.mean(right):.1f} %")
            lines.append(f"| stored + {1000 * sigma:.0f} pm | {' | '.join(cells)} |")
    for sigma in (0.0, 0.010, 0.015):
        cells = []
        for rules in both:
            rng = np.random.default_rng(1)
            right, each = [], []
            for name in NAMES:
                sheet = graphene_sheet((3, 3), [(name, (1.5, 1.5))], rotation_rad=0.2, seed=1)
                frames = [jittered(atoms_of(sheet, k), sigma, rng) for k in range(100)]
                found = find_defects(bond(pd.concat(frames, ignore_index=True), rules))
                near = np.hypot(*(found[["y_px", "x_px"]] - 100 * sheet.centres_nm[0]).to_numpy().T)
                mine = found[(near < 30) & found["formula"].str.startswith("Si")]
                ok = [list(g["formula"]) == [name] for _, g in mine.groupby("frame")]
                right += ok + [False] * (100 - len(ok))
                each.append(f"{name} {sum(ok)}")
            cells.append(f"{100 * np.mean(right):.1f} % ({', '.join(each)})")
        lines.append(f"| relaxed sheets + {1000 * sigma:.0f} pm | {' | '.join(cells)} |")
    return lines


def draw(path: Path, file: dict[str, Any], result: Any, found: pd.DataFrame) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    graph = result.bond_graph
    figure, axes = plt.subplots(1, 2, figsize=(14, 7))
    xy = graph.atoms[["x_px", "y_px"]].to_numpy()
    for axis in axes:
        axis.imshow(file["image"], cmap="gray")
        axis.axis("off")
    for p, q in graph.pairs:
        axes[1].plot(*xy[[p, q]].T, "-", color="lime", lw=0.8)
    colour = np.where(graph.foreign, "orange", "cyan")
    axes[1].scatter(*xy.T, s=30, facecolors="none", edgecolors=colour)
    for d in file["defects"]:
        axes[1].plot(d.x_px, d.y_px, "r+", ms=9)
    for row in found.itertuples():
        axes[1].text(row.x_px, row.y_px, row.formula, color="yellow")
    axes[0].set_title(file["name"])
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=45)
    plt.close(figure)


def images(data: Path, out: Path = Path("out/chemistry")) -> list[str]:
    """Figure 2: from the image to the formula, with the rules that the image chooses."""
    files = published(data)
    confusion: Counter[tuple[str, str]] = Counter()
    wrong, extra, located = [], 0, 0
    for f in files:
        result = al.analyze(f["image"], pixel_size_nm=f["pixel"],
                            params=al.AnalysisParams(model=MODEL, contours=False))  # fmt: skip
        found = result.defects
        found = found[found["formula"].str.contains("Si")].reset_index(drop=True)
        taken: set[int] = set()
        for d in f["defects"]:
            centre = d[d["species"] == "Si"][["y_px", "x_px"]].mean().to_numpy()
            gap = np.hypot(found["y_px"] - centre[0], found["x_px"] - centre[1]) * f["pixel"]
            k = int(gap.argmin()) if len(gap) and gap.min() < 0.15 else -1
            got = str(found["formula"][k]) if k >= 0 else "none"
            located += k >= 0
            taken.add(k)
            confusion[f["label"], got] += 1
            if got != f["label"]:
                score = f"{found['score'][k]:.2f}" if k >= 0 else "-"
                wrong.append(f"| {f['name']} | {got} | {score} |")
                draw(out / f"{f['name'].replace('/', '-')}.png", f, result, found)
        extra += len(found) - len(taken - {-1})
    total = sum(confusion.values())
    right = sum(n for (a, b), n in confusion.items() if a == b)
    figure("stored formula found", 100 * right / total, "%", section="images")
    figure("extra defects with Si per image", extra / len(files), section="images")
    lines = [
        f"Stored formula found: **{right} of {total} ({100 * right / total:.1f} %)**; "
        f"located {located}; extra defects with Si {extra} in {len(files)} images "
        f"({extra / len(files):.2f} per image).",
        "", "| stored | found (times) |", "|---|---|",
    ]  # fmt: skip
    for label in NAMES:
        row = {b: n for (a, b), n in confusion.items() if a == label}
        if row:
            cells = ", ".join(f"{b} ({n})" for b, n in sorted(row.items(), key=lambda t: -t[1]))
            lines.append(f"| {label} | {cells} |")
    return [*lines, "", "| disagreement | found | score |", "|---|---|---|", *wrong]


def simulated_image(sheet: Sheet, pixel: float, counts: float, seed: int) -> np.ndarray:
    """Image of a sheet: columns of sigma 0.045 nm, Si four times as bright, Poisson noise."""
    shape = tuple(round(s / pixel) for s in SHEET)
    sigma = 0.045 / pixel
    y, x = (sheet.places_nm / pixel).T
    n = len(y)
    light = np.where(sheet.species == "Si", 4.0, 1.0)
    peak = counts / (2 * np.pi * sigma**2)
    clean = render_columns(
        shape, y, x, peak * light, np.full(n, sigma), np.ones(n), np.zeros(n)
    )  # fmt: skip
    return shot_noise(clean + 0.2 * peak, np.random.default_rng(seed))


SHEET = (6.0, 6.0)


def unseen(data: Path) -> list[str]:
    """Figure 3: trimers as a new type, with rules that do not know Si3C6."""
    rules = preset("graphene-si")
    rules = dataclasses.replace(rules, known=tuple(k for k in rules.known if k != "Si3C6"))
    cells = []
    places = [(y, x) for y in (1.2, 3.0, 4.8) for x in (1.2, 3.0, 4.8)]
    tables, n = [], 0
    for seed in range(6):
        sheet = graphene_sheet(SHEET, [("Si3C6", p) for p in places], rotation_rad=0.2 * seed,
                               seed=seed)  # fmt: skip
        image = simulated_image(sheet, 0.01, 400, seed)
        result = al.analyze(
            image, pixel_size_nm=0.01, params=al.AnalysisParams(model=MODEL, contours=False)
        )
        result.bond(rules)
        tables.append(result.defects)
        n += len(places)
    cells.append(("simulated trimers", n, tables))
    if data.exists():
        tables, n = [], 0
        for f in published(data):
            if f["label"] == "Si3C6":
                result = al.analyze(f["image"], pixel_size_nm=f["pixel"],
                                    params=al.AnalysisParams(model=MODEL, contours=False))  # fmt: skip
                result.bond(rules)
                tables.append(result.defects)
                n += len(f["defects"])
        cells.append(("real trimers", n, tables))
    lines = ["| images | trimers | as Si3C6, new | new types with a count of two or more |",
             "|---|---|---|---|"]  # fmt: skip
    for name, n, each in cells:
        defects = pd.concat([t for t in each if len(t)], ignore_index=True)
        types = count_types(defects.assign(defect_id=np.arange(len(defects))))
        new = types[~types["known"].astype(bool) & (types["count"] > 1)]
        trimers = new[new["formula"] == "Si3C6"]["count"]
        best = int(trimers.max()) if len(trimers) else 0
        listed = ", ".join(f"{f} {c}" for f, c in zip(new["formula"], new["count"], strict=True))
        lines.append(f"| {name} | {n} | {best} ({100 * best / n:.1f} %) | {listed} |")
    return lines


def rings(data: Path) -> list[str]:
    """Figure 4: rings of Stone-Wales defects and 5-8-5 vacancies in simulated images."""
    found: Counter[int] = Counter()
    true: Counter[int] = Counter()
    false = hexagons = 0
    for seed in range(8):
        places = [(y, x) for y in (1.2, 3.0, 4.8) for x in (1.2, 3.0, 4.8)]
        kinds = ["Stone-Wales" if k % 2 else "5-8-5" for k in range(9)]
        sheet = graphene_sheet(SHEET, list(zip(kinds, places, strict=True)),
                               rotation_rad=0.13 * seed, seed=seed)  # fmt: skip
        image = simulated_image(sheet, 0.01, 400, seed)
        truth = trace_rings(sheet.places_nm, sheet.bonds)
        result = al.analyze(image, pixel_size_nm=0.01, params=al.AnalysisParams(contours=False))
        graph = result.bond("graphene")
        centres = [
            [(int(r.size[k]), positions[r.polygon(k)].mean(axis=0)) for k in range(len(r))]
            for r, positions in ((truth, sheet.places_nm), (graph.rings, graph.places_nm))
        ]
        inside = [(s, c) for s, c in centres[0] if (c > 0.3).all() and (c < SHEET[0] - 0.3).all()]
        mine = [(s, c) for s, c in centres[1] if (c > 0.3).all() and (c < SHEET[0] - 0.3).all()]
        for size, centre in inside:
            true[size] += 1
            found[size] += any(s == size and np.hypot(*(c - centre)) < 0.07 for s, c in mine)
        hexagons += sum(s == 6 for s, _ in mine)
        false += sum(
            s != 6 and not any(t == s and np.hypot(*(c - d)) < 0.07 for t, d in centres[0])
            for s, c in mine
        )
    lines = ["| ring | true | found |", "|---|---|---|"]
    lines += [f"| {s} | {true[s]} | {100 * found[s] / true[s]:.1f} % |" for s in sorted(true)]
    figure("false odd rings per 1,000 hexagons", 1000 * false / max(hexagons, 1), section="rings")
    lines += ["", f"False odd rings: {false} for {hexagons} hexagons "
                  f"({1000 * false / max(hexagons, 1):.2f} per 1,000)."]  # fmt: skip
    return lines


def sim0(data: Path) -> list[str]:
    """Figure 5: chalcogen sites of an independent simulation of WSe2-2xTe2x."""
    import tifffile
    from scipy import ndimage as ndi
    from scipy.spatial import cKDTree

    from napari_atomlens.graphs.occupancy import occupy_sites

    folder = data / "with-truth"
    result = al.analyze(tifffile.imread(folder / "sim0_input.tiff"),
                        params=al.AnalysisParams(model=MODEL, contours=False))  # fmt: skip
    # "Se" is one Se where two are usual; most sites hold 2Se, which nobody labelled
    sites = occupy_sites(result.atoms, names=("Se", "2Se", "TeSe", "2Te"))
    sites = sites[sites["sublattice"] == 1]
    places = sites[["y_px", "x_px"]].to_numpy()
    called = sites["occupation"].to_numpy(str)
    truth = []
    with np.load(folder / "sim0_labels.npz") as labels:
        for name in ("2Te", "TeSe", "Se", "vacancy"):
            blobs, n = ndi.label(labels[name] > 0)
            for y, x in ndi.center_of_mass(blobs > 0, blobs, range(1, n + 1)):
                truth.append((name, y, x))
    kind = np.array([t[0] for t in truth])
    at = np.array([t[1:] for t in truth])
    margin = 0.7 * result.spacing_px
    gap, near = cKDTree(places).query(at)
    got = np.where(gap < 0.45 * result.spacing_px, called[near], "none")
    inside = ((at > margin) & (at < 1023 - margin)).all(axis=1)
    back = cKDTree(at).query(places)[0]
    held = ((places > margin) & (places < 1023 - margin)).all(axis=1)
    lines = ["| class | true | recall | precision | F1 (95 % interval) |", "|---|---|---|---|---|"]
    rng = np.random.default_rng(0)
    scores = []
    for name in ("2Te", "TeSe", "Se", "vacancy"):
        mine = (kind == name) & inside
        hit = int((got[mine] == name).sum())
        said = int(((got == name) & inside).sum())
        invented = int(((called == name) & held & (back > 0.45 * result.spacing_px)).sum())
        n = int(mine.sum())

        # Jeffreys intervals of recall and precision, drawn together
        recall = rng.beta(hit + 0.5, n - hit + 0.5, 4000)
        called_all = said + invented
        precision = rng.beta(hit + 0.5, called_all - hit + 0.5, 4000)
        low, high = np.percentile(2 * recall * precision / (recall + precision), [2.5, 97.5])
        score = 2 * hit / max(n + called_all, 1)
        scores.append(score)
        lines.append(
            f"| {name} | {n} | {hit / max(n, 1):.3f} | {hit / max(called_all, 1):.3f} | "
            f"{score:.3f} ({low:.3f}-{high:.3f}) |"
        )
    figure("macro F1", float(np.mean(scores)), section="sim0")
    return [*lines, "", f"Macro F1 {np.mean(scores):.3f}; sites found {len(sites)}."]


def speed(data: Path) -> list[str]:
    """Figure 6: CPU time of bonds, rings and defects of 10,000 atoms."""
    sheet_places = [(y, x) for y in np.arange(2, 15, 2.0) for x in np.arange(2, 15, 2.0)]
    kinds = ["Si1C3", "Si3C6", "V_C", "Stone-Wales", "5-8-5"]
    sheet = graphene_sheet((16.1, 16.1),
                           [(kinds[k % 5], p) for k, p in enumerate(sheet_places)])  # fmt: skip
    atoms = atoms_of(sheet).assign(probability=0.99)
    times = []
    for _ in range(7):
        start = time.process_time()
        graph = bond(atoms, "graphene-si")
        middle = time.process_time()
        n = len(graph.rings)
        ringed = time.process_time()
        defects = find_defects(graph)
        times.append((middle - start, ringed - middle, time.process_time() - ringed))
    best = np.median(times[1:], axis=0)
    for what, seconds in zip(("bonds", "rings", "defects"), best, strict=True):
        figure(what, seconds, "s", section="speed")
    truth = trace_rings(sheet.places_nm, sheet.bonds)
    same = Counter(truth.size.tolist()) == Counter(graph.rings.size.tolist())
    return [
        f"{len(atoms)} atoms, {len(graph)} bonds, {n} rings, {len(defects)} defects: bonds "
        f"{best[0]:.3f}, rings {best[1]:.3f}, defects {best[2]:.3f}, in all **{best.sum():.3f} s "
        f"of CPU** (median of 6). Rings equal those of the true bonds: {same}; 12-rings of the "
        f"vacancies: {(graph.rings.size == 12).sum()} of {sum(k == 'V_C' for k in sheet.names)}.",
    ]  # fmt: skip


WRITER = """
import sys, numpy as np
from napari_atomlens.graphs.library import DefectLibrary, Entry
places = np.array([[0, 0], [0.14, 0], [0, 0.14]])
patch = np.ones((64, 64), np.float32)
with DefectLibrary(sys.argv[1]) as library:
    for k in range(1000):
        library.add([Entry("Si1C2", "d", "x", ["Si", "C", "C"], places,
                           np.array([[0, 1], [0, 2]]), patch=patch, notes=sys.argv[2])])
"""


def library(data: Path) -> list[str]:
    """Figure 7: searches among 10,000 defects, and two processes that write."""
    import networkx as nx

    rng = np.random.default_rng(0)
    base: list[Entry] = []
    for name in (*NAMES, "Stone-Wales", "5-8-5"):
        sheet = graphene_sheet((2.6, 2.6), [(name, (1.3, 1.3))])
        graph = bond(atoms_of(sheet), "graphene-si")
        base += entries_of(graph, find_defects(graph), rng.random((260, 260)))
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        with DefectLibrary(Path(folder) / "big.aldl") as big:
            start = time.perf_counter()
            for block in range(10):
                big.add(
                    dataclasses.replace(
                        base[k % len(base)],
                        places_nm=base[k % len(base)].places_nm
                        + rng.normal(0, 0.008, base[k % len(base)].places_nm.shape),
                        notes=f"block {block}",
                    )
                    for k in range(1000)
                )
            lines.append(f"{len(big)} defects added in {time.perf_counter() - start:.1f} s.")
            pattern = nx.Graph([(0, 1), (1, 2)])
            nx.set_node_attributes(pattern, {0: "Si", 1: "Si", 2: "C"}, "species")
            entry = big.get(77)
            searches: dict[str, Callable[[], Any]] = {
                "formula Si3C6 (all rows)": lambda: big.table(formula="Si3C6"),
                "pattern Si1*": lambda: big.table(formula="Si1*"),
                "words of the notes": lambda: big.table(text="block 7"),
                "subgraph Si-Si-C": lambda: big.with_subgraph(pattern),
                "ten most similar": lambda: big.similar(entry, 10),
            }
            lines += ["", "| search | ms (median of 5) | found |", "|---|---|---|"]
            for name, search in searches.items():
                spent = []
                for _ in range(5):
                    start = time.perf_counter()
                    n = len(search())
                    spent.append(1000 * (time.perf_counter() - start))
                lines.append(f"| {name} | {np.median(spent):.1f} | {n} |")
        path = Path(folder) / "shared.aldl"
        start = time.perf_counter()
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, w]) for w in "ab"]
        codes = [w.wait() for w in writers]
        with DefectLibrary(path) as shared:
            lines += ["", f"Two processes writing 1,000 each, one by one: {len(shared)} entries in "
                          f"{time.perf_counter() - start:.1f} s, exit codes {codes}."]  # fmt: skip
    return lines


def learned(data: Path) -> list[str]:
    """Figure 1, continued: bounds learned from the images themselves."""
    bounds: dict[str, list[float]] = {}
    right = total = 0
    for f in published(data):
        result = al.analyze(f["image"], pixel_size_nm=f["pixel"],
                            params=al.AnalysisParams(model=MODEL, contours=False))  # fmt: skip
        rules = learn_bounds(result.atoms, preset("graphene-si"))
        for r in rules.bonds:
            bounds.setdefault(f"{r.a}-{r.b}", []).append(1000 * r.max_nm)
        for d in f["defects"]:
            right += list(find_defects(bond(d, rules))["formula"]) == [f["label"]]
            total += 1
    lines = ["| pair | learned upper bound, median (5-95 %), pm | preset |", "|---|---|---|"]
    for r in preset("graphene-si").bonds:
        values = bounds[f"{r.a}-{r.b}"]
        low, middle, high = np.percentile(values, [5, 50, 95])
        lines.append(
            f"| {r.a}-{r.b} | {middle:.0f} ({low:.0f}-{high:.0f}) | {1000 * r.max_nm:.0f} |"
        )
    figure(
        "stored positions right with learned bounds", 100 * right / total, "%", section="learned"
    )
    return [*lines, "", f"Stored positions with the bounds of their own image: {right} of {total}."]


#: Model for the images.
MODEL = "auto"

PARTS: dict[str, tuple[str, Callable[[Path], list[str]], bool]] = {
    "formulas": ("1. Formulas from positions", formulas, False),
    "learned": ("1. Bounds learned from the image", learned, True),
    "images": ("2. From the image to the formula", images, True),
    "unseen": ("3. A type that nobody named", unseen, False),
    "rings": ("4. Odd rings in simulated graphene", rings, False),
    "sim0": ("5. WSe2-2xTe2x of an independent simulator", sim0, True),
    "speed": ("6. Speed", speed, False),
    "library": ("7. Library", library, False),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--model", default="auto", help="for the images of parts 1 to 3 and 5")
    with Report("chemistry", parser) as report:
        args = report.args
        global MODEL
        MODEL = args.model
        for name in args.only:
            title, part, needs_data = PARTS[name]
            print(f"\n## {title}\n")
            if needs_data and not args.data.exists():
                print("(the images are not here)")
                continue
            print("\n".join(part(args.data)), flush=True)


if __name__ == "__main__":
    main()
