"""Tables on the terminal."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def print_table(rows: Sequence[dict[str, Any]], title: str = "") -> None:
    """Print a table. Numbers are aligned to the right.

    Args:
      rows: a dict for each row. The keys of the first one are the columns.
      title: printed above the table, by default none.
    """
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=160)).print(_table(rows, title))


def text_table(rows: Sequence[dict[str, Any]]) -> str:
    """The text of a table of dicts, as wide as necessary."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=1000)
    with console.capture() as captured:
        console.print(_table(rows, "", box=None))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _table(rows: Sequence[dict[str, Any]], title: str, **options: Any) -> "Table":
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", **options)
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_text(row[name]) for name in rows[0]))
    return table


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1e4 else f"{value:,.0f}"
