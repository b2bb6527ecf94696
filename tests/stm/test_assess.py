"""Assessment: verdicts on simulated faults, usable regions, bad input, command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_atomlens as al
from napari_atomlens.cli import app
from napari_atomlens.errors import ImageError
from napari_atomlens.simulation.scans import faulty_scan
from napari_atomlens.stm.assessment import FAULTS, judge_scan

SEED = 2**33 + 900_000


def test_most_verdicts_are_right() -> None:
    right = {}
    for fault in ("good", *FAULTS):
        labels = [al.assess(faulty_scan(SEED + i, fault).image).label for i in range(6)]
        right[fault] = sum(label == fault for label in labels)
    assert sum(right.values()) >= 0.8 * 6 * 7, right


def test_a_verdict_has_what_the_contract_says() -> None:
    scan = faulty_scan(SEED, "good")
    verdict = al.assess(scan.image)
    assert 0 <= verdict.score <= 1
    assert verdict.label == "good" or verdict.label in FAULTS
    assert verdict.reasons and all(r.endswith(".") for r in verdict.reasons)
    assert verdict.usable_mask.shape == scan.image.shape and verdict.usable_mask.dtype == bool
    assert set(verdict.faults) == set(FAULTS)


@pytest.mark.parametrize("seed", range(4))
def test_the_verdict_does_not_depend_on_units(seed: int) -> None:
    image = faulty_scan(SEED + 50 + seed).image
    a, b = al.assess(image), al.assess(1e-9 * image + 3e-7)
    assert abs(a.score - b.score) < 0.02 and a.label == b.label


def test_the_part_after_a_tip_change_is_left_out() -> None:
    good = 0
    for k in range(8):
        scan = faulty_scan(SEED + 100 + k, "tip change")
        verdict = al.assess(scan.image)
        if verdict.label == "tip change":
            agree = (verdict.usable_mask == scan.usable).mean()
            good += agree > 0.7
    assert good >= 4


def test_noise_is_noisy_or_featureless_and_not_usable() -> None:
    verdict = al.assess(np.random.default_rng(0).standard_normal((256, 256)))
    assert verdict.label in ("noisy", "featureless") and not verdict.usable_mask.any()


def test_missing_lines_are_said_and_not_usable() -> None:
    image = faulty_scan(SEED + 3, "good").image.copy()
    image[200:] = np.nan
    verdict = al.assess(image)
    assert not verdict.usable_mask[200:].any()
    assert any("not recorded" in r for r in verdict.reasons)


def test_bad_input_is_refused() -> None:
    for bad in (np.zeros((64, 64)), np.ones((8, 8)), np.zeros(5), np.full((64, 64), np.nan)):
        with pytest.raises(ImageError):
            al.assess(bad)


def test_averaged_networks_are_one_wider_network() -> None:
    from napari_atomlens.training.assess import fit_network
    from napari_atomlens.training.params import AssessTrainParams

    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 6))
    y = (x[:, :6] > 0).astype(float)
    layers = fit_network(x, y, AssessTrainParams(epochs=60, members=3, hidden=8))
    chance = judge_scan(x, layers)
    assert chance.shape == (600, 6)
    assert ((chance > 0.5) == (y > 0.5)).mean() > 0.85


def test_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", faulty_scan(SEED + 7, "good").image)
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    run = CliRunner().invoke(app, ["assess", str(tmp_path / "scan.npy"), "--json"])
    assert run.exit_code == 0, run.output
    facts = json.loads(run.stdout)
    assert {"name", "score", "label", "reasons", "usable", "faults"} <= set(facts)
    run = CliRunner().invoke(
        app, ["assess", str(tmp_path / "scan.npy"), str(tmp_path / "broken.npy")]
    )
    assert run.exit_code == 2 and "scan.npy" in run.output and "broken.npy" in run.output


def test_without_a_lattice_nobody_can_tell_drift() -> None:
    from napari_atomlens.stm.assessment import lattice_change

    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :256]
    lattice = np.cos(2 * np.pi * (x + 0.3 * y) / 11) + np.cos(2 * np.pi * (y - 0.3 * x) / 11)
    noise = 0.05 * rng.normal(size=lattice.shape)
    change, uniform = lattice_change(lattice + noise)
    assert change < 0.01 and uniform > 0.8
    t = np.arange(256) / 256
    bent = 28 * np.exp(-t / 0.3)[:, None]
    drifting = np.cos(2 * np.pi * (x + bent + 0.3 * y) / 11) + np.cos(
        2 * np.pi * (y - 0.3 * (x + bent)) / 11
    )
    change, uniform = lattice_change(drifting + noise)
    assert change > 0.05 and uniform > 0.5
    corral = sum(
        np.exp(-0.5 * ((y - 128 - 80 * np.sin(a)) ** 2 + (x - 128 - 80 * np.cos(a)) ** 2) / 81)
        for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)
    )
    verdict = al.assess(corral + 0.01 * rng.normal(size=lattice.shape))
    assert verdict.label in ("good", "not sure")
    assert verdict.usable_mask.mean() > 0.5


def test_what_is_unlike_all_scans_is_not_judged() -> None:
    strange = np.zeros((256, 256))
    strange[::2] = 1.0
    strange += 0.01 * np.random.default_rng(0).normal(size=strange.shape)
    verdict = al.assess(strange)
    assert verdict.label == "not sure" and verdict.score == 0.5
    assert verdict.reasons[0].endswith(".") and verdict.features["strangeness"] > 1


@pytest.mark.parametrize("fill", [0.0, 5.5, np.nan])
@pytest.mark.parametrize("lines", [3, 20, 60, 128])
def test_a_scan_that_was_stopped(lines: int, fill: float) -> None:
    z = np.full((256, 256), fill)
    z[:lines] = np.random.default_rng(lines).normal(size=(lines, 256)).cumsum(1) * 0.1
    if lines < 32:
        with pytest.raises(ImageError, match=f"Only {lines} of 256 lines were recorded"):
            al.assess(z)
        return
    verdict = al.assess(z)
    assert not verdict.usable_mask[lines:].any()
    assert any("not recorded" in r for r in verdict.reasons)


def test_no_image_of_numbers_is_a_crash() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(128, 128)).cumsum(1)
    ramp = np.arange(128.0)[None] + np.zeros((128, 128))
    spike, spikes = base.copy(), base.copy()
    spike[3, 3], spikes[3, 3], spikes[4, 4] = 1e300, -1.7e308, 1.7e308
    nearly = np.where(np.arange(128)[:, None] < 40, base, 0)
    nearly[40:, 0] = 1
    plain = al.assess(base)
    for image in (
        ramp, ramp + 1e-9 * ramp.T, spike, spikes, nearly, np.where(base > 5, 1, 0) * 1.0,
        np.indices((128, 128)).sum(0) % 2, rng.random((64, 64)) > 0.5, base.astype(np.float16),
        rng.integers(-(2**62), 2**62, (64, 64)), np.where(rng.random((64, 64)) > 0.5, np.inf, 0.5),
        *(rng.normal(size=s) for s in ((32, 32), (32, 500), (500, 32), (33, 47), (44, 45))),
    ):  # fmt: skip
        try:
            verdict = al.assess(image)
        except ImageError as error:
            assert str(error).endswith(".")
        else:
            assert 0 <= verdict.score <= 1
    for scale in (1e154, 1e-154, 1e300, 1e-300, 2.0**-40):  # the unit does not matter
        scaled = al.assess(base * scale)
        assert scaled.label == plain.label and abs(scaled.score - plain.score) < 1e-6
