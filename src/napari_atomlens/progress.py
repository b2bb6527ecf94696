"""What a long job tells while it works, and whether it is asked to stop.

Every long function takes one argument ``progress``: a :class:`Progress`, or a plain function
that is called with (done, total), or None. There is no bar here; whoever waits draws one.
"""

from __future__ import annotations

from collections.abc import Callable

from napari_atomlens.errors import AtomLensError, ParameterError

#: Called with (done, total, what); a total of 0 means that it is not known.
Report = Callable[[int, int, str], object]


class StoppedError(AtomLensError):
    """A job was asked to stop before there was anything to keep."""


class Progress:
    """Listens to a long job, and can ask it to stop.

    Parameters
    ----------
    report : callable, optional
        Called with (done, total, what): how much is done, of how much (0 where that is not
        known), and what is being done ("" where there is nothing to say).
    stop : callable, optional
        Asked between the steps of the job; once it returns True the job ends and what is
        finished is kept.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> progress = al.Progress(lambda done, total, what: print(done, "of", total))
    >>> progress(1, 10)
    1 of 10
    >>> progress.stopped
    False
    """

    def __init__(
        self, report: Report | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        self._report, self._stop = report, stop

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Tell how far the job is."""
        if self._report is not None:
            self._report(done, total, what)

    def say(self, what: str) -> None:
        """Tell what is being done, where nothing can be counted."""
        self(0, 0, what)

    @property
    def stopped(self) -> bool:
        """Whether the job is asked to stop."""
        return self._stop is not None and bool(self._stop())

    def check(self) -> None:
        """Give up where nothing is finished yet.

        Raises
        ------
        StoppedError
            If the job is asked to stop.
        """
        if self.stopped:
            raise StoppedError("Stopped.")

    def part(self, first: int, n: int, total: int) -> Progress:
        """Progress of a part of the job: its steps 0 to `n` are `first` to `first + n`."""
        return Progress(
            lambda done, of, what: self(first + (done * n // of if of else 0), total, what),
            lambda: self.stopped,
        )


#: What public functions accept.
ProgressLike = Progress | Callable[[int, int], object] | None


def as_progress(given: ProgressLike) -> Progress:
    """Return a :class:`Progress` of whatever was given."""
    if isinstance(given, Progress):
        return given
    if given is None:
        return Progress()
    if not callable(given):
        raise ParameterError("progress must be a Progress or a function of (done, total).")
    tell = given
    return Progress(lambda done, total, what: tell(done, total))
