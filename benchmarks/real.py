"""Overlays and figures on real images; pictures go to the ignored folder out/.

    python benchmarks/real.py --data ../shared/data [--model auto] [--out out/real]

Measures the recall of the stored Si of the graphene library and lists every other Si
reported, and draws up to three crops of every other image with the atoms on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from report import Report

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


#: Side of a crop in spacings; a smaller picture is shown whole, as one crop.
CROP_SPACINGS = 14.0
WHOLE_SPACINGS = 21.0


def crops(shape: tuple[int, int], spacing: float) -> list[tuple[int, int, int, int]]:
    """Row, column, height and width of up to three crops that do not overlap.

    On the diagonal where there is room, in a triangle otherwise, so that they reach both
    the border and, where the picture is large enough, the middle.
    """
    short = min(shape)
    if max(shape) <= WHOLE_SPACINGS * spacing:
        return [(0, 0, *shape)]
    side = int(min(short, CROP_SPACINGS * spacing))
    if 3 * side > max(shape):
        side = min(side, short // 2)
        parts = [(0.0, 0.0), (0.5, 1.0), (1.0, 0.0)]
    else:
        parts = [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]
    free = np.array(shape) - side
    return [(int(free[0] * y), int(free[1] * x), side, side) for y, x in parts]


def in_crop(atoms: pd.DataFrame, crop: tuple[int, int, int, int]) -> pd.DataFrame:
    """Atoms whose centre lies in the crop."""
    y0, x0, height, width = crop
    y, x = atoms["y_px"], atoms["x_px"]
    return atoms[
        (y >= y0 - 0.5) & (y < y0 + height - 0.5) & (x >= x0 - 0.5) & (x < x0 + width - 0.5)
    ]


def draw(
    path: Path,
    frame: np.ndarray,
    atoms: pd.DataFrame,
    hidden: np.ndarray,
    crop: tuple[int, int, int, int],
    marks: np.ndarray | None = None,
    others: np.ndarray | None = None,
    blur_px: float = 0.0,
) -> None:
    """Save a crop, plain on the left and with the atoms on top on the right.

    The picture is blurred a little (a Gaussian of ``blur_px``), as the eye needs it in noise.
    Rings: bright column orange, ordinary cyan. ``marks`` (stored positions) are red
    crosses, ``others`` are numbered, contamination is outlined in red. The grey scale is
    that of the crop, the axes count pixels of the image.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scipy.ndimage import gaussian_filter

    y0, x0, height, width = crop
    frame = gaussian_filter(frame, blur_px)
    cut = frame[y0 : y0 + height, x0 : x0 + width]
    low, high = np.percentile(cut, [0.5, 99.8])
    shown = in_crop(atoms, crop)
    bright = (shown.species == "bright column").to_numpy()
    figure, axes = plt.subplots(1, 2, figsize=(20, 10.4 * height / width + 0.4))
    for axis in axes:
        axis.imshow(cut, cmap="gray", vmin=low, vmax=high, interpolation="bicubic",
                    extent=(x0 - 0.5, x0 + width - 0.5, y0 + height - 0.5, y0 - 0.5))  # fmt: skip
        axis.locator_params(nbins=15)
    for mask, colour in ((~bright, "cyan"), (bright, "orange")):
        axes[1].scatter(
            shown.x_px[mask], shown.y_px[mask], s=70, facecolors="none", edgecolors=colour, lw=1.5
        )
    if marks is not None and len(marks):
        axes[1].plot(marks[:, 1], marks[:, 0], "r+", ms=12)
    for n, (y, x) in enumerate(others if others is not None else ()):
        axes[1].annotate(str(n + 1), (x, y), xytext=(8, 8), textcoords="offset points",
                         color="yellow", fontsize=16)  # fmt: skip
    if hidden.any():
        axes[1].contour(hidden, [0.5], colors="red", linewidths=1)
        axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())
    axes[0].set_title(f"{path.stem}, blur {blur_px:.1f} px")
    axes[1].set_title(f"{len(shown)} columns, {int(bright.sum())} bright")
    figure.tight_layout(pad=0.4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def library(data: Path, model: ModelInfo, out: Path, blur: float) -> list[str]:
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
                (0, 0, *frame.shape), true, bright[others],
                blur * spacing,
            )  # fmt: skip
    return [
        f"Stored Si found: {found}/{stored} = {100 * found / max(stored, 1):.1f} %; "
        f"bright columns reported in all: {total}, of which not stored {total - found} "
        f"({excluded} inside contamination).",
        "", "| file | stored missed | other bright columns (row, column) | |", "|---|---|---|---|",
        *extra,
    ]  # fmt: skip


def overlays(data: Path, model: ModelInfo, out: Path, blur: float) -> list[str]:
    """Draw up to three crops of every other image and tabulate what was found."""
    from napari_atomlens.io import read

    lines = ["| file | spacing (px) | atoms | bright | fit ok (%) |", "|---|---|---|---|---|"]
    for name, frame_index in FILES.items():
        try:
            image = read(data / name)[0]
            pixels = np.asarray(image.data[frame_index] if image.data.ndim == 3 else image.data)
            atoms, hidden, frame, spacing = analyse(pixels, model)
        except AtomLensError as error:
            lines.append(f"| {name} | {error} | | | |")
            continue
        bright = int((atoms.species == "bright column").sum())
        fitted = 100 * atoms["fit_ok"].mean()
        lines.append(f"| {name} | {spacing:.2f} | {len(atoms)} | {bright} | {fitted:.0f} |")
        for k, crop in enumerate(crops(frame.shape, spacing)):
            draw(
                out / f"{Path(name).stem}-{k + 1}.png", frame, atoms, hidden, crop,
                blur_px=blur * spacing,
            )  # fmt: skip
    return lines


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/real"))
    parser.add_argument("--blur", type=float, default=0.12, help="of the pictures, in spacings")
    parser.add_argument("--only", choices=["library", "overlays"])
    with Report("real", parser) as report:
        args = report.args
        model = find_model(args.model)
        parts: dict[str, Callable[[Path, ModelInfo, Path, float], list[str]]] = {
            "library": library,
            "overlays": overlays,
        }
        for name, part in parts.items():
            if args.only in (None, name):
                print("\n".join(part(args.data, model, args.out, args.blur)), flush=True)


if __name__ == "__main__":
    main()
