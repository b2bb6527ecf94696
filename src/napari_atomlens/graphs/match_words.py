"""What the matches of a crystal are called, and what is said of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_atomlens.cards import counted
from napari_atomlens.graphs.poses import MOST_STRAIN, Pose
from napari_atomlens.graphs.views import axis_name


def name_of_axis(pose: Pose) -> str:
    """Name of the zone axis, which points the other way where the crystal is seen from behind."""
    axis = pose.view.axis
    return axis_name([-i for i in axis] if pose.mirrored else axis)


def name_of_match(pose: Pose, best: Pose) -> str:
    """Name of a match beside the best one: another view, or the same with other elements."""
    name = f"{pose.view.crystal.name} {name_of_axis(pose)}"
    return name if pose.view is not best.view else f"{name} with other elements in its columns"


def is_another(other: Pose, pose: Pose) -> bool:
    """Whether a match is another answer, not the same with more columns seen as one."""
    one, two = other.view, pose.view
    same = one.crystal is two.crystal and one.axis == two.axis
    return other is not pose and (not same or one is two)


def match_sentence(match: pd.Series, defects: pd.DataFrame) -> str:
    """Say what was found in the largest region."""
    on, n = int(match["n_on_sites"]), int(match["n_atoms"])
    turned = np.rad2deg(float(match["rotation_rad"]))
    text = (
        f"{match['crystal']} along {match['zone_axis']}, {match['along']} at {turned:.1f} degrees: "
        f"{on:,} of {n:,} columns are on its sites"
    )
    if np.isfinite(match["scale"]):
        text += f", {100 * (float(match['scale']) - 1):+.1f} % in size"
    if match["runner_up"]:
        text += (
            f"; better than {match['runner_up']} by {float(match['lead']):.2f} per column "
            f"(probability {float(match['match_probability']):.3f})"
        )
    if int(match["n_dumbbells"]) > 0:
        angle = np.rad2deg(float(match["polarity_rad"]))
        text += (
            f"; the heavy end of the dumbbells is at {angle:.0f} degrees "
            f"(probability {float(match['polarity_probability']):.3f})"
        )
    kinds = f": {counted(str(f) for f in defects['formula'])}" if len(defects) else ""
    return f"{text}. {len(defects):,} defect{'' if len(defects) == 1 else 's'}{kinds}."


def distortion_of(region: int, strain: float) -> str:
    """Say that a crystal fits only a scan that is distorted; "" where it is as usual.

    Parameters
    ----------
    region : int
    strain : float
        By how much one direction is longer, and the one across it shorter.
    """
    if strain <= MOST_STRAIN:
        return ""
    return (
        f"Region {region} fits only if the image is distorted by {strain:.0%}: one direction is "
        f"longer and the one across it shorter by as much."
    )
