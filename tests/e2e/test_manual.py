# SPDX-License-Identifier: Apache-2.0
"""What users read of options: --help, the manual pages and README say the same, and all of it."""

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
PAGES = sorted(TREE.glob("man/man?/*.?"))
README = (TREE / "README.md").read_text(encoding="utf-8")
manual = runpy.run_path(str(TREE / "scripts/manual"))

# The options that are promised, whatever else there is: default, and what else is accepted. What
# stands here may be changed by no release.
PROMISED = {
    "--dtask": ("native", "dask", "off"),
    "--dtask-slots": ("packed", "dedicated", "overlap"),
    "--dtask-memory": ("auto", "none", "500M"),
    "--dtask-cpus": ("auto", "quota", "none"),
    "--dtask-interface": ("auto", "sched=", "worker="),
    "--dtask-scratch": ("$TMPDIR", "/tmp"),
    "--dtask-scheduler-file": (".dtask/%J.json",),
    "--dtask-wait": ("1", "all"),
    "--dtask-timeout": ("120",),
    "--dtask-restarts": ("3",),
    "--dtask-concurrency": ("1",),
    "--dtask-log": ("stderr",),
}
# The same of the command `dtask`.
PROMISED_OF_DTASK = {
    "run": ("-n",),
    "map": ("-a", "--retries", "--resume", "--progress", "--joblog"),
    "status": ("--json",),
    "top": (),
    "logs": (),
    "stop": (),
    "doctor": ("--json",),
}
CLIENTS = ("ADDRESS", "TOKEN", "SCHEDULER_FILE", "ENGINE", "NWORKERS", "NTHREADS", "MEMORY_LIMIT")
# What README may name besides: options of configure, and of programs in its examples.
OF_OTHERS = {"--prefix", "--sysconfdir", "--with-slurm", "--speed"}

# Nothing of the package may have to be installed for it to be read.
READER = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "1000", "MANPATH": str(TREE / "man")}


def run(*command, env=None):
    return subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, timeout=60, env=env,
    )  # fmt: skip


def needed(program):
    if shutil.which(program) is None:
        pytest.fail(f"no {program} here: see scripts/packages")


def read(*page):
    """What `man PAGE` shows, each paragraph one line."""
    needed("man")
    done = run("man", "--no-hyphenation", "--no-justification", *page, env=READER)
    assert done.returncode == 0, done.stderr
    return done.stdout


def entries(text):
    """{first word: the rest} of the options that a page has entries for."""
    found = {}
    for head, body in re.findall(r"^ {7}(-\S.*)\n((?:(?: {10,}.*)?\n)*)", text, re.M):
        names = re.findall(r"(?:^|, )(-[\w-]+)", head)
        for name in names:
            found[name] = f"{head}\n{body}"
    return found


def rows(text):
    """{option: the rest} of the options that README's tables have rows for."""
    return {
        name: rest
        for name, rest in re.findall(r"^\| `(--[\w-]+)[^`]*` (\|.*)$", text, re.M)
    }  # fmt: skip


def lacking(sources, promised=PROMISED):
    """One line for each option, default and value that a source lacks; [] where they agree.

    `sources` is {name: ({option: text}, how a default is written)}.
    """
    every = dict.fromkeys(list(promised) + [o for s, _ in sources.values() for o in s])
    lines = []
    for name, (options, default_form) in sources.items():
        for option in every:
            if option not in options:
                lines.append(f"{name} lacks {option}")
                continue
            default, *others = promised.get(option, [None])
            forms = [form.replace("DEFAULT", default) for form in default_form if default]
            if forms and not any(form in options[option] for form in forms):
                lines.append(f"{name} lacks the default {default} of {option}")
            for word in others:
                if word not in options[option]:
                    lines.append(f"{name} lacks {word} of {option}")
    return lines


@pytest.fixture(scope="module")
def helped():
    return manual["Sources"]()


def with_text(options):
    return {name: option.text for name, option in options.items()}


IN_WORDS = ("DEFAULT (default)", "default DEFAULT")
IN_A_ROW = ("| `DEFAULT`", "| DEFAULT", "else `DEFAULT`")


def test_srun_help_its_page_and_readme_have_the_same_options(helped):
    page = {n: t for n, t in entries(read("7", "dtask")).items() if n.startswith("--dtask")}
    sources = {
        "srun --help": (with_text(helped["srun"]), IN_WORDS),
        "dtask(7)": (page, IN_WORDS),
        "README.md": (rows(README), IN_A_ROW),
    }
    assert lacking(sources) == []


def test_what_is_missing_is_named():
    sources = {
        "A": ({"--dtask": "off, native (default)"}, IN_WORDS),
        "B": ({"--dtask": "| `native`, `dask`, `off`", "--dtask-new": ""}, IN_A_ROW),
        "C": ({"--dtask": "| `dask`, `native`, `off`", "--dtask-new": ""}, IN_A_ROW),
    }
    assert lacking(sources, {"--dtask": PROMISED["--dtask"]}) == [
        "A lacks dask of --dtask",
        "A lacks --dtask-new",
        "C lacks the default native of --dtask",
    ]
    cut = README.replace("| `--dtask-wait=N` |", "|")
    assert "--dtask-wait" not in rows(cut) and len(rows(cut)) == len(rows(README)) - 1


def test_dtask_run_has_sruns_options(helped):
    """All that make sense on one machine, which has no networks to choose and sets no quota."""
    wanted = {"--engine" if name == "--dtask" else name.replace("--dtask-", "--")
              for name in helped["srun"]}  # fmt: skip
    assert set(helped["dtask run"]) == wanted - {"--interface", "--cpus"} | {
        "--ntasks", "--cpus-per-task"}  # fmt: skip


def test_each_subcommand_has_a_page_with_all_its_options(helped):
    listed = manual["subcommands"]()
    assert set(PROMISED_OF_DTASK) <= set(listed)
    overview = read("dtask")
    for command in listed:
        assert re.search(rf"^ {{7}}{command}, see dtask-{command}\(1\)$", overview, re.M), command
        assert f"dtask {command}" in README, f"README.md lacks dtask {command}"
        shown = {n for option in helped[f"dtask {command}"].values() for n in option.names}
        in_page = set(entries(read("1", f"dtask-{command}")))
        assert shown == in_page, f"dtask {command} --help, and dtask-{command}(1)"
        for option in PROMISED_OF_DTASK.get(command, ()):
            assert option in shown, f"dtask {command} --help lacks {option}"
    assert set(helped["dtaskd"]) == set(entries(read("8", "dtaskd")))


def test_a_pages_references_lead_somewhere():
    there = {(page.stem, page.suffix[1:]) for page in PAGES}
    for page in PAGES:
        for name, section in re.findall(r"\b(dtask[\w.-]*)\((\d)\)", read("-l", page)):
            assert (name, section) in there, f"{page.name}: {name}({section})"


def test_the_page_of_plugstack_conf_has_every_key():
    """What the plugin says that it accepts."""
    error = manual["srun_says"]("nonsense=1", "--dtask", "true").stderr
    accepted = re.search(r"nonsense=1: no such key; accepted: (.*)$", error, re.M)
    assert accepted, error
    keys = re.findall(r"\w+", accepted[1].replace(" or ", " "))
    page = read("5", "dtask-plugstack.conf")
    heads = " ".join(re.findall(r"^ {7}(\w+=.*)$", page, re.M))
    assert sorted(re.findall(r"(\w+)=", heads)) == sorted(keys)


def test_the_clients_environment_is_described():
    page = read("7", "dtask")
    part = page[page.index("\nCLIENT ENVIRONMENT\n") : page.index("\nPYTHON\n")]
    assert [n for n in CLIENTS if not re.search(rf"^ {{7}}DTASK_{n}$", part, re.M)] == []


def test_readme_names_no_option_that_is_not_there(helped):
    known = OF_OTHERS | set(manual["parse_help"](re.sub(r"-(\w), --", "--", manual["srun_help"]())))
    for program in ["dtask", "srun"] + [f"dtask {c}" for c in manual["subcommands"]()]:
        known |= set(helped[program])
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", README))
    assert sorted(named - known) == []


def test_pages_have_what_help_says():
    done = run(TREE / "scripts/manual", "--check")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_is_written_into_a_page(tmp_path):
    help_text = "Options:\n  -n,--lines N     the last -n lines\n  --all=[HOW]      all\n"
    sources = {"dtask x": manual["parse_help"](help_text)}
    page = tmp_path / "x.1"
    lines = '.\\" help: dtask x --lines\nold\n.\\" more\nMore.\n'
    page.write_text(lines + '.\\" help: dtask x --all\n.\\" more\n')
    assert manual["written"](page, sources).splitlines() == [
        '.\\" help: dtask x --lines', ".TP", "\\fB\\-n\\fR, \\fB\\-\\-lines\\fR \\fIN\\fR",
        "The last \\-n lines.", '.\\" more', "More.",
        '.\\" help: dtask x --all', ".TP", "\\fB\\-\\-all\\fR=[\\fIHOW\\fR]", "All.", '.\\" more',
    ]  # fmt: skip
    for text, error in [
        (lines, r'no line \.\\" help: dtask x --all'),
        (lines + lines, r'more than one line \.\\" help: dtask x --lines'),
        (lines.replace("--lines", "--line"), "dtask x has no --line: take its entry away"),
        (lines.replace("more", "less"), r'no line \.\\" more behind'),
    ]:
        page.write_text(text)
        with pytest.raises(Exception, match=error):
            manual["written"](page, sources)


def test_every_page_is_installed():
    listed = (TREE / "man/Makefile.inc").read_text()
    assert sorted(re.findall(r"man/man\d/[\w.-]+", listed)) == [
        str(page.relative_to(TREE)) for page in PAGES]  # fmt: skip


def test_pages_are_clean():
    needed("mandoc")
    done = run("mandoc", "-Tlint", *PAGES)
    # How long a line of the source is nobody sees.
    said = [line for line in (done.stdout + done.stderr).splitlines()
            if "input text line longer than" not in line]  # fmt: skip
    assert said == []
    for page in PAGES:
        done = run("man", "--warnings", "-l", page, env={**READER, "MANWIDTH": "80"})
        assert (done.returncode, done.stderr) == (0, ""), page.name
