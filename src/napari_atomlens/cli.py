"""The command line: ``analyze``, ``batch``, ``adapt``, ``watch``, ``models``, ``train`` and more.

Options of the commands that take a parameter dataclass are made from it, so that names,
defaults, bounds and help are written once (:mod:`napari_atomlens.params`). Those commands
are built when they are asked for: ``atomlens --help`` need not load PyTorch.
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_atomlens.errors import AtomLensError, ParameterError
from napari_atomlens.io.export.tables import write_tables
from napari_atomlens.params import ParamInfo, describe
from napari_atomlens.runs.params import AnalysisParams


def _sentences(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors raised on purpose into one sentence on stderr and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except AtomLensError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None

    return wrapped


def _option(info: ParamInfo) -> inspect.Parameter:
    """Make the command-line option of one parameter."""
    word = info.name.removesuffix(f"_{info.unit}") if info.unit else info.name
    flag = "--" + word.replace("_", "-")
    text = f"{info.help} ({info.unit})" if info.unit else info.help
    settings: dict[str, Any] = {"help": text}
    default: Any = info.default
    kind: Any = info.kind
    if kind is bool:
        flag = f"{flag}/--no-{word.replace('_', '-')}"
    elif kind in (int, float):
        settings |= {"min": info.minimum, "max": info.maximum}
        settings["metavar"] = info.unit.upper() if info.unit else None
    elif info.choices:
        choice: Any = enum.Enum(info.name, [(c, c) for c in info.choices])  # type: ignore[misc]
        kind, default = choice, choice(info.default)
    return inspect.Parameter(
        info.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer.Option(flag, **settings)],
    )


def _build(
    name: str, function: Callable[..., Any], params: type, without: tuple[str, ...] = ()
) -> Any:
    """Build the command `name` from a function that takes the fields of `params` as keywords.

    Fields named in `without` get no option.
    """
    own = [
        p
        for p in inspect.signature(function, eval_str=True).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        return function(**{k: v.value if isinstance(v, enum.Enum) else v for k, v in given.items()})

    everything = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    everything += [_option(info) for info in describe(params) if info.name not in without]
    del command.__wrapped__
    command.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in everything}
    lone = typer.Typer(add_completion=False)
    lone.command(name)(command)
    return typer.main.get_command(lone)


class _LazyGroup(TyperGroup):
    """A group that builds some of its commands when they are asked for."""

    lazy: dict[str, Callable[[], Any]] = {}  # noqa: RUF012 - set once by the subclasses

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, the lazy ones first."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, built now if it is a lazy one."""
        if cmd_name in self.lazy:
            return self.lazy[cmd_name]()
        return super().get_command(ctx, cmd_name)


def parse_frames(text: str) -> list[int] | None:
    """Read a choice of frames such as "0,5,10-20"; an empty text means all of them.

    Raises
    ------
    ParameterError
        If the text is anything else.
    """
    frames: list[int] = []
    for piece in text.replace(" ", "").split(",") if text.strip() else []:
        first, dash, last = piece.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ParameterError(f"frames is {text!r}, but must be like 0,5,10-20.")
        frames += range(int(first), int(last if dash else first) + 1)
    if not frames and text.strip():
        raise ParameterError(f"frames is {text!r}, which holds no frame.")
    return frames or None


def _folders(inputs: Sequence[Path], out: Path | None) -> list[Path]:
    """One folder per input; files of the same name in different places keep apart."""
    if len(inputs) == 1:
        return [out or Path(f"{inputs[0].stem}_atoms")]
    taken: dict[Path, int] = {}
    folders = []
    for path in inputs:
        folder = (out or Path()) / (path.stem if out else f"{path.stem}_atoms")
        taken[folder] = taken.get(folder, 0) + 1
        n = taken[folder]
        folders.append(folder if n == 1 else folder.with_name(f"{folder.name}-{n}"))
    return folders


def _analyze(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images or movies to analyse.")
    ],
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="NM", help="Pixel size in nm; without it, the one in the file."),
    ] = None,
    frames: Annotated[str, typer.Option(help="Frames, such as 0,5,10-20; all by default.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the tables (of one folder per input, where there are several); "
            "by default NAME_atoms here.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the time spent by stage.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page with image, tables and plots.")
    ] = False,
    movie: Annotated[
        str,
        typer.Option(metavar="gif|mp4", help="Also write a movie with the atoms of every frame."),
    ] = "",
    **params: Any,
) -> None:
    """Find every atom in images or movies and write the tables as CSV files."""
    chosen = parse_frames(frames)
    if pixel_size is not None and not 0 < pixel_size < float("inf"):
        raise ParameterError(f"pixel-size is {pixel_size:g} nm, but must be above 0.")
    from napari_atomlens.runs import analysis

    if movie not in ("", "gif", "mp4"):
        raise ParameterError(f"movie is {movie!r}, but must be gif or mp4.")
    settings = AnalysisParams(**params)
    failed = 0
    for path, folder in zip(inputs, _folders(inputs, out), strict=True):
        try:
            if not path.exists():
                raise ParameterError(f"There is no file {path}.")
            result = analysis.analyze(
                str(path),
                keep_maps=False,
                pixel_size_nm=None if pixel_size is None else (pixel_size, pixel_size),
                frames=chosen,
                params=settings,
            )
        except AtomLensError as error:
            # With several inputs one that cannot be read must not cost the others.
            typer.echo(f"{path.name}: {error}" if len(inputs) > 1 else str(error), err=True)
            failed += 1
            continue
        write_tables(result, folder)
        if (report or movie) and result.frames:
            try:
                _draw(path, folder, result, report=report, movie=movie)
            except AtomLensError as error:  # the tables are there all the same
                typer.echo(f"{path.name}: {error}", err=True)
                failed += 1
        atoms = result.atoms
        n_frames = atoms["frame"].nunique() if len(atoms) else 0
        where = f" in {n_frames} frames" if n_frames > 1 else ""
        typer.echo(f"{path.name}: {len(atoms)} atoms{where} -> {folder}")
        why = result.provenance.get("model_chosen", "given")
        if why not in ("given", *result.messages):
            typer.echo(f"{path.name}: {why}", err=True)
        for message in result.messages:
            typer.echo(f"{path.name}: {message}", err=True)
        if verbose:
            total = sum(result.seconds.values())
            for stage, seconds in result.seconds.items():
                share = seconds / total if total else 0
                typer.echo(f"  {stage:<16}{seconds:9.3f} s {share:6.1%}")
            typer.echo(f"  {'sum of stages':<16}{total:9.3f} s")
    if failed:
        raise typer.Exit(2)


def _draw(path: Path, folder: Path, result: Any, *, report: bool, movie: str) -> None:
    """Write the report and the movie of a result beside its tables."""
    import numpy as np

    from napari_atomlens.image import as_stack
    from napari_atomlens.io.export import figures
    from napari_atomlens.io.export import report as page
    from napari_atomlens.io.formats.readers import read

    stack = as_stack(read(path)[0].data)
    if report:
        for kind in ("html", "pdf"):
            page.save_report(
                folder / f"report.{kind}", np.asarray(stack[result.frames[0]]), result,
                title=path.name, frame=result.frames[0],
            )  # fmt: skip
    if movie:
        order = {f: k for k, f in enumerate(result.frames)}
        figures.save_movie(
            folder / f"movie.{movie}", (np.asarray(stack[f]) for f in result.frames),
            result.atoms.assign(frame=result.atoms["frame"].map(order)),
            result.provenance.get("pixel_size_nm"),
        )  # fmt: skip


def _build_analyze() -> Any:
    from napari_atomlens.runs.params import AnalysisParams

    return _build("analyze", _sentences(_analyze), AnalysisParams)


def _movie(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Movie to analyse.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the results; a run that was begun there goes on."
        ),
    ],
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="NM", help="Pixel size in nm; without it, the one in the file."),
    ] = None,
    frames: Annotated[str, typer.Option(help="Frames, such as 0,5,10-20; all by default.")] = "",
    max_gap: Annotated[
        int | None,
        typer.Option(min=-1, help="Frames an atom may be missed before its track ends."),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(min=1e-6, max=0.5, help="False changes allowed, per dumbbell and movie."),
    ] = None,
    **params: Any,
) -> None:
    """Follow every atom and dumbbell through a movie of any length; stops and goes on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from napari_atomlens.image import check_pixel_size
    from napari_atomlens.progress import Progress as Watch
    from napari_atomlens.runs.movie import analyze_movie, follow_folder
    from napari_atomlens.runs.params import AnalysisParams
    from napari_atomlens.tracking.changes import ChangeParams
    from napari_atomlens.tracking.linking import LinkParams

    if not source.exists():
        raise ParameterError(f"There is no file {source}.")
    check_pixel_size(pixel_size)
    chosen = parse_frames(frames)
    linking = LinkParams() if max_gap is None else LinkParams(max_gap=max_gap)
    changes = ChangeParams() if false_alarms is None else ChangeParams(false_alarms=false_alarms)
    done = 0
    try:
        with Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("frames"), Left(),
            disable=not sys.stderr.isatty(),
        ) as bar:  # fmt: skip
            task = bar.add_task("movie", total=None)

            def progress(ready: int, total: int) -> None:
                nonlocal done
                done = ready
                bar.update(task, completed=ready, total=total)

            for _ in analyze_movie(
                source, out, AnalysisParams(**params), pixel_size_nm=pixel_size, frames=chosen,
                progress=progress,
            ):  # fmt: skip
                pass
        found = follow_folder(
            out, linking=linking, changes=changes,
            progress=Watch(lambda done, of, what: typer.echo(what, err=True)),
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"Stopped after {done} frames; the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    tracks, pairs = found.tracks, found.dumbbells
    text = f"{tracks['track_id'].nunique():,} atoms followed through {done:,} frames"
    if len(pairs):
        text += f", {pairs['dumbbell_id'].nunique():,} dumbbells, {len(found.changes):,} changes"
    typer.echo(f"{source.name}: {text} -> {out}")


def _build_movie() -> Any:
    from napari_atomlens.runs.params import AnalysisParams

    return _build("movie", _sentences(_movie), AnalysisParams)


def _batch(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Files, and folders of files.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the data set; a run that was begun there goes on."
        ),
    ],
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="NM", help="Pixel size in nm; without it, those in the files."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Frames side by side; as many as cores by default."),
    ] = None,
    processes: Annotated[
        bool, typer.Option("--processes", help="Worker processes in place of threads.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A dask scheduler, such as tcp://host:8786."),
    ] = None,
    **params: Any,
) -> None:
    """Find every atom in many images and movies; one Parquet data set comes out."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from napari_atomlens.progress import Progress as Watch
    from napari_atomlens.runs.batch import run_batch
    from napari_atomlens.runs.params import BatchParams

    chosen = BatchParams(**params)
    text = TextColumn("frames {task.fields[failed]}")
    with Progress(
        BarColumn(), MofNCompleteColumn(), text, Left(), disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("batch", total=None, failed="")

        def progress(done: int, known: int, said: str) -> None:
            bar.update(task, completed=done, total=known, failed=said)

        found = run_batch(
            inputs, out, chosen, pixel_size_nm=pixel_size, workers=workers, processes=processes,
            scheduler=scheduler, progress=Watch(progress),
            started=lambda s: typer.echo(s, err=True),
        )  # fmt: skip
    typer.echo(
        f"{found.n_atoms} atoms in {found.n_frames} frames of {found.n_files} files -> {out} "
        f"({found.n_new_frames} frames in {found.seconds:.1f} s)"
    )
    for file, frame, reason in found.failures[["file", "frame", "reason"]].itertuples(index=False):
        where = file if frame < 0 else f"{file}, frame {frame}"
        typer.echo(f"{where}: {reason}", err=True)
    if len(found.failures):
        raise typer.Exit(2)


def _build_batch() -> Any:
    from napari_atomlens.runs.params import BatchParams

    return _build("batch", _sentences(_batch), BatchParams)


def _train_material(material: str, **params: Any) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from napari_atomlens import training

    chosen = training.TrainParams(material=material, **params)
    columns = (
        TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))

        def progress(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, loss=loss)
            if bar.disable:
                typer.echo(f"step {step} of {steps}, loss {loss:.4f}")

        path = training.train(chosen, progress=progress)
    typer.echo(f"The model is in {path}.")


def _build_material(name: str) -> Any:
    from napari_atomlens.training.loop import TrainParams

    def train(**params: Any) -> None:
        _train_material(name, **params)

    train.__doc__ = (
        f"Train the {name} model on simulated images; a second call goes on where it stopped."
    )
    return _build(name, _sentences(train), TrainParams, without=("material",))


def _watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to watch.")],
    once: Annotated[
        bool, typer.Option("--once", help="Analyse what is there and end, instead of waiting.")
    ] = False,
    **params: Any,
) -> None:
    """Analyse every new file of a folder; one line of JSON for each on standard output."""
    from napari_atomlens.runs.params import WatchParams
    from napari_atomlens.runs.watch import FolderWatch

    watching = FolderWatch(folder, WatchParams(**params))
    typer.echo(f"Watching {folder}; results go to {watching.out}. Ctrl-C ends.", err=True)
    try:
        for event in watching.run(once=once):
            typer.echo(event.as_json())
            sys.stdout.flush()
    except KeyboardInterrupt:
        typer.echo("Stopped; the next start goes on from here.", err=True)


def _build_watch() -> Any:
    from napari_atomlens.runs.params import WatchParams

    return _build("watch", _sentences(_watch), WatchParams)


def _train_crystal(
    crystal: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CIF, or another structure that ASE reads.")
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML", help="Zone axis, names of columns and defects; see docs/chemistry.md."
        ),
    ] = None,
    **params: Any,
) -> None:
    """Train a model for your own crystal; a second call goes on where it stopped.

    The model, with a card of its figures on held-out images, goes to the folder of your own
    models and from there into the window.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from napari_atomlens.training.crystal import CrystalParams, train_crystal

    columns = (
        TextColumn("step {task.completed:.0f} of {task.total:.0f}"), BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))

        def progress(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, loss=loss)
            if bar.disable:
                typer.echo(f"step {step} of {steps}, loss {loss:.4f}")

        info = train_crystal(
            crystal, recipe, CrystalParams(**params), progress=progress,
            stage=lambda text: typer.echo(text, err=True),
        )  # fmt: skip
    if info is not None:
        f = info.figures
        typer.echo(
            f"The model {info.name} is in {info.path}; F1 {f['f1']:.3f} on held-out images "
            f"(universal: {f['universal_f1']:.3f})."
        )


def _build_train_crystal() -> Any:
    from napari_atomlens.training.crystal import CrystalParams

    return _build("crystal", _sentences(_train_crystal), CrystalParams)


def _train_silicon(**params: Any) -> None:
    """Train the network of the defects of H-Si(100) on simulated scans."""
    from napari_atomlens.training.silicon import SiliconTrainParams, train_silicon

    def progress(step: int, done: float, loss: float) -> None:
        typer.echo(f"step {step}, {100 * done:.0f} % of the time, loss {loss:.4f}")

    typer.echo(f"The model is in {train_silicon(SiliconTrainParams(**params), progress)}.")


def _build_train_silicon() -> Any:
    from napari_atomlens.training.silicon import SiliconTrainParams

    return _build("silicon", _sentences(_train_silicon), SiliconTrainParams)


def _train_assess(**params: Any) -> None:
    """Train the assessment of scans on simulated faults."""
    from napari_atomlens.training.assess import AssessTrainParams, train_assessment

    def progress(done: int, total: int) -> None:
        typer.echo(f"scan {done} of {total}")

    typer.echo(f"The network is in {train_assessment(AssessTrainParams(**params), progress)}.")


def _build_train_assess() -> Any:
    from napari_atomlens.training.assess import AssessTrainParams

    return _build("assess", _sentences(_train_assess), AssessTrainParams)


def _adapt(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image or movie to learn from.")],
    atoms: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Corrected atoms as CSV or Parquet (frame, y_px, x_px, species), or a project; "
            "without it the Fourier-subtraction recipe labels the frame.",
        ),
    ] = None,
    frames: Annotated[
        str, typer.Option(help="Frames to learn from, such as 0,2; the corrected ones by default.")
    ] = "",
    spacing: Annotated[
        float, typer.Option(metavar="PX", min=0, help="Distance between nearest columns; 0 finds.")
    ] = 0.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the new model even where it is not better.")
    ] = False,
    **params: Any,
) -> None:
    """Teach a model what you have corrected, or what the Fourier recipe says of one frame."""
    import numpy as np
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from napari_atomlens import training
    from napari_atomlens.image import as_stack
    from napari_atomlens.io.formats.readers import read
    from napari_atomlens.training import adaptation as adapting
    from napari_atomlens.training.fourier import FourierParams

    chosen = parse_frames(frames)
    movie = as_stack(read(image)[0].data)
    if atoms is None:
        order = chosen or [0]
        p = FourierParams(spacing_px=spacing)
        labelled = [training.fourier_labels(np.asarray(movie[_frame(f, movie)]), p) for f in order]
    else:
        table = read_atoms(atoms)
        order = chosen or sorted({int(f) for f in table["frame"]})
        labelled = [
            training.label_frame(
                np.asarray(movie[_frame(f, movie)]), table[table["frame"] == f], spacing
            )
            for f in order
        ]
    columns = (
        TextColumn("step {task.completed:.0f}"), BarColumn(), TextColumn("{task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("adapting", total=None, loss=float("nan"))

        def progress(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, loss=loss)

        result = training.adapt(labelled, training.AdaptParams(**params), progress=progress)
    typer.echo(result.sentence)
    if not (result.is_better or keep):
        adapting.discard(result)
        typer.echo("The new model was not kept (--keep keeps it).", err=True)
        raise typer.Exit(1)
    typer.echo(f"The model {result.name} is in {adapting.keep(result).path}.")


def _frame(f: int, movie: Any) -> int:
    if not 0 <= f < movie.shape[0]:
        raise ParameterError(f"Frame {f} does not exist; the movie has {movie.shape[0]} frames.")
    return f


def read_atoms(path: Path) -> Any:
    """Read an atoms table from CSV, Parquet or a project.

    Raises
    ------
    ParameterError, FormatError
        If it is not there, or not a table of atoms.
    """
    import pandas as pd

    if not path.exists():
        raise ParameterError(f"There is no file {path}.")
    if path.is_dir():
        from napari_atomlens.runs.result import load

        return load(path).atoms
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path.name} is not a table ({type(error).__name__}).") from None
    if "frame" not in table:
        table["frame"] = 0
    if missing := {"y_px", "x_px"} - set(table.columns):
        raise ParameterError(f"{path.name} lacks {', '.join(sorted(missing))}.")
    return table


def _build_adapt() -> Any:
    from napari_atomlens.training.adaptation import AdaptParams

    return _build("adapt", _sentences(_adapt), AdaptParams)


class _Commands(_LazyGroup):
    lazy = {  # noqa: RUF012
        "analyze": _build_analyze,
        "movie": _build_movie,
        "batch": _build_batch,
        "adapt": _build_adapt,
        "watch": _build_watch,
    }


class _TrainCommands(_LazyGroup):
    lazy = {  # noqa: RUF012
        **{
            n: functools.partial(_build_material, n)
            for n in ("universal", "graphene", "silicon-110", "tmd", "perovskite")
        },
        "crystal": _build_train_crystal,
        "silicon": _build_train_silicon,
        "assess": _build_train_assess,
    }


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)
train_app = typer.Typer(cls=_TrainCommands, no_args_is_help=True)
app.add_typer(train_app, name="train")


def _version(wanted: bool) -> None:
    if wanted:
        from napari_atomlens import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Find, measure and follow every atom in STEM and STM images."""


@train_app.callback()
def _train() -> None:
    """Train a model."""


@app.command()
@_sentences
def assess(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Scans to assess.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each image.")
    ] = False,
    all_channels: Annotated[
        bool, typer.Option("--all", help="Every image of a file, not only the first.")
    ] = False,
) -> None:
    """Say whether STM scans are any good, and why not."""
    from napari_atomlens.io.formats.readers import read
    from napari_atomlens.stm.assessment import assess as judge

    failed = 0
    for path in inputs:
        try:
            if not path.exists():
                raise ParameterError(f"There is no file {path}.")
            images = read(path)
            for image in images if all_channels else images[:1]:
                verdict = judge(image)
                usable = float(verdict.usable_mask.mean())
                if as_json:
                    facts = {"name": image.name, "score": round(verdict.score, 4),
                             "label": verdict.label, "reasons": verdict.reasons,
                             "usable": round(usable, 4), "faults": verdict.faults}  # fmt: skip
                    typer.echo(json.dumps(facts))
                    continue
                typer.echo(
                    f"{image.name}: {verdict.label} ({verdict.score:.2f}), "
                    f"{100 * usable:.0f} % usable. {' '.join(verdict.reasons)}"
                )
        except AtomLensError as error:
            typer.echo(f"{path.name}: {error}" if len(inputs) > 1 else str(error), err=True)
            failed += 1
    if failed:
        raise typer.Exit(2)


@app.command()
@_sentences
def models(
    card: Annotated[str, typer.Option(metavar="NAME", help="Print the card of this model.")] = "",
) -> None:
    """List the models, or print the card of one."""
    from napari_atomlens.segmentation.zoo import find_model, list_models

    if card:
        info = find_model(card)
        typer.echo(info.card or f"The model {info.name} has no card.")
        return
    found = list_models()
    for info in found:
        about = ", ".join(filter(None, [info.material, info.technique]))
        typer.echo(f"{info.name}: {about}; {info.preferred_spacing_px:g} px between columns")
        typer.echo(f"    classes: {', '.join(info.classes)}")
        typer.echo(f"    weights: {info.path}")
    if not found:
        typer.echo("There are no models.", err=True)


@app.command()
@_sentences
def demo(
    screenshot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save the window as a picture and leave."),
    ] = None,
) -> None:
    """Open napari on a simulated sample with every atom found.

    Without a screen a virtual display is used and the window is saved as a picture.
    """
    from napari_atomlens.widgets.demo import run_demo

    saved = run_demo(screenshot)
    if saved:
        typer.echo(f"The window is saved as {saved.resolve()}")


if __name__ == "__main__":
    app()
