"""Training of the network that finds and names defects of H-Si(100), on simulated scans."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as nnf

from napari_atomlens.errors import ImageError, TableError
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.forward import resample
from napari_atomlens.segmentation.loading import write_model
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import two_views
from napari_atomlens.segmentation.zoo import find_model
from napari_atomlens.simulation.silicon import SiliconScan, training_scan
from napari_atomlens.stm.site_kinds import KINDS
from napari_atomlens.training.params import SiliconAdaptParams, SiliconTrainParams

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


#: Pixels between dimer rows at which the network works.
ROW_PX = 8.0
#: Width of the peak at the centre of a defect, in pixels of the network.
PEAK_PX = 1.6
#: Training never uses a seed from here on; evaluation and tests do.
FIRST_EVALUATION_SEED = 2**32


def defect_target(scan: SiliconScan) -> np.ndarray:
    """Render what the network is to learn: a map per kind, and peaks at the centres.

    Returns
    -------
    ndarray of float32, shape (n_kinds + 1, H, W)
    """
    shape = scan.image.shape
    out = np.zeros((len(KINDS) + 1, *shape), np.float32)
    columns = scan.defects[["y_px", "x_px", "half_y_px", "half_x_px"]].to_numpy(float)
    for (y, x, hy, hx), kind in zip(columns, scan.defects["kind"], strict=True):
        reach = int(np.ceil(max(hy, hx))) + 6
        r0, c0 = max(0, int(y) - reach), max(0, int(x) - reach)
        r = np.arange(r0, min(shape[0], int(y) + reach + 1))[:, None]
        c = np.arange(c0, min(shape[1], int(x) + reach + 1))[None]
        window = (slice(r0, r0 + len(r)), slice(c0, c0 + c.shape[1]))
        q = np.sqrt(((r - y) / (0.75 * hy)) ** 2 + ((c - x) / (0.75 * hx)) ** 2)
        inside = np.clip(0.5 + (1 - q) * 0.75 * min(hy, hx), 0, 1)
        layer = out[KINDS.index(kind)][window]
        np.maximum(layer, inside, out=layer)
        peak = np.exp(-0.5 * ((r - y) ** 2 + (c - x) ** 2) / PEAK_PX**2)
        np.maximum(out[-1][window], peak, out=out[-1][window])
    large = out[KINDS.index("contaminant")]
    np.maximum(large, scan.contaminated, out=large)
    total = np.maximum(out[:-1].sum(0), 1)
    out[:-1] /= total
    return out


def loss_of(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the kinds, and weighted binary cross entropy of the centres."""
    kinds = target[:, :-1]
    classes = torch.cat([(1 - kinds.sum(1, keepdim=True)).clamp(0, 1), kinds], 1)
    weight = torch.full((classes.shape[1],), 2.0)
    weight[0] = 1.0
    log_p = nnf.log_softmax(output[:, :-1], 1)
    cross = -(classes * weight[None, :, None, None] * log_p).sum(1).mean()
    peak, logit = target[:, -1], output[:, -1]
    bce = nnf.binary_cross_entropy_with_logits(logit, peak, reduction="none")
    off = (torch.sigmoid(logit) - peak).abs().detach()
    return 2 * cross + 8 * ((1 + 4 * peak) * (0.2 + off) * bce).mean()


def draw_scans(size: int, batch: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a batch of network views and targets."""
    scans = [training_scan(size, first + i, ROW_PX) for i in range(batch)]
    images = torch.from_numpy(np.stack([s.image for s in scans]).astype(np.float32))
    return two_views(images), torch.from_numpy(np.stack([defect_target(s) for s in scans]))


def train_silicon(
    p: SiliconTrainParams = SiliconTrainParams(),
    progress: ProgressLike = None,
) -> Path:
    """Train the network on scans drawn on the fly, for a given time.

    Parameters
    ----------
    p : SiliconTrainParams
    progress : callable, optional
        Told (part of the time that is over in percent, 100), step and mean loss now and then.

    Returns
    -------
    pathlib.Path
        The written model, ``h-si-100.safetensors``.
    """
    runtime.prepare()
    torch.set_num_threads(p.threads)
    torch.manual_seed(p.seed)
    net = ColumnNet(len(KINDS) + 1, (24, 48, 64))
    if p.start:
        from safetensors.torch import load_file

        state = load_file(str(find_model(p.start).path))
        net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    smooth = average.module
    assert isinstance(smooth, ColumnNet)
    optimiser = torch.optim.AdamW(net.parameters(), lr=p.learning_rate, weight_decay=1e-4)
    folder = Path(p.out)
    folder.mkdir(parents=True, exist_ok=True)
    begun, step, losses = time.process_time(), 0, []
    watch = as_progress(progress)
    while (done := (time.process_time() - begun) / 60 / p.minutes) < 1:
        rate = min(1.0, (step + 1) / 100) * max(0.01, 0.5 * (1 + np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = p.learning_rate * rate
        views, target = draw_scans(
            p.size_px, p.batch, (p.seed + step * p.batch) % FIRST_EVALUATION_SEED
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = net(views.contiguous(memory_format=torch.channels_last))
        loss = loss_of(output.float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(net)
        losses.append(float(loss.detach()))
        step += 1
        if step % 50 == 0:
            watch(round(100 * done), 100, f"step {step}, loss {float(np.mean(losses[-50:])):.4f}")
    facts = {
        "material": "H-Si(100) 2x1",
        "technique": "STM",
        "classes": ["background", *KINDS],
        "preferred_spacing_px": ROW_PX,
        "steps": step,
        "training": {k: v for k, v in asdict(p).items() if k != "out"},
    }
    return write_model(folder / "h-si-100.safetensors", smooth, facts)


def adapt_silicon(
    image: ArrayLike,
    defects: pd.DataFrame,
    row_px: float,
    out: str | Path,
    params: SiliconAdaptParams = SiliconAdaptParams(),
    *,
    start: str = "h-si-100",
    labelled: np.ndarray | None = None,
    progress: ProgressLike = None,
) -> Path:
    """Adapt the network to a labelled scan: some hundred steps on its crops and simulated scans.

    Parameters
    ----------
    image : array-like, shape (H, W)
        Levelled scan.
    defects : pandas.DataFrame
        ``y_px``, ``x_px``, ``half_y_px``, ``half_x_px`` (half of the box) and ``kind``; a kind
        that the network does not know counts as "anomaly".
    row_px : float
        Distance of dimer rows in pixels.
    out : path
        The model that is written (``.safetensors``).
    params : SiliconAdaptParams
    start : str
        Model to begin with.
    labelled : ndarray of bool, shape (H, W), optional
        Where labels are complete; elsewhere nothing is learned.
    progress : callable, optional
        Told (step, steps) and the loss.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TableError, ImageError, ModelError
        If labels, image or model cannot be used.
    """
    from safetensors.torch import load_file

    watch = as_progress(progress)
    missing = {"y_px", "x_px", "half_y_px", "half_x_px", "kind"} - set(defects)
    if missing or not len(defects):
        raise TableError(
            f"Labels need the columns {', '.join(sorted(missing)) or 'and some rows'}."
        )
    zoom = ROW_PX / row_px
    z = torch.from_numpy(np.ascontiguousarray(image, np.float32))
    size = (round(z.shape[0] * zoom), round(z.shape[1] * zoom))
    side = params.size_px
    if min(size) < side:
        raise ImageError("The scan is too small to adapt the network to it.")
    small = resample(z[None], size)
    views = two_views(small)[0]
    own = defects[["y_px", "x_px", "half_y_px", "half_x_px"]].to_numpy(float) * zoom
    kinds = np.where(np.isin(defects["kind"].astype(str), KINDS), defects["kind"], "anomaly")
    import pandas as pd

    table = pd.DataFrame(own, columns=["y_px", "x_px", "half_y_px", "half_x_px"]).assign(kind=kinds)
    scan = SiliconScan(
        small[0].numpy(), table.iloc[:0], table, np.zeros(size, int), np.zeros(size, bool), [], 1.0
    )
    target = torch.from_numpy(defect_target(scan))
    known = torch.ones(size, dtype=torch.bool)
    if labelled is not None:
        known = resample(torch.from_numpy(labelled.astype(np.float32))[None], size)[0] > 0.99
    # crops that are labelled all over
    whole = torch.nn.functional.avg_pool2d(known.float()[None, None], side, 1)[0, 0] > 0.999
    corners = torch.nonzero(whole).numpy()
    if not len(corners):
        raise ImageError("The labelled part of the scan is too small.")
    rng = np.random.default_rng(params.seed)
    torch.manual_seed(params.seed)
    info = find_model(start)
    net = ColumnNet(len(KINDS) + 1, (24, 48, 64))
    state = {k: v.float() for k, v in load_file(str(info.path)).items()}
    net.load_state_dict(state, strict=False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=params.learning_rate, weight_decay=1e-4)
    half = params.batch // 2
    for step in range(params.steps):
        rate = min(1.0, (step + 1) / 20) * 0.5 * (1 + np.cos(np.pi * step / params.steps))
        for group in optimiser.param_groups:
            group["lr"] = params.learning_rate * max(rate, 0.01)
        x, t = draw_scans(side, params.batch - half, int(rng.integers(FIRST_EVALUATION_SEED)))
        xs, ts = [x], [t]
        for r, c in corners[rng.integers(len(corners), size=half)]:
            # only mirror images: the direction of the scan is that of its noise
            flips = [d for d in (1, 2) if rng.random() < 0.5]
            xs.append(views[:, r : r + side, c : c + side].flip(flips)[None])
            ts.append(target[:, r : r + side, c : c + side].flip(flips)[None])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = net(torch.cat(xs).contiguous(memory_format=torch.channels_last))
        loss = loss_of(output.float(), torch.cat(ts))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        if step % 25 == 24:
            watch(step + 1, params.steps, f"loss {float(loss.detach()):.4f}")
    facts = {
        "material": info.material, "technique": "STM", "classes": ["background", *KINDS],
        "preferred_spacing_px": ROW_PX, "adapted_from": start, "training": asdict(params),
    }  # fmt: skip
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_model(path, net, facts)
