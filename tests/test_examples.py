"""The example in the docstring of every name at the top level runs, and says what comes out."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_atomlens as al
from napari_atomlens.segmentation import list_models

ROOT = Path(al.__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"MYPYPATH": str(ROOT / "src")}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: What is missing where the weights of the models are.
WITH_MODEL = ("segment(", "analyze", "list_models()", "find_spacing(", "adapt(", "run_batch(",
              "find_on_surface(", "stream", "watch_folder(", "train(")  # fmt: skip


def failures(name: str, text: str) -> list[str]:
    """Run the examples of a docstring and return what did not come out as it says."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    runner, said = doctest.DocTestRunner(optionflags=FLAGS, verbose=False), list[str]()
    runner.run(test, out=said.append)
    return said


@pytest.mark.parametrize("name", sorted(al.__all__))
def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(getattr(al, name)) or ""
    assert "\nExamples\n--------\n>>> " in text, f"{name} has no example"
    if any(what in text for what in WITH_MODEL) and not list_models():
        pytest.skip("the weights of the models are absent")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATOMLENS_MODELS", str(tmp_path))
    assert not failures(name, text)


@pytest.mark.parametrize("text", [">>> 1 + 1\n3\n", ">>> 1 / 0\n"])
def test_an_example_that_is_wrong_is_noticed(text: str) -> None:
    assert failures("wrong", text)
    assert not failures("right", ">>> print('a', 1,  2)\na ... 2\n")


ASKED = """
import napari_atomlens as al

reveal_type(al.analyze)
reveal_type(al.LinkParams)
reveal_type(al.AnalysisParams().refine)
al.AnalysisParams(refine="best")
"""


def test_a_type_checker_sees_the_public_names(tmp_path: Path) -> None:
    asked = tmp_path / "asked.py"
    asked.write_text(ASKED, encoding="utf-8")
    package = ROOT / "src/napari_atomlens"
    # the face and what is asked for; all else (numpy, pandas, torch ...) is skipped, to be quick
    names = ("__init__.pyi", "params.py", "errors.py", "atoms/ways.py", "runs/analysis.py",
             "runs/params.py", "runs/result.py", "tracking/params.py")  # fmt: skip
    command = [
        sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=skip",
        "--ignore-missing-imports", f"--cache-dir={tmp_path}",
        *(str(package / name) for name in names), str(asked),
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240)
    lines = [x.split(": ", 2)[-1] for x in made.stdout.splitlines()]
    assert any("-> napari_atomlens.runs.result.Result" in x for x in lines), made.stdout
    assert any("params.LinkParams" in x and "def (" in x for x in lines), made.stdout
    assert any(all(f"'{c}'" in x for c in ("fit", "elliptic", "centroid", "off")) for x in lines)
    assert any("has incompatible type \"Literal['best']\"" in x for x in lines), made.stdout
