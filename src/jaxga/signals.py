"""Signals during a run: SIGINT and SIGTERM wait until the run has saved, and then do what they would have done."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

HEARD = signal.SIGINT, signal.SIGTERM


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal that Python turns into KeyboardInterrupt, ended a run, which has saved.

    Where no directory was given nothing is on disk, and ``result`` is all that there is (in a notebook:
    ``sys.last_value.result``).
    """

    def __init__(self, result: Any, directory: Any):
        where = f"its state is saved in {directory}" if directory else "its result so far is .result of this exception"
        super().__init__(f"the run was {result.stopped_because}, after {result.generations} generations: {where}.")
        self.result = result  # a `jaxga.Result`
        self.directory = directory  # a path, or None


class _Leave(KeyboardInterrupt):
    """A signal came within `Interrupt.leaving`."""


class Interrupt:
    """Within this context SIGINT and SIGTERM ask for a stop; a second one stops at once.

    So does the first, within `leaving`.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._old: dict[int, Any] = {}
        self._leaves = False

    def __enter__(self) -> "Interrupt":
        for number in HEARD:
            if signal.getsignal(number) is signal.SIG_IGN:  # as under nohup: it would do nothing
                continue
            try:
                self._old[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: whoever owns it decides
                break
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if self._leaves:
            raise _Leave

    @contextlib.contextmanager
    def leaving(self, leaves: bool) -> Iterator[None]:
        """Within this context, if it ``leaves``, the first signal raises at once, and ends it.

        Use it only around work that is safe to repeat.
        """
        self._leaves = leaves
        try:
            with contextlib.suppress(_Leave):
                yield
        finally:
            self._leaves = False

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


def pass_on(number: int, result: Any, directory: Any) -> None:
    """Let a signal do what it would have done without the run: end the process, or call the handler that is set.

    Raises:
      Interrupted: where that raises KeyboardInterrupt, as Ctrl-C does.
    """
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt as error:
        raise Interrupted(result, directory) from error
