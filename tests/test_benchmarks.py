"""The benchmark scripts still run: their help, a small version of most, and their figures."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from napari_atomlens.session.autosave import autosave_folder

FOLDER = Path(__file__).parents[1] / "benchmarks"
# the others are what scripts share
SCRIPTS = sorted(p for p in FOLDER.glob("*.py") if p.name not in ("gallery.py", "report.py"))

HELPS = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, sys.argv[1])
told = {}
for script in sys.argv[2:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(script, run_name="__main__")
            said = "it did not end"
        except SystemExit as end:
            said = "" if not end.code else str(end.code)
        except Exception as error:
            said = repr(error)
    told[script] = [said, out.getvalue()]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, list[str]]:
    """What each script says of itself; all in one process, which imports but once."""
    done = subprocess.run(
        [sys.executable, "-c", HELPS, str(FOLDER), *map(str, SCRIPTS)],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_help(script: Path, helps: dict[str, list[str]]) -> None:
    failed, told = helps[str(script)]
    assert not failed
    assert told.startswith("usage: ")
    # linking_peers.py hands its tracks to movies.py, in whose report they count
    assert ("--json" in told) != (script.name == "linking_peers.py")


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report", FOLDER / "report.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PRINTED = """# Something

## Fit

| lattice | counts | bound (px) | F1 | seen | share | target |
|---|---|---|---|---|---|---|
| graphene | 100 | 0.0123 | **0.98** | 12 of 13 | 92.3 % | >= 90 % |
| graphene | 1,000 | 1e-3 | nan | 3.5 +- 0.2 pm | no | |

Words.
"""


def test_report_writes_what_was_printed(
    report: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    file = tmp_path / "new" / "x.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "--columns", "3", "--json", str(file)])
    parser = argparse.ArgumentParser()
    parser.add_argument("--columns", type=int)
    with report.Report("x", parser) as made:
        assert made.args.columns == 3
        print(PRINTED)
        report.figure("slope", float("nan"), "pm", "1")
    assert capsys.readouterr().out.strip() == PRINTED.strip()  # it still prints

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["name"] == "x"
    assert content["command"] == f"python benchmarks/x.py --columns 3 --json {file}"
    assert content["failed"] is None
    assert content["versions"]["numpy"]
    assert len(content["commit"]) in (0, 40, 41)
    assert content["machine"]["cores"] >= 1
    assert content["seconds"] >= 0
    assert content["date"].startswith("20")
    assert content["text"][-1] == "Words."
    slope, *rows = content["figures"]
    assert slope == {
        "section": "", "row": "", "name": "slope", "value": None, "unit": "pm", "target": "1",
    }  # fmt: skip
    first = {f["name"]: f for f in rows if f["row"] == "graphene, 100"}
    assert {f["section"] for f in rows} == {"Fit"}
    assert first["bound (px)"]["value"] == 0.0123
    assert first["bound (px)"]["unit"] == "px"
    assert first["F1"] == {
        "section": "Fit", "row": "graphene, 100", "name": "F1", "value": 0.98, "target": ">= 90 %",
    }  # fmt: skip
    assert (first["seen"]["value"], first["seen"]["of"]) == (12, 13)
    assert (first["share"]["value"], first["share"]["unit"]) == (92.3, "%")
    second = {f["name"]: f for f in rows if f["row"] == "graphene, 1,000"}
    assert set(second) == {"bound (px)", "seen"}
    assert (second["seen"]["value"], second["seen"]["error"], second["seen"]["unit"]) == (
        3.5, 0.2, "pm",
    )  # fmt: skip
    assert not list(tmp_path.rglob("*.part"))


def test_report_of_a_run_that_breaks_off(report: ModuleType, tmp_path: Path) -> None:
    made = report.Report("y")
    made.path = tmp_path / "y.json"
    with pytest.raises(ValueError, match="no model"), made:
        print("| a | b |\n|---|---|\n| x | 1 |")
        raise ValueError("no model")
    content = json.loads(made.path.read_text(encoding="utf-8"))
    assert "no model" in content["failed"]
    assert [f["value"] for f in content["figures"]] == [1]


def test_figures_outside_a_report_go_nowhere(report: ModuleType) -> None:
    report.figure("lonely", 1.0)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["scaling.py", "--small"], "grows as pixels"),
        (["fit.py", "--columns", "60", "--only", "dumbbells"], "| 4.0 | 10000 |"),
        (["large.py", "--small"], "near seams"),
        (["batch.py", "scaling", "--frames", "4", "--side", "96"], "| 4 threads |"),
        (["correct.py", "--frames", "--journal", "200"], "memory of 200 mixed edits"),
        (["decomposition.py", "--steps", "2", "--frames", "2", "--threads", "1"], "2 steps in"),
        (
            ["adapt.py", "--steps", "2", "--frames", "1", "--known", "1", "--threads", "1"],
            "2 steps",
        ),
        (["against_peers.py", "--lattices", "graphene", "--counts", "3000"], "napari-atomlens"),
    ],
)
def test_small_version(command: list[str], told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / command[0]), *command[1:]],
        capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert told in done.stdout
    (file,) = (tmp_path / "out/benchmarks").glob("*.json")
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["figures"], "nothing of what it printed was seen as a figure"
    assert written["failed"] is None


def test_a_benchmark_writes_no_session_to_the_folder_of_the_user(
    report: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ATOMLENS_AUTOSAVE", raising=False)
    made = report.Report("x")
    assert autosave_folder() == Path(made.unsaved.name) and autosave_folder().is_dir()
    made.unsaved.cleanup()
    monkeypatch.setenv("ATOMLENS_AUTOSAVE", str(tmp_path))
    report.Report("y")
    assert autosave_folder() == tmp_path  # where somebody chose it
