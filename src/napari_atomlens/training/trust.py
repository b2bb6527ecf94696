"""Training of the second stage: which candidates of the network are atoms.

The stage itself is :mod:`napari_atomlens.atoms.trust`; ``python -m
napari_atomlens.training.trust`` makes its file anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from napari_atomlens.atoms.evidence import NAMES
from napari_atomlens.atoms.find import fitted_candidates
from napari_atomlens.atoms.trust import FILE
from napari_atomlens.errors import CalibrationError, ImageError
from napari_atomlens.files import Json, write_whole
from napari_atomlens.segmentation.predict import predict_classes
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.simulation.scenes import seed_for
from napari_atomlens.simulation.scoring import match
from napari_atomlens.training.calibrate import expected_calibration_error
from napari_atomlens.training.trust_scenes import KINDS, Make, Shown

#: More of these never makes an atom less likely, more of those never more likely.
FOR = ("network", "snr", "steps", "steps round it", "lattice of the image")
AGAINST = ("place error", "strange", "strange round it", "shift")
#: Ordinary kinds count so many times: most images are ordinary.
ORDINARY, WEIGHT = ("ordinary", "simulated", "cut", "dopants", "trained_on"), 4.0
#: Candidates of one image at most: large images are no more important than small ones.
MOST = 150
SETTINGS = {
    "max_iter": 150, "max_leaf_nodes": 10, "learning_rate": 0.1, "l2_regularization": 5.0,
    "min_samples_leaf": 40, "max_bins": 128, "early_stopping": False,
}  # fmt: skip


def judged(shown: Shown, model: str = "universal") -> tuple[np.ndarray, np.ndarray]:
    """Evidence of the candidates of an image, and which of them are atoms.

    Candidates at columns that may be found or not are left out.
    """
    info = find_model(model)
    none = np.zeros((0, len(NAMES))), np.zeros(0, bool)
    try:
        p = predict_classes(shown.image, info, shown.spacing_px)
    except (CalibrationError, ImageError):
        return none
    found = fitted_candidates(p, calibration=info.calibration.get("atoms"))
    if found.evidence is None or not len(found.positions):
        return none
    places = np.c_[found.fit.y, found.fit.x]
    radius = 0.25 * p.spacing_px
    true, other = np.zeros((2, len(places)), bool)
    true[match(places, shown.true, radius)[0]] = True
    other[match(places, shown.optional, radius)[0]] = True
    keep = true | ~other
    return found.evidence[keep], true[keep]


def _judged_or_kept(
    n: int, k: int, name: str, make: Make, kept: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of the n-th image of the k-th kind, read where an earlier run has kept them."""
    path = None if kept is None else kept / f"{k:02d}_{name}_{n}.npz"
    if path is not None and path.exists():
        with np.load(path) as found:
            if found["names"].tolist() == list(NAMES):
                return found["evidence"], found["true"]
    x, t = judged(make(np.random.default_rng([seed_for("calibration", 5_000_000 + n), k])))
    if path is not None:
        write_whole(path, lambda file: np.savez(file, evidence=x, true=t, names=np.array(NAMES)))
    return x, t


def samples(numbers: Iterable[int], kept: Path | None = None) -> dict[str, np.ndarray]:
    """Candidates of the n-th images of every kind: evidence, truth, kind.

    Parameters
    ----------
    numbers : iterable of int
    kept : pathlib.Path, optional
        Folder that keeps the evidence of each image, so that a run that was ended goes on where
        it was. An image is looked at anew where other evidence is kept of it (other ``NAMES``);
        nothing else tells that the package has changed since, so after a change of the model,
        the fit or the images the folder must be a new one.

    Returns
    -------
    dict
        Arrays of one row per candidate.
    """
    evidence, true, kinds, images = [], [], [], []
    for n in numbers:
        for k, (name, make) in enumerate(KINDS.items()):
            x, t = _judged_or_kept(n, k, name, make, kept)
            evidence.append(x)
            true.append(t)
            kinds.append(np.full(len(t), name))
            images.append(np.full(len(t), n * len(KINDS) + k))
    return {
        "evidence": np.concatenate(evidence), "true": np.concatenate(true),
        "kind": np.concatenate(kinds), "image": np.concatenate(images),
    }  # fmt: skip


def fewer(found: dict[str, np.ndarray], most: int = MOST) -> dict[str, np.ndarray]:
    """Return at most so many candidates of each image, drawn by chance."""
    order = np.random.default_rng(0).permutation(len(found["true"]))
    order = order[np.argsort(found["image"][order], kind="stable")]
    image = found["image"][order]
    first = np.r_[0, np.flatnonzero(np.diff(image)) + 1]
    place = np.arange(len(image)) - np.repeat(first, np.diff(np.r_[first, len(image)]))
    return {k: v[order[place < most]] for k, v in found.items()}


def fit(found: dict[str, np.ndarray], rows: np.ndarray) -> HistGradientBoostingClassifier:
    """Fit the trees to some of the candidates."""
    signs = [1 if n in FOR else -1 if n in AGAINST else 0 for n in NAMES]
    weight = np.where(np.isin(found["kind"], ORDINARY), WEIGHT, 1.0)
    trees = HistGradientBoostingClassifier(monotonic_cst=signs, random_state=0, **SETTINGS)
    return trees.fit(found["evidence"][rows], found["true"][rows], weight[rows])


def as_record(trees: HistGradientBoostingClassifier, card: Json) -> Json:
    """Return the trees as plain numbers (see :class:`napari_atomlens.atoms.trust.Stage`)."""
    out, depth = [], 0
    for (tree,) in trees._predictors:
        nodes = tree.nodes
        own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        depth = max(depth, int(nodes["depth"].max()))
        out.append(
            {
                "feature": np.where(leaf, 0, nodes["feature_idx"]).tolist(),
                "threshold": np.where(leaf, 0, nodes["num_threshold"]).tolist(),
                "left": np.where(leaf, own, nodes["left"]).tolist(),
                "right": np.where(leaf, own, nodes["right"]).tolist(),
                "value": np.round(np.where(leaf, nodes["value"], 0), 5).tolist(),
            }
        )
    start = float(np.ravel(trees._baseline_prediction)[0])
    return {
        "names": list(NAMES), "depth": depth, "start": start, "scale": 1.0, "offset": 0.0,
        "card": card, "trees": out,
    }  # fmt: skip


def leaving_out(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Calibration error on each kind by trees that were fitted without it."""
    out = {}
    for name in KINDS:
        mine = found["kind"] == name
        if mine.sum() >= 30:
            p = fit(found, ~mine).predict_proba(found["evidence"][mine])[:, 1]
            out[name] = round(expected_calibration_error(p, found["true"][mine], 10), 4)
    return out


def main() -> None:
    """Draw images, fit the trees, write the file of the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24, help="of each kind (%(default)s)")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument(
        "--keep", type=Path, help="folder that keeps the evidence of each image, to go on later"
    )
    parser.add_argument("--leave-out", action="store_true", help="leave every kind out once")
    args = parser.parse_args()
    found = fewer(samples(range(args.images), args.keep))
    ours = found["image"] // len(KINDS) % 4 > 0  # a quarter of the images is held out
    p = fit(found, ours).predict_proba(found["evidence"][~ours])[:, 1]
    card: Json = {
        "what": "probability that a candidate of the network is an atom",
        "images": len(np.unique(found["image"])), "candidates": len(found["true"]),
        "kinds": list(KINDS),
        "expected_calibration_error": round(
            expected_calibration_error(p, found["true"][~ours], 10), 4
        ),
    }  # fmt: skip
    if args.leave_out:
        card["leaving_one_kind_out"] = leaving_out(found)
    record = as_record(fit(found, np.ones(len(found["true"]), bool)), card)
    write_whole(args.out, json.dumps(record, separators=(",", ":")))


if __name__ == "__main__":
    main()
