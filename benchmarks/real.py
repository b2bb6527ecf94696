"""Overlays and figures on real images; pictures go to the ignored folder out/.

    python benchmarks/real.py --data ../shared/data [--model auto] [--out out/real]

Measures the recall of the stored Si of the graphene library and lists every other Si
reported, and draws three crops of every other image with the atoms on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from napari_atomlens.atoms import find_atoms
from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation import ModelInfo, find_model, segment
from napari_atomlens.simulation.scoring import match

FILES = {
    "graphene-si/G-GrainBoundary-4nm.hdf5": 0,
    "graphene-si/G-Si-2nm.hdf5": 0,
    "graphene-si/G-dimSi.hdf5": 0,
    "graphene-si/raw-1.hdf5": 0,
    "tmd-stem/Partially_converted_12.tif": 0,
    "tmd-stem/Partially_converted_16.tif": 0,
    "tmd-stem/Partially_converted_27.tif": 0,
    "tmd-stem/MoS2_stem_Exp-000-2.npy": 0,
    "perovskite-stem/FigS6_0716__Cryo_NSMO110_5-1Mx_0p5us_1024px_REGISTERED.tif": 0,
    "perovskite-stem/Cropped_PTO-SRO_Aligned.hspy": 0,
    "perovskite-stem/10_dso_8nm_none_none.png": 0,
    "perovskite-stem/Acquisition_18.emd": 0,
    "dumbbells-stem/CdTe_110_tilt_HAADF149.dm3": 0,
    "dumbbells-stem/Si_110_tilt_HAADF85.dm3": 0,
    "dumbbells-stem/03_afterimage_8nm_crp.png": 0,
    "stm-other/si111-7x7.sxm": 0,
    "stm-other/cu2o111-gwyddion.txt": 0,
    "stm-movie/building_stack_8nm.npz": -1,
    "with-truth/sim0_input.tiff": 0,
    "with-truth/11133.png": 0,
    "with-truth/12028.png": 0,
}


def analyse(
    image: np.ndarray, model: ModelInfo
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, float]:
    """Atoms, contamination mask, cleaned frame and spacing of one image."""
    p = segment(image, model)
    atoms = find_atoms(p, calibration=model.calibration.get("atoms"))
    return atoms, p.maps[-1] > 0.5, p.frame, p.spacing_px


def draw(
    path: Path,
    frame: np.ndarray,
    atoms: pd.DataFrame,
    hidden: np.ndarray,
    crop: tuple[int, int, int],
    marks: np.ndarray | None = None,
) -> None:
    """Save a crop without and with the atoms on top."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    y0, x0, side = crop
    low, high = np.percentile(frame, [1, 99.8])
    figure, axes = plt.subplots(1, 2, figsize=(16, 8))
    for axis in axes:
        axis.imshow(frame, cmap="gray", vmin=low, vmax=high)
        axis.set(xlim=(x0 - 0.5, x0 + side - 0.5), ylim=(y0 + side - 0.5, y0 - 0.5))
        axis.axis("off")
    bright = (atoms.species == "bright column").to_numpy()
    for mask, colour in ((~bright, "cyan"), (bright, "orange")):
        axes[1].scatter(
            atoms.x_px[mask], atoms.y_px[mask], s=60, facecolors="none", edgecolors=colour
        )
    if marks is not None and len(marks):
        axes[1].plot(marks[:, 1], marks[:, 0], "r+", ms=12)
    if hidden.any():
        axes[1].contour(hidden, [0.5], colors="red", linewidths=1)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=50)
    plt.close(figure)


def library(data: Path, model: ModelInfo, out: Path) -> list[str]:
    """Recall of the stored Si, and everything else that was called bright."""
    import h5py

    stored = found = total = 0
    extra: list[str] = []
    excluded = 0
    for path in sorted((data / "graphene-si/library").glob("*/*.hdf5")):
        with h5py.File(path) as file:
            image = np.squeeze(file["nn_input"][()]).astype(float)
            size_pm = float(file["nn_input"].attrs["scan size"])
            rows = np.concatenate([file[k][()] for k in file if k.startswith("defect_coord")])
        true = np.array([[float(r[1]), float(r[0])] for r in rows if r[2] == b"Si"])
        try:
            atoms, hidden, frame, spacing = analyse(image, model)
        except AtomLensError as error:
            extra.append(f"| {path.parent.name}/{path.stem} | - | {error} |")
            stored += len(true)
            continue
        bright = atoms[atoms.species == "bright column"][["y_px", "x_px"]].to_numpy()
        radius = 80 / (size_pm / image.shape[0])
        a, b = match(bright, true, radius)
        stored, found, total = stored + len(true), found + len(b), total + len(bright)
        others = np.setdiff1d(np.arange(len(bright)), a)
        pixel = np.clip(np.rint(bright[others]).astype(int), 0, np.array(hidden.shape) - 1)
        inside = hidden[tuple(pixel.T)]
        excluded += int(np.sum(inside))
        missed = np.setdiff1d(np.arange(len(true)), b)
        if len(others) or len(missed):
            extra.append(
                f"| {path.parent.name}/{path.stem} | {len(missed)} | "
                + "; ".join(f"({y:.0f}, {x:.0f})" for y, x in bright[others])
                + f" | spacing {spacing * size_pm / image.shape[0]:.0f} pm |"
            )
            draw(
                out / "library" / f"{path.parent.name}-{path.stem}.png", frame, atoms, hidden,
                (0, 0, image.shape[0]), true,
            )  # fmt: skip
    return [
        f"Stored Si found: {found}/{stored} = {100 * found / max(stored, 1):.1f} %; "
        f"bright columns reported in all: {total}, of which not stored {total - found} "
        f"({excluded} inside contamination).",
        "", "| file | stored missed | other bright columns (row, column) | |", "|---|---|---|---|",
        *extra,
    ]  # fmt: skip


def overlays(data: Path, model: ModelInfo, out: Path) -> list[str]:
    """Draw three crops of every other image and tabulate what was found."""
    from napari_atomlens.io import read

    lines = ["| file | spacing (px) | atoms | bright |", "|---|---|---|---|"]
    for name, frame_index in FILES.items():
        try:
            image = read(data / name)[0]
            pixels = np.asarray(image.data[frame_index] if image.data.ndim == 3 else image.data)
            atoms, hidden, frame, spacing = analyse(pixels, model)
        except AtomLensError as error:
            lines.append(f"| {name} | {error} | | |")
            continue
        bright = int((atoms.species == "bright column").sum())
        lines.append(f"| {name} | {spacing:.2f} | {len(atoms)} | {bright} |")
        print(lines[-1], flush=True)
        side = int(min(*frame.shape, 20 * spacing))
        free = np.array(frame.shape) - side
        for k, part in enumerate((0.1, 0.5, 0.9)):
            crop = (int(free[0] * part), int(free[1] * part), side)
            draw(out / f"{Path(name).stem}-{k}.png", frame, atoms, hidden, crop)
    return lines


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/real"))
    parser.add_argument("--only", choices=["library", "overlays"])
    args = parser.parse_args()
    model = find_model(args.model)
    parts: dict[str, Callable[[Path, ModelInfo, Path], list[str]]] = {
        "library": library,
        "overlays": overlays,
    }
    for name, part in parts.items():
        if args.only in (None, name):
            print("\n".join(part(args.data, model, args.out)), flush=True)


if __name__ == "__main__":
    main()
