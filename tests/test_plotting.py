"""The look of plots: one colour a method, colours that everybody can tell apart, axes with plain numbers."""

from __future__ import annotations

import sys
from itertools import combinations, permutations

import numpy as np
import pytest

from selar_local.errors import MissingExtra, SelarError
from selar_local.plotting import (
    COLOURS,
    INK,
    colour_of,
    colours_of,
    draw_plot,
    figure_of,
    legend_below,
    percent_on_log_scale,
    plot_style,
    require_plots,
)

#: Machado, Oliveira and Fernandes (2009), severity 1: what the colour-blind see of linear RGB.
SEEN = {
    "by most": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
OURS = ("cot", "selar", "soft-thinking", "swir", "coconut", "cot-greedy")
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, seen: object) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(np.array(seen) @ linear(colour), 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("paper", ["#ffffff", "#fdfdfc", "#17181a"])
def test_colours_stand_out_on_light_and_dark_pages(colour, paper):
    assert contrast(colour, paper) >= 3


@pytest.mark.parametrize("seen", SEEN)
def test_everybody_can_tell_the_colours_apart(seen):
    for one, other in combinations(COLOURS, 2):
        assert np.linalg.norm(lab(one, SEEN[seen]) - lab(other, SEEN[seen])) > 12, (one, other)


def test_a_method_has_one_colour_whatever_it_is_shown_with():
    alone = {name: colour_of(name) for name in OURS}
    assert len(set(alone.values())) == len(OURS) and INK not in alone.values()
    for names in permutations(OURS, 3):
        assert {name: colours_of(names)[name] for name in names} == {name: alone[name] for name in names}


def test_methods_without_a_colour_of_their_own_get_the_free_ones_in_order():
    found = colours_of(["mine", "cot", "yours", "mine"])
    assert found["cot"] == colour_of("cot") and len({found["mine"], found["yours"], *map(colour_of, OURS)}) == 8
    assert found["mine"] == colour_of("mine") == colours_of(["other", "mine"])["other"]
    assert set(colours_of([f"m{n}" for n in range(50)]).values()) <= set(COLOURS)


@pytest.mark.parametrize(("low", "high"), [(0.03, 80), (0.7, 18), (1, 3), (20, 90), (1e-4, 100), (5, 5)])
def test_a_logarithmic_axis_has_plain_numbers(low, high):
    def draw(axes):
        axes.bar([0, 1], [low, high])
        percent_on_log_scale(axes)

    with plot_style():
        figure = figure_of([draw], width=4, height=4)
        figure.canvas.draw()
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels(which="both")]
    shown = [label for label in labels if label]
    assert shown and all(float(label) > 0 for label in shown), labels
    assert len(set(shown)) == len(shown)


def test_a_legend_below_covers_no_data():
    def draw(axes):
        axes.plot([0, 1], [0, 1], label="a line")
        legend_below(axes)

    with plot_style():
        figure = figure_of([draw, draw], width=8, height=4)
        figure.canvas.draw()
        for axes in figure.axes:
            legend = axes.get_legend().get_window_extent()
            assert legend.y1 < axes.get_window_extent().y0 and legend.y0 >= 0


def test_files(tmp_path, monkeypatch):
    draw = [lambda axes: axes.plot([0, 1], [0, 1], label="line"), lambda axes: axes.plot([0], [0])]
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        draw_plot(tmp_path / name, "A title", draw, width=6, height=3, legend=1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert text == (tmp_path / "b.svg").read_text("utf-8") and text.count(">line<") == 1 and ">A title<" in text
    with pytest.raises(SelarError, match="cannot write the plot"):
        draw_plot(tmp_path / "no" / "a.png", "t", draw, width=6, height=3)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="a plot needs matplotlib"):
        require_plots()
