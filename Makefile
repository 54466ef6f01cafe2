# make table   sets up, trains the article's three cells, prints the table beside the published one
# make test    sets up, runs every test but the long ones and the integration
# make faults  sets up both; whether tests notice mistakes; the long tests: kills, crashes, lost servers, what XLA compiles,
#              the notebook
# make integration  sets up; the tests against a real Slurm, PostgreSQL and MLflow server, which it starts
# make wheel   sets up; builds the wheel in dist/
# make docs    sets up .venv-docs; builds the documentation as a site, build/site/index.html; a broken link is an error
# make notebook  sets up both; executes docs/learn.ipynb, and writes it with its outputs
# make check   sets up; lint, format, types, imports, workflows and forms, known vulnerabilities of what is pinned, docs
#
# The environments are made in .venv and .venv-docs the first time, and again only when what they are made from has changed.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DOCS_READY := .venv-docs/ready

.PHONY: table test faults integration check wheel docs format lock

table: $(READY)
	$(BIN)/python -m seqadd.run -m cell=lstm,gru,simple_rnn epochs=200
	$(BIN)/python -m seqadd.table cell=lstm,gru,simple_rnn --markdown table.md --csv table.csv --figure curves.png

test: $(READY)
	$(BIN)/python -m pytest -n auto

faults: $(READY) $(DOCS_READY)
	$(BIN)/python tests/mutations.py
	$(BIN)/python -m pytest -m long -n 0 --new-processes

integration: $(READY)
	$(BIN)/python -m pytest -m integration -n 0 --new-processes tests/integration

check: $(READY) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/python scripts/audit.py

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

# Everything is made again each time: a page that has not changed would report its broken links only once.
docs: $(DOCS_READY)
	rm -rf build/site build/doctrees
	.venv-docs/bin/python -m sphinx --fail-on-warning --quiet -c docs -d build/doctrees . build/site
	.venv-docs/bin/python scripts/links.py docs/report.html build/site

notebook: $(READY) $(DOCS_READY)
	.venv-docs/bin/python scripts/notebook.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

SUPPORTED := import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] <= (3, 13) else \
  f"seqadd needs Python 3.11 to 3.13; {sys.executable} is {v.major}.{v.minor}. Try: make PYTHON=python3.12")

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c '$(SUPPORTED)'
	@echo "Setting up .venv (about 1 GB to download, some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(READY)

$(DOCS_READY): docs/requirements.lock
	@$(PYTHON) -c '$(SUPPORTED)'
	@echo "Setting up .venv-docs (about 60 MB to download)"
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $(DOCS_READY)

# Needs uv on the PATH. python-dateutil is held below 3 because newer ones drag graphene, a part of MLflow, back.
lock:
	echo 'python-dateutil<3' | uv pip compile pyproject.toml --extra dev --extra slurm --extra search --extra server \
	  --universal --python-version 3.11 \
	  --constraint - --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock
	uv pip compile --group docs --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file docs/requirements.lock
