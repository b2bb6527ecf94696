"""Which model `auto` takes, and that it says why and stays with the universal one in doubt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_atomlens import analyze, simulate
from napari_atomlens.segmentation import find_model
from napari_atomlens.segmentation.choose import (
    ImagePeriod,
    choose_model,
    fits,
    halved,
    lattice_of,
    model_candidates,
)
from napari_atomlens.segmentation.lattice_or_not import LatticeEvidence, known_distance

#: Distance of nearest columns in px of the scenes below.
PX = 12.0


def scene(lattice, nm, seed=0, shape=(260, 260), counts=2000.0, **more):
    image, _ = simulate(lattice, shape, PX, counts=counts, seed=seed, rotation_deg=17, **more)
    return image, (nm / PX, nm / PX)


@pytest.mark.parametrize(
    ("lattice", "nm", "more", "model"),
    [
        ("honeycomb", 0.142, {}, "graphene"),
        ("honeycomb", 0.142, {"dopants": 0.02, "vacancies": 0.01}, "graphene"),
        ("tmd", 0.183, {"chalcogen": 0.35}, "tmd"),
        # each is nearly one of the above
        ("honeycomb", 0.183, {}, "universal"),  # one kind of column
        ("honeycomb", 0.230, {}, "universal"),  # too far apart: silicene
        ("tmd", 0.145, {"chalcogen": 0.4}, "universal"),  # boron nitride
        ("dumbbell", 0.1358, {}, "universal"),  # silicon, as near as in graphene
        ("hexagonal", 0.142, {}, "universal"),
        ("square", 0.276, {}, "universal"),
        ("dimer_rows", 0.384, {}, "universal"),
    ],
)
def test_the_lattice_decides(lattice, nm, more, model):
    image, size = scene(lattice, nm, **more)
    choice = choose_model(image, size)
    assert choice.info.name == model, choice.reason
    assert choice.reason.startswith(f"Model {model}: ")


def test_doubt_leaves_the_universal_model():
    image, size = scene("honeycomb", 0.142)
    assert "pixel size" in choose_model(image).reason
    assert choose_model(image, size, technique="STM").info.name == "universal"
    noise = np.random.default_rng(0).normal(size=(200, 200))
    assert choose_model(noise, size).info.name == "universal"
    few = choose_model(image[:40, :40], size)
    assert few.info.name == "universal" and few.reason


def test_a_result_says_which_model_and_why():
    image, size = scene("honeycomb", 0.142, shape=(200, 200))
    result = analyze(image, pixel_size_nm=size)
    assert result.provenance["model"] == "graphene"
    assert "honeycomb" in result.provenance["model_chosen"]
    assert result.messages[0] == result.provenance["model_chosen"]
    assert result.classes == find_model("graphene").classes
    assert set(result.atoms["species"]) <= {"C", "Si", "heavy"}
    named = analyze(image, "universal", size)
    assert named.provenance["model"] == "universal"
    assert named.provenance["model_chosen"] == "given"
    bare = analyze(image)
    assert bare.provenance["model"] == "universal" and not bare.messages


def test_one_model_for_a_movie_whose_first_frame_is_empty():
    image, size = scene("honeycomb", 0.142, shape=(160, 160))
    movie = np.stack([np.zeros_like(image), image, image])
    result = analyze(movie, pixel_size_nm=size)
    assert result.provenance["model"] == "graphene"
    assert result.probabilities.shape == (3, 5, 160, 160)
    assert (result.atoms["frame"].unique() == [1, 2]).all()


def test_models_that_lost_to_the_universal_one_are_not_chosen(monkeypatch):
    from dataclasses import replace

    from napari_atomlens.segmentation import choose

    names = {m.name for m in model_candidates()}
    assert {"graphene", "tmd"} <= names and not {"universal", "h-si-100"} & names
    lost = replace(find_model("graphene"), figures={"f1": 0.90, "universal_f1": 0.95})
    monkeypatch.setattr(choose, "list_models", lambda: [lost])
    assert not model_candidates()
    image, size = scene("honeycomb", 0.142)
    assert choose_model(image, size).info.name == "universal"


def _honeycomb(n=9):
    a, b = np.array([0, np.sqrt(3)]), np.array([1.5, np.sqrt(3) / 2])
    ij = np.stack(np.meshgrid(np.arange(-n, n), np.arange(-n, n), indexing="ij"), -1).reshape(-1, 2)
    corner = ij @ np.array([a, b])
    places = np.r_[corner, corner + np.array([1, 0])]
    keep = np.linalg.norm(places, axis=1) < 1.2 * n
    return places[keep], np.repeat([1.0, 0.4], len(corner))[keep]


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 6.3), st.floats(0.2, 50), st.floats(0.01, 100), st.integers(0, 99))
def test_a_lattice_looks_the_same_turned_scaled_and_in_any_order(angle, scale, gain, seed):
    places, bright = _honeycomb()
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    order = np.random.default_rng(seed).permutation(len(places))
    seen = lattice_of(places[order] @ turn * scale, gain * bright[order], scale, 0.18)
    plain = lattice_of(places, bright, 1.0, 0.18)
    assert plain is not None and seen is not None
    assert seen.neighbours == plain.neighbours == 3
    assert seen.order == pytest.approx(1, abs=1e-6)
    assert seen.contrast == pytest.approx(0.4, abs=1e-6)


def test_lattices_that_are_none():
    assert lattice_of(np.zeros((3, 2)), np.ones(3), 1.0) is None
    far = np.arange(200.0).reshape(100, 2) * 50
    assert lattice_of(far, np.ones(100), 1.0) is None


def test_why_a_lattice_does_not_fit():
    wanted = {"spacing_nm": [0.142], "neighbours": 3, "order": 1.0, "contrast": [1.0, 1.0]}
    good = ImagePeriod(0.142, 3, 0.9, 0.95, 0.97, 100)
    assert fits(good, wanted) == ""
    for other in (
        ImagePeriod(0.2, 3, 0.9, 0.95, 0.97, 100),
        ImagePeriod(0.142, 4, 0.9, 0.95, 0.97, 100),
        ImagePeriod(0.142, 3, 0.2, 0.95, 0.97, 100),
        ImagePeriod(0.142, 3, 0.9, 0.40, 0.97, 100),
        ImagePeriod(0.142, 3, 0.9, 0.95, 0.50, 100),
    ):
        assert fits(other, wanted)


TMD = {"spacing_nm": [0.1819, 0.1894], "neighbours": 3, "order": 1.0, "contrast": [0.07, 0.613]}
PEROVSKITE = {"spacing_nm": [0.2761], "neighbours": 4, "order": 1.0, "contrast": [0.0, 0.313]}


@pytest.mark.parametrize(
    ("lattice", "wanted", "taken"),
    [
        (ImagePeriod(0.1890, 3, 0.9, 0.95, 0.74, 400), TMD, True),  # WSe2: refused by a hair
        (ImagePeriod(0.2761, 4, 0.9, 0.95, 0.44, 400), PEROVSKITE, True),  # SrTiO3
        (ImagePeriod(0.2761, 4, 0.9, 0.95, 0.56, 400), PEROVSKITE, True),
        (ImagePeriod(0.2761, 4, 0.9, 0.95, 0.80, 400), PEROVSKITE, False),  # SrRuO3
        (ImagePeriod(0.1890, 3, 0.9, 0.95, 0.99, 400), TMD, False),  # one kind of column
        # what is far off in distance needs the right contrast
        (ImagePeriod(0.1819 * 0.9, 3, 0.9, 0.95, 0.40, 400), TMD, True),
        (ImagePeriod(0.1819 * 0.9, 3, 0.9, 0.95, 0.85, 400), TMD, False),
    ],
)
def test_evidence_is_weighed_and_no_window_is_a_cliff(lattice, wanted, taken):
    assert (fits(lattice, wanted) == "") is taken


def test_a_faint_sublattice_may_be_hidden_from_the_universal_model():
    lead = ImagePeriod(0.391, 4, 0.9, 0.95, 0.98, 400)  # PbTiO3 without its Ti
    assert fits(lead, PEROVSKITE)
    seen = halved(lead, PEROVSKITE)
    assert seen is not None and fits(seen, PEROVSKITE) == ""
    assert halved(lead, TMD) is None
    two_kinds = ImagePeriod(0.391, 4, 0.9, 0.95, 0.5, 400)
    assert halved(two_kinds, PEROVSKITE) is None


def test_the_users_own_models_take_part(tmp_path, monkeypatch):
    import shutil

    shutil.copy(find_model("tmd").path, tmp_path / "my-ws2.safetensors")
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    image, size = scene("tmd", 0.183, chalcogen=0.35)
    choice = choose_model(image, size)
    assert choice.info.name == "my-ws2" and choice.reason.startswith("Model my-ws2: ")
    graphene, size = scene("honeycomb", 0.142)
    assert choose_model(graphene, size).info.name == "graphene"


@pytest.mark.parametrize(
    ("share", "pixel", "known"),
    [(0.2, 0.0157, True), (0.2, 0.025, False), (0.05, 0.0157, False), (0.2, None, False)],
)
def test_some_order_at_the_distance_of_a_known_material_is_a_lattice(
    share: float, pixel: float | None, known: bool
) -> None:
    """Small noisy images of graphene were taken for single atoms."""
    seen = LatticeEvidence(False, 0.0, share, 9.0)
    size = None if pixel is None else (pixel, pixel)
    assert known_distance(seen, size, [0.142, 0.182]) is known
