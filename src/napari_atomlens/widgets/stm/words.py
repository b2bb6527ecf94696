"""What the STM dock says of what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_atomlens.stm.site_kinds import STEP_EDGE
from napari_atomlens.widgets.layers.surface import kind_colours

if TYPE_CHECKING:
    from napari_atomlens.runs.surface import SurfaceSites
    from napari_atomlens.stm.assessment import Verdict
    from napari_atomlens.stm.groups import DefectGroups, GroupParams
    from napari_atomlens.stm.molecules import Film, FilmMovie
    from napari_atomlens.stm.silicon import SiliconResult
    from napari_atomlens.stm.traces import Comparison


def verdict(found: Verdict) -> str:
    """Say whether a scan is any good, and why."""
    usable = 100 * float(found.usable_mask.mean())
    reasons = " ".join(found.reasons)
    return f"<b>{found.label}</b> ({found.score:.2f}), {usable:.0f} % usable. {reasons}"


def silicon(found: SiliconResult) -> str:
    """Count what there is in a scan of H-Si(100)."""
    colours = kind_colours()
    kinds = ", ".join(
        f'<span style="color:{colours.get(str(k), "#ffffff")}">●</span> {n} {k}'
        for k, n in found.defects["kind"].value_counts().items()
    )
    said = f"{len(found.terraces.table)} terrace(s), {len(found.atoms)} dimers; "
    return f"{said}{kinds or 'no defects'}. " + " ".join(found.messages)


def sites(found: SurfaceSites) -> str:
    """Count the sites of a surface, and those unlike the others."""
    said = f"{len(found.sites)} sites. "
    if "anomaly" in found.sites:
        n = int(found.sites["anomaly"].sum())
        said += f"{n} are unlike the others; the dock Explore says why. "
    return said + " ".join(found.messages)


def film(found: Film) -> str:
    """Describe a film of molecules."""
    m = found.molecules
    return (
        f"{len(m)} molecules, {100 * m['up'].mean():.0f} % up, "
        f"median psi6 {m['psi6'].median():.2f}, {m['domain'].nunique()} domains."
    )


def flips(found: FilmMovie) -> str:
    """Count molecules and flips."""
    n, t = found.tracks["track_id"].nunique(), found.tracks["frame"].nunique()
    return (
        f"{n} molecules in {t} frames, {len(found.events)} flips; drift "
        f"{np.hypot(*found.drift_px[-1]):.1f} px. A ring marks each flip."
    )


def traces(found: Comparison) -> str:
    """Say how far two traces agree."""
    return (
        f"The traces agree to {100 * found.correlation:.0f} %, {found.shift_px[1]:+.1f} px "
        f"apart; {100 * found.disagree.mean():.1f} % of the scan differs."
    )


def mended(pixel_size_nm: float, drift: np.ndarray | None) -> str:
    """Say what the new scan is, and what was undone in it."""
    said = f"The new layer has pixels of {pixel_size_nm:.4g} nm."
    if drift is not None:
        (p, _), (s, c) = drift
        said = (
            f"Undone: {100 * (p / c - 1):+.1f} % stretch and {100 * s / c:+.1f} % shear; "
            f"the calibration along the lines differs by {100 * (c - 1):+.1f} %."
        )
    return said + " The raw scan stays."


def defect_classes(found: DefectGroups, result: SiliconResult, params: GroupParams) -> str:
    """Count the classes of defects, or say that there are none."""
    n = int((result.defects["kind"] != STEP_EDGE).sum())
    if not len(found.table):
        return (
            f"The {n} defects make no class: fewer than {params.smallest} of them are alike. "
            "A larger quantile below Classes of defects lets less similar ones be a class."
        )
    many = len(found.table)
    counts = ", ".join(f"{r['count']} like {r['kind']}" for _, r in found.table.iterrows())
    return (
        f"{many} class{'' if many == 1 else 'es'}: {counts}. Column group of the defects; "
        "each row of the gallery is a class."
    )
