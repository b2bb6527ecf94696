"""Long movies: parts on disk, killed runs go on, nothing twice and nothing lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

import napari_atomlens as al
from napari_atomlens.errors import FormatError
from napari_atomlens.io.projects.parts import Parts
from napari_atomlens.runs import frame as loop
from napari_atomlens.runs import movie as streaming

sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))
from fake_analysis import FakeAnalysis, lattice


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAnalysis:
    stand_in = FakeAnalysis()
    monkeypatch.setattr(loop, "analyze_frames", stand_in)
    monkeypatch.setattr(streaming, "PART", 4)
    return stand_in


def test_results_appear_as_they_come_and_are_complete(fake: FakeAnalysis, tmp_path: Path) -> None:
    movie = lattice(4, frames=10)
    said: list[tuple[int, int]] = []
    run = al.analyze_movie(movie, tmp_path / "out", progress=lambda *v: said.append(v))
    first = next(run)
    assert first.frame == 0 and len(first.atoms) == 16 and fake.frames == [0]
    rest = [r.frame for r in run]
    assert rest == list(range(1, 10)) and said[-1] == (10, 10)
    everything = al.read_table(tmp_path / "out")
    assert everything.groupby("frame").size().tolist() == [16] * 10
    assert everything["atom_id"].is_unique
    assert len(al.read_table(tmp_path / "out", "contours")) == 160
    few = al.read_table(tmp_path / "out", columns=["frame", "y_px", "x_px"])
    assert al.link(few)["track_id"].nunique() == 16


def test_a_killed_run_goes_on_where_it_stopped(fake: FakeAnalysis, tmp_path: Path) -> None:
    movie = lattice(4, frames=11)
    run = al.analyze_movie(movie, tmp_path)
    for _ in range(7):
        next(run)
    run.close()  # as good as killed: nothing after the yield runs
    assert [p.name for p in sorted((tmp_path / "atoms").iterdir())] == [
        "part-00000000.parquet", "part-00000001-0000.parquet", "part-00000001-0001.parquet",
        "part-00000001-0002.parquet",
    ]  # fmt: skip
    assert al.read_table(tmp_path)["frame"].nunique() == 7  # results appear as they come
    (tmp_path / "atoms" / ".part-00000001.999.tmp").write_bytes(b"half")
    again = [r.frame for r in al.analyze_movie(movie, tmp_path)]
    assert again == list(range(7, 11)) == fake.frames
    # four tables of three parts, no frame alone, nothing half
    assert len(list(tmp_path.rglob("*.parquet"))) == 12 and not list(tmp_path.rglob("*.tmp"))
    whole = al.read_table(tmp_path)
    once = [r.atoms for r in al.analyze_movie(movie, tmp_path / "other")]
    pd.testing.assert_frame_equal(whole, pd.concat(once, ignore_index=True), check_dtype=False)
    assert list(al.analyze_movie(movie, tmp_path)) == []


def test_other_movies_and_damaged_folders_are_sentences(fake: FakeAnalysis, tmp_path: Path) -> None:
    list(al.analyze_movie(lattice(4, frames=5), tmp_path))
    with pytest.raises(FormatError, match="another movie"):
        list(al.analyze_movie(lattice(4, frames=6), tmp_path))
    with pytest.raises(FormatError, match="other parameters"):
        list(al.analyze_movie(lattice(4, frames=5), tmp_path, min_probability=0.2))
    (tmp_path / "atoms" / "part-00000000.parquet").write_bytes(b"rubbish")
    with pytest.raises(FormatError, match="damaged"):
        al.read_table(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps([]))
    with pytest.raises(FormatError, match=r"run\.json"):
        list(al.analyze_movie(lattice(4, frames=5), tmp_path))
    with pytest.raises(FormatError, match="holds no"):
        al.read_table(tmp_path / "nothing")


@pytest.mark.parametrize("table", ["frames", "atoms", "outlines"])
@pytest.mark.parametrize("part", ["00000000", "00000001-0001"])
def test_a_damaged_part_is_set_aside_made_anew_and_said(
    fake: FakeAnalysis, tmp_path: Path, table: str, part: str
) -> None:
    movie = lattice(4, frames=8)
    run = al.analyze_movie(movie, tmp_path)
    for _ in range(6):
        next(run)
    run.close()
    whole = al.read_table(tmp_path)
    path = tmp_path / table / f"part-{part}.parquet"
    content = path.read_bytes()
    path.write_bytes(b"" if table == "frames" else content[: len(content) // 2])  # a power cut
    with pytest.raises(FormatError, match="Run the same again"):
        al.read_table(tmp_path, table)
    with pytest.warns(UserWarning, match=f"Part {part} is damaged: it was moved to damaged"):
        again = [r.frame for r in al.analyze_movie(movie, tmp_path)]
    redone = [0, 1, 2, 3] if part == "00000000" else [5]
    assert again == [*redone, 6, 7]
    assert (tmp_path / "damaged" / table / f"part-{part}.parquet").read_bytes() != content
    after = al.read_table(tmp_path)
    assert after.groupby("frame").size().tolist() == [16] * 8
    pd.testing.assert_frame_equal(after[after["frame"] < 6].reset_index(drop=True), whole)


def test_maps_are_on_the_disk_before_their_frame_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tables say is analysed has its maps, whenever the power goes."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted(handle: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(str(b)), replace(a, b))[1])
    image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    list(al.analyze_movie([image, image], tmp_path, spacing_px=10.0, maps=True))
    last = next(k for k, n in enumerate(done) if n.endswith("frames/part-00000000-0001.parquet"))
    chunks = [p for p in (tmp_path / "maps.zarr").rglob("*") if p.is_file()]
    assert len(chunks) >= 3 + 2 and {str(p) for p in chunks} <= set(done[:last])
    folders = {str(p.parent) for p in chunks}
    assert folders <= set(done[:last])


def test_a_run_that_died_between_its_last_frame_and_the_part(
    fake: FakeAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = lattice(4, frames=4)

    def die(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Parts, "close", die)
        with pytest.raises(
            FormatError, match=r"No space left on device\. What is finished is kept"
        ):
            list(al.analyze_movie(movie, tmp_path))
    assert list(al.analyze_movie(movie, tmp_path)) == []  # nothing is analysed again
    assert {f.name for f in tmp_path.rglob("*.parquet")} == {"part-00000000.parquet"}
    assert len(al.read_table(tmp_path)) == 64


def test_two_runs_do_not_write_into_one_folder(fake: FakeAnalysis, tmp_path: Path) -> None:
    movie = lattice(4, frames=4)
    first = al.analyze_movie(movie, tmp_path / "out")
    next(first)
    with pytest.raises(FormatError, match="another run writes there"):
        next(al.analyze_movie(movie, tmp_path / "out"))
    assert [r.frame for r in first] == [1, 2, 3]
    assert list(al.analyze_movie(movie, tmp_path / "out")) == []  # free again, and complete
    assert len(al.read_table(tmp_path / "out")) == 64


def test_the_scale_of_the_first_run_is_that_of_the_second(
    fake: FakeAnalysis, tmp_path: Path
) -> None:
    movie = lattice(4, frames=6)
    run = al.analyze_movie(movie, tmp_path)
    next(run)
    run.close()
    first = json.loads((tmp_path / "run.json").read_text())["plan"]["spacing_px"]
    assert first > 0
    list(al.analyze_movie(movie, tmp_path))
    assert fake.plan is not None and fake.plan.for_frame(5).spacing_px == first


def test_following_a_folder_writes_tables_and_how_they_came(
    fake: FakeAnalysis, tmp_path: Path
) -> None:
    list(al.analyze_movie(lattice(4, frames=6), tmp_path, pixel_size_nm=0.02))
    found = al.follow_folder(tmp_path)
    assert found.tracks["track_id"].nunique() == 16
    tracks = pd.read_csv(tmp_path / "tracks.csv")
    assert len(tracks) == 96
    said = json.loads((tmp_path / "provenance.json").read_text())
    assert said["linking"]["max_gap"] == 3 and said["parameters"]["window"] == 1
    assert said["frames_followed"] == 6 and said["pixel_size_nm"] == [0.02, 0.02]
    with pytest.raises(FormatError, match="no folder"):
        al.follow_folder(tmp_path / "elsewhere")
