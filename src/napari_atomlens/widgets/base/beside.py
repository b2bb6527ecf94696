"""One thing that is computed beside the window; what comes too late is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from napari_atomlens.errors import AtomLensError
from napari_atomlens.widgets.base.jobs import Job, Stop, report_crash

R = TypeVar("R")


class Beside(Generic[R]):
    """Computes in a thread what is made anew after an edit.

    Parameters
    ----------
    take : callable
        Called in the window with the result, as long as nothing else was started meanwhile.
    """

    def __init__(self, take: Callable[[R], object]) -> None:
        self._take = take
        self._job: Job | None = None

    def start(self, make: Callable[[], R], fail: Callable[[AtomLensError], object]) -> None:
        """Compute something in place of what is going on.

        Parameters
        ----------
        make : callable
            Called in a thread; touches neither layers nor anything else that changes.
        fail : callable
            Called in the window with an error of ours.
        """
        self.stop()
        job = Job()

        def results(made: list[object]) -> None:
            if self._job is job:
                self._take(cast(R, made[0]))

        def failed(what: str) -> None:
            if self._job is job:
                fail(AtomLensError(what))

        def crashed(error: Exception) -> None:
            failed(report_crash(error))

        def work(stop: Stop) -> Iterator[object]:
            yield make()

        job.results.connect(results)
        job.failed.connect(failed)
        job.crashed.connect(crashed)
        self._job = job
        job.start(work, needs_torch=False)

    def stop(self) -> None:
        """Drop what is going on."""
        job, self._job = self._job, None
        if job is not None:
            job.close()
