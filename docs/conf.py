"""How Sphinx builds the site (``make docs``): Markdown and the notebook where they lie, the API from docstrings.

The source folder is the top of the clone, so that the links that work on a code host work on the site. A link to a page
or to a heading that does not exist is a warning, and a warning is an error.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / "src"))

import seqadd  # noqa: E402

project = "seqadd"
author = "The seqadd authors"
copyright = "The seqadd authors, MIT license"
version = release = seqadd.__version__

root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "docs/*.ipynb",
    "experiments/*/*.md",
    "benchmarks/results/*.md",
]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
highlight_language = "none"  # blocks are commands and their output

# The notebook is shown with the outputs that it was committed with: `make notebook` executes it.
nb_execution_mode = "off"
nb_merge_streams = True

# Anchors are those of GitHub, for all levels of headings.
myst_heading_anchors = 6

# Too large for an environment that only builds documentation; no docstring depends on them.
autodoc_mock_imports = ["filelock", "keras", "mlflow", "psutil", "rich", "sqlalchemy", "tensorflow"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
# Names of array types that would be shown in full.
autodoc_type_aliases = {name: name for name in ("Array", "Ids", "Visible", "Weights")}
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a dataclass are a list in its description

html_theme = "furo"
html_title = f"seqadd {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

#: What the site's menu has, and the README, which people read on a code host, must not have.
MENU = """

```{toctree}
:hidden:
:caption: Use

Notebook <docs/learn>
docs/configuration
docs/architectures
docs/tracking
docs/look-inside
docs/extend
docs/cluster
Reliability <docs/reliability>
Performance <docs/performance>
```

```{toctree}
:hidden:
:caption: The article's claims

Report <docs/report>
docs/verdicts
```

```{toctree}
:hidden:
:caption: Develop

docs/api
docs/code
docs/messages
CONTRIBUTING
CHANGELOG
```
"""


def complete(app: Sphinx, name: str, source: list[str]) -> None:
    """Adds the menu to the README, and titles to tables; marks pages that only others link to, which no menu has.

    The site's page of the report has the address of the report's file for browsers, and the same content.
    """
    if name == root_doc:
        source[0] = source[0].replace("(docs/report.html)", "(docs/report.md)") + MENU
    elif name.startswith(("experiments/", "benchmarks/")):
        title = f"# Table of {name.split('/')[1]}\n\n" if name.endswith("/table") else ""
        source[0] = f"---\norphan: true\n---\n{title}{source[0]}"


def make_index(app: Sphinx, error: Exception | None) -> None:
    """Copies the README's page to the address that a browser asks for first."""
    if error is None:
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def name_aliases(app: Sphinx, what: str, name: str, value: object, options: object, *signature: str | None) -> tuple:
    """Writes ``Array`` for what Sphinx shows of a type's name inside another type: ``TypeAliasForwardRef('Array')``."""
    return tuple(part and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", part) for part in signature)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", name_aliases)
    app.connect("source-read", complete)
    app.connect("build-finished", make_index)
