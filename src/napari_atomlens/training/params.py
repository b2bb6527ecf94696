"""What training may be told; light, so that options and forms need no torch."""

from __future__ import annotations

from dataclasses import dataclass

from napari_atomlens.params import Params, param


@dataclass(frozen=True)
class AdaptParams(Params):
    """How a model is adapted to corrected frames.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.AdaptParams(name="dark frames", minutes=2.0).minutes
    2.0
    """

    start: str = param("auto", "model to start from")
    name: str = param("adapted", "name of the new model")
    steps: int = param(500, "optimiser steps at most", ge=1, le=100_000)
    minutes: float = param(8.0, "time at most", unit="min", ge=0.01, le=1000)
    batch: int = param(8, "crops of corrected frames per step", ge=1, le=256)
    replay: int = param(8, "simulated scenes per step, against forgetting", ge=0, le=256)
    size_px: int = param(96, "side of a crop", unit="px", ge=48, le=512)
    learning_rate: float = param(1e-3, "highest learning rate", ge=1e-7, le=1)
    hold_back: float = param(0.25, "share of each frame that only judges", ge=0.05, le=0.5)
    threads: int = param(0, "threads of the optimiser; 0 leaves it to PyTorch", ge=0, le=256)
    seed: int = param(0, "seed of the crops and scenes", ge=0, le=1 << 30)


@dataclass(frozen=True)
class AssessTrainParams(Params):
    """How the network of the assessment is trained.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.AssessTrainParams(scans=1000).members
    5
    """

    out: str = param("runs/assess", "folder of the finished network")
    scans: int = param(12600, "simulated scans", ge=20, le=10_000_000)
    sizes: str = param("128,256,512,192,256,384,96", "sides of the scans in pixels")
    epochs: int = param(60, "times that every scan is used", ge=1, le=100000)
    hidden: int = param(64, "units of each hidden layer", ge=2, le=4096)
    members: int = param(5, "networks whose answers are averaged", ge=1, le=64)
    seed: int = param(0, "first seed of the scans", ge=0, le=2**31)


@dataclass(frozen=True)
class CrystalParams(Params):
    """How the model of a crystal is made.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.CrystalParams(name="mine", steps=1000).start
    'universal'
    """

    name: str = param("", "name of the model; empty takes that of the file")
    out: str = param("", "folder of checkpoints; empty is runs/NAME")
    steps: int = param(3000, "optimiser steps in all", ge=1, le=10_000_000)
    batch: int = param(16, "images per step", ge=1, le=4096)
    size_px: int = param(128, "side of a training image", unit="px", ge=64, le=1024)
    learning_rate: float = param(2.5e-3, "highest learning rate (one cycle)", ge=1e-6, le=1)
    workers: int = param(1, "processes that draw scenes", ge=1, le=256)
    threads: int = param(0, "threads of the optimiser; 0 leaves it to PyTorch", ge=0, le=256)
    device: str = param("auto", "auto, cpu or cuda")
    start: str = param("universal", "model whose weights are the first guess; empty for none")
    seed: int = param(90_000_000, "first training seed", ge=0, le=1 << 39)
    images: int = param(40, "held-out images for the figures of the card", ge=2, le=10_000)


@dataclass(frozen=True)
class FourierParams(Params):
    """The Fourier-subtraction recipe.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.FourierParams(spacing_px=12.0).centre
    0.1
    """

    centre: float = param(0.1, "radius of the disc taken out, over the side", ge=0.005, le=0.45)
    low: float = param(0.25, "difference below which a pixel is lattice", ge=0, le=1)
    high: float = param(0.75, "difference above which a pixel is a defect", ge=0, le=1)
    spacing_px: float = param(0.0, "distance between nearest columns; 0 finds it", unit="px", ge=0)
    spots: float = param(6.0, "height of a spot over the spectrum round it", ge=1, le=1000)
    peaks: float = param(0.3, "height of a column between lowest and highest", ge=0, le=1)


@dataclass(frozen=True)
class TrainParams(Params):
    """How a model is trained.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.TrainParams(material="graphene", steps=2000).steps
    2000
    """

    material: str = param("universal", "what the model is for: a name, or the file of a recipe")
    out: str = param("", "folder of checkpoints and of the model; empty is runs/MATERIAL")
    steps: int = param(12000, "optimiser steps in all", ge=1, le=10_000_000)
    batch: int = param(16, "images per step", ge=1, le=4096)
    size_px: int = param(128, "side of a training image", unit="px", ge=64, le=1024)
    learning_rate: float = param(2e-3, "highest learning rate (one cycle)", ge=1e-6, le=1)
    workers: int = param(1, "processes that draw scenes", ge=1, le=256)
    reuse: int = param(2, "how often an image is used, each time turned or flipped", ge=1, le=8)
    threads: int = param(0, "threads of the optimiser; 0 leaves it to PyTorch", ge=0, le=256)
    device: str = param("auto", "auto, cpu or cuda")
    resume: bool = param(True, "go on from the last checkpoint in the folder")
    save_every: int = param(500, "steps between checkpoints", ge=1, le=10_000_000)
    seed: int = param(0, "first training seed", ge=0, le=1 << 39)
    start: str = param("", "model whose weights are the first guess; empty starts from nothing")
    teacher: str = param("", "model whose answers are learned as well (distillation), if any")


@dataclass(frozen=True)
class SiliconTrainParams(Params):
    """How the H-Si(100) network is trained.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.SiliconTrainParams(minutes=1.0).out
    'runs/h-si-100'
    """

    out: str = param("runs/h-si-100", "folder of the finished model")
    minutes: float = param(12.0, "training ends after so long", unit="min", ge=0.01, le=10000)
    batch: int = param(12, "scans per step", ge=1, le=1024)
    size_px: int = param(128, "side of a training scan", unit="px", ge=64, le=1024)
    learning_rate: float = param(3e-3, "highest learning rate", ge=1e-6, le=1)
    threads: int = param(1, "threads of the optimiser", ge=1, le=256)
    seed: int = param(0, "first seed of the scans", ge=0, le=2**31)
    start: str = param("", "model to go on from; empty starts from nothing")


@dataclass(frozen=True)
class SiliconAdaptParams(Params):
    """How the network is adapted to labelled scans of a user.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.SiliconAdaptParams(steps=100).batch
    12
    """

    steps: int = param(250, "optimiser steps", ge=1, le=100000)
    batch: int = param(12, "crops per step, half of them simulated", ge=2, le=1024)
    size_px: int = param(128, "side of a crop", unit="px", ge=64, le=1024)
    learning_rate: float = param(6e-4, "highest learning rate", ge=1e-7, le=1)
    seed: int = param(0, "seed of what is drawn by chance", ge=0, le=2**31)
