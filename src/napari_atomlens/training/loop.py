"""The training loop: scenes drawn on the fly, resumable, on CPU or GPU."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import queue
import time
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as nnf

from napari_atomlens.errors import ModelError
from napari_atomlens.files import write_whole
from napari_atomlens.params import of_kind
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.segmentation.loading import load_network, write_model
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import two_views
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.simulation.scenes import seed_for
from napari_atomlens.training.materials import Material, material
from napari_atomlens.training.params import TrainParams

if TYPE_CHECKING:
    from multiprocessing.queues import Queue


#: Views and targets of a chunk of scenes.
Drawn = tuple[np.ndarray, np.ndarray]


def _draw(out: Queue[Drawn], size: int, chunk: int, first: int, stride: int, name: str) -> None:
    torch.set_num_threads(1)
    pair = material(name).pair
    index = first
    while True:
        pairs = [pair((size, size), seed_for("training", index + stride * i)) for i in range(chunk)]
        index += stride * chunk
        views = two_views(torch.from_numpy(np.stack([p[0] for p in pairs])))
        out.put((views.numpy().astype(np.float16), np.stack([p[1] for p in pairs])))


def batches(p: TrainParams, first: int) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """Yield endless (views, target) batches, drawn by worker processes.

    Every image is used `reuse` times, each time in another of its eight orientations.
    """
    context = mp.get_context("spawn")
    results: Queue[Drawn] = context.Queue(maxsize=8)
    workers = [
        context.Process(
            target=_draw,
            args=(results, p.size_px, p.batch, first + i, p.workers, p.material),
            daemon=True,
        )
        for i in range(p.workers)
    ]
    # numpy's own threads would fight over the cores with the optimiser's
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for worker in workers:
        worker.start()
    if before is None:
        del os.environ["OPENBLAS_NUM_THREADS"]
    else:
        os.environ["OPENBLAS_NUM_THREADS"] = before
    rng = np.random.default_rng(first)
    pool: list[tuple[np.ndarray, np.ndarray]] = []
    try:
        while True:
            while len(pool) < 8 * p.reuse:
                try:
                    fresh = results.get(timeout=120)
                except queue.Empty:
                    raise ModelError("The processes that draw training scenes died.") from None
                pool += [fresh] * p.reuse
            views, target = pool.pop(int(rng.integers(len(pool))))
            k, flip = int(rng.integers(4)), bool(rng.integers(2))
            views, target = np.rot90(views, k, (2, 3)), np.rot90(target, k, (2, 3))
            if flip:
                views, target = views[..., ::-1], target[..., ::-1]
            yield (
                torch.from_numpy(np.ascontiguousarray(views)).float(),
                torch.from_numpy(np.ascontiguousarray(target)).float(),
            )
    finally:
        for worker in workers:
            worker.terminate()


def loss_of(
    output: torch.Tensor, target: torch.Tensor, where: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross entropy with soft classes plus a focal-like loss of the centre peaks.

    `where`, of shape (N, H, W), weighs the pixels; all count alike without it.

    The peak loss is the penalty-reduced focal loss of X. Zhou et al., Objects as Points,
    arXiv:1904.07850, eq. 1, with a squared instead of a logarithmic positive weight on
    sub-pixel centres: binary cross entropy against the peak height itself, weighted by
    how far the answer is off, which keeps the answer a calibrated height.
    """
    known = target[:, :-1]
    background = (1 - known.sum(1, keepdim=True)).clamp(0, 1)
    classes = torch.cat([background, known], 1)
    log_p = nnf.log_softmax(output[:, :-1], 1)
    # rare species count more
    rare = [2.5] * (known.shape[1] - 2)
    weight = torch.tensor([1.0, 1.5, *rare, 1.0], device=output.device)[None, :, None, None]
    pixel = torch.ones_like(target[:, 0]) if where is None else where
    total = pixel.sum().clamp(min=1)
    cross = -((classes * weight * log_p).sum(1) * pixel).sum() / total
    peak, logit = target[:, -1], output[:, -1]
    bce = nnf.binary_cross_entropy_with_logits(logit, peak, reduction="none")
    off = (torch.sigmoid(logit) - peak).abs().detach()
    return cross + ((1.0 + 4.0 * peak) * (0.3 + off) * bce * pixel).sum() / total * 2.0


def distance_to(taught: torch.Tensor, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How far the answer is from a teacher's, outside of contamination.

    References
    ----------
    G. Hinton et al., Distilling the Knowledge in a Neural Network, arXiv:1503.02531.
    """
    classes = nnf.kl_div(
        nnf.log_softmax(output[:, :-1], 1), nnf.log_softmax(taught[:, :-1], 1), log_target=True,
        reduction="none",
    ).sum(1)  # fmt: skip
    centres = nnf.binary_cross_entropy_with_logits(
        output[:, -1], torch.sigmoid(taught[:, -1]), reduction="none"
    )
    return ((classes + centres) * (target[:, -2] < 0.5)).mean()


def _weights(model: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {k: v.float() for k, v in load_file(str(find_model(model).path)).items()}


def _head(first: dict[str, torch.Tensor], n_classes: int) -> dict[str, torch.Tensor]:
    """Last layer for other classes: every kind of column begins as the column that was known."""
    before = len(first["head.bias"]) // 4 - 1  # classes; one more output marks the centres
    source = [0, *[1] * (n_classes - 2), before - 1, before]
    chosen = torch.tensor([4 * c + k for c in source for k in range(4)])
    out = {k: first[k][chosen].clone() for k in ("head.weight", "head.bias")}
    # together as likely as the one was
    out["head.bias"][4 : 4 * (n_classes - 1)] -= float(np.log(n_classes - 2))
    return out


def _average(mean: torch.Tensor, new: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
    """Exponential average of the weights that forgets the first steps soon."""
    if not mean.is_floating_point():
        return new
    return torch.lerp(mean, new, max(0.002, 9.0 / (10.0 + float(n))))


def _teacher(model: str) -> Callable[[torch.Tensor], torch.Tensor]:

    net = load_network(find_model(model))
    kind = next(net.parameters()).dtype

    def answer(views: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return net(views.cpu().to(kind)).float().to(views.device)

    return answer


def train(
    p: TrainParams = TrainParams(),
    progress: ProgressLike = None,
) -> Path:
    """Train a network and write it as a safetensors file.

    Parameters
    ----------
    p : TrainParams
        How to train.
    progress : Progress or callable, optional
        Told (step, steps) and the mean loss about every 50 steps; where it asks to stop,
        training stops with a checkpoint written.

    Returns
    -------
    pathlib.Path
        The written model (weights only; the figures of its card are measured apart).

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.train(al.TrainParams(material="no such material"))
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.ParameterError: ...
    """
    p = of_kind(TrainParams, p)
    watch = as_progress(progress)
    goal = material(p.material)
    folder = Path(p.out or f"runs/{goal.name}")
    folder.mkdir(parents=True, exist_ok=True)
    if p.threads:
        torch.set_num_threads(p.threads)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if p.device == "auto" else p.device
    )
    torch.manual_seed(p.seed)
    net = ColumnNet(len(goal.classes))
    if p.start:
        own, first = net.state_dict(), _weights(p.start)
        known = {k: v for k, v in first.items() if own[k].shape == v.shape}
        if first["head.weight"].shape != own["head.weight"].shape:
            known |= _head(first, len(goal.classes))
        net.load_state_dict(known, strict=False)
    teacher = _teacher(p.teacher) if p.teacher else None
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(net, avg_fn=_average, use_buffers=True)
    smooth = average.module
    assert isinstance(smooth, ColumnNet)
    optimiser = torch.optim.AdamW(net.parameters(), lr=p.learning_rate, weight_decay=1e-4)

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / 200)
        return float(warm * max(0.01, 0.5 * (1 + np.cos(np.pi * min(1.0, step / p.steps)))))

    checkpoint, file = folder / "checkpoint.pt", folder / f"{goal.name}.safetensors"
    step = drawn = 0
    if p.resume and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, drawn = state["step"], state["drawn"]
    source = batches(p, p.seed + drawn)
    losses: list[float] = []
    log = (folder / "log.jsonl").open("a")
    start = time.monotonic()
    try:
        while step < p.steps and not watch.stopped:
            for group in optimiser.param_groups:
                group["lr"] = p.learning_rate * rate(step)
            views, target = next(source)
            views = views.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                output = net(views)
            loss = loss_of(output.float(), target.to(device))
            if teacher is not None:
                loss = loss + distance_to(teacher(views), output.float(), target.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            average.update_parameters(net)
            step += 1
            drawn += p.batch // p.reuse + 1
            losses.append(float(loss.detach()))
            if step % 50 == 0:
                mean = float(np.mean(losses[-50:]))
                seconds = round(time.monotonic() - start, 1)
                log.write(json.dumps({"step": step, "loss": mean, "seconds": seconds}) + "\n")
                log.flush()
                watch(step, p.steps, f"loss {mean:.4f}")
            if step % p.save_every == 0 or step == p.steps:
                _save(checkpoint, net, average, optimiser, step, drawn)
                write_model(file, smooth, _facts(p, goal, step))
    finally:
        _save(checkpoint, net, average, optimiser, step, drawn)
        log.close()
        source.close()
    return write_model(file, smooth, _facts(p, goal, step))


def _facts(p: TrainParams, goal: Material, step: int) -> dict[str, object]:
    return {
        "material": goal.material,
        "technique": goal.technique,
        "classes": list(goal.classes),
        "steps": step,
        **({"recipe": goal.recipe} if goal.recipe else {}),
        "training": {k: v for k, v in asdict(p).items() if k not in ("out", "device", "resume")},
    }


def _save(
    path: Path,
    net: torch.nn.Module,
    average: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    drawn: int,
) -> None:
    """Write a checkpoint so that a crash while writing leaves the old one."""
    state = {
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "drawn": drawn,
    }
    write_whole(path, lambda file: torch.save(state, file))
