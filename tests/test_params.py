"""Parameters check themselves when they are made, and know what forms and options need."""

from __future__ import annotations

import ast
import json
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import napari_atomlens as al
from house import SOURCE
from napari_atomlens import AnalysisParams, BatchParams
from napari_atomlens.errors import ParameterError
from napari_atomlens.params import Params, as_dict, check_choice, describe, merged, param

Colour = Literal["red", "green"]


@dataclass(frozen=True)
class Some(Params):
    """A parameter of every kind."""

    length: float = param(1.0, "a number", unit="px", ge=0, le=2)
    free: float = param(0.0, "any number")
    least: float = param(1.0, "a number with one bound", ge=1)
    count: int = param(3, "a whole number", ge=1, le=9)
    on: bool = param(True, "a switch")
    colour: Colour = param("red", "a choice")
    name: str = param("", "some text")
    size_nm: float | None = param(None, "a number that may be unknown", unit="nm", ge=0.1, le=2)


def test_what_is_known_of_a_parameter() -> None:
    infos = {info.name: info for info in describe(Some)}
    assert [i.kind for i in infos.values()] == [float, float, float, int, bool, str, str, float]
    assert infos["length"].unit == "px" and infos["free"].unit == ""
    assert (infos["count"].minimum, infos["count"].maximum, infos["count"].default) == (1, 9, 3)
    assert infos["colour"].choices == ("red", "green") and infos["name"].choices == ()
    assert [n for n, i in infos.items() if i.optional] == ["size_nm"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"length": 3}, "length is 3 px, but must lie between 0 and 2."),
        ({"length": float("nan")}, "length is nan px, but must lie between 0 and 2."),
        ({"length": "1"}, "length is '1', but must be a number."),
        ({"length": True}, "length is True, but must be a number."),
        ({"length": None}, "length is None, but must be a number."),
        ({"free": np.nan}, "free is nan, but must be a number."),
        ({"least": 0}, "least is 0, but must be at least 1."),
        ({"count": 2.5}, "count is 2.5, but must be a whole number."),
        ({"count": 10}, "count is 10, but must lie between 1 and 9."),
        ({"on": "no"}, "on is 'no', but must be True or False."),
        ({"on": 1}, "on is 1, but must be True or False."),
        ({"colour": "blue"}, "colour is 'blue', but must be one of red, green."),
        ({"name": 3}, "name is 3, but must be text."),
        ({"size_nm": 0.0}, "size_nm is 0 nm, but must lie between 0.1 and 2."),
        ({"length": np.zeros(1)}, "length is array([0.]), but must be a number."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_when_it_is_made(
    wrong: dict[str, object], sentence: str
) -> None:
    for make in (lambda: Some(**wrong), lambda: replace(Some(), **wrong)):
        with pytest.raises(ParameterError) as error:
            make()
        assert str(error.value) == sentence


def test_numbers_of_numpy_and_paths_become_plain() -> None:
    made = Some(
        length=np.float32(1.5), count=np.int64(4), on=np.bool_(False), name=Path("a") / "b",
        size_nm=np.array(1), free=2, colour=np.str_("green"),
    )  # fmt: skip
    assert made == Some(1.5, 2.0, 1.0, 4, False, "green", str(Path("a/b")), 1.0)
    assert [type(v) for v in as_dict(made).values()] == [
        float, float, float, int, bool, str, str, float
    ]  # fmt: skip
    assert json.loads(json.dumps(as_dict(made))) == as_dict(made)
    assert hash(made) == hash(replace(made))
    with pytest.raises(FrozenInstanceError):
        made.count = 5  # type: ignore[misc]


def test_one_door_for_settings() -> None:
    assert merged(AnalysisParams, None, {}) == AnalysisParams()
    given = AnalysisParams(window=3)
    assert merged(AnalysisParams, given, {"model": "x"}) == AnalysisParams(window=3, model="x")
    many = merged(AnalysisParams, BatchParams(retry=True), {"window": 5})
    assert many == BatchParams(retry=True, window=5)
    with pytest.raises(ParameterError, match="did you mean 'spacing_px'"):
        merged(AnalysisParams, None, {"spacing": 12})
    with pytest.raises(ParameterError, match="no 'zzz'; it has model, spacing_px, "):
        merged(AnalysisParams, given, {"zzz": 12})
    with pytest.raises(ParameterError, match="window is -1"):
        merged(AnalysisParams, given, {"window": -1})
    with pytest.raises(ParameterError, match="of type Some, but must be AnalysisParams"):
        merged(AnalysisParams, Some(), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"min_probability": 2}, {"refine": "elliptic fit"}, {"window": -1}, {"spacing_px": -1}],
)
def test_no_analysis_starts_with_wrong_parameters(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    for kind in (AnalysisParams, BatchParams):
        with pytest.raises(ParameterError, match=f"^{name} is "):
            kind(**wrong)


def test_an_argument_with_choices() -> None:
    check_choice("colour", "green", Colour)
    with pytest.raises(ParameterError, match="colour is 'blue', but must be one of red, green"):
        check_choice("colour", "blue", Colour)


PARAMS = [
    k for name in al.__all__ if isinstance(k := getattr(al, name), type) if issubclass(k, Params)
]


@pytest.mark.parametrize("kind", PARAMS, ids=lambda kind: kind.__name__)
def test_every_parameter_has_a_help_a_valid_default_and_choices_without_blanks(
    kind: type[Params],
) -> None:
    for info in describe(kind):
        assert info.help, info.name
        assert all(c and c == "".join(c.split()) for c in info.choices), info.name
    if kind is not al.Rules:
        assert as_dict(kind()) == {i.name: i.default for i in describe(kind)}


def test_every_parameter_dataclass_is_at_the_top_level() -> None:
    made = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and "Params" in map(ast.unparse, node.bases):
                made.add(node.name)
    assert made <= {kind.__name__ for kind in PARAMS} and len(made) > 20
