"""What a model learns of species from chemistry alone, on a part of the image that it never saw.

    python benchmarks/adapt_chemistry.py --data FOLDER [--steps 200]

Real monolayer WSe2: the left half is analysed (`model="universal"`), and what lattice and volumes are
sure of (p > 0.99) is all that the network is taught (`adapt --from chemistry`). The right half judges,
against the published columns: those that the network alone, without lattice and volumes, finds and
calls what they are.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from report import Report
from scipy.spatial import cKDTree

import napari_atomlens as al
from napari_atomlens import training
from napari_atomlens.atoms import find_atoms
from napari_atomlens.segmentation import find_model, segment
from napari_atomlens.segmentation.zoo import ModelInfo

PIXEL_NM = 0.0377
#: Columns so near to the cut and to the border (px) are not counted.
RIM = 3


def network_alone(
    model: ModelInfo, image: np.ndarray, places: np.ndarray, bright: np.ndarray, spacing: float
) -> tuple[float, float]:
    """Share of the columns that are found, and of those that are found and called rightly."""
    found = segment(image, model, spacing)
    atoms = find_atoms(found, calibration=model.calibration.get("atoms"))
    gap, near = cKDTree(atoms[["y_px", "x_px"]]).query(places)
    there = gap < 0.4 * spacing
    called = atoms["species"].to_numpy(str)[near] == "bright column"
    return float(there.mean()), float((there & (called == bright)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with wse2-stem")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=8)
    with Report("adapt_chemistry", parser) as report:
        args = report.args
        path = sorted((args.data / "wse2-stem").glob("*.tif"))[0]
        image, truth = tifffile.imread(path), pd.read_csv(path.with_suffix(".csv"))
        cut = image.shape[1] // 2
        left, right = image[:, :cut], image[:, cut:]
        places = truth[["y_px", "x_px"]].to_numpy() - [0, cut]
        inner = ((places > RIM) & (places < np.array(right.shape) - 1 - RIM)).all(axis=1)
        places, metal = places[inner], (truth["type"] == "W").to_numpy()[inner]
        params = al.AnalysisParams(contours=False, model="universal")
        result = al.analyze(left, pixel_size_nm=PIXEL_NM, params=params)
        labelled = training.chemistry_labels(left, result.atoms, result.vacancies)
        old, spacing = find_model("universal"), labelled.spacing_px
        before = network_alone(old, right, places, metal, spacing)
        start = time.monotonic()
        adapted = training.adapt(
            [labelled],
            al.AdaptParams(
                name="chemistry", start="universal", steps=args.steps, minutes=args.minutes,
                replay=4, threads=1,
            ),
        )  # fmt: skip
        spent = time.monotonic() - start
        after = network_alone(find_model(str(adapted.path)), right, places, metal, spacing)
        print("# Species from chemistry\n")
        print(
            f"{len(labelled.positions)} of {len(result.atoms)} columns of the left half are sure.\n"
        )
        print(f"| network alone, {len(places)} columns of the right half (%) | before | after |")
        print("|---|---|---|")
        print(f"| found | {100 * before[0]:.1f} | {100 * after[0]:.1f} |")
        print(f"| found and called rightly | {100 * before[1]:.1f} | {100 * after[1]:.1f} |")
        print(f"\n{adapted.sentence} {len(adapted.losses)} steps, {spent:.0f} s on one thread.")
        training.discard(adapted)


if __name__ == "__main__":
    main()
