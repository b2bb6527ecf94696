"""Single atoms without a lattice: labelled images, simulated truth, bare films, what auto takes.

    python benchmarks/single_atoms.py --data FOLDER [--parts labels doses ...] [--images 6]

`labels`: images with points set by hand (FOLDER/ptnc: NUMBER_*.tif and NUMBER_Results.csv), scored
as their publishers do: boxes of 21 px round label and atom, intersection over union above 0.5,
matched one to one; beside it Laplacians of Gaussians, each with the threshold that is best for these
very labels, and the universal model. `doses`: simulated films with truth. `bare`: false atoms on
amorphous carbon without any. `flat`: errors over the Cramer-Rao bound on a flat support. `choice`:
what `auto` takes for crystals and for images without a lattice. `adapt`: learning from three
corrected images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from report import Report, figure
from scipy import ndimage as ndi
from scipy.optimize import linear_sum_assignment

import napari_atomlens as al
from napari_atomlens.errors import AtomLensError
from napari_atomlens.simulation import atom_scenes, seed_for
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.calibrate import expected_calibration_error

PARTS = ("labels", "doses", "bare", "flat", "choice", "adapt")
BOX = 21.0  #: side of the boxes of the published scorer, in pixels
PROBE = 4.0  #: width of the Laplacians of Gaussians
Labels = list[tuple[str, np.ndarray, np.ndarray]]
Counts = tuple[int, int, int]


def labelled(folder: Path) -> Labels:
    """Name, pixels and points (y, x) of each image."""
    out = []
    for path in sorted(folder.glob("*.tif")):
        number = path.name.split("_")[0]
        table = pd.read_csv(folder / f"{number}_Results.csv")
        points = table[["Y", "X"]].to_numpy(float)
        out.append((number, tifffile.imread(path).astype(np.float32), points))
    return out


def scored(found: np.ndarray, true: np.ndarray) -> Counts:
    """Hits, missed and false ones by the published scorer."""
    if not len(found) or not len(true):
        return 0, len(true), len(found)
    shared = np.clip(BOX - np.abs(found[:, None] - true[None]), 0, None).prod(-1)
    overlap = shared / (2 * BOX**2 - shared)
    a, b = linear_sum_assignment(-overlap)
    hits = int((overlap[a, b] > 0.5).sum())
    return hits, len(true) - hits, len(found) - hits


def f1(counts: np.ndarray) -> float:
    """F1 of hits, missed and false ones, summed over images."""
    hits, missed, false = np.asarray(counts).reshape(-1, 3).sum(0)
    return float(2 * hits / max(2 * hits + missed + false, 1))


def laplacian(image: np.ndarray, *, local: bool) -> tuple[np.ndarray, np.ndarray]:
    """Maxima of the Laplacian of a Gaussian over its spread, of all or of the dark half nearby."""
    response = -ndi.gaussian_laplace(image, PROBE)
    if local:
        dark = (response < 0).astype(np.float32)
        near = [ndi.gaussian_filter(v, 8 * PROBE) for v in (dark * response**2, dark)]
        response = response / np.sqrt(near[0] / np.maximum(near[1], 1e-3))
    else:
        response = response / (1.4826 * np.median(np.abs(response - np.median(response))))
    peak = (response == ndi.maximum_filter(response, round(4 * PROBE) + 1)) & (response > 0)
    return np.argwhere(peak).astype(float), response[peak]


def best_threshold(images: Labels, *, local: bool) -> tuple[float, np.ndarray]:
    """Threshold that is best for the labels, and the counts of each image with it."""
    seen = [laplacian(image, local=local) for _, image, _ in images]
    tried = {
        float(t): np.array([
            scored(places[height > t], true)
            for (places, height), (_, _, true) in zip(seen, images, strict=True)
        ])
        for t in np.arange(2, 8, 0.125)
    }  # fmt: skip
    best = max(tried, key=lambda t: f1(tried[t]))
    return best, tried[best]


def places_of(image: np.ndarray, model: str) -> np.ndarray:
    """Atoms that the program finds with its own settings."""
    try:
        atoms = al.analyze(image, model=model, keep_maps=False, contours=False).atoms
    except AtomLensError:
        return np.zeros((0, 2))
    return atoms[["y_px", "x_px"]].to_numpy()


def paired(ours: np.ndarray, other: np.ndarray, draws: int = 4000) -> np.ndarray:
    """2.5, 50 and 97.5 % of the difference in F1 when images are drawn with replacement."""
    rng = np.random.default_rng(0)
    which = rng.integers(0, len(ours), (draws, len(ours)))
    return np.percentile([f1(ours[w]) - f1(other[w]) for w in which], [2.5, 50, 97.5])


def labels(folder: Path) -> None:
    """Images with points set by hand."""
    images = labelled(folder)
    print(f"\n## Labelled images: {len(images)}, {sum(len(t) for *_, t in images)} points\n")
    plain = best_threshold(images, local=False)
    local = best_threshold(images, local=True)
    rows = {
        f"Laplacian, best threshold {plain[0]:.2f}": plain[1],
        f"Laplacian over local spread, best threshold {local[0]:.2f}": local[1],
    }
    for model in ("auto", "universal"):
        rows[model] = np.array([scored(places_of(i, model), t) for _, i, t in images])
    print("| way | F1 | recall | precision |\n|---|---|---|---|")
    for name, counts in rows.items():
        hits, missed, false = counts.sum(0)
        print(
            f"| {name} | {f1(counts):.3f} | {hits / (hits + missed):.3f} | "
            f"{hits / max(hits + false, 1):.3f} |"
        )
    low, middle, high = paired(rows["auto"], local[1])
    print(f"\nauto less Laplacian over local spread: {middle:+.3f} ({low:+.3f} to {high:+.3f})")
    figure("F1 less that of the local Laplacian, lower end", low)


def found_on(image: np.ndarray, model: str = "auto") -> pd.DataFrame:
    """Return everything that is found, doubtful atoms as well."""
    return al.analyze(
        image, model=model, min_probability=0.0, keep_maps=False, contours=False
    ).atoms


def doses(images: int) -> None:
    """Simulated films: F1 for what can be seen, calibration."""
    print("\n## Simulated films\n")
    print("| counts | atoms of SNR 5 or more | F1 | recall | precision | calibration error |")
    print("|---|---|---|---|---|---|")
    pairs: list[np.ndarray] = []
    for counts in (60, 300, 3000):
        total, chances = [], []
        for n in range(images):
            rng = np.random.default_rng(seed_for("benchmark", 9_000_000 + 1000 * counts + n))
            width = rng.uniform(2.2, 5.5)
            film = atom_scenes.film_scene((288, 288), rng, width=width, counts=counts)
            image = atom_scenes.expose_film(film, rng).astype(np.float32)
            atoms = found_on(image)
            score, chance = judged(atoms, film)
            total.append(score)
            chances.append(chance)
        both = np.concatenate(chances)
        pairs.append(both)
        hits, missed, false = np.sum(total, 0)
        error = expected_calibration_error(both[:, 0], both[:, 1])
        print(
            f"| {counts} | {hits + missed} | {f1(np.array(total)):.3f} | "
            f"{hits / max(hits + missed, 1):.3f} | {hits / max(hits + false, 1):.3f} | "
            f"{error:.3f} |", flush=True,
        )  # fmt: skip
    every = np.concatenate(pairs)
    figure("calibration error", expected_calibration_error(every[:, 0], every[:, 1]))


def judged(
    atoms: pd.DataFrame, film: atom_scenes.FilmScene, threshold: float = 0.5
) -> tuple[Counts, np.ndarray]:
    """Counts for atoms of SNR 5 or more, and probability and truth of all that was found."""
    scene, snr = film.scene, film.snr()
    margin, reach = scene.spacing_px / 2, scene.spacing_px / 2.5
    true = np.c_[scene.y, scene.x]
    places = atoms[["y_px", "x_px"]].to_numpy().reshape(-1, 2)
    chance = atoms["probability"].to_numpy()
    known = scene.visible(0)

    def inner(p: np.ndarray) -> np.ndarray:
        at = np.clip(np.rint(p).astype(int), 0, np.array(scene.shape) - 1)
        inside = ((p >= margin) & (p <= np.array(scene.shape) - 1 - margin)).all(1)
        return inside & ~scene.contamination[at[:, 0], at[:, 1]]

    sure = chance >= threshold
    a, b = match(places[sure], true[known], reach)
    hit, got = np.zeros(sure.sum(), bool), np.zeros(len(true), bool)
    hit[a], got[np.flatnonzero(known)[b]] = True, True
    clear = known & (snr >= 5) & inner(true)
    # what is true but faint is neither right nor wrong
    counts = (
        int((clear & got).sum()), int((clear & ~got).sum()),
        int((~hit & inner(places[sure])).sum()),
    )  # fmt: skip
    truth = np.zeros(len(places))
    truth[match(places, true[known], reach)[0]] = 1
    return counts, np.c_[chance, truth][inner(places)]


def bare(images: int) -> None:
    """False atoms on amorphous carbon."""
    print("\n## Bare amorphous carbon, 300 counts per platinum atom\n")
    print("| thickness (nm) | area (nm2) | false atoms | per 100 nm2 |\n|---|---|---|---|")
    pixel, side = 0.03, 320
    worst = 0.0
    for thickness in (2.0, 5.0, 10.0, 20.0):
        false = 0
        for n in range(images):
            rng = np.random.default_rng(seed_for("benchmark", 9_500_000 + n + int(100 * thickness)))
            film = atom_scenes.bare_carbon(
                (side, side), rng, thickness_nm=thickness, pixel_nm=pixel,
                width_px=rng.uniform(2.2, 4.0),
            )  # fmt: skip
            false += len(places_of(atom_scenes.expose_film(film, rng, faulty=False), "auto"))
        area = images * (side * pixel) ** 2
        worst = max(worst, 100 * false / area)
        print(f"| {thickness:g} | {area:.0f} | {false} | {100 * false / area:.2f} |", flush=True)
    figure("false atoms per 100 nm2, worst thickness", worst)


def flat(images: int) -> None:
    """Errors over the bound on a flat support."""
    print("\n## Flat support: errors over the bound\n")
    print("| counts | atoms | RMSE over bound | stated error over bound |\n|---|---|---|---|")
    for counts in (100, 300, 3000):
        off, bound, stated = [], [], []
        for n in range(images):
            rng = np.random.default_rng(seed_for("benchmark", 9_700_000 + 10 * counts + n))
            image, true, error = flat_image(rng, counts)
            atoms = al.analyze(image, model="single-atoms", keep_maps=False, contours=False).atoms
            a, b = match(atoms[["y_px", "x_px"]].to_numpy(), true, 4.0)
            off.append((atoms[["y_px", "x_px"]].to_numpy()[a] - true[b]).ravel())
            stated.append(atoms[["y_err_px", "x_err_px"]].to_numpy()[a].ravel())
            bound.append(np.full(2 * len(a), error))
        e, s, c = (np.concatenate(v) for v in (off, stated, bound))
        kept = np.abs(e) < 6 * c
        rms = float(np.sqrt(np.mean((e / c)[kept] ** 2)))
        print(f"| {counts} | {len(e) // 2} | {rms:.3f} | {np.median(s / c):.3f} |", flush=True)


def flat_image(rng: np.random.Generator, counts: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Atoms far from one another on a flat support, and the bound for each coordinate."""
    width, side, level = 3.2, 288, 0.2
    grid = np.mgrid[20:side:26, 20:side:26].reshape(2, -1).T.astype(float)
    true = (grid + rng.uniform(-5, 5, grid.shape))[rng.random(len(grid)) < 0.6]
    true = true[((true > 14) & (true < side - 15)).all(1)]
    y, x = np.indices((side, side))
    peak = counts / (2 * np.pi * width**2)
    clean = np.full((side, side), level * peak)
    for at in true:
        clean += peak * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / width**2)
    off = np.arange(-20, 21)
    bell = peak * np.exp(-0.5 * (off[:, None] ** 2 + off**2) / width**2)
    slope = bell * off[:, None] / width**2
    bound = 1 / np.sqrt((slope**2 / (bell + level * peak)).sum())
    return rng.poisson(clean).astype(np.float32), true, float(bound)


def model_of(image: np.ndarray, pixel_nm: float | None) -> str:
    """Name of the model that `auto` takes."""
    result = al.analyze(image, pixel_size_nm=pixel_nm, keep_maps=False, contours=False,
                        refine="off")  # fmt: skip
    return str(result.provenance["model"])


def choice(images: int) -> None:
    """What `auto` takes: of 5 crystals per image, and of half as many films."""
    from napari_atomlens.simulation.scenes import simulate

    wrong = crystals = taken = films = 0
    for n in range(images):
        for k, lattice in enumerate(("honeycomb", "tmd", "perovskite", "dumbbell", "square")):
            counts = (40, 100, 600, 5000)[n % 4]
            image, _ = simulate(
                lattice, (224, 224), 8.0 + (3 * n + k) % 11, rotation_deg=17.0 * n, counts=counts,
                seed=seed_for("benchmark", 9_800_000 + 10 * n + k),
            )  # fmt: skip
            crystals += 1
            wrong += model_of(image, None) == "single-atoms"
    for n in range(max(1, images * 5 // 2)):
        rng = np.random.default_rng(seed_for("benchmark", 9_900_000 + n))
        film = atom_scenes.film_scene((256, 256), rng, width=rng.uniform(2.2, 5))
        if (film.snr() > 6).sum() < 3:
            continue
        films += 1
        image = atom_scenes.expose_film(film, rng).astype(np.float32)
        taken += model_of(image, None) == "single-atoms"
    print("\n## What auto takes\n\n| images | number | single-atoms |\n|---|---|---|")
    print(f"| crystals | {crystals} | {wrong} |\n| without a lattice | {films} | {taken} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the folder ptnc")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--images", type=int, default=6, help="simulated images per row")
    parser.add_argument("--minutes", type=float, default=4, help="of each adaptation")
    with Report("single_atoms", parser) as report:
        args = report.args
        for part in args.parts:
            if part in ("labels", "adapt"):
                if args.data is None:
                    continue
                folder = args.data / "ptnc"
                labels(folder) if part == "labels" else adapt(folder, args.minutes)
            else:
                {"doses": doses, "bare": bare, "flat": flat, "choice": choice}[part](args.images)


def table_of(points: np.ndarray) -> pd.DataFrame:
    """Points set by hand as a table of atoms."""
    return pd.DataFrame({"y_px": points[:, 0], "x_px": points[:, 1], "species": "atom"})


def adapt(folder: Path, minutes: float) -> None:
    """Learn from three images and measure on the others."""
    from napari_atomlens.training import AdaptParams, label_frame
    from napari_atomlens.training import adapt as learn

    images = labelled(folder)
    taught, rest = images[::4][:3], [i for k, i in enumerate(images) if k % 4 or k // 4 > 2]
    frames = [label_frame(image, table_of(points)) for _, image, points in taught]
    result = learn(frames, AdaptParams(start="single-atoms", name="mine", minutes=minutes))
    rows = {
        name: np.array([scored(places_of(i, model), t) for _, i, t in rest])
        for name, model in (("before", "single-atoms"), ("after", str(result.path)))
    }
    print(f"\n## Learning from {len(taught)} corrected images\n\n{result.sentence}\n")
    print(f"| on {len(rest)} others | F1 |\n|---|---|")
    for name, counts in rows.items():
        print(f"| {name} | {f1(counts):.3f} |")
    low, middle, high = paired(rows["after"], rows["before"])
    print(f"\nGain: {middle:+.3f} ({low:+.3f} to {high:+.3f})")
    figure("gain of three corrected images, lower end", low)


if __name__ == "__main__":
    main()
