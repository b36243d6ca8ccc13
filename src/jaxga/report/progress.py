"""Progress of a run: a bar on a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn

LINE_SECONDS = 10.0  # seconds between plain lines


class Silence:
    """Shows nothing: a progress meter for tests and for loops of runs."""

    def start(self, generation: int, generations: int) -> None:
        """Called when a run begins or continues.

        Args:
          generation: the number of the first generation.
          generations: the number at which the run ends.
        """

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Called with the records of generations that were completed."""

    def say(self, text: str) -> None:
        """Show a line of text."""

    def close(self) -> None:
        """Called when the run is over."""


class Progress(Silence):
    """Shows best fitness, evaluations per second and remaining time: a bar, or without a terminal a line every 10 s."""

    def __init__(self, label: str = ""):
        from rich.console import Console

        self.label = label
        self.console = Console(stderr=True)
        self.bar: Bar | None = None
        self.task: Any = None
        self.generations = 0
        self.last_line = 0.0
        self.unsaid = ""

    def start(self, generation: int, generations: int) -> None:
        """Show the bar; without a terminal nothing yet."""
        from rich.progress import Progress as Bar

        self.generations = generations
        self.last_line = time.monotonic()
        if not self.console.is_terminal:
            return
        self.bar = Bar(*self.columns(), console=self.console)
        self.task = self.bar.add_task(
            self.label or "evolving", total=generations, completed=generation, status="compiling"
        )
        self.bar.start()

    def columns(self) -> "list[ProgressColumn]":
        """The columns of the bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        status, left = TextColumn("{task.fields[status]}"), TimeRemainingColumn()
        return [TextColumn("[bold]{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), status, left]

    def status(self, records: Sequence[dict[str, Any]]) -> str:
        """The text that is shown after these generations."""
        last = records[-1]
        measured = next((row["best_validation"] for row in reversed(records) if "best_validation" in row), None)
        validation = "" if measured is None else f"  validation {measured:.4g}"
        return f"best {last['best_fitness']:.6g}{validation}  {last['evaluations_per_second']:,.0f} evaluations/s"

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Move the bar, or print a line if the last one is more than 10 seconds old."""
        self.show(records[-1]["generation"] + 1, self.status(records))

    def show(self, generation: int, status: str) -> None:
        """Show the number of generations and a status, on the bar or as a line.

        Args:
          generation: number of generations that are complete.
          status: text that is shown beside it.
        """
        if self.bar:
            self.bar.update(self.task, completed=generation, status=status)
            return
        self.unsaid = f"{self.label} generation {generation}/{self.generations}  {status}".strip()
        if time.monotonic() - self.last_line > LINE_SECONDS:
            self._say_line()

    def _say_line(self) -> None:
        self.last_line = time.monotonic()
        self.say(self.unsaid)
        self.unsaid = ""

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        (self.bar.console if self.bar else self.console).print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop the bar, or print the last line."""
        if self.bar:
            self.bar.stop()
        elif self.unsaid:
            self._say_line()
        sys.stderr.flush()
