"""README, report and pages: how long, what they link to, and that ``make docs`` notices a link that leads nowhere."""

import importlib
import re
import runpy
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
LINKS = runpy.run_path(str(CLONE / "scripts" / "links.py"))
ARTICLE = "https://likejazz.com/seq2seq/"
EXAMPLE = "https://keras.io/examples/nlp/addition_rnn/"


def test_the_readme_is_short_and_begins_with_a_sentence_a_command_its_table_and_its_picture():
    lines = (CLONE / "README.md").read_text().splitlines()
    assert len(lines) <= 180
    first = lines[:60]
    assert "    make table" in first
    assert sum(line.lstrip().startswith("published    (") for line in first) == 4  # epochs 10, 50, 100, 200
    assert any(re.match(r"!\[.+\]\(.+\.png\)$", line) for line in first)


@pytest.mark.parametrize("page", ["README.md", "docs/report.md", "docs/report.html", "docs/verdicts.md"])
def test_the_article_and_the_keras_example_are_linked(page):
    text = (CLONE / page).read_text()
    assert ARTICLE in text
    assert EXAMPLE in text


@pytest.mark.parametrize("example", sorted((CLONE / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_page_about_own_parts_shows_each_example_whole(example):
    code = example.read_text().split('"""\n', 1)[1].strip()
    assert f"```python\n{code}\n```" in (CLONE / "docs" / "extend.md").read_text()


IMPORTS = sorted(
    {
        line.strip()
        for page in [*CLONE.glob("*.md"), *CLONE.glob("docs/*.md"), *CLONE.glob("experiments/*/README.md")]
        for line in page.read_text().splitlines()
        if re.match(r"\s*from seqadd[.\w]* import ", line)
    }
)


@pytest.mark.parametrize("line", IMPORTS)
def test_what_a_page_imports_is_there(line):
    module, _, names = line.removeprefix("from ").partition(" import ")
    for name in names.split(", "):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(f"{module}.{name}")


def test_every_link_of_the_report_leads_somewhere():
    assert list(LINKS["broken"](CLONE / "docs" / "report.html")) == []


def test_links_to_files_and_anchors_that_do_not_exist_are_named(tmp_path, capsys):
    (tmp_path / "a page.html").write_text('<h2 id="there">x</h2>')
    (tmp_path / "page.md").write_text("# A `title`, [linked](x)\n\ntext\n")
    links = {
        "a%20page.html#there": "",
        "#here": "",
        "page.md#a-title-linked": "",
        "https://example.org/gone": "",
        "data:image/png;base64,AA": "",
        "a%20page.html#gone": "a page.html has no such anchor",
        "#gone": "index.html has no such anchor",
        "page.md#gone": "page.md has no such anchor",
        "gone.png": "there is no such file",
    }
    page = tmp_path / "index.html"
    page.write_text('<p id="here">' + "".join(f'<a href="{link}">x</a>' for link in links))
    assert LINKS["main"]([str(tmp_path)]) == 1
    said = [f"{page}: {link}: {problem}" for link, problem in links.items() if problem]
    assert capsys.readouterr().out.splitlines() == [*said, "links: 2 pages, 4 broken"]
    assert LINKS["main"]([str(tmp_path / "a page.html")]) == 0
