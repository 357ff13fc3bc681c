"""Sentences in, an ordered list of OOM victims out.

The folders are the stages that a rule passes, in this order. Data flows down.
Who may import whom is in tests/test_layers.py, and drawn in docs/README.md.

    language/    1   text -> checked rules -> a program              compile time: lark
    dbus/        1b  systemd, logind -> facts                        compile time: pydbus, cgroupspy
    runtimes/    1b  Docker, Podman, crictl -> facts                 compile time
    program/     2   the rules as plain data, and the one walk over them
    accounts/        users and groups by name
    processes/   3   /proc, BPF or a recording -> a snapshot
    ranking/     4   a program on a snapshot -> candidates, worst first
    state.py         what is kept in /run/oomrules
    sinks/       5   candidates -> where the kernel finds them
    kills/           the kernel's log of kills, and the journal's entries
    guard/       6   samples x guards -> a decision -> a signal, before memory has run out
    service/         the loop that keeps 3 to 6 going

From program/ to service/ it is run time, the resident half: standard library only, small, and
never waiting for another program. The modules beside the folders are the ground of both halves.

    reason/ lint/ testing/ editor/    tools for the language, loaded by their commands only
    importing/                        settings of other tools -> rules
    setup/                            a host -> the presets that are proposed, and their links
    picture/                          memory by unit and process, drawn
    report/                           a kernel's OOM report -> whom it chose and why, a snapshot
    fleet/                            many recorded hosts: one question, folded answers
    commands/                         the command line: one module a command
"""

__version__ = "0.2.0"
