"""What a movie dock draws and lists, from tables alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_atomlens.errors import FormatError
from napari_atomlens.session.motion import most_frequent, transitions_text
from napari_atomlens.session.movie import MAPS, MovieData
from napari_atomlens.session.movie_events import EVENT_COLUMNS
from napari_atomlens.session.movie_run import defects_of, keep_movie, movie_of, save_movie, summary
from napari_atomlens.session.session import Session
from napari_atomlens.simulation import crystals, movies
from napari_atomlens.tracking.defects import follow_defects
from napari_atomlens.tracking.following import MovieResult, follow

FRAMES = 24


@pytest.fixture(scope="module")
def silicon() -> MovieResult:
    """Dumbbells that drift, some of which change once."""
    movie = movies.silicon_110(160, FRAMES, stepped=0.2, step_nm=0.02, seed=3, render=False)
    t = movie.truth
    columns = pd.concat(
        [
            pd.DataFrame({"frame": t["frame"], "id": 2 * t["id"] + k, "y_px": t[f"{e}y_px"],
                          "x_px": t[f"{e}x_px"]})
            for k, e in enumerate("ab")
        ],
        ignore_index=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    atoms = movies.detections(columns, 160, rng)
    atoms["amplitude"] = rng.uniform(0.9, 1.1, len(atoms))
    return follow(atoms, pixel_size_nm=0.0136)


@pytest.fixture
def data(silicon: MovieResult) -> MovieData:
    return MovieData(silicon, FRAMES, (0.0136, 0.0136), 0.5)


def test_one_frame_is_found_at_once(data: MovieData, silicon: MovieResult) -> None:
    here = silicon.atoms["frame"] == 3
    assert len(data.atoms(3)) == here.sum() > 60 and data.atoms(3).dtype == np.float32
    assert len(data.atoms(999)) == 0
    assert data.has_dumbbells and (data.dumbbells(3)["frame"] == 3).all()
    vectors = data.dumbbell_vectors(3)
    d = data.dumbbells(3)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 1], axis=1), d["length_px"])
    np.testing.assert_allclose(vectors[:, 0] + vectors[:, 1] / 2, d[["y_px", "x_px"]])
    one, ten = data.shift_vectors(3, 1.0), data.shift_vectors(3, 10.0)
    np.testing.assert_allclose(10 * one[:, 1], ten[:, 1])
    assert np.isfinite(ten).all()


@pytest.mark.parametrize("what", MAPS)
def test_maps_have_a_unit_and_a_limit(data: MovieData, silicon: MovieResult, what: str) -> None:
    unit = {"length": "pm", "shift": "pm", "angle": "°", "intensity ratio": ""}[what]
    assert data.map_unit(what) == unit and data.map_limit(what) > 0
    values = data.map_values(5, what)
    assert len(values) == len(data.dumbbells(5))
    # of intensities nothing is known here but the amplitudes
    assert np.isfinite(values).any() == (what != "intensity ratio")
    pixels = MovieData(silicon, FRAMES)
    assert pixels.map_unit("length") == "px"
    if what in ("length", "shift"):  # pm are pixels times their size
        np.testing.assert_allclose(values, 13.6 * pixels.map_values(5, what))
        assert data.map_limit(what) == pytest.approx(13.6 * pixels.map_limit(what))


def test_tracks_come_sorted_and_in_part(data: MovieData, silicon: MovieResult) -> None:
    tracks = data.tracks()
    assert len(tracks) == data.n_vertices() == len(silicon.tracks)
    assert (np.diff(tracks[:, 0]) >= 0).all()
    part = data.tracks(5, 7)
    assert set(part[:, 1]) == {5, 6, 7} or set(part[:, 1]) == {5, 6}
    track_id = int(tracks[0, 0])
    assert (data.track(track_id)["track_id"] == track_id).all()


def test_counts_per_frame(data: MovieData, silicon: MovieResult) -> None:
    counts = data.counts()
    assert counts["all atoms"].sum() == len(silicon.atoms) and len(counts["all atoms"]) == FRAMES
    names = np.where(np.arange(len(silicon.atoms)) % 2, "Si", "")
    mixed = MovieResult(
        silicon.atoms.assign(species=names), silicon.tracks, silicon.dumbbells, silicon.drift,
        silicon.changes, silicon.events,
    )  # fmt: skip
    by_species = MovieData(mixed, FRAMES).counts()
    assert set(by_species) == {"all atoms", "Si", "no class"}
    np.testing.assert_array_equal(
        by_species["Si"] + by_species["no class"], by_species["all atoms"]
    )


def test_one_dumbbell_in_time_and_its_row(data: MovieData, silicon: MovieResult) -> None:
    who = most_frequent(silicon.dumbbells["dumbbell_id"])
    mine = silicon.dumbbells[silicon.dumbbells["dumbbell_id"] == who]
    frames, value, error = data.dumbbell_series(who, "length")
    assert frames.tolist() == sorted(mine["frame"].tolist())
    np.testing.assert_allclose(value, 13.6 * mine.sort_values("frame")["length_px"], rtol=0.05)
    assert len(error) == len(value)
    angle = data.dumbbell_series(who, "angle")[1]
    assert np.degrees(1.0) * mine["angle_rad"].median() == pytest.approx(np.median(angle), abs=3)
    assert len(data.dumbbell_series(10**6, "length")[0]) == 0
    row = data.row_of(who)
    assert who in row and 3 <= len(row) < silicon.dumbbells["dumbbell_id"].nunique()
    image, ids = data.kymograph(who, "length")
    assert image.shape == (len(row), FRAMES) and ids.tolist() == row.tolist()
    assert np.nanmedian(np.abs(image)) < data.map_limit("length")
    assert data.kymograph(10**6, "length")[0].shape == (0, FRAMES)


def test_what_is_nearest_to_a_click(data: MovieData) -> None:
    d = data.dumbbells(4).iloc[7]
    assert data.nearest_dumbbell(4, d["y_px"] + 0.5, d["x_px"]) == d["dumbbell_id"]
    atom = data.atoms(4)[11]
    track = data.nearest_track(4, atom[0] + 0.3, atom[1])
    here = data.track(track)
    row = here[here["frame"] == 4].iloc[0]
    assert np.hypot(row["y_px"] - atom[0], row["x_px"] - atom[1]) < 1e-3
    assert data.nearest_dumbbell(999, 0, 0) == data.nearest_track(999, 0, 0) == -1


def test_events_are_a_list_to_read(data: MovieData, silicon: MovieResult) -> None:
    events = data.events()
    assert list(events) == list(EVENT_COLUMNS) and (np.diff(events["frame"]) >= 0).all()
    changes = events[events["dumbbell_id"] >= 0]
    assert len(changes) == len(silicon.changes) > 0
    assert changes["who"].str.startswith("dumbbell ").all()
    length = changes[changes["what"].str.startswith("length")]
    assert length["size"].str.match(r"^[+-].* pm$").all()
    # of a lattice with misses, that an atom appears is no news
    assert not events["what"].isin(["atom appeared", "atom vanished"]).any()


def test_a_session_keeps_a_movie_and_gives_it_back(
    moving: tuple[MovieResult, MovieData], tmp_path: Path
) -> None:
    result, made = moving
    session = Session("gold")
    assert movie_of(session, 5, None) is None
    keep_movie(session, MovieData(result, 5), {"made": "here"}, session.revision)
    back = movie_of(session, 5, None)
    assert back is not None and back.defects is None
    np.testing.assert_array_equal(back.atoms(2), made.atoms(2))
    keep_movie(session, made, {"made": "here"}, session.revision)
    assert not session.stale() and session.provenance("tracks") == {"made": "here"}
    again = movie_of(session, 5, None)
    assert again is not None and again.defects is not None
    pd.testing.assert_frame_equal(again.events(), made.events())
    assert summary(again, 1.0).startswith("49 atoms followed through 5 frames, 1 defects")
    # followed anew, without defects: those of before are of another movie
    keep_movie(session, MovieData(result, 5), {}, session.revision)
    third = movie_of(session, 5, None)
    assert third is not None and third.defects is None and not session.stale()
    names = save_movie(again, tmp_path / "new", {"made": "here"})
    assert sorted(names) == sorted(p.name for p in (tmp_path / "new").iterdir())
    assert {"defect_tracks.csv", "defect_events.csv", "provenance.json"} < set(names)
    (tmp_path / "file").touch()
    with pytest.raises(FormatError, match="could not be written"):
        save_movie(again, tmp_path / "file", {})


def test_what_plots_show_is_computed_once(data: MovieData) -> None:
    made = data.prepare()
    assert made is data
    for ask in (data.events, data.counts, data.together, data.motion, data.transitions):
        assert ask() is ask()
    motion = data.motion()
    assert motion is not None and (motion.area, motion.time) == ("nm²", "s")
    assert "nm^2/s" in motion.text and motion.fitted is not None
    assert data.motion(defects=True) is None
    frames, off = data.displacement(most_frequent(data.followed.tracks["track_id"]))
    assert off[0] == 0 and len(frames) == len(off) > 10


@pytest.fixture(scope="module")
def moving() -> tuple[MovieResult, MovieData]:
    """A lattice of few atoms in which one defect hops, and another one appears."""
    y, x = (v.ravel() for v in np.mgrid[2:9, 2:9] * 8.0)
    atoms = pd.concat(
        [pd.DataFrame({"frame": f, "y_px": y, "x_px": x, "species": "C"}) for f in range(5)],
        ignore_index=True,
    )
    atoms["atom_id"] = np.arange(len(atoms))
    result = follow(atoms)
    found = pd.DataFrame(
        [(0, 40, 40, "V"), (1, 40, 40, "V"), (2, 48, 40, "V"), (3, 48, 40, "V"), (4, 48, 48, "V")],
        columns=["frame", "y_px", "x_px", "formula"],
    )
    found = found.assign(defect_id=np.arange(len(found)), kind="vacancy")
    made = MovieData(result, 5)
    assert len(made.frame_defects(0)) == 0 and made.defect_tracks().shape == (0, 4)
    assert made.defect_counts() == {} and made.nearest_track(0, 1, 1, defects=True) == -1
    made.set_defects(follow_defects(found, atoms))
    return result, made


def test_defects_are_followed_too(moving: tuple[MovieResult, MovieData]) -> None:
    _, made = moving
    assert made.defect_tracks().shape == (5, 4)
    assert made.defect_counts() == {"V": pytest.approx(np.ones(5))}
    assert len(made.frame_defects(2)) == 1
    track = int(made.frame_defects(2)["track_id"].iloc[0])
    assert made.nearest_track(2, 47, 41, defects=True) == track
    hops = made.events()
    assert hops["what"].tolist() == ["V hopped", "V hopped"]
    assert hops["frame"].tolist() == [2, 4] and hops["size"].tolist() == ["8 px", "8 px"]
    assert hops["who"].tolist() == [f"defect {track}"] * 2


def test_nothing_happened(moving: tuple[MovieResult, MovieData]) -> None:
    result, _ = moving
    empty = MovieResult(
        result.atoms, result.tracks, result.dumbbells, result.drift, result.changes,
        result.events.iloc[:0],
    )  # fmt: skip
    quiet = MovieData(empty, 5)
    assert list(quiet.events()) == list(EVENT_COLUMNS) and not len(quiet.events())
    assert not quiet.has_dumbbells and quiet.map_limit("length") == 1.0
    assert quiet.row_of(0).shape == (0,)


def test_rules_that_fit_find_defects_in_all_frames() -> None:
    places, _ = crystals.fill(crystals.honeycomb(), (200.0, 200.0), 14.2, 0.2, (1.0, 2.0))
    inside = ((places > 4) & (places < 196)).all(axis=1)
    places = places[inside]
    gone = int(np.hypot(*(places - 100).T).argmin())
    places = np.delete(places, gone, axis=0)
    atoms = pd.concat(
        [
            pd.DataFrame(
                {"frame": f, "atom_id": f * 10_000_000 + np.arange(len(places)),
                 "y_px": places[:, 0], "x_px": places[:, 1], "species": "C", "y_nm": np.nan,
                 "x_nm": np.nan}
            )
            for f in range(3)
        ],
        ignore_index=True,
    )  # fmt: skip
    followed = follow(atoms)
    moving = defects_of(followed)
    assert moving is not None and set(moving.tracks["frame"]) == {0, 1, 2}
    nameless = MovieResult(
        followed.atoms.drop(columns="species"), followed.tracks, followed.dumbbells, followed.drift,
        followed.changes, followed.events,
    )  # fmt: skip
    assert defects_of(nameless) is None


def test_transitions_as_text() -> None:
    tracks = pd.DataFrame(
        {"track_id": np.repeat([0, 1], 6), "frame": np.tile(np.arange(6), 2),
         "species": list("AABBBA") + list("BBBBBB")}
    )  # fmt: skip
    text = transitions_text(tracks, "atom", 0.5)
    assert "from \\ to" in text and "left 1 times" in text and " s<" in text
    assert "frames" in transitions_text(tracks, "atom", None)
    one = transitions_text(tracks.assign(species="A"), "defect", None)
    assert one == "<p>There is only one class of defect: nothing to change into.</p>"
