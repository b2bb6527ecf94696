"""What commands say, where they write, and how they end when something is wrong."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import typer

from napari_atomlens.errors import AtomLensError, ParameterError


def say(sentence: str) -> None:
    """Say something to the user, apart from what the command gives."""
    typer.echo(sentence, err=True)


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Turn the errors of a user's making into one sentence on stderr and exit code 2."""
    try:
        yield
    except AtomLensError as error:
        say(str(error))
        raise typer.Exit(2) from None
    except OSError as error:  # a full disk, a folder that nobody may write to
        if error.errno == errno.EPIPE:  # the reader of a pipe has seen enough
            raise
        say(of_the_system(error))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        say("Stopped.")
        raise typer.Exit(130) from None


def of_the_system(error: OSError) -> str:
    """Return an error of the operating system as a sentence."""
    return f"{error.filename or 'A file'}: {error.strerror or error}."


def each(inputs: Sequence[Path], work: Callable[[Path], None]) -> None:
    """Do the same with every input; one that cannot be used does not cost the others.

    Raises
    ------
    typer.Exit
        With code 2, after all of them, if there was a sentence about any.
    """
    failed = False
    for path in inputs:
        try:
            there(path)
            work(path)
        except (AtomLensError, OSError) as error:
            sentence = of_the_system(error) if isinstance(error, OSError) else str(error)
            say(f"{path.name}: {sentence}" if len(inputs) > 1 else sentence)
            failed = True
    if failed:
        raise typer.Exit(2)


def there(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises
    ------
    ParameterError
        If it is not.
    """
    if not path.exists():
        raise ParameterError(f"There is no file {path}.")
    return path


def expanded(inputs: Sequence[Path]) -> list[Path]:
    """Return files that are there; patterns such as ``f*.dm3``, which not every shell opens up.

    Raises
    ------
    ParameterError
        If one is not there, or nothing fits a pattern.
    """
    found: list[Path] = []
    for path in inputs:
        pattern = any(c in path.name for c in "*?[") and not path.exists()
        fitting = sorted(path.parent.glob(path.name)) if pattern else []
        found += fitting or [there(path)]
    return found


def folders(inputs: Sequence[Path], out: Path | None, what: str) -> dict[Path, Path]:
    """Choose a folder for each input; files of the same name in different places keep apart.

    Parameters
    ----------
    inputs : sequence of pathlib.Path
    out : pathlib.Path or None
        As the user gave it.
    what : str
        What comes out: the folders are NAME_what where none is given.
    """
    if len(inputs) == 1:
        return {inputs[0]: out or Path(f"{inputs[0].stem}_{what}")}
    taken: dict[Path, int] = {}
    chosen = {}
    for path in inputs:
        folder = (out or Path()) / (path.stem if out else f"{path.stem}_{what}")
        n = taken[folder] = taken.get(folder, 0) + 1
        chosen[path] = folder if n == 1 else folder.with_name(f"{folder.name}-{n}")
    return chosen
