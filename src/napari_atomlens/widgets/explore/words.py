"""What the Explore dock says of what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_atomlens.widgets.layers.sites import VACANT

if TYPE_CHECKING:
    from napari_atomlens.contours.classes import Classes
    from napari_atomlens.widgets.layers.sites import Described


def described(found: Described, rate: float) -> str:
    """Count the sites that are unusual."""
    n = len(found.flagged)
    vacant = int((found.flagged["source"] == VACANT).sum())
    said = (
        f"{n:,} of {found.n_sites:,} sites {'is' if n == 1 else 'are'} unusual at a "
        f"false-discovery rate of {100 * rate:g}\u00a0%"
    )
    return f"{said}, {vacant:,} of them vacant." if vacant else f"{said}."


def classified(found: Classes) -> str:
    """Count the classes, or say that there are none."""
    if found.bic:
        order = sorted(found.bic.items(), key=lambda kv: kv[1])
        text = ", ".join(f"{k}: {v:.0f}" for k, v in order[:4])
        return f"{order[0][0]} classes have the least BIC ({text} …)."
    n, out = len(found.label), int((found.label < 0).sum())
    many = int(found.label.max(initial=-1)) + 1
    if not many:
        return f"No class: none of the {n:,} sites has enough others like it."
    return f"{many} class{'' if many == 1 else 'es'} of {n:,} sites, {out:,} in none."
