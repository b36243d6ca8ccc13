"""Tables on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_table(rows: Sequence[dict[str, Any]], title: str = "") -> None:
    """Print dicts as rows; columns are the keys of the first, numbers stand right."""
    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_text(row[name]) for name in rows[0]))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1e4 else f"{value:,.0f}"
