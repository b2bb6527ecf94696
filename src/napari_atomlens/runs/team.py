"""Files of a watch side by side, each in a process of its own that is kept warm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from napari_atomlens.runs.apart import Apart, borrow, give_back
from napari_atomlens.segmentation import runtime

J = TypeVar("J")
R = TypeVar("R")
T = TypeVar("T")

#: More processes than that want more memory than an instrument's computer has to spare.
MOST = 4


class Team(Generic[J, R]):
    """Some processes, and a thread for each that waits for it.

    Parameters
    ----------
    workers : int or None
        As many as cores, at most `MOST`, where nobody says.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.size = workers or min(runtime.cores(), MOST)
        self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="atomlens-watch")
        self._lock = threading.Lock()
        self._free: list[Apart] = []
        self._busy: set[Apart] = set()
        self._ended = False
        self._running: dict[Future[R], J] = {}

    @property
    def n_running(self) -> int:
        """Jobs in work."""
        return len(self._running)

    @property
    def has_room(self) -> bool:
        """Whether a process is free: what waits, waits elsewhere, where its order may change."""
        return len(self._running) < self.size

    def threads(self, waiting: int) -> int:
        """Threads that each process may use while so many jobs wait or run."""
        return max(1, runtime.cores() // max(1, min(self.size, waiting)))

    def warm_up(self, work: Callable[[Apart], object]) -> None:
        """Do the same in every process, before the first job comes."""
        for _ in range(self.size):
            self._pool.submit(self._with_process, work)

    def start(self, job: J, work: Callable[[Apart], R]) -> None:
        """Begin a job."""
        self._running[self._pool.submit(self._with_process, work)] = job

    def finished(self, seconds: float) -> list[tuple[J, R]]:
        """Jobs that were finished by now, or within some seconds; whatever a job raises is raised.

        Parameters
        ----------
        seconds : float
            The most that is waited for the first.
        """
        done, _ = wait(self._running, seconds, FIRST_COMPLETED)
        return [(self._running.pop(future), future.result()) for future in done]

    def _with_process(self, work: Callable[[Apart], T]) -> T:
        with self._lock:
            process = self._free.pop() if self._free else Apart() if self._ended else borrow()
            self._busy.add(process)
            if self._ended:
                process.close()
        try:
            return work(process)
        finally:
            with self._lock:
                self._busy.discard(process)
                if not self._ended:
                    self._free.append(process)

    def close(self) -> None:
        """End what is in work, at once; idle processes are kept for whoever comes next."""
        with self._lock:
            self._ended = True
            busy, free = list(self._busy), self._free
            self._free = []
        for process in busy:
            process.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for process in free:
            give_back(process)
