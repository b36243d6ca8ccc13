"""Reports of a run: files, TensorBoard events, a progress bar, tables and plots."""

from jaxga.report.command import exit_code, run_command
from jaxga.report.family import draw_family, plot_family, with_descendants
from jaxga.report.files import BUDGET, RunDirectory, describe_machine, find_run, make_directory, write_json
from jaxga.report.plots import Curve, Histogram, draw_curves, plot_cells, plot_curves, plot_places
from jaxga.report.progress import Progress, Silence
from jaxga.report.statistics import (
    Causes,
    Difference,
    Interval,
    causes_of_variance,
    difference,
    interquartile_range,
    mean_interval,
    median_interval,
    trials_needed,
)
from jaxga.report.tables import print_table
from jaxga.report.video import write_gif

__all__ = [
    "BUDGET",
    "Causes",
    "Curve",
    "Difference",
    "Histogram",
    "Interval",
    "Progress",
    "RunDirectory",
    "Silence",
    "causes_of_variance",
    "describe_machine",
    "difference",
    "draw_curves",
    "draw_family",
    "exit_code",
    "find_run",
    "interquartile_range",
    "make_directory",
    "mean_interval",
    "median_interval",
    "plot_cells",
    "plot_curves",
    "plot_family",
    "plot_places",
    "print_table",
    "run_command",
    "trials_needed",
    "with_descendants",
    "write_gif",
    "write_json",
]
