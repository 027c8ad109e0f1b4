#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the code blocks of a document as its reader would, one after the other in one directory.

    blocks.py local|slurm DOCUMENT DIRECTORY

What is done with a fenced block says a comment in front of it, which a reader does not see. Each
block has one, and no code stands indented instead of fenced:

    <!-- save: NAME -->     write it to that file
    <!-- run -->            a shell runs it: without Slurm, where the place is `local`
    <!-- run: COMMAND -->   COMMAND FILE runs it, as `dtask run -n 3 -- python3`
    <!-- slurm -->          as `run`, where the place is `slurm`: a Slurm with dtask in it
    <!-- shows -->          each of its lines is in what the last block that ran has printed; `...`
                            stands for anything
    <!-- before -->         what somebody had before; not run
    <!-- not run: WHY -->

More may stand in the same comment, a line each: `after: NAME` puts the text of a saved file in
front of the block, `with: CODE` a line; and `here: s/A/B/` changes what is too large for a place to
try it in, which is an error where there is no A. A block must end well, within LIMIT seconds.
"""

import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
LIMIT = 180
ACTIONS = ("save", "run", "slurm", "shows", "before", "not run")

# `line`: where its fence stands; `more`: [(word, value)] of the other lines of its comment.
Block = namedtuple("Block", "line language text action value more")


class Wrong(Exception):
    """One line, or a few: where, and what."""


def directive(comment, at):
    """(action, value, more) of a comment."""
    lines = [line.strip().partition(":") for line in comment.strip().splitlines()]
    (action, value), *more = [(word, value.strip()) for word, _, value in lines]
    if action not in ACTIONS:
        raise Wrong(f"{at}: <!-- {action} -->; accepted: {', '.join(ACTIONS)}")
    for word, _ in more:
        if word not in ("after", "with", "here"):
            raise Wrong(f"{at}: {word}; accepted: after, with, here")
    return action, value, more


def blocks_of(text, name):
    """The blocks of a document."""
    found, comment, lines = [], None, text.split("\n")
    number, blank = 0, True
    while number < len(lines):
        line = lines[number]
        at = f"{name}:{number + 1}"
        if line.startswith("<!--"):
            end = next(i for i in range(number, len(lines)) if "-->" in lines[i])
            comment = "\n".join(lines[number : end + 1])[4:].split("-->")[0]
            number = end
        elif line.startswith("```"):
            if comment is None:
                raise Wrong(f"{at}: a block without a comment that says what to do with it")
            end = next(i for i in range(number + 1, len(lines)) if lines[i] == "```")
            body = "\n".join(lines[number + 1 : end]) + "\n"
            found.append(Block(at, line[3:], body, *directive(comment, at)))
            comment, number = None, end
        elif blank and line.startswith("    ") and line.strip():
            raise Wrong(f"{at}: an indented block: {line.strip()}; accepted: a fenced one")
        elif line.strip():
            comment = None
        blank = not line.strip()
        number += 1
    return found


def changed(block, text):
    for word, value in block.more:
        if word == "here":
            _, old, new, _ = value.split(value[1])
            if old not in text:
                raise Wrong(f"{block.line}: here: no {old} in the block")
            text = text.replace(old, new)
    return text


def whole(block, directory):
    """The text of a block with what goes before it."""
    before = ""
    for word, value in block.more:
        if word == "after":
            before += (directory / value).read_text()
        elif word == "with":
            before += value + "\n"
    return before + changed(block, block.text)


def matches(line, output):
    return re.search("^" + ".*".join(map(re.escape, line.split("..."))) + r"\s*$", output, re.M)


def run(block, directory, number):
    """What a block prints, to both."""
    if block.language == "python":
        path = directory / f"block{number}.py"
        path.write_text(whole(block, directory))
        command = (block.value or "python3").split() + [path.name]
    else:
        command = ["bash", "-euc", whole(block, directory)]
    process = subprocess.Popen(
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, universal_newlines=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate(timeout=30)
        raise Wrong(f"{block.line}: has not ended in {LIMIT} s:\n{output}") from None
    if process.returncode != 0:
        raise Wrong(f"{block.line}: exit code {process.returncode}:\n{output}")
    return output


def play(name, place, directory, tell=lambda line: None):
    """Do with each block of a document what its comment says."""
    output, ran = None, 0
    for number, block in enumerate(blocks_of((TREE / name).read_text(encoding="utf-8"), name)):
        if block.action == "save":
            path = directory / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(changed(block, block.text))
            if block.text.startswith("#!"):
                path.chmod(0o755)
        elif block.action in ("run", "slurm"):
            output = None
            if place == ("slurm" if block.action == "slurm" else "local"):
                tell(f"{block.line}: {block.text.splitlines()[0]}")
                output = run(block, directory, number)
                ran += 1
        elif block.action == "shows" and output is not None:
            for line in filter(None, block.text.splitlines()):
                if line.strip() != "..." and not matches(line, output):
                    raise Wrong(f"{block.line}: nobody has printed: {line}\nbut:\n{output}")
    return ran


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("local", "slurm"):
        sys.exit("blocks.py: accepted: local|slurm DOCUMENT DIRECTORY")
    try:
        ran = play(sys.argv[2], sys.argv[1], Path(sys.argv[3]), lambda l: print(l, flush=True))
    except Wrong as error:
        sys.exit(f"blocks.py: {error}")
    print(f"{sys.argv[2]}: {ran} blocks")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
