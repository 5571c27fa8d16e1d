"""The command line: help for everything, one sentence for every mistake, and a search from start to exported model."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest

import nas as package
from nas.commands import COMMANDS, cli
from results.store.store import Store

ROOT = Path(package.__file__).parent.parent
RECORD = ("number", "state", "hash", "params", "macs", "nll", "accuracy", "epochs_trained", "seconds")


def test_version(nas):
    ran = nas("--version")
    assert (ran.code, ran.out.split()[0]) == (0, "nas,")


def test_the_help_lists_every_command(nas):
    ran = nas("--help")
    assert ran.code == 0
    for name, summary in COMMANDS.items():
        assert f"{name} " in ran.out
        assert summary in " ".join(ran.out.split())


def test_without_a_command_the_help_is_shown(nas):
    assert nas() == nas("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(nas, name):
    command = cli.get_command(click.Context(cli), name)
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    ran = nas(name, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: nas {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_documentation(name):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]
    assert any(f"nas {name}" in page.read_text() for page in pages)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["search", "--help"],
        ["spaces"],
        ["spaces", "mlp_family"],
        ["search", "--budget", "0"],
        ["zoo"],
        ["zoo", "vit_h14", "--json"],
        ["profile", "--help"],
        ["profile", "vit_h14", "--closed-form"],
        ["profile", "nothing"],
        ["compare", "vit_s16", "mixer_s16", "--closed-form"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_loaded_for_a_quick_answer(arguments, tmp_path):
    program = (
        f"import sys; sys.argv = ['nas', *{arguments!r}]\n"
        "from nas.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('loaded', {'torch', 'ray', 'optuna', 'sklearn', 'numpy'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "loaded set()"


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "there is no command 'serach'; allowed: .*did you mean 'search'"),
        (["search", "--bugdet", "3"], "--bugdet"),
        (["search", "--budget", "many"], "'many'"),
        (["search", "--budget", "0"], "--budget is 0; allowed: whole numbers from 1"),
        (["search", "--budget"], "--budget"),
        (["search", "surplus"], "surplus"),
        (["search", "--max-params", "50x"], "--max-params is '50x'; allowed: .*50k"),
        (["search", "--max-params", "10"], "no architecture of the space 'mlp_family' has at most 10 parameters"),
        (["search", "--sampler", "tpes"], "--sampler is 'tpes'; .*did you mean 'tpe'"),
        (
            ["search", "--sampler", "cmaes", "--objective", "nll", "--objective", "params"],
            "cmaes handles one objective",
        ),
        (["search", "--strategy", "atuo"], "--strategy is 'atuo'; .*did you mean 'auto'"),
        (["search", "--proxies", "zicco"], "--proxies is .*did you mean 'zico'"),
        (
            ["search", "--strategy", "random", "--local"],
            "--local is for the sampler 'surrogate'; the sampler is 'random'",
        ),
        (["search", "--control", "tpe"], "--control is 'tpe'; allowed: random"),
        (["search", "--max-fte", "0"], "--max-fte is 0.0; allowed: numbers above 0"),
        (["search", "--objective", "params"], "the first --objective is params"),
        (["search", "--space", "mlp_famly"], "mlp_famly.*mlp_family"),
        (["search", "--space", "missing.yaml"], "missing.yaml"),
        (["search", "--data", "digitz"], "digitz.*did you mean 'digits'"),
        (["search", "--data", "imagefolder:missing"], "missing"),
        (["search", "--config", "missing.yaml"], "missing.yaml cannot be read"),
        (["search", "--storage", "mysql://me@host/db"], "not supported; allowed: sqlite"),
        (["search", "--storage", "postgresql+psycopg://me@127.0.0.1:{port}/db"], "cannot be used"),
        (["results"], "there is no database at .*nas.db"),
        (["results", "--json", "--csv"], "exclude each other"),
        (["results", "--top", "0"], "--top"),
        (["export", "--best"], "-o|--output"),
        (["export", "-o", "bundle"], "either --best or --trial"),
        (["export", "--best", "--trial", "1", "-o", "bundle"], "either --best or --trial"),
        (["export", "--best", "-o", "bundle"], "there is no database at"),
        (["dashboard"], "there is no database at"),
        (["spaces", "mlp_famly"], "mlp_famly"),
        (["spaces", "check", "missing.yaml"], "missing.yaml"),
        (["spaces", "check"], "Missing argument 'FILE'. See: .*nas spaces check --help"),
        (["spaces", "--data", "digits"], "No such option.*--data.* See: .*nas spaces --help"),
        (["spaces", "mlp_family", "--data", "digitz"], "digitz"),
        (
            ["spaces", "show", "mlp_family", "--image-size", "0"],
            "--image-size is '0'; allowed: a side in pixels from 1 to 1,024",
        ),
        (["spaces", "check", "mlp_family", "--data", "nonsense", "--image-size", "5"], "no data set named 'nonsense'"),
        (["spaces", "check", "mlp_family", "--data", "digits", "--image-size", "5"], "digits has its own image size"),
        (["spaces", "list", "mlp_family"], "unexpected extra argument"),
        (["search", "--runner", "inline", "--address", "auto"], "--address is 'auto', but the runner is 'inline'"),
        (["search", "--runner", "inline", "--data-dir", "x"], "--data-dir is .*, but digits is not kept in files"),
        (["search", "--seeds", "3", "--finalists", "0"], "--seeds is 3, but --finalists is 0"),
        (["results", "--json", "--top", "5"], "--top has no effect with --json: all trials are written"),
        (["results", "--csv", "--top", "5"], "--top has no effect with --csv"),
        (
            ["studies", "--json", "rename", "a", "b"],
            "--json has no effect with rename: it applies to the list of studies",
        ),
        (["profile", "vit_s16", "--closed-form", "--device", "cpu"], "--device has no effect with --closed-form"),
        (["profile", "vit_s16", "--closed-form", "--no-timing"], "--no-timing has no effect with --closed-form"),
        (["compare", "vit_s16", "vip_s7", "--no-timing", "--batch", "2"], "--batch has no effect with --no-timing"),
        (
            ["profile", "vit_s16", "--storage", "sqlite:///x.db"],
            "--storage has no effect with vit_s16: it is not a trial",
        ),
        (["compare", "vit_s16", "vip_s7", "--out", "x"], "--out has no effect with vit_s16 vip_s7: none is a trial"),
    ],
)
def test_a_mistake_is_answered_in_one_line(nas, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, but nothing listens
        ran = nas(*(argument.format(port=closed.getsockname()[1]) for argument in arguments))
    assert ran.code == 2
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("nas: ")
    assert pytest.RaisesExc(ValueError, match=message).matches(ValueError(line)), line
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_file_is_answered_with_its_line(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("search.yaml").write_text("space: mlp_family\nbudget: none at all\n")
    ran = nas("search", "--config", "search.yaml")
    assert ran.code == 2
    assert ran.err.startswith("nas: search.yaml:2: budget ")
    assert [path.name for path in tmp_path.iterdir()] == ["search.yaml"]


# Spaces.


def test_the_shipped_spaces_are_listed(nas):
    ran = nas("spaces")
    assert ran.code == 0
    assert ran.out.startswith("mlp_family: ViT, MLP-Mixer")


def test_the_group_alone_lists(nas):
    assert nas("spaces").out == nas("spaces", "list").out


@pytest.mark.parametrize("words", [("spaces",), ("spaces", "show")])
def test_one_space_is_described(nas, space_files, words):
    ran = nas(*words, space_files["small"])
    assert ran.code == 0
    lines = [line.strip() for line in ran.out.splitlines()]
    assert "for images of 1 x 8 x 8 in 10 classes" in lines
    assert "architectures  768 (7.7e+02)" in lines
    assert "default limit  50.0k parameters" in lines
    assert "dim            16, 24, 32" in lines or "dim            16 to 32 in steps of 8" in lines
    assert {
        line.split()[0] for line in lines[lines.index("hand-designed families within the default limit") + 1 :]
    } == {
        "vit",
        "mixer",
    }


@pytest.mark.parametrize(
    ("arguments", "images"),
    [
        ((), "1 x 8 x 8 in 10"),
        (("--image-size", 28), "3 x 28 x 28 in 10"),
        (("--image-size", "8x24"), "3 x 8 x 24 in 10"),
    ],
)
def test_the_shipped_space_is_described(nas, arguments, images):
    ran = nas("spaces", "mlp_family", *arguments)
    assert ran.code == 0
    assert f"for images of {images} classes" in ran.out
    for family in ("vit", "mixer", "ff_only", "resmlp", "gmlp", "vip"):
        assert f"\n  {family} " in ran.out


def test_a_good_file_passes_the_check(nas, space_files):
    ran = nas("spaces", "check", space_files["small"])
    assert (ran.code, ran.err) == (0, "")
    assert "is valid: the space 'small', for images of up to 8 x 8" in ran.out


def test_a_file_can_be_checked_for_the_images_of_a_data_set(nas, space_files):
    ran = nas("spaces", "check", space_files["small"], "--data", "digits")
    assert (ran.code, ran.err) == (0, "")
    assert "is valid: the space 'small', for images of 1 x 8 x 8 in 10 classes" in ran.out
    ran = nas("spaces", "check", space_files["small"], "--image-size", 64)
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("channel_ratio: [2, 4]", "channel_ratio: [2, -4]", 16),
        ("linear: {}", "linaer: {}", 15),
        ("net:\n", "nets:\n", 2),
    ],
)
def test_a_bad_file_fails_the_check_with_its_line(nas, space_files, tmp_path, old, new, line):
    bad = tmp_path / "bad.yaml"
    bad.write_text(space_files["small"].read_text().replace(old, new))
    ran = nas("spaces", "check", bad)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"nas: {bad}:{line}: ")
    assert len(ran.err.splitlines()) == 1


# From a search to an exported model; with training, as a user would.


def process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("NAS_STORAGE", None)
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "nas", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory, space_files) -> tuple[Path, list[object], subprocess.CompletedProcess[str]]:
    """A folder with a finished study, the command that searched, and what it printed."""
    folder = tmp_path_factory.mktemp("searched")
    command = ["search", "--space", space_files["small"], "--runner", "inline", "--device", "cpu", "--study", "mine"]
    command += ["--epochs", 1, "--finalists", 1, "--seeds", 2, "--max-params", "12k"]
    return folder, command, process(*command, "--budget", 3, "--json", cwd=folder)


def test_a_search_prints_its_report_on_stdout_and_progress_on_stderr(searched):
    folder, _, ran = searched
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["study"], report["evaluated"], report["budget"]) == ("mine", 3, 3)
    assert report["winner"]["params"] <= 12_000
    assert 0 <= report["winner"]["test_accuracy"] <= 1
    assert report == json.loads((folder / "nas-runs" / "mine" / "report.json").read_text())
    assert "New study mine: small on digits, 12.0k parameters" in ran.stderr
    assert "budget 3, 1 epochs, inline runner" in ran.stderr
    assert (
        "strategy auto: sampler surrogate, ranker none, pruner two_rate, proxies zico, families, local search"
        in ran.stderr
    )
    assert "\r" not in ran.stderr


def test_the_same_command_again_says_what_to_do_next(searched):
    folder, command, _ = searched
    ran = process(*command, "--budget", 3, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert "Finished study mine" in ran.stderr
    assert "Winner: trial " in ran.stdout
    assert "The budget of 3 is spent; raise it to continue: --budget 6" in ran.stdout
    for step in ("nas dashboard", "nas export mine --best -o exported/", "nas results mine"):
        assert step in ran.stdout


def test_a_search_in_which_nothing_can_be_trained_says_what_to_change(nas, space_files, tmp_path):
    out = tmp_path / "runs"
    search = ["search", "--space", space_files["small"], "--runner", "inline", "--lr", "1e9", "--epochs", "1"]
    ran = nas(*search, "--budget", "2", "--out", out, "--json", "--control", "random")
    sentence = "nothing could be trained, as all 2 trials failed (2 diverged); try a lower --lr"
    assert (ran.code, ran.err.splitlines()[-1]) == (3, f"nas: {sentence}")
    report = json.loads(ran.out)
    assert (report["winner"], report["causes"]) == (None, {"diverged": 2})
    assert "control" not in report
    (written,) = out.glob("*/report.json")
    assert json.loads(written.read_text()) == report
    again = nas(*search, "--budget", "2", "--out", out)
    assert again.code == 3
    assert f"There is no winner: {sentence}.\n" in again.out
    assert "nas export" not in again.out
    ran = nas("export", "--out", out, "--best", "-o", tmp_path / "bundle")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.endswith(f"has no winner to export: {sentence}\n")


def test_results_as_json(nas, searched):
    ran = nas("results", "--out", searched[0] / "nas-runs", "--json")
    assert (ran.code, ran.err) == (0, "")
    records = json.loads(ran.out)
    assert [record["number"] for record in records] == [0, 1, 2]
    for record in records:
        assert set(RECORD) <= set(record)
        assert (record["state"], record["epochs_trained"]) == ("COMPLETE", 1)
        assert 0 <= record["accuracy"] <= 1
        assert record["seconds"] > 0
        assert record["params"] <= 12_000
        assert len(record["hash"]) == 16
        assert record["choices"]["stages"] == 1


def test_results_as_csv_agree_with_json(nas, searched):
    out = searched[0] / "nas-runs"
    rows = list(csv.DictReader(io.StringIO(nas("results", "mine", "--out", out, "--csv").out)))
    records = json.loads(nas("results", "mine", "--out", out, "--json").out)
    for row, record in zip(rows, records, strict=True):
        assert [row[name] for name in RECORD] == [str(record[name]) for name in RECORD]
        for name, choice in record["choices"].items():
            assert row[name] == ("" if choice is None else str(choice))


def test_results_as_a_table(nas, searched):
    ran = nas("results", "--out", searched[0] / "nas-runs", "--top", 2)
    lines = ran.out.splitlines()
    assert lines[0].split() == ["trial", "state", "mixers", "params", "MACs", "epochs", "val", "NLL", "val", "acc", "s"]
    assert [line.split()[1] for line in lines[1:3]] == ["COMPLETE"] * 2
    assert lines[3].startswith("... and 1 more")
    assert "Winner: trial " in ran.out


def test_the_storage_may_come_from_the_environment(nas, searched, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_STORAGE", f"sqlite:///{searched[0]}/nas-runs/nas.db")
    assert len(json.loads(nas("results", "--json").out)) == 3


def test_an_unknown_study_is_answered_with_the_nearest(nas, searched):
    ran = nas("results", "mien", "--out", searched[0] / "nas-runs")
    assert ran.code == 2
    assert "there is no study 'mien'" in ran.err
    assert "did you mean 'mine'" in ran.err


def test_several_studies_ask_for_a_name(nas, tmp_path):
    store = Store(f"sqlite:///{tmp_path}/nas.db")
    assert "it holds none yet" in nas("results", "--out", tmp_path).err
    for name in ("one", "two"):
        store.create_study(name, identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["NLL"])
    store.close()
    ran = nas("results", "--out", tmp_path)
    assert (ran.code, ran.err.strip().endswith("name one of one, two")) == (2, True)


def test_export(nas, searched, tmp_path):
    bundle = tmp_path / "bundle"
    ran = nas("export", "mine", "--out", searched[0] / "nas-runs", "--best", "-o", bundle)
    assert (ran.code, ran.err) == (0, "")
    assert f"to {bundle}; loaded back" in ran.out
    program = (
        "import torch\nfrom load import load\nmodel, mean, std = load()\nprint(*model(torch.rand(2, 1, 8, 8)).shape)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=bundle, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == ["2", "10"]
    again = nas("export", "mine", "--out", searched[0] / "nas-runs", "--trial", 0, "-o", bundle)
    assert again.code == 2
    assert "not empty" in again.err


def test_a_port_that_is_taken(nas, searched):
    """The message does not invite the user to open another program's page."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = nas("dashboard", "--out", searched[0] / "nas-runs", "--port", port)
    reason = "it is taken; choose another --port; 0 picks a free one"
    assert (ran.code, ran.err) == (2, f"nas: port {port} of 127.0.0.1 is not available: {reason}\n")


def test_a_host_that_is_not_there(nas, searched):
    ran = nas("dashboard", "--out", searched[0] / "nas-runs", "--host", "host.invalid", "--port", 0)
    assert ran.code == 2
    assert ran.err.startswith("nas: --host host.invalid is not an address or name of this machine: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_address_that_is_printed_is_the_real_one(nas, searched, monkeypatch, host, shown):
    served = []
    monkeypatch.setattr("results.dashboard.Dashboard.serve_forever", lambda server: served.append(server.server_port))
    ran = nas("dashboard", "--out", searched[0] / "nas-runs", "--host", host, "--port", 0)
    assert served[0] > 0
    assert ran.err.endswith(f"Open http://{shown}:{served[0]}/ in a browser; Ctrl-C ends.\n")


def test_sigterm_ends_a_dashboard_in_the_background(searched):
    """A script's shell starts it with Ctrl-C ignored; here a hangup is ignored too, as by nohup."""
    command = (
        f"trap '' HUP; {sys.executable} -m nas dashboard --out {searched[0] / 'nas-runs'} --port 0 & echo $!; wait $!"
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stderr is not None
        process = int(shell.stdout.readline())
        _, invitation = shell.stderr.readline(), shell.stderr.readline()
        url = re.search(r"http://\S+", invitation)
        assert url, invitation
        for ignored in (signal.SIGINT, signal.SIGHUP):
            os.kill(process, ignored)
        with urllib.request.urlopen(url[0]) as page:
            assert b"Optuna Dashboard" in page.read()
        os.kill(process, signal.SIGTERM)
        rest = shell.stderr.read()
        assert (shell.wait(), rest) == (130, "\n")
