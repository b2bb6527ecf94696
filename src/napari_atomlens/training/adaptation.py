"""Teach a model from a few corrected frames, in minutes on a CPU, and only if it gets better.

The bundled network goes on learning from crops of the corrected frames, mixed with
simulated scenes and with its own former answers on them, so that it forgets nothing
(Z. Li and D. Hoiem, Learning without Forgetting, arXiv:1606.09282). Its batch
normalisation stays as it was trained: a handful of crops is no statistics. A part of
every frame is held back; the figure there decides.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from napari_atomlens import __version__
from napari_atomlens.atoms.find import find_atoms
from napari_atomlens.errors import ModelError, TableError
from napari_atomlens.files import Json, write_whole
from napari_atomlens.params import of_kind
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation.loading import unfused_network, write_model
from napari_atomlens.segmentation.network import ColumnNet
from napari_atomlens.segmentation.normalise import two_views
from napari_atomlens.segmentation.predict import predict_classes
from napari_atomlens.segmentation.zoo import ModelInfo, find_model
from napari_atomlens.simulation import atom_scenes
from napari_atomlens.simulation.scenes import seed_for, simulate
from napari_atomlens.simulation.scoring import Score, match, score
from napari_atomlens.simulation.training_scenes import noise_only, training_pair
from napari_atomlens.training import alone
from napari_atomlens.training.keeping import check_name
from napari_atomlens.training.labelled import BRIGHTER, Crops, Labelled
from napari_atomlens.training.loop import distance_to, loss_of
from napari_atomlens.training.params import AdaptParams

#: First of the seeds of scenes that are mixed in: none of them trained the bundled models.
REPLAY_SEED = 1 << 38
#: Scenes that are drawn to be mixed in.
REPLAY = 256
#: Materials on which forgetting is measured.
KNOWN = ("honeycomb", "tmd", "perovskite", "dumbbell", "dimer_rows")
#: A fall of the F1 on known materials that is worth a word.
FORGOTTEN = 0.01


@dataclass
class Adapted:
    """What an adaptation gave.

    Attributes
    ----------
    path : pathlib.Path
        The new model; in a temporary place until :func:`keep` is called.
    name : str
        Name that it gets in the user's folder.
    before, after : float
        F1 on what was held back, of the old model and of the new one.
    known_before, known_after : float
        F1 on simulated known materials.
    temperature : float
        By which the probabilities were divided to be honest on the corrected frames.
    losses : list of float
        Loss of every step.
    seconds : float
        Time spent.
    sentence : str
        What the user should know, with the figures.
    facts : dict
        What the card says.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> from pathlib import Path
    >>> adapted = al.Adapted(
    ...     Path("mine.safetensors"), "mine", before=0.90, after=0.95, known_before=0.99,
    ...     known_after=0.99, temperature=1.0, losses=[0.1], seconds=60.0)
    >>> adapted.is_better
    True
    """

    path: Path
    name: str
    before: float
    after: float
    known_before: float
    known_after: float
    temperature: float
    losses: list[float]
    seconds: float
    sentence: str = ""
    facts: Json = field(default_factory=dict)

    @property
    def is_better(self) -> bool:
        """Whether the new model is better where it was not taught."""
        return self.after > self.before


def split_frames(labelled: Labelled, share: float, side: int) -> tuple[Labelled, np.ndarray]:
    """Hold a strip of a frame back.

    Parameters
    ----------
    labelled : Labelled
    share : float
        Share of the frame.
    side : int
        Which strip: 0 bottom, 1 right, 2 top, 3 left (modulo four).

    Returns
    -------
    rest : Labelled
        The same frame, the strip not usable.
    strip : ndarray of bool, shape (H, W)
        The strip, as far as it was usable.
    """
    strip = np.zeros(labelled.image.shape, bool)
    turned = np.rot90(strip, side % 4)  # a view: what is written there is written in the strip
    turned[round((1 - share) * len(turned)) :] = True
    return replace(labelled, usable=labelled.usable & ~strip), strip & labelled.usable


def judge(
    model: ModelInfo, frames: Sequence[Labelled], where: Sequence[np.ndarray]
) -> tuple[Score, np.ndarray]:
    """How well a model finds the atoms of labelled frames, in a part of each.

    Parameters
    ----------
    model : ModelInfo
    frames : sequence of Labelled
    where : sequence of ndarray of bool, each (H, W)
        The part of each frame that counts.

    Returns
    -------
    score : Score
        An atom counts as found within a third of the spacing; where the kinds are what is learned,
        if it is of the right one.
    chances : ndarray, shape (n, 2)
        Stated probability of everything found anywhere in the usable part, and whether it
        is an atom.
    """
    total, chances = Score(0, 0, 0), [np.zeros((0, 2))]
    for frame, part in zip(frames, where, strict=True):
        p = predict_classes(frame.image, model, frame.spacing_px)
        atoms = find_atoms(
            p, calibration=model.calibration.get("atoms"), refine="off", min_probability=0.02
        )
        found = atoms[["y_px", "x_px"]].to_numpy()
        chance = atoms["probability"].to_numpy()
        sure = chance >= 0.5
        a, b = match(found[sure], frame.positions, frame.spacing_px / 3)
        if frame.named:
            bright = atoms["species"].isin(BRIGHTER).to_numpy()[sure]
            right = bright[a] == (frame.bright[b] > 0.5)
            a, b = a[right], b[right]
        hit, paired = np.zeros(sure.sum(), bool), np.zeros(len(frame.positions), bool)
        hit[a], paired[b] = True, True
        in_found, in_true = _at(part, found[sure]), _at(part, frame.positions)
        total = total + Score(
            int((in_true & paired).sum()), int((in_true & ~paired).sum()),
            int((in_found & ~hit).sum()),
        )  # fmt: skip
        true = np.zeros(len(found))
        true[match(found, frame.positions, frame.spacing_px / 3)[0]] = 1
        chances.append(np.c_[chance, true][_at(frame.usable, found)])
    return total, np.concatenate(chances)


def _at(mask: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Values of a mask at positions, False off the image."""
    at = np.rint(positions).astype(int).reshape(-1, 2)
    inside = np.all((at >= 0) & (at < mask.shape), axis=1)
    at = np.clip(at, 0, np.array(mask.shape) - 1)
    return inside & mask[at[:, 0], at[:, 1]]


def on_known_materials(model: ModelInfo, n: int = 2) -> float:
    """F1 of a model on what the bundled model knows.

    `n` simulated images of each of five lattices, of many and of few counts, and three times
    as many of noise, in which every atom is a false one.
    """
    total = Score(0, 0, 0)
    for number, lattice in enumerate(KNOWN):
        for i in range(n):
            seed = seed_for("test", 500_000 + 1000 * number + i)
            spacing = 9.0 + 3 * i
            image, scene = simulate(
                lattice, (192, 192), spacing, rotation_deg=37.0 * i + 11,
                counts=100 if i % 2 else 600, seed=seed,
            )  # fmt: skip
            p = predict_classes(image, model, spacing)
            atoms = find_atoms(p, calibration=model.calibration.get("atoms"), refine="off")
            found = atoms[["y_px", "x_px"]].to_numpy()
            true = np.c_[scene.y, scene.x]
            total = total + score(found, true, spacing / 3, scene.shape, 0.5 * spacing)
    for i in range(3 * len(KNOWN) * n):
        image, _ = noise_only((192, 192), np.random.default_rng(seed_for("test", 600_000 + i)))
        p = predict_classes(image, model, 10.0)
        atoms = find_atoms(p, calibration=model.calibration.get("atoms"), refine="off")
        total = total + Score(0, 0, len(atoms))
    return total.f1


def on_known(model: ModelInfo) -> float:
    """F1 of a model on simulations of what it was made for before it was adapted."""
    return alone.on_known_films(model) if model.without_lattice else on_known_materials(model)


def temperature_of(chances: np.ndarray) -> float:
    """Temperature that makes stated probabilities honest (1 where there is little to go by).

    Parameters
    ----------
    chances : ndarray, shape (n, 2)
        Stated probability, and whether it came true.

    References
    ----------
    C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    if len(chances) < 30:
        return 1.0
    p = np.clip(chances[:, 0], 1e-6, 1 - 1e-6)
    logit, truth = np.log(p / (1 - p)), chances[:, 1]

    def loss(log_t: float) -> float:
        z = logit / np.exp(log_t)
        # a weak belief that nothing needs to change, worth ten atoms
        return float(np.sum(np.logaddexp(0, z) - truth * z) + 10 * log_t**2)

    return float(np.exp(minimize_scalar(loss, bounds=(-1.0, 1.5), method="bounded").x))


def _scene(size_px: int, seed: int, noise: bool, film: bool) -> tuple[np.ndarray, np.ndarray]:
    """A simulated image and its target; noise alone is what one forgets first."""
    if film:
        return atom_scenes.training_pair((size_px, size_px), seed)
    if not noise:
        return training_pair((size_px, size_px), seed)
    image, textured = noise_only((size_px, size_px), np.random.default_rng(seed))
    target = np.zeros((4, size_px, size_px), np.float16)
    target[2] = textured
    return image.astype(np.float32), target


class Replay:
    """Simulated scenes and the old model's answers on them, drawn once and turned each time."""

    def __init__(self, net: ColumnNet, n: int, size_px: int, seed: int, *, films: bool) -> None:
        self._rng = np.random.default_rng(seed)
        pairs = [
            _scene(
                size_px, seed_for("training", REPLAY_SEED + n * seed + i), noise=i % 3 == 2,
                film=films,
            )
            for i in range(n)
        ]  # fmt: skip
        self._views = two_views(torch.from_numpy(np.stack([p[0] for p in pairs])))
        self._target = torch.from_numpy(np.stack([p[1] for p in pairs])).float()
        with torch.no_grad():
            parts = [net(self._views[i : i + 16]) for i in range(0, n, 16)]
        self._taught = torch.cat(parts)

    def batch(self, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw (views, target, the old answers)."""
        which = torch.from_numpy(self._rng.integers(len(self._views), size=n))
        k, flip = int(self._rng.integers(4)), bool(self._rng.integers(2))
        # the old answers belong to the unturned scenes; the network is near enough to
        # indifferent to quarter turns that turning them along costs nothing
        out = [torch.rot90(x[which], k, (2, 3)) for x in (self._views, self._target, self._taught)]
        return tuple(x.flip(3) if flip else x for x in out)  # type: ignore[return-value]


@dataclass(frozen=True)
class Step:
    """How far an adaptation is: step number, steps in all, loss."""

    step: int
    steps: int
    loss: float


def adapt(
    frames: Sequence[Labelled],
    p: AdaptParams = AdaptParams(),
    progress: ProgressLike = None,
) -> Adapted:
    """Adapt a model to corrected frames.

    Parameters
    ----------
    frames : sequence of Labelled
        Corrected frames, see :func:`napari_atomlens.training.label_frame`.
    p : AdaptParams
    progress : Progress or callable, optional
        Told (step, steps) and the loss after every step, and asked at every step whether to
        stop; the model learned so far is judged as it is.

    Returns
    -------
    Adapted
        Nothing is kept until :func:`keep`.

    Raises
    ------
    TableError
        If there is no frame.
    ModelError
        If the model to start from cannot be used, or the name is not one of a file.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, truth = al.simulate("honeycomb", (96, 96), 10.0)
    >>> frame = al.label_frame(image, truth.atoms(), spacing_px=10.0)
    >>> adapted = al.adapt([frame], al.AdaptParams(name="mine", steps=1, batch=1, replay=0))
    >>> adapted.name
    'mine'
    """
    p = of_kind(AdaptParams, p)
    watch = as_progress(progress)
    for what in adapting(frames, p, watch):
        if isinstance(what, Adapted):
            return what
        watch(what.step, what.steps, f"loss {what.loss:.4f}")
    raise ModelError("The adaptation ended without a model.")


def adapting(
    frames: Sequence[Labelled],
    p: AdaptParams = AdaptParams(),
    progress: ProgressLike = None,
) -> Iterator[Step | Adapted]:
    """Adapt a model step by step; the last thing that comes is the :class:`Adapted`.

    Parameters, errors: see :func:`adapt`.
    """
    if not isinstance(frames, Sequence) or not all(isinstance(f, Labelled) for f in frames):
        raise TableError("What is learned from are frames of label_frame.")
    if not frames:
        raise TableError("Correct at least one frame first: there is nothing to learn from.")
    check_name(p.name)
    info = alone.model_for(p.start, frames)
    start = time.monotonic()
    if info.without_lattice:
        frames = [alone.at_their_width(f) for f in frames]
    known_before = on_known(info)
    parts = [split_frames(f, p.hold_back, i)[1] for i, f in enumerate(frames)]
    before, _ = judge(info, frames, parts)
    threads = torch.get_num_threads()
    if p.threads:
        torch.set_num_threads(p.threads)
    net, losses = unfused_network(info), []
    try:
        for step in _learn(net, frames, p, info, start, as_progress(progress)):
            losses.append(step.loss)
            yield step
    finally:
        torch.set_num_threads(threads)
    facts = _facts(info)
    folder = Path(tempfile.mkdtemp(prefix="atomlens-adapt-"))
    path = write_model(folder / f"{p.name}.safetensors", net, facts)
    after, chances = judge(find_model(str(path)), frames, parts)
    temperature, shift = temperature_of(chances), 0.0
    if info.without_lattice:
        temperature, shift = alone.honest(chances)
    constants = alone.scaled(info.calibration.get("atoms", {}), temperature, shift)
    facts["calibration"] = {**info.calibration, "atoms": constants}
    facts["adapted"] = {
        "from": info.name, "from_sha256": info.file_hash(), "frames": len(frames),
        "atoms": int(sum(len(f.positions) for f in frames)), "steps": len(losses),
        "held_back_f1_before": before.f1, "held_back_f1_after": after.f1,
        "temperature": temperature, "parameters": asdict(p), "atomlens": __version__,
    } | {"named": any(f.named for f in frames)}  # fmt: skip
    path = write_model(path, net, facts)
    if shift:  # what counts as an atom was learned as well
        after, _ = judge(find_model(str(path)), frames, parts)
        facts["adapted"]["held_back_f1_after"] = after.f1
    known_after = on_known(find_model(str(path)))
    facts["adapted"] |= {"known_f1_before": known_before, "known_f1_after": known_after}
    path = write_model(path, net, facts)
    result = Adapted(
        path, p.name, before.f1, after.f1, known_before, known_after, temperature, losses,
        time.monotonic() - start, facts=facts,
    )  # fmt: skip
    result.sentence = _sentence(result)
    write_whole(path.with_suffix(".md"), _card(result, info))
    yield result


def _learn(
    net: ColumnNet,
    frames: Sequence[Labelled],
    p: AdaptParams,
    info: ModelInfo,
    start: float,
    watch: Progress,
) -> Iterator[Step]:
    """Run the optimiser until steps or minutes are over."""
    torch.manual_seed(p.seed)
    net.eval()  # the statistics of the batch normalisation stay
    rest = [split_frames(f, p.hold_back, i)[0] for i, f in enumerate(frames)]
    crops = Crops(rest, info.preferred_spacing_px, p.size_px, p.seed)
    drawn = min(REPLAY, p.replay * p.steps)
    replay = None
    if drawn:
        replay = Replay(net, drawn, p.size_px, p.seed, films=info.without_lattice)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=p.learning_rate, weight_decay=1e-4)
    for step in range(p.steps):
        if watch.stopped:
            return
        # the rate falls with whatever runs out first, steps or minutes
        spent = max(step / p.steps, (time.monotonic() - start) / (60 * p.minutes))
        if spent >= 1:
            return
        rate = min(1.0, (step + 1) / 20) * max(0.02, 0.5 * (1 + np.cos(np.pi * spent)))
        for group in optimiser.param_groups:
            group["lr"] = p.learning_rate * rate
        views, target, weight = crops.batch(p.batch)
        if info.without_lattice:  # it has no class of bright columns
            target = torch.cat([target[:, :1] + target[:, 1:2], target[:, 2:]], 1)
        taught = None
        if replay is not None:
            old_views, old_target, taught = replay.batch(p.replay)
            views, target = torch.cat([views, old_views]), torch.cat([target, old_target])
            weight = torch.cat([weight, torch.ones_like(old_target[:, 0])])
        output = net(views.to(memory_format=torch.channels_last)).float()
        loss = loss_of(output, target, weight)
        if taught is not None:
            loss = loss + distance_to(taught, output[p.batch :], target[p.batch :])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        yield Step(step + 1, p.steps, float(loss.detach()))


def _facts(info: ModelInfo) -> Json:
    return {
        "material": info.material,
        "technique": info.technique,
        "classes": list(info.classes),
        "preferred_spacing_px": info.preferred_spacing_px,
        "calibration": info.calibration,
    }


def _sentence(r: Adapted) -> str:
    better = "better" if r.is_better else "not better"
    what = "of finding and naming " if r.facts.get("adapted", {}).get("named") else ""
    text = (
        f"The new model is {better} where it was not taught: F1 {what}{r.before:.3f} before, "
        f"{r.after:.3f} after."
    )
    fall = r.known_before - r.known_after
    if fall > FORGOTTEN:
        text += (
            f" On other materials it is worse by {fall:.3f} "
            f"({r.known_before:.3f} before, {r.known_after:.3f} after): "
            "use it for this one only."
        )
    return text


def _card(r: Adapted, info: ModelInfo) -> str:
    facts = r.facts["adapted"]
    rows = "\n".join(f"| {k.replace('_', ' ')} | {v} |" for k, v in facts["parameters"].items())
    return (
        f"# {r.name}\n\n"
        f"Adapted from {info.name} ({facts['from_sha256'][:12]}) with {facts['frames']} corrected "
        f"frames, {facts['atoms']} atoms, {facts['steps']} steps in {r.seconds:.0f} s.\n\n"
        f"{r.sentence}\n\n"
        "| F1 | before | after |\n|---|---|---|\n"
        f"| part of the frames that was held back | {r.before:.4f} | {r.after:.4f} |\n"
        f"| simulated known materials | {r.known_before:.4f} | {r.known_after:.4f} |\n\n"
        f"Temperature of the probabilities: {r.temperature:.3f}.\n\n"
        f"| parameter | value |\n|---|---|\n{rows}\n"
    )
