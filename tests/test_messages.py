"""docs/messages.md has every text that people see, for reading in one sitting; none is long."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "messages.py"
_spec = importlib.util.spec_from_file_location("messages", SCRIPT)
messages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(messages)


def test_the_page_has_the_messages_of_the_source():
    page = messages.page()
    assert messages.PAGE.read_text() == page, "docs/messages.md is out of date: python scripts/messages.py"
    assert page.count("\n- `") > 500


def test_no_message_is_long():
    assert [text for path in messages.modules() for text in messages.too_long(path)] == []


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('raise E(f"{key}={value!r}: must be {low:.1f}")', {"{key}={value}: must be {low}"}),
        (
            'notify(f"stopped {len(jobs)} of {config.n} jobs" + " by hand")',
            {"stopped {number of jobs} of {n} jobs", "by hand"},
        ),
        ('"""What it is."""\nx = {"help": "first line\\nsecond line"}', {"first line", "second line"}),
        ('if text.startswith("no such key") or text == "two words": pass', set()),
        ('connection.execute("SELECT a FROM b"); "word"', set()),
        ("f\"{n} job{'s not done' * many}\"", {"{n} job{value}", "s not done"}),
    ],
)
def test_a_text_is_what_a_person_reads(source, shown, tmp_path):
    (tmp_path / "module.py").write_text(source)
    assert messages.texts(tmp_path / "module.py") == shown
