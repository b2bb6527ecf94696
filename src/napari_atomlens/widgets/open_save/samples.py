"""The simulated samples as layer tuples for *File > Open Sample*; no napari import here."""

from __future__ import annotations

from typing import Any

from napari_atomlens.simulation.samples import SAMPLES

LayerTuple = tuple[Any, dict[str, Any], str]


def _layers(name: str) -> list[LayerTuple]:
    import numpy as np

    sample = SAMPLES[name]()
    pixel = sample.pixel_size_nm
    scale: tuple[float, ...] = (pixel, pixel)
    units: tuple[str, ...] = ("nm", "nm")
    axes: tuple[str, ...] = ("y", "x")
    if sample.data.ndim == 3:
        scale = (sample.time_step_s or 1.0, *scale)
        units, axes = ("s", *units), ("t", *axes)
    low, high = (float(v) for v in np.percentile(sample.data, [0.2, 99.9]))
    return [
        (
            sample.data,
            {
                "name": sample.name, "scale": scale, "units": units, "axis_labels": axes,
                "contrast_limits": (low, high), "metadata": {"simulated by": "napari-atomlens"},
            },
            "image",
        )
    ]  # fmt: skip


def graphene_si() -> list[LayerTuple]:
    """Graphene with silicon dopants and a grain boundary."""
    return _layers("graphene_si")


def ws2_vacancies() -> list[LayerTuple]:
    """WS2 monolayer with sulphur vacancies."""
    return _layers("ws2_vacancies")


def perovskite() -> list[LayerTuple]:
    """Perovskite whose right half is polar."""
    return _layers("perovskite")


def silicon_110_movie() -> list[LayerTuple]:
    """Movie of Si <110> dumbbells."""
    return _layers("silicon_110_movie")


def silicon_110_defects() -> list[LayerTuple]:
    """Movie of Si <110> dumbbells with vacancies while a heavy impurity passes."""
    return _layers("silicon_110_defects")


def ws2_movie() -> list[LayerTuple]:
    """WS2 that decomposes: vacancies diffuse, holes open, a fragment turns."""
    return _layers("ws2_movie")


def buckybowl_movie() -> list[LayerTuple]:
    """Film of bowl-shaped molecules that flip."""
    return _layers("buckybowl_movie")


def h_si_100() -> list[LayerTuple]:
    """STM image of H-Si(100) 2x1."""
    return _layers("h_si_100")


def manganite_surface() -> list[LayerTuple]:
    """STM image of a square oxide surface with a few anomalous charge clouds."""
    return _layers("manganite_surface")


def ws2_point_defects() -> list[LayerTuple]:
    """WS2 monolayer with sulphur vacancies, another metal, and both side by side."""
    return _layers("ws2_point_defects")


def sumanene_film() -> list[LayerTuple]:
    """STM movie of a film of bowls, up or down, in four rotations, some of which flip."""
    return _layers("sumanene_film")
