"""Jobs spread over processes that are seen to die, and that all end with the one that started them."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any


class WorkerDied(RuntimeError):
    """A process ended in the middle of a job: killed for its memory, or crashed in compiled code."""


def in_processes(
    work: Callable[[Any], Any], jobs: Sequence, processes: int, names: Sequence[str]
) -> Iterator:
    """``work(job)`` of every job, in the order in which they are finished, by so many processes; 1 is this one.

    A process gets one job at a time. All of them end when the iterator does: exhausted, by an error, by Ctrl-C.

    Raises:
        WorkerDied: that names the job.
    """
    if processes <= 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads that hold locks
    left = iter(range(len(jobs)))
    workers = {}
    try:
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(work, there), daemon=True)
            process.start()
            there.close()
            workers[here] = process, _hand_out(here, jobs, left)
        while busy := [here for here, (_, job) in workers.items() if job is not None]:
            for here in wait(busy):
                process, job = workers[here]
                try:
                    failed, result = here.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    raise WorkerDied(_death(names[job], process.exitcode)) from None
                if failed:
                    raise result
                workers[here] = process, _hand_out(here, jobs, left)
                yield result
    finally:
        for here, (process, _) in workers.items():
            process.terminate()
            process.join()
            here.close()


def _hand_out(here, jobs, left):
    job = next(left, None)
    if job is not None:
        try:
            here.send(jobs[job])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died: recv will tell
    return job


def _death(name, code):
    how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
    reason = ": too little memory?" if code == -signal.SIGKILL else "."
    return (
        f"the process that drew {name!r} ended {how}{reason}\n"
        "What was drawn is kept; call again with fewer processes, or without this shape."
    )


def _serve(work, there):
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the process that started this one, which ends it
    try:
        while True:
            job = there.recv()
            try:
                answer = False, work(job)
            except Exception as error:
                answer = True, error
            there.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the process that started this one is gone
