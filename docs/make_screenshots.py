"""Make docs/images/*.png: every sample in a real viewer, its atoms found, the window saved.

Usage: ``make screenshots``, or ``python docs/make_screenshots.py [SAMPLE...]``.
Without a screen it starts a virtual display of its own.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from napari_atomlens.widgets.demo import has_display, save_window, virtual_display

SAMPLES = ("graphene_si", "ws2_vacancies", "perovskite", "silicon_110_movie", "h_si_100")
IMAGES = Path(__file__).parent / "images"


def main(samples: list[str]) -> None:
    """Save a picture of each sample; stop at the first that fails."""
    with contextlib.nullcontext() if has_display() else virtual_display():
        for sample in samples:
            print(save_window(sample, IMAGES / f"{sample}.png"))


if __name__ == "__main__":
    main(sys.argv[1:] or list(SAMPLES))
