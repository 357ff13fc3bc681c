"""Mistakes that administrators make, and what the linter answers: docs/generated/mistakes.md.

python -m tests.lint.mistakes docs/generated/mistakes.md writes the document anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from oomrules.commands.main import main

FILE = "50-local.oom"

_HEAD = """\
<!-- Made by `python -m tests.lint.mistakes docs/generated/mistakes.md`; do not edit it here. -->
# Mistakes, and what `oomrules check` says

Each of these is a file as an administrator may well write it at night: the intention, the file, and
the whole answer of `oomrules check {file}`. A test compares the answers with those of today.
[All pages](../README.md)
"""


class Mistake(NamedTuple):
    """A mistake: its title, what was thought, and the file."""

    title: str
    thought: str
    text: str
    name: str = FILE
    encoding: str = "utf-8"


SECTIONS: dict[str, list[Mistake]] = {
    "Slips of the finger": [
        Mistake(
            "a keyword",
            "Nothing shall kill the way in.",
            'nevr kill uid 0 comm "sshd"\n',
        ),
        Mistake(
            "a keyword inside of a statement",
            "Load tests go first.",
            'kill frist comm "stress-ng"\n',
        ),
        Mistake(
            "an attribute",
            "Whoever holds much memory goes sooner.",
            "prefer anything when rsss > 1GiB\n",
        ),
        Mistake(
            "a capability",
            "Whoever administers the system goes later.",
            "spare anything with SYS_ADMN\n",
        ),
        Mistake(
            "the name of a list",
            "All databases are spared.",
            'list databases = "postgres", "mysqld"\nspare comm @database\n',
        ),
        Mistake(
            "a word of one's own",
            "It is defined two lines above.",
            "define heavy = rss > 1GiB\n\nprefer heavvy\n",
        ),
        Mistake(
            "the name of a unit, without its kind",
            "`systemctl` does not ask for the suffix either.",
            "in postgresql: spare anything by 8\n",
        ),
    ],
    "Quantities": [
        Mistake(
            "a unit of memory as disks have it",
            "512 megabytes.",
            "prefer anything when rss > 512MB\n",
        ),
        Mistake(
            "a unit of time as it is spoken",
            "What has just begun is lost more easily.",
            "prefer anything when run_time < 10mins\n",
        ),
        Mistake(
            "no unit at all",
            "`ps` counts in KiB, so will this.",
            "prefer anything when rss > 500000\n",
        ),
        Mistake(
            "a time for a size",
            "Two rules were merged into one.",
            "prefer anything when rss > 10min\n",
        ),
        Mistake(
            "a fraction for a percentage",
            "A quarter of the memory.",
            "prefer anything when rss > 0.25\n",
        ),
    ],
    "The sense turned round": [
        Mistake(
            "a factor below 1",
            "`spare` by a half makes it twice as likely.",
            "spare anything when rss > 4GiB by 0.5\n",
        ),
        Mistake(
            "a factor with a sign",
            "`oom_score_adj` knows negative values.",
            'spare unit "postgresql.service" by -900\n',
        ),
        Mistake(
            "protected here, preferred there",
            "The database is safe, but if it takes a quarter of the memory, it may go.",
            'never kill user "postgres"\nprefer user "postgres" when rss > 25%\n',
        ),
        Mistake(
            "first and last at once",
            "Consoles of the database go first, though the database itself is last.",
            'kill last user "postgres"\nkill first user "postgres" comm "psql"\n',
        ),
        Mistake(
            "bounds that exclude each other",
            "Everything between 512 MiB and 1 GiB.",
            "prefer anything when rss > 1GiB and rss < 512MiB\n",
        ),
        Mistake(
            "nobody left",
            "Only the web server may be killed, and never a service of the system.",
            "only kill uid 33\nnever kill anything when uid < 1000\n",
        ),
    ],
    "Quotation marks": [
        Mistake("none", "It is one word.", "never kill uid 0 comm sshd\n"),
        Mistake(
            "none, around a name with a dash",
            "It is still one word.",
            "never kill uid 0 comm systemd-journald\n",
        ),
        Mistake("those of the shell", "Single ones are safer.", "never kill uid 0 comm 'sshd'\n"),
        Mistake(
            "those of a text processor",
            "Copied from the handbook of the house.",
            "never kill uid 0 comm \N{LEFT DOUBLE QUOTATION MARK}sshd"
            "\N{RIGHT DOUBLE QUOTATION MARK}\n",
        ),
        Mistake(
            "one of two",
            "The line was cut when it was copied.",
            'never kill uid 0 comm "sshd\nprefer niced\n',
        ),
    ],
    "Other languages": [
        Mistake(
            "comments of C",
            "Comments are comments.",
            "/* Batch work goes first:\n   it is restarted. */\n"
            'kill first unit "batch-*.service"\n',
        ),
        Mistake(
            "a comment of C++ behind a rule",
            "Comments are comments.",
            'never kill uid 0 comm "sshd" // the way in\n',
        ),
        Mistake(
            "an operator of C",
            "People's own programs, if they are large.",
            "prefer anything when uid >= 1000 && rss > 1GiB\n",
        ),
        Mistake(
            "one `=` for a comparison",
            "The service runs as user 1000.",
            "prefer anything when uid = 1000\n",
        ),
        Mistake(
            "several texts for one attribute",
            "Both of them.",
            'never kill uid 0 comm "sshd", "dropbear"\n',
        ),
        Mistake(
            "`or` beside a clause",
            "Either of them, as long as it is small.",
            'spare comm "cron" or comm "atd" when rss < 64MiB\n',
        ),
        Mistake(
            "`except`",
            "Everything large goes first, but not the database.",
            'kill first anything except user "postgres"\n',
        ),
        Mistake(
            "a block as in Python",
            "What is indented belongs to it.",
            "in system.slice:\n    spare anything\n",
        ),
        Mistake(
            "two statements in a line",
            "A semicolon separates them.",
            'never kill uid 0 comm "sshd"; prefer niced\n',
        ),
    ],
    "Other tools": [
        Mistake(
            "an option of earlyoom",
            "It worked with earlyoom.",
            "--avoid '^sshd$'\n",
        ),
        Mistake(
            "the settings of earlyoom",
            "The file was copied from /etc/default.",
            "# Settings for earlyoom\n"
            "EARLYOOM_ARGS=\"-r 3600 --avoid '^sshd$' --prefer '(^|/)(java|chromium)$'\"\n",
        ),
        Mistake(
            "rules of ananicy",
            "One rule file is like another.",
            "# Remote access\n"
            '{ "name": "sshd", "type": "Service", "oom_score_adj": -1000 }\n'
            '{ "name": "firefox", "type": "Doc-View", "oom_score_adj": 200 }\n',
        ),
        Mistake(
            "a line of nohang",
            "Only the numbers have to be adapted.",
            "@BADNESS_ADJ_RE_NAME -900 /// ^sshd$\n",
        ),
        Mistake(
            "a drop-in of a systemd unit",
            "It went into the wrong directory.",
            "[Service]\nOOMScoreAdjust=-900\nOOMPolicy=continue\n",
        ),
        Mistake(
            "YAML",
            "Everything is YAML.",
            "---\nrules:\n  - name: keep the way in\n    action: never\n"
            "    match:\n      comm: sshd\n      uid: 0\n",
        ),
        Mistake(
            "a regular expression where a glob stands",
            "It has to be this name and no longer one.",
            'never kill uid 0 comm "^sshd$"\n',
        ),
        Mistake(
            "a glob where a regular expression stands",
            "All of the agents.",
            'spare anything when comm ~ "zabbix*"\n',
        ),
        Mistake(
            "a name that `ps` shows and the kernel does not have",
            "That is what the program is called.",
            'kill last comm "gnome-session-binary"\n',
        ),
        Mistake(
            "a name for a number",
            "root is uid 0.",
            'never kill uid root comm "sshd"\n',
        ),
    ],
    "Guards": [
        Mistake(
            "a percentage alone",
            "earlyoom takes one number, too.",
            "warn at 10%\n",
        ),
        Mistake(
            "the condition first",
            "That is how it is thought.",
            "if host.available < 5% then kill\n",
        ),
        Mistake(
            "a name that the host does not have",
            "What /proc/meminfo calls it.",
            "kill when MemAvailable < 5%\n",
        ),
        Mistake(
            "pressure as the kernel shows it",
            "The line of /proc/pressure/memory, with a limit.",
            "kill when full avg10 > 10\n",
        ),
        Mistake(
            "a process in a guard",
            "Whatever takes more than 4 GiB is to go.",
            "kill when rss > 4GiB\n",
        ),
        Mistake(
            "whom, in a guard",
            "Browsers first, once memory is short.",
            'terminate comm "firefox" when host.available < 10%\n',
        ),
        Mistake(
            "a unit's figure without a unit",
            "It is about builds.",
            "kill when scope.memory > 20GiB for 1min\n",
        ),
        Mistake(
            "a duration without its unit",
            "Seconds, of course.",
            "kill when host.stall > 20% for 10\n",
        ),
        Mistake(
            "SIGKILL after SIGTERM, in words",
            "First politely. It gets ten seconds.",
            "terminate when host.available < 10% then kill after 10s\n",
        ),
        Mistake(
            "limits of earlyoom",
            "The line worked there.",
            "-m 5 -s 10\n",
        ),
    ],
    "Guards that say something else": [
        Mistake(
            "waiting alone",
            "When everything waits for memory, something has to go.",
            "kill when host.stall > 40% for 10s\n",
        ),
        Mistake(
            "free memory",
            "What `free` shows in its third column.",
            "kill when host.free < 200MiB\n",
        ),
        Mistake(
            "the swap alone",
            "A full swap is the end.",
            "terminate when host.swap_free < 5% and host.swap > 0B\n",
        ),
        Mistake(
            "a share of a swap that may not be there",
            "As earlyoom does, memory and swap.",
            "terminate when host.available < 10% and host.swap_free < 10%\n",
        ),
        Mistake(
            "the steps in the wrong order",
            "Ask when it is bad, kill before that.",
            "kill when host.available < 10%\nterminate when host.available < 5%\n",
        ),
    ],
    "The file itself": [
        Mistake(
            "tabs, which are no mistake, before one that is",
            "Indented with tabs.",
            'in\tsystem.slice {\n\tspare anything\n\tkill frist\tcomm "stress-ng"\n}\n',
        ),
        Mistake(
            "CR LF at the ends of lines, which is no mistake, and one that is",
            "Written on another system.",
            'never kill uid 0 comm "sshd"\r\nprefer anything when rss > 1GB\r\n',
        ),
        Mistake(
            "Latin-1",
            "Saved by an old editor.",
            "# Fürs Rechenzentrum\nprefer niced\n",
            encoding="latin-1",
        ),
        Mistake(
            "a space that does not break",
            "Copied from a web page.",
            'never kill\N{NO-BREAK SPACE}uid 0 comm "sshd"\n',
        ),
        Mistake(
            "a letter of another alphabet",
            "It looks right.",
            'never kill uid 0 comm "\N{CYRILLIC SMALL LETTER DZE}shd"\n',
        ),
        Mistake(
            "a brace forgotten",
            "The block ends with the empty line.",
            "in user.slice {\n    prefer anything when rss > 1GiB\n\n"
            'never kill uid 0 comm "sshd"\n',
        ),
        Mistake(
            "a merge that was not finished",
            "It was late.",
            '<<<<<<< HEAD\nspare user "www"\n=======\nspare user "www-data"\n>>>>>>> web\n',
        ),
        Mistake(
            "a name that is not read",
            "The directory is right, so all of it is read.",
            'never kill uid 0 comm "sshd"\n',
            name="50-local.conf",
        ),
    ],
    "Protection that anybody can take": [
        Mistake(
            "a name, and nobody whose it is",
            "This is the shell of the desktop.",
            'kill last comm "gnome-shell" when rss < 1GiB\n',
        ),
        Mistake(
            "units that users name",
            "The browser is in such a scope.",
            'in "app-*.scope" {\n    never kill comm "firefox"\n}\n',
        ),
        Mistake(
            "units that users name, asked for as such",
            "The browser is in such a scope.",
            'in user unit "app-*.scope": never kill comm "firefox"\n',
        ),
    ],
}


def answer(mistake: Mistake, folder: Path) -> str:
    """Write the file into a folder and give what ``oomrules check`` prints there."""
    # Bytes, so that the ends of lines stay as they are.
    (folder / mistake.name).write_bytes(mistake.text.encode(mistake.encoding))
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        main(["check", mistake.name if mistake.name.endswith(".oom") else "."])
    return out.getvalue()


def document(folder: Path) -> str:
    """Make the whole document; each file has a new folder below the given one."""
    parts = [_HEAD.format(file=FILE)]
    number = 0
    for section, mistakes in SECTIONS.items():
        parts.append(f"## {section}\n")
        for mistake in mistakes:
            number += 1
            below = folder / str(number)
            os.mkdir(below)
            said = answer(mistake, below).rstrip("\n")
            named = "" if mistake.name == FILE else f" (`{mistake.name}`, with `oomrules check .`)"
            text = mistake.text.replace("\r", "").rstrip("\n")
            parts.append(
                f"### {number}. {mistake.title}\n\n*{mistake.thought}*{named}\n\n"
                f"```oom\n{text}\n```\n\n```\n{said}\n```\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        Path(sys.argv[1]).write_text(document(Path(made)), encoding="utf-8")
