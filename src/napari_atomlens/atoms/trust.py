"""The second stage: from the physical evidence of a candidate to the probability of an atom.

The network proposes; whether a candidate is an atom is decided once it was fitted, from the
network's own probability, signal to noise, goodness and width of the fit, height against its
neighbours, how familiar the image is there, and its place among the others. The stage is a sum of
small decision trees, trained on ordinary and strange simulations over doses
(:mod:`napari_atomlens.training.trust`) and kept as numbers in ``trust.json`` with a card.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from napari_atomlens.atoms.evidence import NAMES
from napari_atomlens.atoms.surroundings import LATTICE
from napari_atomlens.files import Json

#: The stage that comes with the package.
FILE = Path(__file__).with_name("trust.json")
#: What the network is sure of; the part of its neighbours' height that a column of their kind has.
SURE, ORDINARY = 0.9, 0.5
#: Probability of what is kept for the eye.
DOUBTFUL = 0.5
#: Of what stands beside a lattice the network must be as sure as this, or the image familiar.
SURE_BESIDE, FAMILIAR = 0.989, 0.1
#: The lattice must be this many standard errors high: in noise its own columns miss their sites.
CLEAR = 5.0


@dataclass(frozen=True)
class Stage:
    """Trees whose leaves are added up, and what turns the sum into a probability.

    Attributes
    ----------
    feature, threshold, left, right : ndarray, shape (n_trees, n_nodes)
        Of each node; leaves go to themselves.
    value : ndarray, shape (n_trees, n_nodes)
        Of leaves, on the logit scale.
    depth : int
        Steps from the root to the deepest leaf.
    start : float
        What the sum starts with.
    scale, offset : float
        Logit of the probability: offset + scale * sum.
    card : dict
        How it was made and what it reaches.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    depth: int
    start: float
    scale: float
    offset: float
    card: Json

    def total(self, evidence: np.ndarray) -> np.ndarray:
        """Sum of the leaves that each row falls into, shape (n,)."""
        rows = np.arange(len(evidence))
        out = np.full(len(evidence), self.start)
        for t in range(len(self.feature)):
            node = np.zeros(len(evidence), np.intp)
            for _ in range(self.depth):
                low = evidence[rows, self.feature[t, node]] <= self.threshold[t, node]
                node = np.where(low, self.left[t, node], self.right[t, node])
            out += self.value[t, node]
        return out

    def probability(self, evidence: np.ndarray) -> np.ndarray:
        """Probability that each candidate is an atom, shape (n,)."""
        logit = self.offset + self.scale * self.total(evidence)
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -50, 50))))


def decided(
    evidence: np.ndarray, chance: np.ndarray, beside: np.ndarray | None = None
) -> np.ndarray:
    """Probability by the stage; what else speaks for an atom keeps it, as a doubtful one.

    The network is sure, a lattice goes on through the place, and the column is as high as those
    beside it: where the stage denies such a column, as it does of a particle on a strong film, the
    eye decides. So it does of what stands beside the lattice of the image, where the image is
    strange and the network is not quite sure: blobs of a support beside a particle.

    Parameters
    ----------
    evidence : ndarray, shape (n, len(NAMES))
        See :func:`napari_atomlens.atoms.evidence.gather`.
    chance : ndarray, shape (n,)
        Probability by the network.
    beside : ndarray of bool, shape (n,), optional
        See :func:`napari_atomlens.atoms.surroundings.beside_a_lattice`; nothing by default.

    Returns
    -------
    ndarray, shape (n,)
    """
    found = bundled().probability(evidence)
    steps, height, strange, round_it, snr = (
        evidence[:, NAMES.index(n)]
        for n in ("steps round it", "height", "strange", "strange round it", "snr")
    )
    within = steps >= LATTICE
    if beside is not None and within.any() and np.median(snr[within]) > np.log(CLEAR):
        odd = beside & (chance < SURE_BESIDE) & (np.maximum(strange, round_it) > FAMILIAR)
        found = np.where(odd, np.minimum(found, DOUBTFUL), found)
    spoken_for = (chance >= SURE) & within & (height >= np.log(ORDINARY))
    return np.where(spoken_for, np.maximum(found, DOUBTFUL), found)


def stage_of(record: Json) -> Stage:
    """Make a stage of what :data:`FILE` holds."""
    if tuple(record["names"]) != NAMES:
        raise ValueError("The second stage was trained on other evidence.")
    trees = record["trees"]
    width = max(len(t["feature"]) for t in trees)

    def table(key: str, dtype: type) -> np.ndarray:
        out: np.ndarray = np.zeros((len(trees), width), dtype)
        for k, tree in enumerate(trees):
            out[k, : len(tree[key])] = tree[key]
        return out

    return Stage(
        table("feature", np.intp), table("threshold", float), table("left", np.intp),
        table("right", np.intp), table("value", float), int(record["depth"]),
        float(record["start"]), float(record["scale"]), float(record["offset"]), record["card"],
    )  # fmt: skip


@cache
def bundled() -> Stage:
    """Return the stage that comes with the package."""
    return stage_of(json.loads(FILE.read_text(encoding="utf-8")))
