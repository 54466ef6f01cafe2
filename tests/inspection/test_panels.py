"""From a question and a model to panels with named axes, and from those to pictures."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import make_config
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.text import Text
from trained_runs import model_of

from seqadd.config.schema import Config
from seqadd.data.addition import VOCABULARY
from seqadd.evaluation.questions import encode_questions
from seqadd.inspection import trace
from seqadd.inspection.panels import _folded, _limits, answer_heatmap, layer_heatmaps, question_heatmap, step_heatmaps
from seqadd.reporting import figures, heatmaps


def seen_by(*overrides: str, question: str = "617+397") -> tuple[Config, trace.Trace]:
    config = make_config(*overrides)
    (traced,) = trace.trace(model_of(*overrides), encode_questions(config, [question]))
    return config, traced


def panels_of(traced: trace.Trace) -> dict[str, heatmaps.Heatmap]:
    return {panel.name: panel for panel in [question_heatmap(traced), *layer_heatmaps([traced])[0]]}


def test_the_layers_of_the_articles_model_as_the_article_draws_them():
    _, traced = seen_by("cell=lstm")
    panels = panels_of(traced)
    assert {name: panel.values.shape for name, panel in panels.items()} == {
        "question": (7, 12),
        "lstm_1": (8, 8),
        "repeat_vector_1": (4, 64),
        "lstm_2": (4, 32),
        "time_distributed_1": (4, 12),
        "activation_1": (4, 12),
    }
    np.testing.assert_array_equal(panels["lstm_1"].values.ravel(), traced.outputs["lstm_1"])
    assert panels["lstm_1"].rows == ["0", "8", "16", "24", "32", "40", "48", "56"]
    # The question as the model reads it: 617+397 back to front.
    assert panels["question"].rows == ["1  7", "2  9", "3  3", "4  +", "5  7", "6  1", "7  6"]
    assert "".join(panels["question"].columns) == "␣+0123456789"
    # Boxes around 1, 0, 1, 4 of the answer 1014: their columns in the alphabet " +0123456789".
    assert panels["activation_1"].boxed == [(0, 3), (1, 2), (2, 3), (3, 6)]
    assert panels["activation_1"].limits == (0, 1)
    np.testing.assert_allclose(panels["activation_1"].values.sum(axis=1), 1, rtol=1e-5)


def test_the_steps_of_an_aligned_model_are_those_of_the_question():
    _, traced = seen_by("cell=gru", "architecture=aligned", "reverse=false", question="5+61")
    assert panels_of(traced)["gru_1"].rows[:4] == ["1  5", "2  +", "3  6", "4  1"]
    steps = {panel.name: panel for panel in step_heatmaps(traced, "gru_1")}
    assert list(steps) == ["update_gate", "reset_gate", "candidate", "state"]
    assert steps["update_gate"].limits == (0, 1)
    assert -steps["state"].limits[0] == steps["state"].limits[1] <= 1
    np.testing.assert_allclose(steps["state"].values, traced.outputs["gru_1"], atol=1e-6)


def test_an_alignment_has_a_row_for_each_character_of_the_answer_and_a_column_for_each_of_the_question():
    _, traced = seen_by("architecture=attention", question="5+61")
    panel = panels_of(traced)["alignment_1"]
    assert panel.values.shape == (5, 7)
    assert list(panel.columns) == list("␣␣␣16+5")
    np.testing.assert_allclose(panel.values.sum(axis=1), 1, rtol=1e-5)
    assert panel.values[:, :3].max() < 1e-6  # padding is not looked at
    assert set(traced.gates) == {"lstm_1", "lstm_2"}  # the one within the attention's layer too


def test_after_the_end_of_an_answer_nothing_is_shown():
    _, traced = seen_by("architecture=attention", question="5+61")
    said = dataclasses.replace(traced, probabilities=VOCABULARY.one_hot(VOCABULARY.encode(["66 13"]))[0])
    for name in ("activation_1", "alignment_1"):
        values = panels_of(said)[name].values
        assert np.isfinite(values[:3]).all()  # the blank that ends it too
        assert np.isnan(values[3:]).all()


def test_a_pooled_models_alignment_is_one_row():
    _, traced = seen_by("architecture=pooled", question="5+61")
    panel = panels_of(traced)["alignment_1"]
    assert (panel.values.shape, panel.rows) == ((1, 7), ["all positions"])
    assert panel.values.sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("units", "shape"), [(64, (8, 8)), (32, (4, 8)), (128, (8, 16)), (6, (2, 3)), (13, (3, 5)), (1, (1, 1))]
)
def test_a_vector_is_folded_as_square_as_can_be(units, shape):
    folded = _folded(np.arange(units, dtype=np.float32))
    assert folded.shape == shape
    values = folded.ravel()
    assert values[~np.isnan(values)].tolist() == list(range(units))


def test_what_is_compared_has_the_same_scale():
    _, one = seen_by("cell=lstm")
    _, other = seen_by("cell=lstm", "seed=1")
    other.outputs["time_distributed_1"][:] = -67.2
    other.outputs["lstm_1"][:] = 1.4
    each = [{panel.name: panel for panel in panels} for panels in layer_heatmaps([one, other])]
    assert each[0]["time_distributed_1"].limits == each[1]["time_distributed_1"].limits == (-70, 70)
    assert each[0]["lstm_1"].limits == each[1]["lstm_1"].limits == (-1.5, 1.5)
    assert each[0]["activation_1"].limits == (0, 1)


def test_a_scale_fits_its_values_in_few_steps_so_that_most_epochs_have_the_same():
    def limit(*values: float) -> float:
        low, high = _limits([np.array([0.01, *values])])
        assert low == -high  # white is zero
        return high

    assert [limit(-x) for x in (0.02, 0.5, 1.1, 2.9, 5, 5.1, 31)] == [0.1, 0.5, 1.5, 3, 5, 7, 50]
    assert limit(*[0.9] * 300, 8.0) == 1  # one value of three hundred makes the others no paler
    assert _limits([np.array([np.nan, np.inf, 0.5])]) == (-0.5, 0.5)
    assert _limits([np.array([np.nan])])[1] > 0


def test_a_scale_ends_in_a_point_where_values_are_beyond_it():
    _, traced = seen_by("cell=lstm")
    panel = dataclasses.replace(question_heatmap(traced), limits=(0.0, 0.5))
    (bar,) = (axes for axes in heatmaps.sheet([panel], "").axes if axes.get_label() == "<colorbar>")
    assert bar._colorbar.extend == "max"  # type: ignore[attr-defined]


def test_the_card_of_a_snapshot_is_square_and_has_few_large_letters():
    _, traced = seen_by("cell=lstm")
    figure = heatmaps.card(answer_heatmap(traced), ["epoch 5", *traced.summary.split(": ")])
    assert figure.get_figwidth() == figure.get_figheight()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list("␣+0123456789")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(traced.guess.replace(" ", "␣"))
    assert len(axes.patches) == 4  # the right characters
    letters = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    pixels = [text.get_fontsize() / 72 * 180 / figure.get_figwidth() for text in letters]  # on MLflow's card
    assert min(pixels) >= 9
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    assert all(figure.bbox.containsx(x) for text in letters for x in text.get_window_extent().intervalx)


def test_the_decoders_steps_are_the_places_of_the_answer():
    _, traced = seen_by("cell=lstm")
    guess = traced.guess.replace(" ", "␣")
    expected = [f"{place} → {character}" for place, character in enumerate(guess, start=1)]
    panels = panels_of(traced)
    assert panels["lstm_2"].rows == panels["activation_1"].rows == expected
    assert step_heatmaps(traced, "lstm_2")[0].rows == expected
    assert step_heatmaps(traced, "lstm_1")[0].rows == panels["question"].rows


def test_a_question_and_its_answer_in_words():
    _, traced = seen_by("cell=lstm")
    traced.probabilities[:] = 0.0
    traced.probabilities[range(4), [3, 2, 3, 6]] = 1.0
    assert traced.summary == "617+397 = 1014: says 1014, right"
    traced.probabilities[:, 0] = 2.0
    assert traced.summary == "617+397 = 1014: says blanks, wrong"


def test_a_layer_of_another_kind_needs_no_change_here():
    """A model that the project does not have: two layers more, one of them of convolutions."""
    config = make_config("cell=lstm")
    model = keras.Sequential(
        [
            keras.Input((7, 12), name="question"),
            keras.layers.Conv1D(20, 3, padding="same", name="conv"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(48, name="characters"),
            keras.layers.Reshape((4, 12), name="places"),
            keras.layers.Activation("softmax", name="softmax"),
        ]
    )
    (traced,) = trace.trace(model, encode_questions(config, ["5+61"]))
    panels = panels_of(traced)
    assert list(panels) == ["question", "conv", "flat", "characters", "places", "softmax"]
    assert panels["flat"].values.shape == (10, 14)
    assert panels["softmax"].boxed
    heatmaps.sheet(list(panels.values()), "as it is")


def test_a_sheet_has_a_labelled_scale_for_every_panel():
    _, traced = seen_by("cell=lstm")
    panels = list(panels_of(traced).values())
    figure = heatmaps.sheet(panels, "617+397")
    shown = [axes for axes in figure.axes if axes.get_title(loc="left")]
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert [axes.get_title(loc="left") for axes in shown] == [panel.title for panel in panels]
    assert [bar.get_ylabel() for bar in bars] == [panel.scale for panel in panels]
    for axes, panel in zip(shown, panels, strict=True):
        assert axes.get_ylabel() == panel.row_axis
        (image,) = axes.images
        assert isinstance(image.norm, Normalize)
        assert (image.norm.vmin, image.norm.vmax) == panel.limits
        boxes = [(round(box.get_y() + 0.5), round(box.get_x() + 0.5)) for box in axes.patches]
        assert boxes == list(panel.boxed)


def test_a_grid_sets_layers_of_one_name_beside_each_other():
    (_, one), (_, other) = seen_by("cell=lstm"), seen_by("cell=dense")
    names = [{"lstm_1": "cell_1", "lstm_2": "cell_2"}, {"dense_1": "cell_1"}]
    columns = layer_heatmaps([one, other], names)
    figure = heatmaps.grid(columns, ["an LSTM", "a Dense"], "5+61")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles[:2] == ["an LSTM\nlstm_1: 64 units, folded to 8 x 8", "a Dense\ndense_1: 7 steps x 64 units"]
    assert len(titles) == 5 + 3
    assert sum(axes.get_label() == "<colorbar>" for axes in figure.axes) == 5


def test_each_units_shares_are_at_their_axes():
    table = pd.DataFrame(
        {"layer": ["lstm_1"] * 2, "part": ["input_gate"] * 2, "unit": [0, 1], "low": [0.1, 0.2], "high": [0.7, 0.3]}
    )
    (axes,) = figures.saturation(table, "").axes
    assert axes.get_xlabel() == "share of values near the upper limit"
    assert axes.collections[0].get_offsets().tolist() == [[0.7, 0.1], [0.3, 0.2]]
