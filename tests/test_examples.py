"""The example in the docstring of every name at the top level runs, and says what comes out."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import napari_atomlens as al
from napari_atomlens.segmentation import list_models

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
