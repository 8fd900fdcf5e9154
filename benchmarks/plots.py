"""Plot the figures of the tables as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.results import FOLDER

__all__ = ["bars", "course", "lines"]

_OURS, _OTHERS = "#0b6e4f", "#9aa5b1"
_COLOURS = ("#0b6e4f", "#d1495b", "#30638e", "#edae49", "#7b5ea7", "#66717e", "#00798c", "#a44a3f")
# Text stays text, and equal figures give equal files.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tether", "font.size": 9})


def bars(name: str, labels: Sequence[str], panels: Mapping[str, Sequence[float]], *, marked: str) -> Path:
    """
    Plot bars side by side, a panel for each figure.

    Args:
        name: Of the file.
        labels: What is compared, from the bottom to the top.
        panels: Title to one value for each label.
        marked: The label to colour.

    Returns:
        The file.
    """
    figure = Figure(figsize=(4.2 * len(panels), 0.7 + 0.42 * len(labels)), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(all_axes, panels.items(), strict=True):
        colours = [_OURS if label == marked else _OTHERS for label in labels]
        drawn = axes.barh(labels, values, color=colours)
        axes.bar_label(drawn, labels=[_shown(value) for value in values], padding=3)
        axes.set_title(title, loc="left")
        axes.margins(x=0.2)
        axes.set_xticks([])  # each bar has its figure
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    return _saved(figure, name)


def lines(
    name: str,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    across: str,
    logarithmic: bool = False,
) -> Path:
    """
    Plot lines, the panels one below the other.

    Args:
        name: Of the file.
        panels: Title to series; a series is its label, and its values along and up.
        across: What is along.
        logarithmic: Whether that grows by factors.

    Returns:
        The file.
    """
    figure = Figure(figsize=(8, 2.8 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, series) in zip(all_axes, panels.items(), strict=True):
        for number, (label, (along, up)) in enumerate(series.items()):
            axes.plot(
                along,
                up,
                label=label,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=("-", "--", ":")[number // len(_COLOURS) % 3],
                marker="o" if len(along) < 8 else None,
            )
        axes.set_title(title, loc="left")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        if logarithmic:
            marks = sorted({item for along, _ in series.values() for item in along})
            axes.set_xscale("log")
            axes.set_xticks(marks, labels=[_shown(mark) for mark in marks])
            axes.minorticks_off()
    all_axes[-1].set_xlabel(across)
    return _saved(figure, name)


def course(
    name: str,
    rates: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    timestamps: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
) -> Path:
    """
    Draw how something went: rates as areas, and below them what happened when.

    Args:
        name: Of the file.
        rates: Title to values along and up.
        timestamps: Label to times, each with a height.
        across: What is along.

    Returns:
        The file.
    """
    figure = Figure(figsize=(11, 2.4 * (len(rates) + 1)), layout="constrained")
    *upper, last = figure.subplots(len(rates) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, (along, up)) in zip(upper, rates.items(), strict=True):
        axes.fill_between(along, up, step="post", color=_OURS, alpha=0.8, linewidth=0)
        axes.set_title(title, loc="left")
    for colour, (label, points) in zip((_COLOURS[1], _COLOURS[2]), timestamps.items(), strict=True):
        along = [at for at, _ in points]
        last.vlines(along, 0, [up for _, up in points], colors=colour, label=label, linewidth=1.2)
    last.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    last.set_title("faults, as tall as the time until recovery", loc="left")
    for axes in (*upper, last):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    last.set_xlabel(across)
    return _saved(figure, name)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _saved(figure: Figure, name: str) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    # Matplotlib ends lines with blanks, which version control would complain of.
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    return path
