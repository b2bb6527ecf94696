"""``atomlens train`` for the materials that are known, for H-Si(100) and for the assessment."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from napari_atomlens import training
from napari_atomlens.cli.options import Without
from napari_atomlens.cli.progress import bar
from napari_atomlens.training.assess import train_assessment
from napari_atomlens.training.params import AssessTrainParams, SiliconTrainParams, TrainParams
from napari_atomlens.training.silicon import train_silicon

#: What is trained is the command.
Params = Annotated[TrainParams, Without("material")]
NOTHING = "Stopped; no model was written."
STOPPED = "Stopped after {done} steps; the same command goes on from there."


def _material(name: str, params: TrainParams) -> None:
    with bar("step", STOPPED, lines=True) as progress:
        path = training.train(replace(params, material=name), progress)
    typer.echo(f"The model is in {path}.")


def for_universal(*, params: Params) -> None:
    """Train the universal model on simulated images; a second call goes on where it stopped."""
    _material("universal", params)


def for_graphene(*, params: Params) -> None:
    """Train the graphene model on simulated images; a second call goes on where it stopped."""
    _material("graphene", params)


def for_silicon_110(*, params: Params) -> None:
    """Train the silicon-110 model on simulated images; a second call goes on where it stopped."""
    _material("silicon-110", params)


def for_tmd(*, params: Params) -> None:
    """Train the tmd model on simulated images; a second call goes on where it stopped."""
    _material("tmd", params)


def for_perovskite(*, params: Params) -> None:
    """Train the perovskite model on simulated images; a second call goes on where it stopped."""
    _material("perovskite", params)


def for_silicon(*, params: SiliconTrainParams) -> None:
    """Train the network of the defects of H-Si(100) on simulated scans."""
    with bar("% of the time", NOTHING, lines=True, listens=False) as progress:
        path = train_silicon(params, progress)
    typer.echo(f"The model is in {path}.")


def for_assessment(*, params: AssessTrainParams) -> None:
    """Train the assessment of scans on simulated faults."""
    with bar("scan", NOTHING, lines=True, listens=False) as progress:
        path = train_assessment(params, progress)
    typer.echo(f"The network is in {path}.")
