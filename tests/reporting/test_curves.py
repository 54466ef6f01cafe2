"""What a person can rely on in every figure: colours, ticks, the legend's place, and what is drawn above what."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import our_claims
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from seqadd.claims import figures as claim_figures
from seqadd.claims import results
from seqadd.config import schema
from seqadd.reporting import curves, figures, heatmaps, style
from seqadd.reporting.curves import Line, Panel
from seqadd.reporting.sweep_figure import sweep_curves

NO_CEILINGS = pd.DataFrame(columns=["reader", "condition", "over", "ceiling"])


def figure_of(claim: str, name: str = "curves.png") -> Figure:
    """A figure of one of the article's claims, with made-up curves of three epochs."""
    (found,) = (each for each in our_claims() if each.name == claim)
    values = {
        (index, job.seed, metric): {epoch: 0.1 * epoch for epoch in (1, 2, 3)}
        for index, condition in enumerate(found.conditions)
        for job in condition.jobs
        for metric in claim_figures.metrics_of(found)
    }
    return claim_figures.draw(found, name, values, pd.DataFrame(), NO_CEILINGS)


def colours(figure: Figure) -> dict[str, str]:
    """The colour of each curve in the legend, by its name."""
    (legend,) = figure.legends
    lines = zip(legend.get_texts(), legend.get_lines(), strict=False)
    return {text.get_text(): to_hex(line.get_color()).upper() for text, line in lines}


def of_table(columns: list[tuple[str, dict[str, str]]], curve: tuple[float, ...] = (0.1, 0.2)) -> Figure:
    """The table's figure, with the same curve for each column, and a published number of the first."""
    rows = [(n, 0, "val_acc", epoch, y) for n in range(len(columns)) for epoch, y in enumerate(curve, start=1)]
    summary = pd.DataFrame({"column": [0], "metric": ["val_acc"], "epochs": [2], "published": [0.3]})
    table = pd.DataFrame(rows, columns=["column", "seed", "metric", "epoch", "value"])
    return curves.learning_curves(table, columns, summary, "val_acc")


def test_a_cell_has_one_colour_in_every_figure_and_nothing_else_has_it():
    assert set(style.CELLS) == set(schema.CELLS)
    everything = [*style.CELLS.values(), *style.HUES, style.PUBLISHED, style.NEUTRAL]
    assert len(set(everything)) == len(everything)
    gru = style.CELLS["gru"]
    assert colours(figure_of("cells"))["gru"] == gru
    assert colours(of_table([("gru", {"cell": "gru"})]))["gru"] == gru
    assert colours(of_table([("lstm", {"cell": "lstm"}), ("gru", {"cell": "gru"})]))["gru"] == gru
    illusion = colours(figure_of("binary_loss", "illusion.png"))
    assert illusion["gru, training accuracy"] == illusion["gru, training binary accuracy"] == gru
    swept = sweep_curves([(cell, {"cell": cell}, {1: 0.1}) for cell in ("simple_rnn", "gru")])
    assert colours(swept)["gru"] == gru


def test_the_curves_of_a_sweep_are_named_after_their_metric_the_best_first():
    histories = [("high", {"seed": "0"}, {1: 0.9}), ("low", {"seed": "1"}, {1: 0.1})]
    for metric, title, best in (
        ("val_exact_match_borrows_2", "Validation exact match, 2 borrows by epoch, 2 jobs, best first", "high"),
        ("val_loss", "Validation loss by epoch, 2 jobs, best first", "low"),
    ):
        (axes,) = sweep_curves(histories, metric).axes
        assert axes.get_title() == title
        assert axes.get_lines()[0].get_label() == best


def test_conditions_of_one_cell_have_other_colours_the_same_in_each_panel():
    found = figure_of("era")
    by_name = colours(found)
    assert len(by_name) == len(set(by_name.values())) == 4
    assert not set(by_name.values()) & set(style.CELLS.values())
    for axes in found.axes:
        for line in axes.get_lines():
            if not line.get_label().startswith("_"):
                assert to_hex(line.get_color()).upper() == by_name[str(line.get_label())]


def test_an_architecture_has_one_colour_too():
    assert set(style._ARCHITECTURES) == set(schema.ARCHITECTURES)
    of_claim = {
        name.partition(" ")[0].partition("=")[2]: each for name, each in colours(figure_of("architectures")).items()
    }
    assert of_claim["attention"] == colours(figure_of("almost_every_sum"))["attention"]
    assert of_claim["encoder_decoder"] == colours(figure_of("almost_every_sum"))["encoder_decoder"]


def test_many_numbers_have_the_colours_of_a_scale():
    looks = style.looks([{"batch_size": str(64 * 2**n)} for n in range(8)])
    assert len({look.colour for look in looks}) == 8
    assert {look.style for look in looks} == {"-"}


def test_more_conditions_than_colours_differ_in_line_style():
    looks = style.looks([{"tag": f"t{n}"} for n in range(20)])
    assert len(set(looks)) == 20
    assert style.FEWER_SEEDS not in {look.style for look in looks}
    of_cells = style.looks([{"cell": cell, "batch_size": str(2**n)} for cell in ("lstm", "gru") for n in range(8)])
    assert len(set(of_cells)) == 16


def test_a_published_number_has_its_curves_colour_and_hides_nothing():
    (axes,) = of_table([("lstm", {"cell": "lstm"})]).axes
    diamond = axes.collections[0]
    assert len(diamond.get_facecolor()) == 0  # hollow
    assert to_hex(diamond.get_edgecolor()[0]).upper() == style.CELLS["lstm"]


def test_intervals_name_metrics_in_words_and_show_seeds_above_published_numbers():
    (cells,) = (each for each in our_claims() if each.name == "cells")
    found = claim_figures.draw(cells, "intervals.png", {}, results.read_rows(cells.folder), NO_CEILINGS)
    (axes,) = found.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "lstm, 10 epochs, training accuracy"
    assert "acc," not in " ".join(labels)
    assert axes.get_xlabel() == "share of characters right"
    published, seeds = axes.collections[:2]
    assert (len(published.get_offsets()), len(seeds.get_offsets())) == (1, 10)
    assert seeds.get_zorder() > published.get_zorder()


@pytest.mark.parametrize("claim", ["cells", "curricula"])  # one panel, four panels
def test_the_legend_covers_no_data_and_the_page_shows_the_figure_in_its_full_size(claim):
    found = figure_of(claim)
    FigureCanvasAgg(found)
    found.draw_without_rendering()
    (legend,) = found.legends
    box = legend.get_window_extent()
    assert not any(axes.get_legend() for axes in found.axes)
    assert not any(box.overlaps(axes.get_window_extent()) for axes in found.axes)
    assert found.get_figwidth() * 110 <= 1000  # pixels; the report's pictures are at most as wide


@pytest.mark.parametrize("last", [1, 2, 7, 20, 55, 100, 200, 1467])
def test_ticks_are_epochs_from_the_first_to_the_last(last):
    (axes,) = of_table([("lstm", {"cell": "lstm"})], (0.5,) * last).axes
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert set(shown) <= set(range(1, max(2, last) + 1))  # a number is published after epoch 2
    assert (shown[0], shown[-1]) == (1, max(2, last))
    assert len(shown) <= 8
    assert 1 - low < 0.03 * last
    assert axes.get_title() == "Validation accuracy by epoch"


def test_ticks_of_a_logarithmic_axis_are_values_that_occur():
    values = [6 * n for n in range(1, 1468)]
    found = style.ticks(values, logarithmic=True, most=8)
    assert set(found) <= set(values)
    assert (found[0], found[-1]) == (6, 6 * 1467)
    assert all(later / one > 1.5 for one, later in itertools.pairwise(found))


def test_a_mean_over_fewer_seeds_than_before_is_dashed():
    seeds = [([1, 2, 3], [0.2, 0.4, 0.6]), ([1, 2], [0.4, 0.6])]
    found = curves.panels([Panel("", [Line("a", style.Look("#123456"), seeds)])], "epoch", "")
    whole, fewer = (line for line in found.axes[0].get_lines() if line.get_linewidth() > 1 and len(line.get_xdata()))
    np.testing.assert_allclose(whole.get_ydata(), [0.3, 0.5, np.nan])
    thin = [line for line in found.axes[0].get_lines() if line.get_linewidth() < 1]
    assert len(thin) == 2
    assert max(line.get_zorder() for line in thin) < whole.get_zorder()  # a mean is not hidden by seeds
    np.testing.assert_allclose(fewer.get_ydata(), [np.nan, 0.5, 0.6])
    assert (whole.get_linestyle(), fewer.get_linestyle()) == ("-", "--")
    assert "mean of fewer seeds" in colours(found)


def test_equal_curves_and_curves_at_zero_can_be_seen():
    lines = [
        Line(name, style.Look(colour), [([1, 2], [0.0, 0.0])]) for name, colour in zip("ab", style.HUES, strict=False)
    ]
    (axes,) = curves.panels([Panel("", lines)], "epoch", "").axes
    below, above = axes.get_lines()
    assert below.get_linewidth() > above.get_linewidth() + 0.3
    assert axes.get_ylim()[0] < -0.01


def test_metrics_have_names_in_words():
    assert style.in_words("val_exact_match_digits_3") == "validation exact match, 3 digits"
    assert style.in_words("val_exact_match_borrows_2") == "validation exact match, 2 borrows"  # of another task
    assert style.in_words("val_exact_match_longest_run_1") == "validation exact match, 1 longest run"
    assert style.in_words_of_all(["val_exact_match_carries_0", "val_exact_match_carries_1"]) == ["0 carries", "1 carry"]
    known = ["loss", "acc", "val_loss", "val_acc", "val_exact_match", "val_acc_teacher_forced", "binary_accuracy"]
    assert all("_" not in style.in_words(metric) for metric in known)


def test_ticks_of_a_searched_key_are_whole_numbers_that_were_tried():
    tried = [figures.Tried(n, 0.5, n == 3, {"encoder_units": 17 + 9 * n}) for n in range(9)]
    found = figures.search(tried, "val_acc", "", least=False, logarithmic=[])
    of_search, of_key = found.axes
    assert set(of_key.get_xticks()) <= {17 + 9 * n for n in range(9)}
    assert set(of_search.get_xticks()) <= set(range(9))
    assert not of_search.get_legend()  # it stands below all plots


def test_the_choices_of_a_searched_key_do_not_overlap():
    names = ["repeat_vector", "encoder_decoder", "attention", "repeat_vector_stacked"]
    tried = [
        figures.Tried(n, 0.5, False, {"architecture": name, "a": "1", "b": "2", "c": "3"})
        for n, name in enumerate(names)
    ]
    found = figures.search(tried, "val_acc", "", least=False, logarithmic=[])
    FigureCanvasAgg(found)
    found.draw_without_rendering()
    boxes = [label.get_window_extent() for label in found.axes[1].get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_heading_is_never_cut_inside_a_value():
    panel = heatmaps.Heatmap("a", "a", np.zeros((1, 1)), (0, 1), [""], [""], "", "", "")
    heading = "learning_rate 0.0041817253421, encoder_units 96, architecture repeat_vector_stacked_as_it_was_in_2017"
    found = heatmaps.grid([[panel]], [heading], "")
    lines = found.subfigs[0].axes[0].get_title(loc="left").splitlines()[:-1]
    assert " ".join(lines) == heading
    assert len(lines) > 1
    assert all(line.endswith(",") for line in lines[:-1])
