"""Where tasks are done: threads here, processes here, a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from napari_atomlens.errors import ParameterError
from napari_atomlens.runs.tasks import Done, Task, work_on

#: A chunk whose worker died so many times is given up: a frame in it may need too much memory.
MOST_DEATHS = 5
#: Tasks in one graph, or per worker waiting: neither may grow with the number of files.
MOST_TASKS = 4096


class Threads:
    """dask's threads in this process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, tasks: Iterator[Task], report: Callable[[Done], list[Task]], stop: threading.Event
    ) -> None:
        """Do the tasks, and those that `report` answers with; on `stop` start no more."""
        from concurrent.futures import ThreadPoolExecutor
        from itertools import islice

        import dask.threaded
        from dask.callbacks import Callback

        def work(task: Task) -> Done | None:
            return None if stop.is_set() else work_on(task)

        more: list[Task] = []

        def finished(key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
            if isinstance(value, Done):
                more.extend(report(value))

        with ThreadPoolExecutor(self.workers, thread_name_prefix="atomlens") as pool:
            while not stop.is_set():
                # chunks of known files before new files
                now, more = more[:MOST_TASKS], more[MOST_TASKS:]
                now += islice(tasks, MOST_TASKS - len(now))
                if not now:
                    return
                graph = {f"{k}": (work, task) for k, task in enumerate(now)}
                with Callback(posttask=finished):
                    dask.threaded.get(graph, list(graph), pool=pool)

    def close(self) -> None:
        """Nothing is left open."""


class Cluster:
    """A dask cluster: of processes on this machine, or one that is there already."""

    def __init__(self, workers: int, scheduler: str | None) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise ParameterError(
                "Worker processes and schedulers need dask.distributed; install it with "
                '`pip install "napari-atomlens[cluster]"`.'
            ) from error
        self._distributed: Any = distributed
        self._local: Any = None
        if scheduler:
            try:
                self._client = distributed.Client(scheduler, timeout="20s")
            except (OSError, ValueError) as error:
                raise ParameterError(f"No dask scheduler answers at {scheduler}.") from error
        else:
            one = {f"{lib}_NUM_THREADS": "1" for lib in ("OMP", "MKL", "OPENBLAS")}
            with dask.config.set(
                {
                    "distributed.nanny.pre-spawn-environ": one,
                    "distributed.scheduler.allowed-failures": MOST_DEATHS,
                    # a client that is gone must not leave workers behind
                    "distributed.comm.timeouts.connect": "20s",
                }
            ):
                self._local = self._start(workers)
                self._client = distributed.Client(self._local)

    def _start(self, workers: int) -> Any:
        """Start worker processes; one that dies while it starts is no reason to give up."""
        for _ in range(3):
            try:
                return self._distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0,
                    dashboard_address=":0", silence_logs=50, death_timeout="20s",
                )  # fmt: skip
            except RuntimeError:
                continue
        raise ParameterError("The worker processes could not be started; try threads.")

    @property
    def dashboard(self) -> str:
        """Address of the dashboard."""
        return str(self._client.dashboard_link)

    def run(
        self, tasks: Iterator[Task], report: Callable[[Done], list[Task]], stop: threading.Event
    ) -> None:
        """Do the tasks, and those that `report` answers with; on `stop` start no more."""
        from itertools import islice

        completed = self._distributed.as_completed()
        todo: list[Task] = []
        deaths: dict[tuple[str, str], int] = {}
        running: dict[Any, Task] = {}

        def submit() -> None:
            slots = sum(self._client.nthreads().values()) or 1
            room = 2 * slots + 2 - len(running)  # few wait: memory does not grow with the files
            if room <= 0 or stop.is_set():
                return
            now = todo[:room]
            del todo[: len(now)]
            for task in [*now, *islice(tasks, room - len(now))]:
                future = self._client.submit(work_on, task, pure=False)
                running[future] = task
                completed.add(future)

        submit()
        while running:
            future = completed.next()
            task = running.pop(future)
            if future.status == "finished":
                todo += report(future.result())
            else:
                error = future.exception()
                key = (task.file, task.part)
                deaths[key] = deaths.get(key, 0) + 1
                if isinstance(error, self._distributed.KilledWorker) and deaths[key] < 2:
                    todo.append(task)
                else:
                    todo += report(Done(task, error=f"The worker failed: {error}"))
            future.release()
            submit()

    def close(self) -> None:
        """Leave the scheduler; end it where it is ours."""
        self._client.close()
        if self._local is not None:
            self._local.close()
