"""python -m seqadd.reproduce: trains missing runs, writes results, and reports results that do not follow."""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fork_server
import pytest
from claim_folders import PUBLISHED, SWEEP, make_claim
from conftest import client_of, our_claims, quick_database, runs_of
from PIL import Image

from seqadd import reproduce
from seqadd.claims import checks, committed_curves, loading, measurements, report, results
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir
from seqadd.tracking.metric_sections import from_mlflow

COMMAND = [sys.executable, "-m", "seqadd.reproduce", "--experiments", "experiments"]


def do(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run([*COMMAND, *arguments], cwd=folder, timeout=300)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a small claim was reproduced, and the command's output."""
    folder = tmp_path_factory.mktemp("reproduced")
    make_claim(folder / "experiments")
    quick_database(folder)
    done = do(folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


@pytest.fixture
def again(reproduced, call, monkeypatch):
    """Runs the command where the claim was reproduced, in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(reproduced[0])
    return lambda *arguments: call(reproduce.main, "--experiments", "experiments", *arguments)


def test_what_is_missing_is_announced_with_its_cost_trained_and_judged(reproduced):
    folder, said = reproduced
    assert re.search(r"^small +4 runs, 4 missing, about .+ of one processor$", said, re.MULTILINE)
    assert "[1/1] small: a claim (all claims: about" in said
    assert re.search(r"^\[1/1\] small: .* of 2 reproduced", said, re.MULTILINE)
    parents = [run for run in runs_of(folder) if run.data.params.get("claim") == "small"]
    (parent,) = parents
    children = [run for run in runs_of(folder) if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    keys = ("reverse", "seed", "epochs")
    assert sorted(tuple(run.data.params[key] for key in keys) for run in children) == [
        ("false", "0", "2"), ("false", "1", "2"), ("true", "0", "3"), ("true", "1", "3"),
    ]  # fmt: skip


def test_results_are_the_values_of_the_store(reproduced):
    folder, _ = reproduced
    small = folder / "experiments" / "small"
    number, direction, best = results.read_rows(small).to_dict("records")
    of_run = {}
    for run in runs_of(folder):
        if "seed" in run.data.params:
            history = client_of(folder).get_metric_history(run.info.run_id, "val_acc")
            of_run[run.data.params["reverse"], int(run.data.params["seed"])] = {p.step: p.value for p in history}
    expected = {seed: round(of_run["true", seed][3], 6) for seed in (0, 1)}
    assert results.written_values(number["values"]) == expected
    differences = {seed: round(of_run["true", seed][2] - of_run["false", seed][2], 6) for seed in (0, 1)}
    assert results.written_values(direction["values"]) == differences
    assert best["verdict"] == ""
    runs = results.read_runs(small)
    assert runs[["condition", "seed", "epochs"]].to_numpy().tolist() == [
        ["reverse=true", "0", "3"], ["reverse=true", "1", "3"],
        ["reverse=false", "0", "2"], ["reverse=false", "1", "2"],
    ]  # fmt: skip


def test_again_nothing_is_trained_and_nothing_changes(reproduced, again):
    folder, _ = reproduced
    before = contents(folder / "experiments")
    n_runs = len(runs_of(folder))
    code, out, err = again()
    assert (code, err) == (0, "")
    assert "small                4 runs, 0 missing\n" in out
    assert len(runs_of(folder)) == n_runs
    assert contents(folder / "experiments") == before


def test_other_seeds_are_a_first_impression_and_change_no_file(reproduced, again):
    folder, _ = reproduced
    before = contents(folder / "experiments")
    _, out, _ = again("--seeds", "3", "--dry-run")
    assert re.search(r"^small +6 runs, 2 missing, about .+ of one processor$", out, re.MULTILINE)
    _, out, _ = again("--seeds", "1")
    assert "small                2 runs, 0 missing\n" in out
    assert "| reverse=true | 3 | `val_acc` | 0.4 |" in out
    assert "runs; small is unchanged" in out
    assert contents(folder / "experiments") == before


def test_the_curves_are_the_values_of_the_store(reproduced):
    folder, _ = reproduced
    loaded = committed_curves.load_curves("small", folder / "experiments")
    assert list(loaded.columns[:8]) == [
        "condition", "seed", "epoch", "loss", "acc", "val_loss", "val_acc", "val_exact_match",
    ]  # fmt: skip
    assert loaded.groupby(["condition", "seed"])["epoch"].apply(list).to_dict() == {
        ("reverse=false", 0): [1, 2], ("reverse=false", 1): [1, 2],
        ("reverse=true", 0): [1, 2, 3], ("reverse=true", 1): [1, 2, 3],
    }  # fmt: skip
    (run,) = (
        run for run in runs_of(folder) if (run.data.params.get("seed"), run.data.params.get("reverse")) == ("1", "true")
    )
    of_run = loaded[(loaded["seed"] == 1) & (loaded["condition"] == "reverse=true")]
    assert set(of_run["code"]) == {run.data.tags["code"]}
    assert set(of_run["machine"]) == {run.data.tags["machine"]}
    for metric in run.data.metrics.keys() - {"timing/epoch_seconds", "timing/train_seconds"}:
        points = sorted(client_of(folder).get_metric_history(run.info.run_id, metric), key=lambda point: point.step)
        expected = pytest.approx([point.value for point in points], rel=1e-8)
        assert of_run[from_mlflow(metric)].tolist() == expected, metric


def alone(folder: Path, reproduced: Path) -> Path:
    """Copies the experiments of another folder to a folder without a store."""
    shutil.copytree(reproduced / "experiments", folder / "experiments")
    return folder / "experiments" / "small"


def test_where_no_store_is_the_curves_count_and_nothing_is_trained_or_changed(reproduced, call, in_empty_folder):
    small = alone(in_empty_folder, reproduced[0])
    before = contents(small)
    code, out, _ = call(reproduce.main, "--experiments", "experiments")
    assert code == 0
    assert "small                4 runs, 0 missing\n" in out
    assert contents(small) == before
    assert not (in_empty_folder / "mlflow.db").exists()


def test_redraw_makes_the_same_files_again_from_the_curves_alone(reproduced, call, in_empty_folder):
    small = alone(in_empty_folder, reproduced[0])
    before = contents(small.parent)
    for name in "curves.png", "table.md", "reproduced.csv", "runs.csv", "../report.md", "../report.html":
        (small / name).unlink()
    code, out, _ = call(reproduce.main, "--experiments", "experiments", "--redraw")
    assert code == 0
    assert re.search(r"^small +0 of 2 reproduced, 2 undecided$", out, re.MULTILINE)
    assert contents(small.parent) == before
    assert not (in_empty_folder / "mlflow.db").exists()


def test_redraw_leaves_a_claim_as_it_is_of_which_runs_are_missing_and_names_it(reproduced, call, in_empty_folder):
    small = alone(in_empty_folder, reproduced[0])
    rows = committed_curves.read(small / committed_curves.NAME)
    committed_curves.write(small / committed_curves.NAME, rows[rows["seed"] == 1])
    before = contents(small)
    code, out, _ = call(reproduce.main, "--experiments", "experiments", "--redraw")
    assert code == 0
    assert "small                unchanged: curves.csv.gz has 2 of 4 runs\n" in out
    assert contents(small) == before


def test_a_claim_is_made_run_by_run_and_other_claims_curves_count(reproduced, call, in_empty_folder):
    """Seed 1 is in the claim's own file, seed 0 in another claim's file."""
    small = alone(in_empty_folder, reproduced[0])
    shutil.copytree(small, small.with_name("twin"))
    before = contents(small)
    rows = committed_curves.read(small / committed_curves.NAME)
    committed_curves.write(small / committed_curves.NAME, rows[rows["seed"] == 1])
    rows = committed_curves.read(small.with_name("twin") / committed_curves.NAME)
    committed_curves.write(small.with_name("twin") / committed_curves.NAME, rows[rows["seed"] == 0])
    code, out, _ = call(reproduce.main, "small", "--experiments", "experiments")
    assert code == 0
    assert "small                4 runs, 0 missing\n" in out
    assert contents(small) == before


def test_the_same_rows_in_another_order_are_the_same_file(reproduced, tmp_path):
    small = reproduced[0] / "experiments" / "small"
    claim, rows = loading.read(small), committed_curves.read(small / committed_curves.NAME)
    committed_curves.write(tmp_path / "other.gz", measurements.counting(claim, rows.sample(frac=1, random_state=0)))
    assert (tmp_path / "other.gz").read_bytes() == (small / committed_curves.NAME).read_bytes()


def test_runs_of_another_machine_are_held_against_the_store_by_their_sums_alone(reproduced, call, in_empty_folder):
    """Another processor rounds differently."""
    small = alone(in_empty_folder, reproduced[0])
    rows = committed_curves.read(small / committed_curves.NAME)
    rows["val_acc"] = rows["val_acc"].add(0.001).round(6)
    rows.loc[rows["seed"] == 0, "machine"] = "a slide rule"
    committed_curves.write(small / committed_curves.NAME, rows)
    assert call(reproduce.main, "--experiments", "experiments", "--redraw")[0] == 0
    store = f"tracking.uri=sqlite:///{reproduced[0]}/mlflow.db"
    code, out, _ = call(reproduce.main, "small", "--experiments", "experiments", "--check", store)
    assert code == 1
    assert "line 2: val_acc: differs from the store for seed 1\n" in out.replace(";", "\n")


def test_curves_that_are_not_there_are_named_with_the_command_that_makes_them(in_empty_folder):
    with pytest.raises(ConfigError, match=r"curves\.csv\.gz: no such file; python -m seqadd.reproduce small"):
        committed_curves.load_curves("small", in_empty_folder)


def test_runs_of_somebody_else_do_not_count_and_nothing_is_trained_in_their_place(reproduced, again):
    folder, _ = reproduced
    before, n_runs = contents(folder / "experiments"), len(runs_of(folder))
    user = next(run.data.tags["mlflow.user"] for run in runs_of(folder))
    code, mine, err = again("--user", user)
    assert (code, err) == (0, "")
    assert "small                4 runs, 0 missing\n" in mine
    code, theirs, err = again("--user", f"not {user}")
    assert (code, err) == (0, "")
    assert "small                4 runs, 4 missing\n" in theirs
    assert f"in all               training nothing: showing only runs of user: not {user}\n" in theirs
    assert "(0 runs; small is unchanged)" in theirs
    _, checked, _ = again("--check", "small", "--user", f"not {user}")
    assert "small                ok (0 of 4 runs compared with the store)\n" in checked
    assert contents(folder / "experiments") == before
    assert len(runs_of(folder)) == n_runs


def test_a_claim_that_shares_runs_trains_what_it_lacks_and_changes_nothing_of_the_other(reproduced, again):
    """Needs seed 0 for five epochs, of which the store has three; the other claim's results do not change."""
    folder, _ = reproduced
    sweep = (
        SWEEP.replace("epochs: 3", "epochs: 5")
        .replace("range(2)", "0")
        .replace("      - {reverse: false, epochs: 2}\n", "")
    )
    published = "reverse,epochs,metric,relation,value,than,source\ntrue,5,val_acc,,,,\n"
    make_claim(folder / "experiments", "longer", sweep=sweep, published=published)
    before = contents(folder / "experiments" / "small")
    done = do(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^longer +1 runs, 1 missing", done.stdout, re.MULTILINE)
    assert "continuing from the end of run" in done.stdout
    assert contents(folder / "experiments" / "small") == before
    runs = results.read_runs(folder / "experiments" / "longer")
    assert runs["first_losses"][0] == results.read_runs(folder / "experiments" / "small")["first_losses"][0]
    said = (folder / "experiments" / "report.md").read_text()
    assert "The report has 4 runs, " in said  # the longer run and the other three
    shutil.rmtree(folder / "experiments" / "longer")
    assert again()[0] == 0


def test_runs_by_other_code_are_trained_again(reproduced, call, monkeypatch, tmp_path):
    folder, _ = reproduced
    monkeypatch.setattr(measurements, "equivalent_codes", lambda: frozenset({"0123456789abcdef"}))
    code, out, _ = call(
        reproduce.main, "--dry-run", "--experiments", str(folder / "experiments"),
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
    )  # fmt: skip
    assert code == 0
    assert "small                4 runs, 4 missing" in out


def test_a_job_that_fails_is_named_in_one_line_and_results_are_left_as_they_were(tmp_path):
    """Trains with a step so large that the weights become NaN."""
    sweep = SWEEP.replace("cell:", "learning_rate: 1e38\ncell:").replace("range(2)", "0")
    sweep = sweep.replace("      - {reverse: false, epochs: 2}\n", "")
    published = "reverse,epochs,metric,relation,value,than,source\ntrue,3,val_acc,,,,\n"
    make_claim(tmp_path / "experiments", sweep=sweep, published=published, claim="fewest_seeds: 2\n")
    before = contents(tmp_path / "experiments")
    quick_database(tmp_path)
    done = do(tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"seqadd: small: 1 of 1 jobs failed: .*lower learning_rate=1e\+38\n", done.stderr)
    assert contents(tmp_path / "experiments") == before


def test_check_is_content_with_what_reproduce_wrote_with_and_without_the_store(
    reproduced, again, tmp_path, monkeypatch
):
    folder, _ = reproduced
    code, out, err = again("--check")
    assert (code, err) == (0, ""), out
    assert "small                ok (4 of 4 runs compared with the store)\n" in out
    (tmp_path / "experiments").symlink_to(folder / "experiments")
    monkeypatch.chdir(tmp_path)
    code, out, err = again("--check")
    assert (code, err) == (0, ""), out
    assert "small                ok (no store here)\n" in out
    (tmp_path / "mlflow.db").write_text("junk")
    assert again("--check")[0] == 2


def by_commit(small: Path, commit: str) -> None:
    """Changes the commit in a claim's file of curves."""
    rows = committed_curves.read(small / committed_curves.NAME)
    committed_curves.write(small / committed_curves.NAME, rows.assign(commit=commit))


@pytest.mark.parametrize("commit", ["unknown (seqadd 0.1.0, code 0123456789abcdef)", "unknown", "abc with changes"])
def test_check_is_content_with_runs_of_no_commit_where_the_digest_is_that_of_the_code_here(
    commit, reproduced, call, in_empty_folder
):
    """An installed package has no commit, and a user's own claim need not have one."""
    small = alone(in_empty_folder, reproduced[0])
    by_commit(small, commit)
    assert call(reproduce.main, "--experiments", "experiments", "--redraw")[0] == 0
    assert commit in (small / "README.md").read_text()
    code, out, err = call(reproduce.main, "--experiments", "experiments", "--check")
    assert (code, err) == (0, ""), out


@pytest.mark.parametrize("changed_here", ["true", "false", "unknown"])
def test_the_clones_own_results_by_changes_ask_for_a_commit_while_there_are_changes(
    changed_here, reproduced, call, in_empty_folder, monkeypatch
):
    """Reproducing again would change nothing; after a commit of the changes, that commit has the code."""
    small = alone(in_empty_folder, reproduced[0])
    by_commit(small, "abc with changes")
    assert call(reproduce.main, "--experiments", "experiments", "--redraw")[0] == 0
    monkeypatch.setattr(checks, "resource_dir", lambda name: resource_dir(name) if name == "conf" else small.parent)
    monkeypatch.setattr(checks, "code_version", lambda: ("abc", changed_here))
    code, out, err = call(reproduce.main, "small", "--experiments", "experiments", "--check")
    if changed_here == "true":
        assert code == 1
        assert "small                runs.csv: 4 runs were made by uncommitted code; commit src, conf and" in out
        assert err == "seqadd: results above were made by uncommitted code; commit it and check again\n"
    else:
        assert (code, err) == (0, ""), out


def test_check_says_which_command_brings_what_is_wrong_up_to_date(reproduced, call, in_empty_folder, monkeypatch):
    small = alone(in_empty_folder, reproduced[0])
    (small / "table.md").unlink()
    check = "--experiments", "experiments", "--check", "small"
    assert "; python -m seqadd.reproduce --experiments experiments updates them" in call(reproduce.main, *check)[2]
    monkeypatch.setattr(reproduce, "_is_packed", lambda experiments: True)
    assert (
        "copy experiments, because the installed package is not changed; then python -m seqadd.reproduce "
        "--experiments COPY updates the copy" in call(reproduce.main, *check)[2]
    )


def test_the_report_links_to_no_file_that_is_not_there(reproduced, call, in_empty_folder):
    small = alone(in_empty_folder, reproduced[0])
    with (small / "README.md").open("a") as file:
        file.write("\nSee [verdicts](../../docs/verdicts.md#a-limit) and [this](table.md).\n")
    assert call(reproduce.main, "--experiments", "experiments", "--redraw")[0] == 0
    said = (small.parent / "report.md").read_text()
    assert "\nSee verdicts and [this](small/table.md).\n" in said
    links = [link for link in re.findall(r"(?<!!)\]\(([^)#]+)\)", said) if not link.startswith("https://")]
    assert links
    assert all((small.parent / link).is_file() for link in links), links


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def other_value(small: Path) -> None:
    value = results.read_rows(small)["values"][0].partition(" ")[0]
    replace(small / "reproduced.csv", value, "0:0.123456")


def other_curve(small: Path) -> None:
    rows = committed_curves.read(small / committed_curves.NAME)
    rows.loc[2, "val_acc"] += 0.1
    committed_curves.write(small / committed_curves.NAME, rows)


SPOILED = {
    "reproduced.csv does not follow from the curves": lambda small: replace(
        small / "reproduced.csv", ",undecided,", ",reproduced,"
    ),
    "line 2: val_acc: differs from the store for seed 0": other_value,
    "reproduced.csv does not follow from the curves; table.md": other_curve,
    "curves.csv.gz: 2 runs differ from sweep.yaml and the defaults": lambda small: replace(
        small / "sweep.yaml", "reverse: false,", "reverse: false, learning_rate: 0.5,"
    ),
    "curves.csv.gz: Not a gzipped file": lambda small: (small / committed_curves.NAME).write_bytes(b"junk"),
    "curves.csv.gz: lacks the column machine": lambda small: (small / committed_curves.NAME).write_bytes(
        gzip.compress(
            gzip.decompress((small / committed_curves.NAME).read_bytes()).replace(b",machine,", b",x_machine,", 1)
        )
    ),
    "README.md does not follow": lambda small: replace(small / "README.md", "4 runs", "5 runs"),
    "table.md does not follow": lambda small: replace(small / "table.md", "| reverse=true |", "| it |"),
    "runs.csv lacks 1 runs of sweep.yaml and has 0 that are not in it": lambda small: (small / "runs.csv").write_text(
        "".join((small / "runs.csv").read_text().splitlines(keepends=True)[:-1])
    ),
    "runs were made by other code": lambda small: replace(
        small / "runs.csv", results.read_runs(small)["code"][0], "0123456789abcdef"
    ),
    "reproduced.csv has 3 statements, published.csv 4": lambda small: (small / "published.csv").write_text(
        PUBLISHED + "true,1,acc,,,,\n"
    ),
    "table.md does not follow from the curves": lambda small: replace(small / "published.csv", "0.4,", "0.5,"),
    "curves.png is missing, or shows other values": lambda small: (small / "curves.png").unlink(),
    "curves.png is missing, or shows": lambda small: Image.new("RGB", (600, 400)).save(small / "curves.png"),
    "runs.csv: reverse=true seed 0: differs from the store in first_losses": lambda small: replace(
        small / "runs.csv", results.read_runs(small)["first_losses"][0], "1.5 1.25"
    ),
    "reproduced.csv: line 2: has values for other seeds than sweep.yaml": lambda small: replace(
        small / "reproduced.csv", " 1:", " 7:"
    ),
    "runs.csv: lacks the column seconds_per_epoch": lambda small: replace(
        small / "runs.csv", "seconds_per_epoch", "seconds"
    ),
    "runs.csv: could not convert string to float: '<<<<'": lambda small: replace(
        small / "runs.csv", results.read_runs(small)["seconds_per_epoch"][0], "<<<<"
    ),
    "runs.csv lacks 2 runs": lambda small: replace(small / "sweep.yaml", "range(2)", "range(3)"),
}


@pytest.mark.parametrize("said", SPOILED)
def test_check_names_what_does_not_follow(said, reproduced, tmp_path, call):
    folder, _ = reproduced
    small = tmp_path / "experiments" / "small"
    small.mkdir(parents=True)
    for name, content in contents(folder / "experiments" / "small").items():
        (small / name).write_bytes(content)
    SPOILED[said](small)
    code, out, err = call(
        reproduce.main, "--check", "--experiments", str(small.parent), f"tracking.uri=sqlite:///{folder}/mlflow.db"
    )
    assert said in out
    assert code == 1
    assert err.count("\n") == 1


def test_the_report_has_the_claims_and_stands_alone(reproduced):
    folder, _ = reproduced
    page = (folder / "experiments" / "report.html").read_text()
    assert '<strong class="open">undecided</strong>' in page
    assert 'src="data:image/png;base64,' in page
    assert not re.findall(r'src="(?!data:)|<link|<script', page)
    assert "## small: a claim" in (folder / "experiments" / "report.md").read_text()


def test_a_dry_run_says_what_there_is_to_do_and_makes_nothing(call, in_empty_folder):
    make_claim(in_empty_folder / "experiments")
    before = contents(in_empty_folder)
    code, out, _ = call(reproduce.main, "--experiments", "experiments", "--dry-run")
    assert code == 0
    assert re.search(r"^small +4 runs, 4 missing, about .+ of one processor$", out, re.MULTILINE)
    assert contents(in_empty_folder) == before


REFUSED = {
    ("cell",): "cell: no such claim; must be one of small",
    ("small", "epochs=5"): "epochs=5: the claim decides all other keys; only tracking.KEY=VALUE is allowed",
    ("--seeds", "0"): "--seeds 0: must be at least 1",
    ("--jobs", "0"): "--jobs 0: must be at least 1",
    (
        "--redraw",
        "--seeds",
        "2",
    ): "--redraw: trains nothing and reads committed files only; leave all",
    ("--redraw", "--user", "ann"): "--redraw: trains nothing and reads committed files only",
    ("--check", "tracking.uri=sqlite:///nowhere.db"): "no store here",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_done(arguments, call, in_empty_folder):
    make_claim(in_empty_folder / "experiments")
    before = contents(in_empty_folder)
    code, _, err = call(reproduce.main, "--experiments", "experiments", *arguments)
    assert code == 2
    assert REFUSED[arguments] in err
    assert err.count("\n") == 1
    assert contents(in_empty_folder) == before


def test_an_option_is_not_guessed_from_its_beginning():
    """Otherwise --seed 2 would mean --seeds 2 and train for hours."""
    with pytest.raises(SystemExit):
        reproduce.parse_arguments(["--seed", "2"])


def test_a_folder_without_claims_is_refused(call, in_empty_folder):
    code, _, err = call(reproduce.main, "--experiments", ".")
    assert (code, err) == (2, "seqadd: --experiments .: no folder in it has a file sweep.yaml\n")


@pytest.mark.long
def test_every_claims_sweep_can_be_run_by_hydra_alone(in_empty_folder):
    """Runs the READMEs' commands; a value that no job can have stops them after all jobs are composed."""
    for name in loading.names(resource_dir("experiments")):
        done = subprocess.run(
            [sys.executable, "-m", "seqadd.run", "--config-dir", str(resource_dir("experiments") / name),
             "--config-name", "sweep", "threads=0"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2
        assert "threads=0: must be at least 1" in done.stderr
        assert "no job was started" in done.stderr


def test_the_readme_says_of_the_table_what_its_results_say():
    rows = results.read_rows(resource_dir("experiments") / "cells")
    n = results.counts(rows)
    said = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
    none = n["not reproduced"] or "none"
    assert f"**{n['reproduced']} are reproduced, {none} is not, and {n['undecided']} are undecided**" in said
    commits = set("; ".join(rows["commit"]).split("; "))
    assert any(f"commit {commit})" in said for commit in commits)


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in resource_dir("experiments").glob("*/reproduced.csv"))
)
def test_what_is_committed_follows_from_values_runs_and_code(name):
    (claim,) = (claim for claim in our_claims() if claim.name == name)
    assert checks.check_folder(claim) == []


def test_the_committed_report_is_what_the_folders_say():
    experiments = resource_dir("experiments")
    assert report.check(experiments, list(our_claims())) == []
