"""The report: what it is made of, and how a browser shows it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from seqadd import claims, pages, report
from seqadd.config import ConfigError, packaged

PAGE = report.place(packaged("experiments")) / "report.html"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Run in the page, which is then written out with what it found as its title.
LOOK = """<script>addEventListener("load", () => { document.title = JSON.stringify({
  width: document.documentElement.scrollWidth,
  images: [...document.images].map(image => image.naturalWidth),
  dead: [...document.querySelectorAll('a[href^="#"]')].map(a => decodeURIComponent(a.getAttribute("href").slice(1)))
    .filter(id => !document.getElementById(id)),
  colours: Object.fromEntries([...document.querySelectorAll("strong[class]")].map(s => [s.className, getComputedStyle(s).color])),
}) })</script>"""  # noqa: E501


def seen_by_a_browser(page: Path, width: int, folder: Path) -> dict:
    """What a headless browser makes of a page in a window of so many pixels."""
    assert BROWSER is not None
    looked = folder / "page.html"
    looked.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    # In a frame, because a headless window cannot be narrower than 500 pixels.
    framed = folder / "frame.html"
    framed.write_text(
        f'<iframe src="page.html" width="{width}" height="800" style="border: 0"></iframe><script>addEventListener('
        '"load", () => { document.title = document.querySelector("iframe").contentDocument.title })</script>'
    )
    dom = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={folder}/profile",
         "--virtual-time-budget=10000", "--window-size=1300,900", "--dump-dom", framed.as_uri()],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    return json.loads(title[1].replace("&amp;", "&").replace("&quot;", '"'))


@pytest.mark.skipif(BROWSER is None, reason="no browser")
@pytest.mark.parametrize("width", [360, 1200])
def test_on_a_phone_and_on_a_desk_nothing_is_cut_off_and_every_picture_and_link_is_there(width, tmp_path):
    seen = seen_by_a_browser(PAGE, width, tmp_path)
    assert seen["width"] <= width
    assert seen["images"]
    assert all(pixels > 500 for pixels in seen["images"])
    assert seen["dead"] == []
    assert len(set(seen["colours"].values())) == len(seen["colours"]) >= 2  # a colour for each verdict


def test_what_a_store_says_cannot_act_in_the_page(tmp_path):
    from claim_folders import make_claim

    folder = make_claim(tmp_path / "experiments")
    strange = 'Machine: <img src=x onerror="alert(1)"> [x](javascript:alert(1))'
    page = pages.page(strange, "</title><b>", folder, set(), {})
    assert "<b>" not in page
    assert "<img" not in page
    assert not [link for link in re.findall(r'href="([^"]*)"', page) if "javascript" in link]
    (folder / "secret.txt").write_text("secret")
    with pytest.raises(ConfigError, match=r"secret.txt: is shown, and is none of the pictures that belong here"):
        pages.page("![x](secret.txt)", "", folder, {folder / "curves.png"}, {})


def test_the_report_counts_what_was_claimed_and_not_what_was_asked_here():
    experiments = packaged("experiments")
    ours = [claim for claim in claims.read_all(experiments) if claim.settings.ours]
    assert [claim.name for claim in ours] == ["era"]
