"""Threads that run one at a time, in the order of a simulated clock. So a simulation does not depend on the machine.

time = VirtualTime()
time.spawn(work)         # `work` calls time.sleep(0.02), which takes no real time
time.run()
"""

import heapq
import itertools
import threading
from collections.abc import Callable


class VirtualTime:
    """A clock in seconds, and the threads that wait for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._order = itertools.count()
        self._finished = threading.Event()
        self._error: BaseException | None = None

    def spawn(self, work: Callable[[], object], delay: float = 0) -> None:
        """Run `work` in a thread of its own, after `delay` seconds."""
        turn = self._wait_for(self.now + delay)
        threading.Thread(target=self._run_thread, args=(work, turn), daemon=True).start()

    def sleep(self, seconds: float) -> None:
        """Let the other threads run until `seconds` have passed. For threads of this clock only."""
        turn = self._wait_for(self.now + seconds)
        self._run_next()
        turn.wait()

    def run(self) -> None:
        """Run all threads to their ends. Raises the first exception of a thread, and does not run the others then."""
        self._run_next()
        self._finished.wait()
        if self._error is not None:
            raise self._error

    def _wait_for(self, at: float) -> threading.Event:
        turn = threading.Event()
        heapq.heappush(self._waiting, (at, next(self._order), turn))
        return turn

    def _run_next(self) -> None:
        if self._waiting:
            self.now, _, turn = heapq.heappop(self._waiting)
            turn.set()
        else:
            self._finished.set()

    def _run_thread(self, work: Callable[[], object], turn: threading.Event) -> None:
        turn.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # `run` raises it
            self._error = error
            self._finished.set()
            return
        self._run_next()
