"""Reports of a run: files, TensorBoard events, a progress bar, tables and plots."""

from jaxga.report.command import exit_code, run_command
from jaxga.report.files import BUDGET, RunDirectory, describe_machine, find_run, make_directory, write_json
from jaxga.report.plots import Curve, Histogram, draw_curves, plot_cells, plot_curves, plot_places
from jaxga.report.progress import Progress, Silence
from jaxga.report.statistics import Interval, mean_interval, median_interval
from jaxga.report.tables import print_table
from jaxga.report.video import write_gif

__all__ = [
    "BUDGET",
    "Curve",
    "Histogram",
    "Interval",
    "Progress",
    "RunDirectory",
    "Silence",
    "describe_machine",
    "draw_curves",
    "exit_code",
    "find_run",
    "make_directory",
    "mean_interval",
    "median_interval",
    "plot_cells",
    "plot_curves",
    "plot_places",
    "print_table",
    "run_command",
    "write_gif",
    "write_json",
]
