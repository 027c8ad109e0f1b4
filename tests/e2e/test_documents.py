# SPDX-License-Identifier: Apache-2.0
"""What the documents for developers name is there: files, rooms, functions, decisions."""

import re
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
ROOTS = ("lib", "runtime", "spank", "python", "tests", "doc", "scripts", "bench", "examples")
DOCUMENTS = ("CONTRIBUTING.md", "doc/architecture.md")


def sources():
    """{path: text} of the C++ and Python of the program itself."""
    return {
        str(path.relative_to(TREE)): path.read_text(encoding="utf-8")
        for root in ("lib", "runtime", "spank", "python")
        for path in (TREE / root).rglob("*")
        if path.suffix in (".h", ".cpp", ".py")
    }


def wrong(text, words, names):
    """What of a document's code is nowhere: [(line, word)]."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for code in re.findall(r"`([^`]+)`", line):
            for path in re.findall(rf"(?<![\w/.$])(?:{'|'.join(ROOTS)})/[\w./-]*\w", code):
                # A test program has its source's name.
                if not any((TREE / (path + end)).exists() for end in ("", ".cpp")):
                    found.append((number, path))
            for name in re.findall(r"^\w+\.(?:cpp|h|py|html|bats)$", code):
                if name not in names:
                    found.append((number, name))
            # Class::method, _function, a_function: as they are written alone.
            alone = r"^(?:[A-Za-z_]\w*(?:::|\.))*(_?[a-z]+_\w+|[A-Z]\w+)\(?\)?$"
            for name in re.findall(alone, code):
                if name not in words:
                    found.append((number, name))
            for name in re.findall(r"\b[A-Z]\w*::(\w+)", code):
                if name not in words:
                    found.append((number, name))
    return found


@pytest.fixture(scope="module")
def known():
    texts = sources()
    places = (TREE / "tests", TREE / "runtime")
    files = [path.name for top in places for path in top.rglob("*") if path.is_file()]
    words = set(re.findall(r"\w+", "\n".join(texts.values())))
    own = [p for end in ("h", "cpp") for p in (TREE / "tests").rglob(f"*.{end}")]
    others = "\n".join(path.read_text(encoding="utf-8") for path in own)
    others += (TREE / "tests/e2e/lib.bash").read_text() + (TREE / "doc/adr/README.md").read_text()
    return words | set(re.findall(r"\w+", others)), {Path(p).name for p in texts} | set(files)


# Of shells, and of what one puts in himself.
ELSEWHERE = {
    "DTASK_SANDBOX", "DTASK_BUILD", "NEWS", "TASK", "WORKER", "SCRIPT", "decode_NAME",
    "tests/unit/test_x",
}  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_is_there(document, known):
    text = (TREE / document).read_text(encoding="utf-8")
    assert len(re.findall("`", text)) > 20
    assert [w for w in wrong(text, *known) if w[1] not in ELSEWHERE] == []


def test_what_is_not_there_is_found(known):
    text = "`Core::tasks`\n`Core::tusks`, `lib/base/nothing.h`\n`nothing.cpp` `no_such_thing`\n"
    assert wrong(text, *known) == [
        (2, "tusks"), (2, "lib/base/nothing.h"), (3, "nothing.cpp"), (3, "no_such_thing"),
    ]  # fmt: skip


def test_every_room_is_in_the_table():
    table = (TREE / "doc/architecture.md").read_text(encoding="utf-8")
    rooms = [f"{top}/{d.name}" for top in ("lib", "runtime")
             for d in sorted((TREE / top).iterdir()) if d.is_dir()]  # fmt: skip
    assert len(rooms) > 10
    assert [room for room in rooms if f"\n| `{room}` |" not in table] == []


def test_every_decision_is_listed_once_with_its_title():
    folder = TREE / "doc/adr"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for path in sorted(folder.glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0]
        assert re.match(rf"# {int(path.name[:4])}\. \S", title), path.name
        assert listed.count(f"- [{title[2:]}]({path.name})") == 1, path.name


def test_links_between_documents_lead_somewhere():
    for path in [*TREE.glob("*.md"), *(TREE / "doc").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / target).exists(), f"{path.relative_to(TREE)}: {target}"
