"""The model zoo: safetensors files with their cards, bundled or in the user's folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from napari_atomlens.errors import ModelError
from napari_atomlens.files import Json, digest, user_folder
from napari_atomlens.untrusted import parse_json

BUNDLED = Path(__file__).parent / "weights"
#: Material of models of atoms without a lattice, whose scale is the width of an atom.
SINGLE_ATOMS = "single atoms"
#: More is no header, no card and no classes of a model.
LARGEST_HEADER, LARGEST_CARD, MOST_CLASSES = 10_000_000, 1_000_000, 64

#: What a class of the probability map stands for.
Role = Literal["background", "column", "contamination"]
#: Classes that are no columns; every other class is one kind of them.
_OTHER_ROLES: dict[str, Role] = {
    "background": "background",
    "contamination": "contamination",
    "contaminant": "contamination",
}


def role_of(name: str) -> Role:
    """Role of a class by its name, for models that do not say it themselves."""
    return _OTHER_ROLES.get(name, "column")


def roles_of(classes: Iterable[str]) -> tuple[Role, ...]:
    """Role of each class by its name, for models that do not say them themselves."""
    return tuple(role_of(name) for name in classes)


def columns_among(roles: Iterable[str]) -> list[int]:
    """Numbers of the classes that are columns."""
    return [k for k, role in enumerate(roles) if role == "column"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it.

    Attributes
    ----------
    name, material, technique : str
        Name, and what it was made for ("any" for universal models).
    classes : tuple of str
        Classes of the probability map, background first.
    preferred_spacing_px : float
        Distance between nearest columns that the network was trained at.
    card : str
        The model card as Markdown: training data, seeds, figures, known failures.
    path : pathlib.Path
        The weights.
    roles : tuple of str
        What each class stands for: "background", "column" or "contamination".
    calibration : dict
        Constants measured after training (temperature and the like).
    recipe : dict
        What its training scenes were drawn from, where that was a crystal.
    lattice : dict
        What the lattice of its material looks like, see :mod:`~.segmentation.choose`.
    figures : dict
        Measured after training on held-out scenes, beside the universal model.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> model = next(m for m in al.list_models() if m.name == "universal")
    >>> model.material, model.technique, model.preferred_spacing_px
    ('any', 'STEM, STM', 10.0)
    """

    name: str
    material: str
    technique: str
    classes: tuple[str, ...]
    preferred_spacing_px: float
    card: str
    path: Path
    roles: tuple[Role, ...]
    calibration: Json = field(default_factory=dict)
    recipe: Json = field(default_factory=dict)
    lattice: Json = field(default_factory=dict)
    figures: Json = field(default_factory=dict)

    @property
    def knows_bright(self) -> bool:
        """Whether it was trained on bright columns: bundled models were, others may know both."""
        return self.path.parent == BUNDLED

    @property
    def without_lattice(self) -> bool:
        """Whether it knows atoms that form no lattice: its scale is the width of an atom."""
        return self.material == SINGLE_ATOMS

    def file_hash(self) -> str:
        """SHA-256 of the weights file."""
        return digest(self.path)


def header_of(path: Path) -> Json:
    """Metadata of a safetensors file, read without PyTorch.

    Raises
    ------
    ModelError
        If it is no model of ours, or says what no model can be.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= LARGEST_HEADER:
                raise ValueError("header size")
            header = parse_json(file.read(size), "its header")
        facts = parse_json(str(header["__metadata__"]["atomlens"]), "what it says of itself")
        if missing := {"classes", "preferred_spacing_px", "architecture"} - facts.keys():
            raise ValueError(f"{', '.join(sorted(missing))} missing")
        _check(facts)
        return facts
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise ModelError(
            f"{path.name} is not a model of napari-atomlens, or it is damaged ({why})."
        ) from None


def _check(facts: Json) -> None:
    """Refuse what no model can be: a wrong fact would be blamed on an image later.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    classes = facts["classes"]
    if not isinstance(classes, list) or not 2 <= len(classes) <= MOST_CLASSES:
        raise ValueError(f"its classes must be a list of 2 to {MOST_CLASSES} names")
    if not all(isinstance(c, str) and c for c in classes) or len(set(classes)) < len(classes):
        raise ValueError("its classes must be names, each once")
    _check_number("preferred_spacing_px", facts["preferred_spacing_px"], 2, 1000)
    shape = facts["architecture"]
    if not isinstance(shape, dict) or shape.get("n_classes", len(classes)) != len(classes):
        raise ValueError("its network has another number of classes than it says")
    widths = shape.get("widths", [])
    if not isinstance(widths, list) or not all(type(w) is int and 0 < w <= 4096 for w in widths):
        raise ValueError("the widths of its network are no numbers of channels")
    for name in ("material", "technique"):
        if not isinstance(facts.get(name, ""), str):
            raise ValueError(f"its {name} is no text")
    for name in ("calibration", "recipe", "lattice", "figures"):
        if not isinstance(facts.get(name, {}), dict):
            raise ValueError(f"its {name} is no table")
    for name, value in facts.get("figures", {}).items():
        if name in ("f1", "universal_f1") and value is not None:
            _check_number(name, value, 0, 1)
    for table in facts.get("calibration", {}).values():
        for name, value in table.items() if isinstance(table, dict) else ():
            _check_number(name, value, -1e6, 1e6)
    if lattice := facts.get("lattice"):
        spacings, contrast = lattice.get("spacing_nm"), lattice.get("contrast")
        if not isinstance(spacings, list) or not isinstance(contrast, list) or not spacings:
            raise ValueError("its lattice has no spacing or no contrast")
        for value in spacings:
            _check_number("spacing_nm", value, 1e-3, 100)
        for value in (*contrast, lattice.get("order", 1.0)):
            _check_number("lattice", value, 0, 1e3)
        if len(contrast) != 2 or type(lattice.get("neighbours")) is not int:
            raise ValueError("its lattice is no lattice")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} is {str(value)[:40]}, but must lie between {low:g} and {high:g}")


def _info(path: Path) -> ModelInfo:
    facts = header_of(path)
    roles = facts.get("roles") or roles_of(facts["classes"])
    known = isinstance(roles, (list, tuple)) and all(role in get_args(Role) for role in roles)
    if not known or len(roles) != len(facts["classes"]):
        raise ModelError(f"{path.name} does not say of every class what it stands for.")
    return ModelInfo(
        name=path.stem,
        material=facts.get("material", "any"),
        technique=facts.get("technique", ""),
        classes=tuple(facts["classes"]),
        preferred_spacing_px=float(facts["preferred_spacing_px"]),
        card=_card(path.with_suffix(".md")),
        path=path,
        roles=tuple(roles),
        calibration=facts.get("calibration", {}),
        recipe=facts.get("recipe", {}),
        lattice=facts.get("lattice", {}),
        figures=facts.get("figures", {}),
    )


def _card(path: Path) -> str:
    """Text of a card; what is no UTF-8 in it costs only the letter."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(LARGEST_CARD).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _look() -> tuple[dict[str, ModelInfo], dict[str, str]]:
    """Models by name, and sentences of those that are left out."""
    found: dict[str, ModelInfo] = {}
    left: dict[str, str] = {}
    for folder in (BUNDLED, user_folder("models")):
        try:
            paths = sorted(folder.glob("*.safetensors"))
        except OSError:  # a folder that nobody may read
            continue
        for path in paths:
            name = path.stem
            if name in found:
                left[str(path)] = (
                    f"The model {path} has the name of a bundled one, which is taken; give it "
                    "another name, or ask for it by its path."
                )
                continue
            known = _known(path, _stamp(path))
            if isinstance(known, ModelInfo):
                found[name] = known
            else:
                left[str(path)] = known
    return found, left


@lru_cache(maxsize=256)
def _known(path: Path, stamp: tuple[int, ...]) -> ModelInfo | str:
    """A model, or the sentence why it is none; read once as long as its files are the same."""
    try:
        return _info(path)
    except ModelError as error:
        return str(error)


def _stamp(path: Path) -> tuple[int, ...]:
    """What differs once a model or its card is another one."""
    stamp: list[int] = []
    for one in (path, path.with_suffix(".md")):
        try:
            known = one.stat()
            stamp += [known.st_ino, known.st_size, known.st_mtime_ns]
        except OSError:  # no card, or a link to nowhere
            stamp += [-1, -1, -1]
    return tuple(stamp)


def list_models() -> list[ModelInfo]:
    """Bundled models, then the user's own; those that cannot be used are left out.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> "universal" in [model.name for model in al.list_models()]
    True
    """
    return list(_look()[0].values())


def left_out() -> list[str]:
    """Sentences of the models that :func:`list_models` leaves out: damaged, or of a taken name."""
    return list(_look()[1].values())


def find_model(name: str = "auto") -> ModelInfo:
    """Look a model up by name, or by the path of a safetensors file.

    Raises
    ------
    ModelError
        If there is no such model, or the file is damaged.
    """
    if not isinstance(name, str):
        raise ModelError(f"A model is named by a text, not {type(name).__name__}.")
    if name.endswith(".safetensors"):
        path = Path(name)
        if not path.exists():
            raise ModelError(f"There is no model file {path.name}.")
        return _info(path)
    models, left = _look()
    wanted = "universal" if name == "auto" else name
    if wanted not in models:
        for place, sentence in left.items():
            if Path(place).stem == wanted:
                raise ModelError(sentence)
        raise ModelError(
            f"There is no model named {wanted!r}; there are: {', '.join(models) or 'none'}."
        )
    return models[wanted]
