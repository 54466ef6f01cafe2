"""No function, class, method or module has one of the old names that the field's terms replaced."""

import ast
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"

#: Old names of functions, classes, methods and modules for which the field has another term.
OLD = frozenset(
    """
    _StepByStep About by_place met said arithmetic Asked CheckingLauncher
    claimed claimed_if_free codes computed_once counted Ending
    EVERYBODY exits free_lengths half_taught hydra_keys in_a_short_line in_one_line inputs_for is_moved_away
    jobs_at_once kept last_words law_of_draws law_of_sets locations look_at naming_the_log narrowed NoSuchRun Note
    of_law of_set Only packaged PatientConsole patiently pauses places_told preloaded previous product_of_both
    quiet_import_of_tensorflow raising_on_signals reader_of Recorded RecordedRun RecordWaits refuses remember
    replacing Report run_each same_numbers Settings settle share_told signals_held start_beside stop_printing
    taught told TrackedRun trial_of unfinished Unfinished View weigh whose with_one without_passwords
    write_whole
    """.split()  # noqa: SIM905 - a line for each would be a page
)


def test_old_names_are_not_defined_again():
    defined = {
        node.name
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    assert not {name.lstrip("_") for name in defined} & {name.lstrip("_") for name in OLD}
    assert not {path.stem for path in SRC.rglob("*.py")} & OLD
