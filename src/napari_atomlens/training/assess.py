"""Training of the assessment of scans, on simulated scans with known faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from napari_atomlens.params import param, validate
from napari_atomlens.simulation.scans import faulty_scan
from napari_atomlens.stm.assess import FAULTS, as_vector, measure


@dataclass(frozen=True)
class AssessTrainParams:
    """How the network of the assessment is trained."""

    out: str = param("runs/assess", "folder of the finished network")
    scans: int = param(5000, "simulated scans", ge=20, le=10_000_000)
    sizes: str = param("192,256,320", "sides of the scans in pixels")
    epochs: int = param(150, "times that every scan is used", ge=1, le=100000)
    hidden: int = param(32, "units of each hidden layer", ge=2, le=4096)
    seed: int = param(0, "first seed of the scans", ge=0, le=2**31)


def draw_features(
    p: AssessTrainParams, progress: Callable[[int, int], None] | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features (n, k), faults (n, 6) as 0 or 1, and the names of the features."""
    sizes = [int(s) for s in p.sizes.split(",")]
    vectors, truth = [], []
    names: list[str] = []
    for i in range(p.scans):
        scan = faulty_scan(p.seed + i, size_px=sizes[i % len(sizes)])
        features, _ = measure(scan.image)
        names = names or list(features)
        vectors.append(as_vector(features, names))
        truth.append([scan.fault == f for f in FAULTS])
        if progress and i % 200 == 199:
            progress(i + 1, p.scans)
    return np.array(vectors), np.array(truth, float), names


def fit_network(vectors: np.ndarray, truth: np.ndarray, p: AssessTrainParams) -> list[np.ndarray]:
    """Fit the layers that :func:`napari_atomlens.stm.assess.run_network` takes."""
    import torch
    from torch import nn

    torch.manual_seed(p.seed)
    mean = np.median(vectors, axis=0)
    spread = np.maximum(vectors.std(0), 1e-6)
    x = torch.from_numpy(np.clip((vectors - mean) / spread, -5, 5).astype(np.float32))
    y = torch.from_numpy(truth.astype(np.float32))
    net = nn.Sequential(
        nn.Linear(x.shape[1], p.hidden), nn.Tanh(), nn.Linear(p.hidden, p.hidden), nn.Tanh(),
        nn.Linear(p.hidden, y.shape[1]),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=2e-2)
    loss = nn.BCEWithLogitsLoss()
    steps = p.epochs * (len(x) // 128 + 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(p.seed)
    for _ in range(steps):
        pick = torch.randint(len(x), (min(128, len(x)),), generator=generator)
        noisy = x[pick] + 0.08 * torch.randn(len(pick), x.shape[1], generator=generator)
        value = loss(net(noisy), y[pick])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    layers = [mean, spread]
    for layer in net:
        if isinstance(layer, nn.Linear):
            layers += [layer.weight.detach().numpy(), layer.bias.detach().numpy()]
    return [np.asarray(a, np.float32) for a in layers]


def train_assessment(
    p: AssessTrainParams = AssessTrainParams(),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train the network of the assessment and write it, ``assess.safetensors``."""
    validate(p)
    from safetensors.numpy import save_file

    vectors, truth, names = draw_features(p, progress)
    layers = fit_network(vectors, truth, p)
    folder = Path(p.out)
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f"layer_{k:02d}" for k in range(len(layers))]
    training = asdict(p)
    training.pop("out")
    facts = {"features": names, "faults": list(FAULTS), "layers": keys, "training": training}
    path = folder / "assess.safetensors"
    save_file(
        {k: np.ascontiguousarray(v) for k, v in zip(keys, layers, strict=True)}, str(path),
        metadata={"atomlens": json.dumps(facts)},
    )  # fmt: skip
    return path
