"""Columns with the profiles of the multislice bank."""

from __future__ import annotations

import numpy as np
import pytest

from napari_atomlens.simulation.bank import load_bank, sigma_profile, with_profile
from napari_atomlens.simulation.formation import PROFILE_STEP, render_columns
from napari_atomlens.simulation.graphene_scenes import draw
from napari_atomlens.simulation.scenes import seed_for

ONE = (np.array([20.3]), np.array([24.7]), np.array([2.0]))


def test_a_gaussian_profile_is_a_gaussian_column() -> None:
    profile = np.exp(-0.5 * (PROFILE_STEP * np.arange(28)) ** 2)
    want = render_columns((41, 49), *ONE, 3.0, 1.2, 0.4)
    got = render_columns((41, 49), *ONE, 3.0, 1.2, 0.4, profile=profile)
    assert np.abs(got - want).max() < 0.02 * want.max()


@pytest.mark.parametrize("image", load_bank()["image"])
def test_every_profile_is_a_peak_as_wide_at_half_of_its_height(image: str) -> None:
    profile = sigma_profile(image)
    assert profile.max() <= 1 and profile[0] > 0.9 and profile[-1] < 0.02
    half = np.interp(np.sqrt(2 * np.log(2)), PROFILE_STEP * np.arange(len(profile)), profile)
    assert 0.4 < half < 0.6


def test_some_scenes_have_such_columns_and_the_rest_of_them_does_not_change() -> None:
    seeds = [seed_for("test", 880_000 + i) for i in range(12)]
    scenes = [draw((96, 96), s)[1] for s in seeds]
    share = np.mean([s.profile is not None for s in scenes])
    assert 0 < share < 1
    scene = next(s for s in scenes if s.profile is not None)
    bare = scene.clean()
    scene.profile = None
    plain = scene.clean()
    assert np.corrcoef(bare.ravel(), plain.ravel())[0, 1] > 0.9 and not np.allclose(bare, plain)
    assert with_profile(scene, seeds[0], ("no such sample",)).profile is None
