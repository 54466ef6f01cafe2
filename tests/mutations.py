"""Small mistakes, put into the code one at a time, and for each the test that must notice it.

    python tests/mutations.py
    python tests/mutations.py reset-gate epochs-told-twice

Prints a line for each. The exit code is 1 if a test does not notice a mistake, if it fails without the mistake, or if
the replaced text does not occur exactly once: a change of that code must update the table below. Works on a copy of the
clone.

A test notices a mistake by failing. A test that cannot be collected, or does not end, has not noticed it.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
SOURCES = Path("src", "seqadd")
COPIED = ("src", "conf", "experiments", "trained", "tests", "pyproject.toml")

#: Imported once, by the process that all tests are forked from; without seqadd, which the mutations change.
PRELOADED = (
    "pytest",
    "xdist.plugin",
    "hydra",
    "matplotlib.pyplot",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "rich.progress",
    "scipy.stats",
    "tensorflow",
    "keras",
)
#: Prevents these modules from starting threads: a forked process would lack the thread, but have its held locks.
ENVIRONMENT = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # searching for plugins takes a second
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
MOST_SECONDS = 300  # for each test; some mutations could make their test block forever


@dataclass(frozen=True)
class Mutation:
    """A mistake, and the test that must notice it.

    Attributes:
        name: on the command line and in the table.
        file: below ``src/seqadd``.
        old: a text that occurs exactly once in the file.
        new: its replacement.
        test: below ``tests``, as pytest names it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


def import_once() -> None:
    """Imports slow modules that mutations do not change; hides TensorFlow's messages."""
    os.environ.update(ENVIRONMENT)
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        for name in PRELOADED:
            importlib.import_module(name)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    gc.freeze()  # pytest collects garbage at its end, and would traverse all these objects
    assert "seqadd" not in sys.modules


def run_tests(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Runs tests of the copy in a forked process.

    Returns:
        pytest's exit code, below 0 if a signal ended it, and its output.
    """
    output = copy.parent / "output"
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 3  # pytest's exit code for an internal error
        try:
            with output.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(copy)
            sys.path[0] = os.environ["PYTHONPATH"] = str(copy / "src")  # the variable: for processes of tests
            tempfile.tempdir = os.environ["TMPDIR"] = str(copy.parent)  # leftovers are deleted with the copy
            signal.alarm(MOST_SECONDS * len(tests))
            options = ["-x", "-q", "-p", "xdist.plugin", "-n", "0", "-p", "no:cacheprovider"]
            options.append(f"--basetemp={copy.parent / 'temporary'}")
            code = sys.modules["pytest"].main([*options, *(f"tests/{test}" for test in tests)])
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, output.read_text(errors="replace")


def write_source(path: Path, text: str) -> None:
    """Writes a module and deletes its bytecode, because Python detects changes only by length and mtime in seconds."""
    path.write_text(text, encoding="utf-8")
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def fits(mutation: Mutation) -> bool:
    """Returns whether the mutation's file exists and contains its text exactly once."""
    path = CLONE / SOURCES / mutation.file
    return path.is_file() and path.read_text(encoding="utf-8").count(mutation.old) == 1


def try_out(mutation: Mutation, copy: Path) -> str:
    """Tries a mutation; returns ``yes`` if the test notices it, else ``NO`` and what happened instead."""
    path = copy / SOURCES / mutation.file
    whole = path.read_text(encoding="utf-8")
    write_source(path, whole.replace(mutation.old, mutation.new))
    try:
        code, output = run_tests(copy, [mutation.test])
    finally:
        write_source(path, whole)
    if code in (0, 1):
        return "yes" if code else "NO"
    last = (output.strip().splitlines() or [""])[-1]
    return f"NO: pytest ended with {code}: {last}"


def copy_to(copy: Path) -> None:
    """Copies the parts of the clone that the tests need."""
    copy.mkdir()
    for name in COPIED:
        if (CLONE / name).is_dir():
            shutil.copytree(CLONE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CLONE / name, copy / name)


def chosen(names: Sequence[str]) -> list[Mutation]:
    """Returns the named mutations, or all if no name is given; ends the program for an unknown name."""
    known = {mutation.name: mutation for mutation in MUTATIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no mutation is called {', '.join(unknown)}; their names stand in {__file__}")
    return [known[name] for name in names] or MUTATIONS


def main() -> int:
    """Runs the mutations that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which mutations; all where none is given")
    mutations = chosen(parser.parse_args().names)
    lost = [each for each in mutations if not fits(each)]
    for each in lost:
        print(f"{each.name}: {each.file} must hold this text exactly once; change the mutation: {each.old}")
    if lost:
        return 1
    began = time.monotonic()
    import_once()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / "copy"
        copy_to(copy)
        code, output = run_tests(copy, list(dict.fromkeys(each.test for each in mutations)))
        if code != 0:
            print(output)
            print(f"Without a mutation the tests must pass; pytest ended with {code}.")
            return 1
        print(f"Without a mutation all these tests pass ({time.monotonic() - began:.0f} s).")
        width = max(len(each.name) for each in mutations)
        longest = max(len(each.file) for each in mutations)
        unnoticed = 0
        for each in mutations:
            start = time.monotonic()
            noticed = try_out(each, copy)
            unnoticed += noticed != "yes"
            seconds = f"{time.monotonic() - start:.1f} s"
            print(f"{each.name:{width}}  {each.file:{longest}}  {noticed:3}  {seconds:>7}  {each.test}", flush=True)
    print(f"{len(mutations)} mutations, {unnoticed} unnoticed, {time.monotonic() - began:.0f} s")
    return 1 if unnoticed else 0


#: In the order in which they are run.
MUTATIONS = [
    # The data: how sums are drawn, written, held out.
    Mutation(
        "no-leading-zeros",
        "data/addition.py",
        "numbers = rng.integers(0, 10**lengths)",
        "numbers = rng.integers(np.where(lengths > 1, 10 ** (lengths - 1), 0), 10**lengths)",
        "data/test_addition.py::test_the_law_is_the_articles",
    ),
    Mutation(
        "longer-addend-first",
        "data/addition.py",
        "numbers = rng.integers(0, 10**lengths)",
        "numbers = np.sort(rng.integers(0, 10**lengths))[:, ::-1]",
        "data/test_addition.py::test_the_law_is_the_articles",
    ),
    Mutation(
        "later-draws-first",
        "data/addition.py",
        "return addends[np.sort(first)]",
        "return addends[np.sort(first)[::-1]]",
        "data/test_addition.py::test_the_law_is_the_articles",
    ),
    Mutation(
        "sums-come-twice-the-other-way-round",
        "data/addition.py",
        "key = addends.min(axis=1) * 10**digits + addends.max(axis=1)",
        "key = addends[:, 0] * 10**digits + addends[:, 1]",
        "data/test_addition.py::test_no_question_comes_twice_either_way_round",
    ),
    Mutation(
        "longer-addend-of-longer-sums-first",
        "data/addition.py",
        "return rng.permuted(np.stack([longer, other], axis=1), axis=1)",
        "return np.stack([longer, other], axis=1)",
        "data/test_addition.py::test_longer_sums_of_one_digit_have_each_pair_as_often_as_counting_all_of_them_says",
    ),
    Mutation(
        "longer-sums-that-are-not",
        "data/addition.py",
        "longer = rng.integers(10 ** (digits - 1), 10**digits, size=n)",
        "longer = rng.integers(0, 10**digits, size=n)",
        "data/test_curriculum.py::test_addends_of_equal_lengths",
    ),
    Mutation(
        "last-drawn-held-out",
        "data/drawing.py",
        "[rng.permutation(n_questions)]",
        "[np.arange(n_questions)]",
        "data/test_addition.py::test_held_out_sums_follow_the_law_of_the_others",
    ),
    Mutation(
        "held-out-sums-trained-on",
        "data/drawing.py",
        "        questions[:split_at],\n        answers[:split_at],",
        "        questions,\n        answers,",
        "data/test_addition.py::test_a_tenth_is_held_out_and_not_trained_on",
    ),
    Mutation(
        "held-out-count",
        "data/drawing.py",
        "int(round(n_questions * held_out, 6))",
        "int(n_questions * held_out)",
        "data/test_addition.py::test_the_held_out_count_is_rounded_down",
    ),
    Mutation(
        "carries-from-ten",
        "data/addition.py",
        "% powers).sum(axis=1) >= powers)",
        "% powers).sum(axis=1) > powers)",
        "data/test_addition.py::test_carries_are_those_of_adding_by_hand",
    ),
    Mutation(
        "padding-not-reversed",
        "data/notation.py",
        "np.ascontiguousarray(questions[:, ::-1])",
        "np.take_along_axis(questions[:, ::-1], (questions[:, ::-1] == BLANK).argsort(1, kind='stable'), 1)",
        "data/test_notation.py::test_a_question_is_reversed_with_its_padding_and_an_answer_without",
    ),
    Mutation(
        "padding-of-answers-reversed",
        "data/notation.py",
        "at = n_characters - 1 - np.arange(answers.shape[1])",
        "at = answers.shape[1] - 1 - np.arange(answers.shape[1])[None] + 0 * n_characters",
        "data/test_notation.py::test_a_question_is_reversed_with_its_padding_and_an_answer_without",
    ),
    Mutation(
        "sizes-without-the-end",
        "training/dataset.py",
        "answer += config.ends_with_eos",
        "answer += 0",
        "data/test_drawing.py::test_sizes_follow_from_the_task_and_the_model",
    ),
    Mutation(
        "questions-come-twice",
        "data/text_task.py",
        'keys = self._calls("same", questions)',
        "keys = list(questions)",
        "data/test_drawing.py::test_questions_that_count_as_one_are_drawn_once",
    ),
    Mutation(
        "digits-back-to-front",
        "data/addition.py",
        "// 10 ** (n_digits[rows] - 1 - place) % 10",
        "// 10**place % 10",
        "data/test_addition.py::test_many_questions_are_written_as_one_is",
    ),
    Mutation(
        "answers-padded-on-the-left",
        "data/addition.py",
        "_write_numbers(ids, addends.sum(axis=1), np.zeros(len(addends), dtype=np.int64))",
        "_write_numbers(ids, addends.sum(axis=1), length - _count_digits(addends.sum(axis=1)))",
        "data/test_addition.py::test_answers_are_padded_to_their_length",
    ),
    # The alphabet.
    Mutation(
        "blank-last-in-the-alphabet",
        "data/vocabulary.py",
        'CHARACTERS = " +0123456789"',
        'CHARACTERS = "+0123456789 "',
        "data/test_vocabulary.py::test_the_alphabet_is_sorted_as_the_articles_character_table",
    ),
    Mutation(
        "plus-for-the-blank",
        "data/vocabulary.py",
        "BLANK = 0",
        "BLANK = 1",
        "models/test_encoder_decoder.py::test_an_answer_counts_up_to_the_blank_that_ends_it",
    ),
    # Eras, and the gates of every recurrent layer.
    Mutation(
        "slope-of-todays-hard-sigmoid",
        "models/cells.py",
        "keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)",
        "keras.ops.clip(x / 6 + 0.5, 0.0, 1.0)",
        "models/test_architectures.py::test_the_gates_of_2018_are_not_todays_hard_sigmoid",
    ),
    Mutation(
        "todays-gates-are-hard",
        "models/cells.py",
        '"keras3": "sigmoid"',
        '"keras3": "hard_sigmoid"',
        "models/test_architectures.py::test_lstm_by_hand",
    ),
    Mutation(
        "gates-of-2018-are-todays",
        "models/cells.py",
        '{"keras2": hard_sigmoid_of_keras2,',
        '{"keras2": "sigmoid",',
        "models/test_architectures.py::test_lstm_by_hand",
    ),
    Mutation(
        "reset-after-in-2018",
        "models/cells.py",
        'GRU_RESET_AFTER = {"keras2": False',
        'GRU_RESET_AFTER = {"keras2": True',
        "models/test_architectures.py::test_gru_by_hand_in_keras2_resets_before_the_product",
    ),
    Mutation(
        "decoder-of-another-era",
        "models/architectures.py",
        (
            "            cell(_units(config.decoder_units), return_sequences=True,"
            ' constant_input=True, name=f"{config.cell}_2"),\n            *character_layers'
        ),
        (
            '            cell(_units(config.decoder_units), era="keras3", return_sequences=True,'
            ' constant_input=True, name=f"{config.cell}_2"),\n            *character_layers'
        ),
        "models/test_architectures.py::test_the_main_model_by_hand",
    ),
    Mutation(
        "aligned-layer-of-another-era",
        "models/architectures.py",
        "cell_of(config)(_units(config.encoder_units), return_sequences=True",
        'cell_of(config)(_units(config.encoder_units), era="keras3", return_sequences=True',
        "models/test_architectures.py::test_every_recurrent_layer_has_the_gates_of_its_era",
    ),
    Mutation(
        "second-decoder-of-another-era",
        "models/architectures.py",
        'cell(_units(config.decoder_units), return_sequences=True, name=f"{config.cell}_3")',
        'cell(_units(config.decoder_units), era="keras3", return_sequences=True, name=f"{config.cell}_3")',
        "models/test_architectures.py::test_every_recurrent_layer_has_the_gates_of_its_era",
    ),
    Mutation(
        "readout-decoder-of-another-era",
        "models/architectures.py",
        "decoder = cell(_units(config.encoder_units),",
        'decoder = cell(_units(config.encoder_units), era="keras3",',
        "models/test_architectures.py::test_every_recurrent_layer_has_the_gates_of_its_era",
    ),
    Mutation(
        "decoder-that-reads-its-answer-of-another-era",
        "models/encoder_decoder.py",
        "decoder = recurrent(units, return_sequences=True,",
        'decoder = recurrent(units, era="keras3", return_sequences=True,',
        "models/test_encoder_decoder.py::test_it_is_keras_own_layers_with_a_mask",
    ),
    Mutation(
        "encoder-that-hands-over-of-another-era",
        "models/encoder_decoder.py",
        "units, return_sequences=score is not None, return_state=True",
        'units, era="keras3", return_sequences=score is not None, return_state=True',
        "models/test_architectures.py::test_every_recurrent_layer_has_the_gates_of_its_era",
    ),
    Mutation(
        "encoder-decoder-always-of-2018",
        "models/cells.py",
        "functools.partial(CELLS[config.cell], era=config.era)",
        'functools.partial(CELLS[config.cell], era="keras2")',
        "models/test_architectures.py::test_every_recurrent_layer_has_the_gates_of_its_era",
    ),
    # A step's computation, and its gradient.
    Mutation(
        "reset-gate",
        "models/recurrent.py",
        "None if state is None else reset * state",
        "None if state is None else state",
        "models/test_architectures.py::test_the_main_model_by_hand",
    ),
    Mutation(
        "reset-gate-of-today",
        "models/recurrent.py",
        "self.preactivation(inputs, None, of_new) + reset * from_state",
        "self.preactivation(inputs, None, of_new) + from_state",
        "models/test_architectures.py::test_gru_by_hand_in_keras3_resets_after_the_product",
    ),
    Mutation(
        "bias-of-the-state-forgotten",
        "models/recurrent.py",
        "return of_inputs + tf.concat([of_state[: 2 * self.units], tf.zeros(self.units, of_state.dtype)], axis=0)",
        "return of_inputs",
        "models/test_architectures.py::test_gru_by_hand_in_keras3_resets_after_the_product",
    ),
    Mutation(
        "input-and-forget-gate-exchanged",
        "models/recurrent.py",
        "i, f, g, o = tf.split",
        "f, i, g, o = tf.split",
        "models/test_architectures.py::test_lstm_by_hand",
    ),
    Mutation(
        "no-gradient-through-time",
        "models/recurrent.py",
        "of_state = tf.matmul(of_product, weights[n:], transpose_b=True)",
        "of_state = tf.zeros_like(state)",
        "models/test_recurrent.py::test_an_initial_state_is_started_from",
    ),
    Mutation(
        "initial-state-ignored",
        "models/recurrent.py",
        "states = None if initial_state is None else self._as_states(initial_state, sequences)\n",
        "states = None\n",
        "models/test_recurrent.py::test_an_initial_state_is_started_from",
    ),
    # Saved models, and independence of the rows of a batch.
    Mutation(
        "loaded-without-skipping",
        "models/recurrent.py",
        '"skip_blanks": self.skip_blanks,',
        '"skip_blanks": False,',
        "models/test_recurrent.py::test_a_layer_is_loaded_as_it_was_saved",
    ),
    Mutation(
        "saved-as-keras-own",
        "models/recurrent.py",
        """            "constant_input": self.constant_input,
            "skip_blanks": self.skip_blanks,
""",
        "",
        "models/test_recurrent.py::test_keras_own_layer_does_not_take_what_ours_has_saved",
    ),
    Mutation(
        "no-number-in-all-rows",
        "models/recurrent.py",
        "one = tf.where(tf.math.is_finite(any_number), one, tf.ones_like(one))",
        "pass",
        "models/test_recurrent.py::test_what_is_no_number_stays_in_its_row",
    ),
    Mutation(
        "loaded-without-peeking",
        "models/encoder_decoder.py",
        "any(isinstance(layer, keras.layers.RepeatVector) for layer in self.layers)",
        "False",
        "models/test_recurrent.py::test_every_model_is_loaded_as_it_was_saved",
    ),
    # The loss, and the rows and characters that count.
    Mutation(
        "binary-loss-is-the-categorical",
        "training/loop.py",
        '"binary": keras.losses.BinaryCrossentropy',
        '"binary": keras.losses.CategoricalCrossentropy',
        "training/test_loop.py::test_losses_and_accuracies_of_given_probabilities_by_hand",
    ),
    Mutation(
        "loss-of-a-batch-over-too-many-rows",
        "training/loop.py",
        "else tf.reduce_sum(counts))",
        "else float(batch_size))",
        "training/test_loop.py::test_uncompiled_too_two_epochs_equal_a_plain_keras_loop[cell=dense decoder_units=null]",
    ),
    Mutation(
        "filling-of-the-last-batch-counts",
        "training/loop.py",
        "tf.cast(at < n_train, tf.float32), forced_here)",
        "tf.ones(batch_size), forced_here)",
        "models/test_encoder_decoder.py::test_a_step_of_the_optimizer_follows_the_mean_over_the_characters_of_its_batch",
    ),
    Mutation(
        "loss-by-sums-where-characters-count",
        "training/loop.py",
        "sums[-1] if config.ends_with_eos else",
        "tf.reduce_sum(counts) if config.ends_with_eos else",
        "models/test_encoder_decoder.py::test_a_step_of_the_optimizer_follows_the_mean_over_the_characters_of_its_batch",
    ),
    Mutation(
        "padding-counts-in-the-loss",
        "training/loop.py",
        "tf.reduce_sum(each * counts, axis=-1)",
        "tf.reduce_sum(each, axis=-1)",
        "models/test_encoder_decoder.py::test_padding_adds_nothing_to_loss_or_accuracy",
    ),
    # Masks, and the input of a decoder.
    Mutation(
        "blank-that-ends-does-not-count",
        "models/self_reading.py",
        "axis=1, exclusive=True)",
        "axis=1)",
        "models/test_encoder_decoder.py::test_an_answer_counts_up_to_the_blank_that_ends_it",
    ),
    Mutation(
        "decoder-is-told-the-answer",
        "models/self_reading.py",
        "tf.concat([begun, answers[:, :-1]], axis=1)",
        "tf.concat([answers[:, :-1], begun], axis=1)",
        "models/test_encoder_decoder.py::test_the_taught_decoder_reads_the_character_before",
    ),
    Mutation(
        "blanks-are-read",
        "models/recurrent.py",
        "blank = sequences[:, at, BLANK, None] > 0.5",
        "blank = sequences[:, at, BLANK, None] > 1.5",
        "models/test_encoder_decoder.py::test_it_is_keras_own_layers_with_a_mask",
    ),
    Mutation(
        "attention-looks-at-padding",
        "models/decoders.py",
        "question[:, :, BLANK] < 0.5",
        "question[:, :, BLANK] < 1.5",
        "models/test_encoder_decoder.py::test_additive_attention_by_hand",
    ),
    Mutation(
        "answer-goes-on-after-its-end",
        "models/self_reading.py",
        "tf.where(ended > 0.5, blank, probabilities)",
        "tf.where(ended > 1.5, blank, probabilities)",
        "models/test_encoder_decoder.py::test_what_it_answers_is_what_it_says_when_it_is_given_its_own_answer",
    ),
    Mutation(
        "told-and-not-told-exchanged",
        "models/self_reading.py",
        "tf.where(forced[:, at, None], right, said)",
        "tf.where(forced[:, at, None], said, right)",
        "models/test_encoder_decoder.py::test_told_everywhere_is_taught_and_told_nowhere_reads_its_own_answer",
    ),
    Mutation(
        "beams-that-ended-are-mixed-up",
        "models/self_reading.py",
        "ended = tf.gather(ended, came_from, batch_dims=1) | (characters == BLANK)",
        "ended = ended | (characters == BLANK)",
        "models/test_encoder_decoder.py::test_a_beam_that_is_wide_enough_finds_all_the_most_probable_answers",
    ),
    # The order of epochs.
    Mutation(
        "every-epoch-in-the-same-order",
        "data/curriculum.py",
        "np.random.default_rng((seed, epoch)).permutation(n)",
        "np.random.default_rng((seed, 1)).permutation(n)",
        "training/test_loop.py::test_every_epoch_has_an_order_of_its_own_that_follows_from_seed_and_epoch",
    ),
    Mutation(
        "shuffled-once-or-not-is-the-same",
        "training/schedule.py",
        'ordered_as = epoch if config.shuffle == "each_epoch" else 1',
        "ordered_as = epoch",
        "training/test_loop.py::test_an_epoch_takes_the_sums_in_the_order_of_its_own_or_of_the_first",
    ),
    Mutation(
        "every-epoch-draws-the-same-sums",
        "data/curriculum.py",
        "rng = np.random.default_rng((seed, epoch))\n",
        "rng = np.random.default_rng(seed)\n",
        "data/test_curriculum.py::test_rows_follow_from_seed_and_epoch",
    ),
    Mutation(
        "naive-waits-an-epoch-longer",
        "data/curriculum.py",
        "since >= PATIENCE",
        "since > PATIENCE",
        "data/test_curriculum.py::test_naive_goes_on_when_there_is_no_progress",
    ),
    Mutation(
        "curriculum-forgets-the-epochs-before",
        "training/schedule.py",
        "at = curriculum.stage(history, config.task.digits)",
        "at = curriculum.stage([], config.task.digits)",
        "data/test_curriculum.py::test_a_run_with_a_curriculum_goes_on_as_it_would_have",
    ),
    Mutation(
        "told-at-the-same-places-in-every-epoch",
        "training/schedule.py",
        "np.random.default_rng((config.seed, epoch, 1))",
        "np.random.default_rng((config.seed, 1, 1))",
        "models/test_encoder_decoder.py::test_where_it_is_told_follows_from_seed_and_epoch_and_is_another_in_each",
    ),
    # Metrics.
    Mutation(
        "a-sum-is-right-with-one-right-character",
        "training/metrics.py",
        "return float(np.mean(np.all(predicted == answers, axis=1)))",
        "return float(np.mean(np.any(predicted == answers, axis=1)))",
        "training/test_metrics.py::test_exact_match_counts_sums_without_a_wrong_character",
    ),
    Mutation(
        "accuracy-counts-padding-where-lengths-are-free",
        "training/metrics.py",
        "right if counts is None else right[counts]",
        "right",
        "training/test_metrics.py::test_accuracy_by_position_has_the_share_of_those_that_count_there",
    ),
    Mutation(
        "position-over-all-sums",
        "training/metrics.py",
        "np.maximum(counts.sum(axis=0), 1)",
        "len(counts)",
        "training/test_metrics.py::test_accuracy_by_position_has_the_share_of_those_that_count_there",
    ),
    Mutation(
        "by-carries-is-by-digits",
        "training/loop.py",
        "metrics.exact_match_by(of, guesses, answers) for name, of in data.val_groups.items()",
        "metrics.exact_match_by(data.val_groups['digits'], guesses, answers) for name in data.val_groups",
        "training/test_loop.py::test_accuracies_by_position_and_by_carries_make_up_those_of_the_whole",
    ),
    Mutation(
        "val-acc-with-help",
        "training/loop.py",
        "guessed = model.greedy_decode(x) if model.reads_answer else probabilities",
        "guessed = probabilities",
        "models/test_encoder_decoder.py::test_what_it_answers_on_its_own_does_not_depend_on_the_right_answers",
    ),
    Mutation(
        "binary-accuracy-from-another-threshold",
        "training/loop.py",
        "probabilities > 0.5",
        "probabilities > 0.08",
        "training/test_loop.py::test_losses_and_accuracies_of_given_probabilities_by_hand",
    ),
    Mutation(
        "longer-sums-are-not-tested",
        "training/loop.py",
        "if len(data.longer_digits):",
        "if False:",
        "data/test_curriculum.py::test_longer_sums_are_tested_and_not_learnt",
    ),
    # Resume: the optimizer's state, and the choice of checkpoints.
    Mutation(
        "optimizer-begins-again",
        "training/state.py",
        '**{f"optimizer/{i}": variable for i, variable in enumerate(optimizer.variables)},',
        "",
        "data/test_curriculum.py::test_a_run_with_a_curriculum_goes_on_as_it_would_have",
    ),
    Mutation(
        "state-of-another-model-is-taken",
        "training/state.py",
        "if shapes != {name: array.shape for name, array in arrays.items()}:",
        "if shapes.keys() != arrays.keys():",
        "training/test_loop.py::test_the_state_of_another_model_is_refused_and_changes_nothing",
    ),
    Mutation(
        "checksum-not-compared",
        "training/checkpoint.py",
        "if hashlib.sha256(content).hexdigest().encode() != checksum:",
        "if not checksum:",
        "training/test_checkpoint.py::test_flipped_bytes_and_truncations_are_noticed_all_over_the_file",
    ),
    Mutation(
        "checkpoint-of-another-training-is-used",
        "training/checkpoint.py",
        'if theirs != ours and not (key == "code" and theirs in equivalent_codes(ours)):',
        "if theirs != ours and NOTHING in (theirs, ours):",
        "training/test_checkpoint.py::test_the_checkpoint_of_another_training_is_refused",
    ),
    Mutation(
        "checkpoint-of-other-code-is-used",
        "training/checkpoint.py",
        'key == "code" and theirs in equivalent_codes(ours)',
        'key == "code"',
        "training/test_checkpoint.py::test_code_that_gives_the_same_numbers_goes_on_with_a_checkpoint_and_other_code_does_not",
    ),
    Mutation(
        "fingerprint-without-the-sums",
        "training/fingerprint.py",
        '        "data": data_digest,\n',
        "",
        "training/test_checkpoint.py::test_the_fingerprint_changes_with_all_that_numbers_follow_from_and_not_with_the_epochs",
    ),
    Mutation(
        "fingerprint-without-the-code",
        "training/fingerprint.py",
        '        "code": code_digest(),\n',
        "",
        "training/test_checkpoint.py::test_the_fingerprint_is_another_under_other_code_or_on_another_gpu",
    ),
    Mutation(
        "fingerprint-with-the-epochs",
        "config/schema.py",
        '_hash({k: v for k, v in self.result_keys().items() if k != "epochs"})',
        "_hash(self.result_keys())",
        "training/test_checkpoint.py::test_the_fingerprint_changes_with_all_that_numbers_follow_from_and_not_with_the_epochs",
    ),
    Mutation(
        "edited-part-may-read-another-weight",
        "training/computes.py",
        'f"weight {i}"',
        '"weight"',
        "training/test_computes.py::test_an_edit_that_computes_something_else_is_noticed",
    ),
    Mutation(
        "edited-part-may-call-another-function",
        "training/computes.py",
        "{self._function(each.name)} {self._attributes(each.attr)}",
        "{self._attributes(each.attr)}",
        "training/test_computes.py::test_an_edit_that_computes_something_else_is_noticed",
    ),
    Mutation(
        "edited-part-may-begin-with-other-weights",
        "training/computes.py",
        "hashlib.sha256(weights_digest(model).encode())",
        "hashlib.sha256()",
        "training/test_computes.py::test_an_edit_that_computes_something_else_is_noticed",
    ),
    Mutation(
        "edited-part-finds-weights-by-their-names",
        "training/session.py",
        "if theirs is not None:  # an edit",
        "if theirs is None:  # an edit",
        "tracking/test_other_source.py::test_a_renamed_part_goes_on_to_the_bit_and_another_one_begins_anew",
    ),
    Mutation(
        "checkpoint-may-hold-code",
        "training/checkpoint.py",
        "np.load(io.BytesIO(content), allow_pickle=False)",
        "np.load(io.BytesIO(content), allow_pickle=True)",
        "training/test_checkpoint.py::test_an_array_of_python_objects_is_not_loaded",
    ),
    Mutation(
        "checkpoint-before-not-kept",
        "system/files.py",
        "            os.replace(path, keep)\n",
        "            path.unlink()\n",
        "faults/test_torn_writes.py::test_a_torn_checkpoint_is_named_and_the_one_before_is_used",
    ),
    Mutation(
        "oldest-checkpoint-first",
        "tracking/run_directory.py",
        '_CHECKPOINTS = ("checkpoint", "checkpoint.before")',
        '_CHECKPOINTS = ("checkpoint.before", "checkpoint")',
        "faults/test_torn_writes.py::test_a_torn_checkpoint_is_named_and_the_one_before_is_used",
    ),
    # Verdicts.
    Mutation(
        "quantile-of-one-side",
        "claims/verdicts.py",
        "stats.t.ppf((1 + CONFIDENCE) / 2,",
        "stats.t.ppf(CONFIDENCE,",
        "claims/test_verdicts.py::test_the_prediction_interval_is_that_of_students_table",
    ),
    Mutation(
        "interval-of-the-mean-for-one-more-run",
        "claims/verdicts.py",
        "np.std(values, ddof=1) * np.sqrt(1 + 1 / n)",
        "np.std(values, ddof=1) * np.sqrt(1 / n)",
        "claims/test_verdicts.py::test_the_prediction_interval_is_that_of_students_table",
    ),
    Mutation(
        "deviation-of-a-population",
        "claims/verdicts.py",
        "np.std(differences, ddof=1) / np.sqrt(n)",
        "np.std(differences) / np.sqrt(n)",
        "claims/test_verdicts.py::test_the_interval_of_a_mean_is_that_of_students_table",
    ),
    Mutation(
        "published-numbers-are-exact",
        "claims/verdicts.py",
        "ROUNDING = 0.00005",
        "ROUNDING = 0.0",
        "claims/test_verdicts.py::test_a_published_number_is_rounded_to_four_digits",
    ),
    Mutation(
        "wide-intervals-decide",
        "claims/verdicts.py",
        "WIDEST = 0.2",
        "WIDEST = 1.0",
        "claims/test_verdicts.py::test_an_interval_wider_than_a_fifth_decides_only_what_is_outside",
    ),
    Mutation(
        "negligible-on-the-wrong-side",
        "claims/verdicts.py",
        "REPRODUCED if high <= negligible else",
        "REPRODUCED if low <= negligible else",
        "claims/test_verdicts.py::test_a_difference_that_is_sure_but_below_a_hundredth_is_none",
    ),
    # Ceilings.
    Mutation(
        "numbers-equally-likely",
        "claims/ceilings.py",
        "of_number = np.mean([(numbers < 10**length) / 10**length for length in range(1, digits + 1)], axis=0)",
        "of_number = np.full(10**digits, 0.1**digits)",
        "claims/test_ceilings.py::test_the_law_of_draws_is_that_of_the_generator",
    ),
    Mutation(
        "pairs-counted-one-way-round",
        "claims/ceilings.py",
        "np.unique(np.where(a == b, draws.weights, 2 * draws.weights), return_inverse=True)",
        "np.unique(draws.weights, return_inverse=True)",
        "claims/test_ceilings.py::test_the_law_of_sets_is_the_mean_of_many_sets",
    ),
    Mutation(
        "reader-that-forgets",
        "claims/ceilings.py",
        "_ranks(before * n_characters + questions[:, step])",
        "_ranks(questions[:, step].astype(np.int64))",
        "claims/test_ceilings.py::test_whole_one_digit_law_against_counting_by_hand",
    ),
    Mutation(
        "guess-the-rarest",
        "claims/ceilings.py",
        "weight.reshape(-1, n_characters).max(axis=1)",
        "weight.reshape(-1, n_characters).mean(axis=1)",
        "claims/test_ceilings.py::test_no_function_of_one_digit_questions_is_better_than_the_ceiling",
    ),
    # The choice of runs for the table.
    Mutation(
        "conditions-differ-by-their-batch-too-little",
        "config/schema.py",
        "return _hash(self.condition())",
        'return _hash({k: v for k, v in self.condition().items() if k != "batch_size"})',
        "test_table.py::test_other_runs_do_not_leak_in",
    ),
    Mutation(
        "oldest-run-of-a-seed",
        "comparison/curves.py",
        "run = self.runs.pop()",
        "run = self.runs.pop(0)",
        "test_table.py::test_of_one_seed_the_newest_run_that_reached_an_epoch_counts",
    ),
    Mutation(
        "seeds-not-chosen",
        "comparison/curves.py",
        "wanted = selection.seeds or sorted(by_seed)",
        "wanted = sorted(by_seed)",
        "test_table.py::test_several_seeds_give_mean_and_spread",
    ),
    Mutation(
        "best-epoch-the-last-of-equal-ones",
        "comparison/every_epoch.py",
        "ascending=[False, True]",
        "ascending=[False, False]",
        "test_table.py::test_the_best_epoch_of_each_run_is_a_row_beside_the_numbers",
    ),
    Mutation(
        "equal-code-explains-other-numbers",
        "comparison/run_differences.py",
        "its in equivalent_codes(mine)",
        "its == mine",
        "commands/test_diff.py::test_what_is_recorded_may_explain_nothing",
    ),
    Mutation(
        "keys-of-another-task-stay",
        "evaluation/base_run.py",
        " and not key.startswith(gone)",
        "",
        "evaluation/test_base_run.py::test_keys_of_a_task_go_with_the_task",
    ),
    Mutation(
        "an-equal-epoch-is-better",
        "inspection/snapshots.py",
        'inspect.best and row["val_acc"] > self._best[0]',
        'inspect.best and row["val_acc"] >= self._best[0]',
        "inspection/test_snapshots.py::test_the_best_epochs_weights_replace_those_of_the_best_before",
    ),
    Mutation(
        "rows-of-the-article-alone",
        "comparison/table.py",
        "if epoch <= max(last)} | shorter))",
        "if epoch <= max(last)}))",
        "test_table.py::test_a_run_of_30_epochs_has_a_row_for_its_last",
    ),
    Mutation(
        "trained-runs-are-trained-again",
        "comparison/missing.py",
        "if len(sweeps) > 1 and needless:",
        "if False:",
        "test_table.py::test_one_command_trains_what_is_missing",
    ),
    Mutation(
        "first-of-several-rounded-numbers",
        "comparison/rounded.py",
        "if len(candidates) > 1:",
        "if False:",
        "test_table.py::test_a_rounded_number_finds_the_run_whose_number_rounds_to_it",
    ),
    Mutation(
        "choices-become-texts",
        "search/space.py",
        "if element is None or isinstance(element, (bool, int, float)):",
        "if element is None:",
        "search/test_search.py::test_choices_keep_their_types_and_plots_name_the_metric",
    ),
    Mutation(
        "an-old-study-gets-new-choices",
        "search/space.py",
        "key: known.get(key, distribution) for",
        "key: distribution for",
        "search/test_search.py::test_a_study_whose_choices_are_texts_keeps_them",
    ),
    Mutation(
        "published-for-every-condition",
        "comparison/table.py",
        "named = [name for name in published.columns if name in keys]",
        'named = [name for name in published.columns if name in ("cell", "epochs", "metric")]',
        "test_table.py::test_published_numbers_stand_only_beside_their_own_condition",
    ),
    Mutation(
        "unfinished-runs-count",
        "tracking/store.py",
        'finished = [run for run in found if run.status == "FINISHED" and run.is_whole]',
        "finished = [run for run in found if run.is_whole]",
        "tracking/test_recording.py::test_a_run_that_failed_or_is_under_way_does_not_count_though_it_says_its_seed_and_epochs",
    ),
    Mutation(
        "swallowed-interruption-is-a-failure",
        "tracking/recording.py",
        " or interruption(error) is not None",
        "",
        "faults/test_stopped.py::test_an_interruption_that_surfaces_as_another_error_is_one_all_the_same",
    ),
    Mutation(
        "files-flushed-for-reading",
        "system/files.py",
        "os.O_RDONLY if is_folder else os.O_RDWR",
        "os.O_RDONLY",
        "faults/test_without_posix.py::test_an_interrupted_run_is_resumed_and_shown_in_a_table",
    ),
    Mutation(
        "end-of-a-spawned-job-unnoticed",
        "launch/local.py",
        " or ends.get(each) in ready",
        "",
        "faults/test_without_posix.py::test_a_job_that_ended_before_it_took_its_end_of_the_pipe_has_ended",
    ),
    Mutation(
        "password-in-a-shown-configuration",
        "run.py",
        "redirect_stdout(shown) if _shows_config(arguments) else nullcontext()",
        "nullcontext()",
        "faults/test_command_faults.py::"
        "test_a_configuration_is_shown_without_its_password_however_the_option_is_written",
    ),
    Mutation(
        "own-error-is-an-interruption",
        "system/signals.py",
        "not isinstance(error, (SeqaddError, OSError))",
        "True",
        "system/test_signals.py::"
        "test_after_a_signal_an_error_of_a_library_is_an_interruption_and_one_of_ours_is_itself",
    ),
    Mutation(
        "python-ends-by-itself",
        "cli/entry.py",
        "    end(code or 0)\n",
        "    sys.exit(code or 0)\n",
        "faults/test_stopped.py::test_a_program_ends_when_its_command_has_ended",
    ),
    Mutation(
        "wrong-answers-are-right",
        "answer.py",
        "if text == right_answer else",
        "if text else",
        "test_answer.py::test_sums_as_arguments",
    ),
    Mutation(
        "second-inspection-replaces-the-first",
        "inspection/report_folder.py",
        "                kept += text\n",
        "",
        "inspection/test_report_folder.py::test_the_page_of_the_same_runs_grows",
    ),
    Mutation(
        "another-runs-answers-on-the-page",
        "inspection/report_folder.py",
        "if runs_line == _runs_line(runs) and complete",
        "if complete",
        "inspection/test_report_folder.py::test_what_other_runs_or_epochs_answered_is_not_shown_as_the_answer_of_these",
    ),
    Mutation(
        "unit-that-is-off-begins-a-decoder",
        "inspection/interventions.py",
        "states and replace(0, states)",
        "states",
        "inspection/test_interventions.py::test_a_decoder_whose_unit_is_off_does_not_begin_with_the_encoders",
    ),
    Mutation(
        "patched-a-step-late",
        "inspection/interventions.py",
        "range(1, _n_steps(model, layer) + 1)",
        "range(_n_steps(model, layer))",
        "inspection/test_interventions.py::"
        "test_an_encoder_with_the_states_of_another_sum_has_read_its_first_characters",
    ),
    Mutation(
        "shared-runs-cost-again",
        "claims/training_cost.py",
        "        if earlier >= job.epochs:\n",
        "        if False:\n",
        "claims/test_training_cost.py::"
        "test_runs_that_an_earlier_claim_trains_cost_a_later_one_nothing_and_are_said_to_be_its_own",
    ),
    Mutation(
        "everybodys-runs",
        "tracking/store.py",
        "if run_filter.user is not None:",
        "if False:",
        "test_table.py::test_the_runs_of_one_user_one_commit_or_one_tag_make_a_table_of_their_own",
    ),
    Mutation(
        "run-of-other-sums-is-finished",
        "tracking/store.py",
        'if run.tags.get("data_digest") == data_digest()), None)',
        "if data_digest()), None)",
        "tracking/test_recording.py::test_a_run_is_the_one_wanted_only_if_its_sums_are_too",
    ),
    # Delivery to the store, and its order.
    Mutation(
        "finished-before-its-artifacts",
        "tracking/delivery.py",
        """        _deliver_content(store, run_id, run_dir, ending)  # before the status: a finished run promises to have it
        lineage.deliver_model(store, run, run_dir.model, about.recorder, ending)
        store.client.set_terminated(run_id, ending.status, end_time)
""",  # noqa: E501
        """        store.client.set_terminated(run_id, ending.status, end_time)
        _deliver_content(store, run_id, run_dir, ending)
        lineage.deliver_model(store, run, run_dir.model, about.recorder, ending)
""",
        "tracking/test_recording.py::test_a_run_that_is_killed_between_two_words_to_the_store_is_told_again_and_nothing_twice",
    ),
    Mutation(
        "model-recorded-twice",
        "tracking/lineage.py",
        "model = _model_of(store, run, recorder) or _create_model(",
        "model = _create_model(",
        "tracking/test_lineage.py::test_a_model_that_did_not_reach_the_store_is_delivered_once_by_the_next_command",
    ),
    Mutation(
        "model-with-code",
        "tracking/lineage.py",
        "        _check_no_code(path)",
        "        pass",
        "tracking/test_lineage.py::test_a_model_that_could_be_saved_only_with_code_is_not_written",
    ),
    Mutation(
        "persons-description-overwritten",
        "tracking/description.py",
        "return note is None or _digest(note) == tags.get(DIGEST)",
        "return True",
        "tracking/test_pages.py::test_what_a_person_has_changed_stays_when_the_run_goes_on_and_what_none_has_changed_is_brought_up_to_date",
    ),
    Mutation(
        "old-names-of-metrics-unread",
        "tracking/store.py",
        "and not any(point.step == 1 for point in values):",
        "and False:",
        "tracking/test_pages.py::test_a_run_that_an_earlier_version_began_is_read_under_both_names",
    ),
    Mutation(
        "training-time-begins-again",
        "tracking/recording.py",
        "self._history[-1].get(TRAIN_SECONDS, 0.0) if self._history else 0.0",
        "0.0",
        "tracking/test_pages.py::test_the_training_time_is_that_of_the_epochs_whenever_they_were",
    ),
    Mutation(
        "failed-jobs-in-a-sweeps-mean",
        "launch/sweep_page.py",
        "if row.counts and name in row.metrics]",
        "if name in row.metrics]",
        "tracking/test_pages.py::test_a_sweep_shows_a_table_its_best_and_mean_results_and_its_curves",
    ),
    Mutation(
        "epochs-told-twice",
        "tracking/delivery.py",
        'for row, time_ms in rows if row["epoch"] > known]',
        "for row, time_ms in rows]",
        "tracking/test_recording.py::test_a_killed_run_is_given_the_epochs_of_its_checkpoint",
    ),
    Mutation(
        "orphans-left-running",
        "tracking/connection.py",
        "    reconcile(store)\n",
        "",
        "tracking/test_recording.py::test_a_killed_run_is_given_the_epochs_of_its_checkpoint",
    ),
    Mutation(
        "forgotten-before-it-is-told",
        "tracking/delivery.py",
        "        store.client.set_terminated(run_id, ending.status, end_time)\n        run_dir.discard()\n",
        "        run_dir.discard()\n        store.client.set_terminated(run_id, ending.status, end_time)\n",
        "tracking/test_recording.py::test_a_run_that_is_killed_between_two_words_to_the_store_is_told_again_and_nothing_twice",
    ),
    Mutation(
        "killed-run-loses-its-checkpoints-epochs",
        "tracking/delivery.py",
        "checkpoint.history if checkpoint is not None else []",
        "[]",
        "tracking/test_recording.py::test_a_killed_run_is_given_the_epochs_of_its_checkpoint",
    ),
    Mutation(
        "interrupted-run-has-failed",
        "tracking/recording.py",
        'recorder.end("KILLED" if killed else "FAILED",',
        'recorder.end("FAILED",',
        "tracking/test_recording.py::test_a_run_that_is_interrupted_is_killed",
    ),
    Mutation(
        "record-made-twice",
        "tracking/recording.py",
        "return begun_run(store, run_dir) or store.client",
        "return store.client",
        "tracking/test_recording.py::test_a_record_of_which_the_store_loses_the_answer_is_found_again_and_not_made_twice",
    ),
    Mutation(
        "late-record-left-running",
        "tracking/delivery.py",
        'if late.info.status == "RUNNING":',
        'if late.info.status == "SCHEDULED":',
        "tracking/test_recording.py::test_a_record_that_the_store_makes_too_late_is_not_left_running",
    ),
    Mutation(
        "known-epochs-contradicted",
        "tracking/delivery.py",
        "return begun is not None and store.last_epoch(begun.info.run_id) == 0",
        "return begun is not None",
        "tracking/test_recording.py::test_a_run_goes_on_as_the_same_only_if_nothing_that_is_known_of_it_can_be_contradicted",
    ),
    # Locks.
    Mutation(
        "live-run-is-killed",
        "tracking/delivery.py",
        "            if free:\n                deliver(store, run_dir)",
        "            deliver(store, run_dir)",
        "tracking/test_recording.py::test_a_run_without_a_process_is_killed_and_a_live_one_is_left_alone",
    ),
    Mutation(
        "lock-of-another-process-ignored",
        "tracking/run_directory.py",
        "        except Timeout:\n            return False",
        "        except Timeout:\n            return True",
        "tracking/test_recording.py::test_a_run_without_a_process_is_killed_and_a_live_one_is_left_alone",
    ),
    Mutation(
        "torn-files-stay",
        "tracking/run_directory.py",
        "            torn.unlink()\n",
        "            pass\n",
        "faults/test_torn_writes.py::test_a_process_killed_while_it_writes_a_checkpoint_leaves_the_one_before_or_the_new_one",
    ),
    # Parts of one's own.
    Mutation(
        "part-reads-what-it-must-predict",
        "evaluation/part_check.py",
        "    if not model.reads_answer:\n        return\n    first",
        "    if model.reads_answer:\n        return\n    first",
        "evaluation/test_part_check.py::test_a_mistake_of_an_architecture_is_named",
    ),
    Mutation(
        "weight-is-not-the-models",
        "evaluation/part_check.py",
        "        _check_every_weight_is_the_models(part, model, made)\n",
        "",
        "evaluation/test_part_check.py::test_a_mistake_of_an_architecture_is_named",
    ),
    Mutation(
        "curve-that-no-run-records",
        "evaluation/part_check.py",
        "1 <= int(position[1]) <= last",
        "1 <= int(position[1])",
        "evaluation/test_part_check.py::test_a_task_is_refused_whose_curve_no_run_records",
    ),
    Mutation(
        "helper-modules-do-not-count",
        "config/part_sources.py",
        "map(importlib.util.decode_source, sources.values())",
        "map(importlib.util.decode_source, list(sources.values())[:1])",
        "config/test_parts.py::test_the_digest_is_that_of_the_code_and_of_the_modules_beside_it",
    ),
    Mutation(
        "changed-copy-runs",
        "models/parts.py",
        "if not part.built_in and source_code(sources) != part.code:",
        "if part.built_in and source_code(sources) != part.code:",
        "launch/test_own_parts.py::test_jobs_load_the_copy_and_a_later_edit_changes_nothing",
    ),
    Mutation(
        "keys-of-a-part-without-range",
        "config/schema.py",
        "low=key.low, high=key.high, ",
        "",
        "config/test_parts.py::test_what_does_not_fit_a_part_is_refused_in_one_line[cell=leaky leaky.leak=2]",
    ),
    Mutation(
        "edited-part-answers-for-the-old-one",
        "evaluation/recorded_config.py",
        "    if code != override_text(config.part_code):\n",
        "    if False:\n",
        "config/test_parts.py::test_a_recorded_run_of_another_part_is_refused_and_says_how_to_get_its_file",
    ),
    Mutation(
        "answers-shown-backwards",
        "data/notation.py",
        "_forwards(text, self.reverse_answer)",
        "_forwards(text, False)",
        "evaluation/test_own_tasks.py::test_an_answer_that_is_written_backwards_is_read_forwards",
    ),
    Mutation(
        "compared-the-wrong-way-round",
        "claims/paired.py",
        "(mine - theirs).dropna()",
        "(theirs - mine).dropna()",
        "claims/test_paired.py::test_columns_are_compared_over_the_seeds_that_both_have",
    ),
    Mutation(
        "null-cell-is-part-of-the-hash",
        "config/schema.py",
        "for key, value in keys.items() if value is not None}",
        'for key, value in keys.items() if value is not None or key == "cell"}',
        "config/test_parts.py::test_an_architecture_without_a_cell_has_no_cell_and_no_units",
    ),
    Mutation(
        "configuration-names-code",
        "config/hydra_setup.py",
        "            _check_plugin(config, part)\n",
        "            pass\n",
        "faults/test_command_faults.py::test_what_would_be_taken_and_ignored_is_refused"
        "[-m hydra.sweeper._target_=os.mkdir]",
    ),
    Mutation(
        "cell-of-a-file-dropped",
        "config/chosen_cell.py",
        "return typed or _a_file_chooses(of_hydra)",
        "return typed",
        "config/test_chosen_cell.py::test_a_cell_that_a_file_chooses_counts",
    ),
    Mutation(
        "own-task-runs-in-the-sweeps-process",
        "launch/own_parts.py",
        "if task is None or task.built_in:",
        "if True:",
        "launch/test_own_parts.py::test_a_sweep_looks_for_finished_runs_of_an_own_task_without_running_its_file",
    ),
    Mutation(
        "curve-of-a-task-is-not-drawn",
        "table.py",
        "options.metrics or first is None else first",
        "options.metrics or first is None else metrics[-1]",
        "test_table.py::test_the_metric_of_a_task_stands_first_and_is_drawn",
    ),
    Mutation(
        "completion-without-own-parts",
        "cli/code_option.py",
        'os.environ[_LINE] = line = _IN_LINE.sub("", line)',
        'line = _IN_LINE.sub("", line)',
        "cli/test_completion.py::test_keys_and_values_of_a_part_that_the_line_names_are_offered",
    ),
]


if __name__ == "__main__":
    sys.exit(main())
