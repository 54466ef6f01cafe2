"""The report: what it is made of, and how a browser shows it."""

import re

import browser
import pytest
from conftest import our_claims

from seqadd.claims import report, results, tables
from seqadd.errors import ConfigError
from seqadd.reporting import markup
from seqadd.system.files import resource_dir

PAGE = report.report_folder(resource_dir("experiments")) / "report.html"


@pytest.mark.skipif(browser.PROGRAM is None, reason="no browser")
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_and_on_a_desk_nothing_is_cut_off_and_every_picture_and_link_is_there(dark, tmp_path):
    widths = [390, 1400]
    for width, seen in zip(widths, browser.look(PAGE, widths, tmp_path, dark=dark), strict=True):
        assert seen["dark"] == dark
        assert seen["width"] <= width
        assert seen["cut"] == []
        assert seen["unreadable"] == []
        assert seen["images"]
        assert all(pixels > 500 for pixels in seen["images"])
        assert seen["dead"] == []
        assert len(set(seen["colours"].values())) == len(seen["colours"]) >= 2  # a colour for each verdict
        assert seen["contents"] > len(our_claims())  # and the top
        assert seen["back"] == 1  # the list of sections, or the link to it, stays in sight


def test_no_link_of_the_page_opens_the_text_of_a_page_or_of_code():
    links = re.findall(r'href="([^"]+)"', PAGE.read_text(encoding="utf-8"))
    assert len(links) > 80
    assert [link for link in links if not link.startswith("https:") and re.search(r"\.(md|py|yaml)\b", link)] == []
    assert links.count("#verdicts") > 10
    assert links.count("#cells-the-articles-table") > 5


def test_a_file_is_named_from_the_clones_top_or_from_the_folder_of_claims_elsewhere(tmp_path):
    ours = report._for_browsers("[jobs](../experiments/cells/sweep.yaml)", resource_dir("experiments"), {})
    elsewhere = report._for_browsers("[jobs](cells/sweep.yaml)", tmp_path, {})
    assert ours.partition("\n")[0] == "jobs (`experiments/cells/sweep.yaml`)"
    assert elsewhere == "jobs (`cells/sweep.yaml`)"


def test_what_a_store_says_cannot_act_in_the_page(tmp_path):
    from claim_folders import make_claim

    folder = make_claim(tmp_path / "experiments")
    strange = 'Machine: <img src=x onerror="alert(1)"> [x](javascript:alert(1))'
    page = markup.page(strange, "</title><b>", folder, set(), {})
    assert "<b>" not in page
    assert "<img" not in page
    assert not [link for link in re.findall(r'href="([^"]*)"', page) if "javascript" in link]
    (folder / "secret.txt").write_text("secret")
    with pytest.raises(ConfigError, match=r"secret.txt: not a picture of this page"):
        markup.page("![x](secret.txt)", "", folder, {folder / "curves.png"}, {})


def test_a_limit_of_our_own_is_not_called_published_and_an_interval_holds_possible_values_only():
    (claim,) = (each for each in our_claims() if each.name == "architectures")
    shown = tables.table(claim, results.read_rows(claim.folder))
    assert "above 0.99" in shown
    assert "published" not in shown
    assert "| limit |" in shown
    numbers = [float(number) for number in re.findall(r"[+-]\d+\.\d{4}", shown)]
    assert (min(numbers), max(numbers)) == (-1, 0.8715)  # of shares; by the formula alone it began at -1.46


def test_the_report_counts_what_was_claimed_and_not_what_was_asked_here():
    ours = [claim for claim in our_claims() if claim.settings.ours]
    assert [claim.name for claim in ours] == [
        "era", "architectures", "second_script", "teacher_forcing", "longer_than_trained", "curricula",
        "almost_every_sum",
    ]  # fmt: skip
