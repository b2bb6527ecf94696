"""Training of the assessment of scans, on simulated scans with known faults."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.linalg import block_diag

from napari_atomlens.files import write_whole
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.simulation.scans import faulty_scan
from napari_atomlens.stm.assessment import FAULTS, KNOWN, as_vector, measure_scan
from napari_atomlens.training.params import AssessTrainParams


def draw_features(
    p: AssessTrainParams, progress: ProgressLike = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features (n, k), faults (n, 6) as 0 or 1, and the names of the features."""
    sizes = [int(s) for s in p.sizes.split(",")]
    watch = as_progress(progress)
    vectors, truth = [], []
    names: list[str] = []
    for i in range(p.scans):
        scan = faulty_scan(p.seed + i, size_px=sizes[i % len(sizes)])
        features, _ = measure_scan(scan.image)
        names = names or list(features)
        vectors.append(as_vector(features, names))
        truth.append([scan.fault == f for f in FAULTS])
        if i % 200 == 199:
            watch(i + 1, p.scans)
    return np.array(vectors), np.array(truth, float), names


def fit_network(vectors: np.ndarray, truth: np.ndarray, p: AssessTrainParams) -> list[np.ndarray]:
    """Fit the layers that :func:`napari_atomlens.stm.assessment.judge_scan` takes.

    Several networks are averaged: side by side they are one wider network.
    """
    mean = np.median(vectors, axis=0)
    spread = np.maximum(vectors.std(0), 1e-6)
    x = np.clip((vectors - mean) / spread, -5, 5).astype(np.float32)
    members = [_fit_one(x, truth.astype(np.float32), p, p.seed + k) for k in range(p.members)]
    first, second, last = ([m[k] for m in members] for k in range(3))
    layers = [
        mean, spread,
        np.concatenate([w for w, _ in first]), np.concatenate([b for _, b in first]),
        block_diag(*[w for w, _ in second]), np.concatenate([b for _, b in second]),
        np.concatenate([w for w, _ in last], axis=1) / p.members,
        np.mean([b for _, b in last], axis=0),
    ]  # fmt: skip
    return [np.asarray(a, np.float32) for a in layers]


def _fit_one(
    vectors: np.ndarray, truth: np.ndarray, p: AssessTrainParams, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the layers of one network."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x, y = torch.from_numpy(vectors), torch.from_numpy(truth)
    net = nn.Sequential(
        nn.Linear(x.shape[1], p.hidden), nn.Tanh(), nn.Linear(p.hidden, p.hidden), nn.Tanh(),
        nn.Linear(p.hidden, y.shape[1]),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=2e-2)
    loss = nn.BCEWithLogitsLoss()
    steps = p.epochs * (len(x) // 128 + 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        pick = torch.randint(len(x), (min(128, len(x)),), generator=generator)
        noisy = x[pick] + 0.08 * torch.randn(len(pick), x.shape[1], generator=generator)
        value = loss(net(noisy), y[pick])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    return [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in net
        if isinstance(layer, nn.Linear)
    ]


def train_assessment(
    p: AssessTrainParams = AssessTrainParams(),
    progress: ProgressLike = None,
) -> Path:
    """Train the network of the assessment and write it, ``assess.safetensors``."""
    vectors, truth, names = draw_features(p, progress)
    layers = fit_network(vectors, truth, p)
    return write_network(layers, fit_known(vectors, layers), names, p, len(vectors))


def fit_known(
    vectors: np.ndarray, layers: list[np.ndarray], part: float = 0.99
) -> list[np.ndarray]:
    """Spread of the features of all scans (Ledoit-Wolf): centre, inverse covariance, limit.

    Parameters
    ----------
    vectors : ndarray, shape (n, k)
    layers : list of ndarray
        From :func:`fit_network`; mean and spread are used.
    part : float
        This part of the scans lies within the limit.
    """
    from sklearn.covariance import LedoitWolf

    x = np.clip((vectors - layers[0]) / layers[1], -5, 5)
    fit = LedoitWolf().fit(x)
    limit = np.quantile(fit.mahalanobis(x), part)
    return [fit.location_, fit.precision_, np.array([limit])]


def write_network(
    layers: list[np.ndarray],
    known: list[np.ndarray],
    names: list[str],
    p: AssessTrainParams,
    n_scans: int,
) -> Path:
    """Write fitted layers with what is known of scans and of the training."""
    from safetensors.numpy import save

    folder = Path(p.out)
    keys = [f"layer_{k:02d}" for k in range(len(layers))]
    training = asdict(p)
    training.pop("out")
    training["scans"] = n_scans
    facts = {"features": names, "faults": list(FAULTS), "layers": keys, "training": training}
    path = folder / "assess.safetensors"
    tensors = dict(zip([*keys, *KNOWN], [*layers, *known], strict=True))
    plain = {k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}
    return write_whole(path, save(plain, {"atomlens": json.dumps(facts)}))
