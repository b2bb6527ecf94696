"""The simulated samples as layer tuples for *File > Open Sample*; no napari import here."""

from __future__ import annotations

from napari_atomlens.image import Pixels
from napari_atomlens.simulation.samples import SAMPLES

LayerTuple = tuple[Pixels, dict[str, object], str]


def layers_of(name: str) -> list[LayerTuple]:
    """Return the layers of a sample of :data:`napari_atomlens.simulation.samples.SAMPLES`."""
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


def open_graphene_si() -> list[LayerTuple]:
    """Graphene with silicon dopants and a grain boundary."""
    return layers_of("graphene_si")


def open_ws2_vacancies() -> list[LayerTuple]:
    """WS2 monolayer with sulphur vacancies."""
    return layers_of("ws2_vacancies")


def open_perovskite() -> list[LayerTuple]:
    """Perovskite whose right half is polar."""
    return layers_of("perovskite")


def open_silicon_110_movie() -> list[LayerTuple]:
    """Movie of Si <110> dumbbells."""
    return layers_of("silicon_110_movie")


def open_silicon_110_defects() -> list[LayerTuple]:
    """Movie of Si <110> dumbbells with vacancies while a heavy impurity passes."""
    return layers_of("silicon_110_defects")


def open_ws2_movie() -> list[LayerTuple]:
    """WS2 that decomposes: vacancies diffuse, holes open, a fragment turns."""
    return layers_of("ws2_movie")


def open_buckybowl_movie() -> list[LayerTuple]:
    """Film of bowl-shaped molecules that flip."""
    return layers_of("buckybowl_movie")


def open_h_si_100() -> list[LayerTuple]:
    """STM image of H-Si(100) 2x1."""
    return layers_of("h_si_100")


def open_manganite_surface() -> list[LayerTuple]:
    """STM image of a square oxide surface with a few anomalous charge clouds."""
    return layers_of("manganite_surface")


def open_ws2_point_defects() -> list[LayerTuple]:
    """WS2 monolayer with sulphur vacancies, another metal, and both side by side."""
    return layers_of("ws2_point_defects")


def open_sumanene_film() -> list[LayerTuple]:
    """STM movie of a film of bowls, up or down, in four rotations, some of which flip."""
    return layers_of("sumanene_film")
