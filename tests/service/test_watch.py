"""Directories that are watched, by this kernel's inotify."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oomrules.service.watch import RuleWatch, UnitWatch


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    directory = tmp_path / "etc" / "oomrules.d"
    directory.mkdir(parents=True)
    (directory / "10-mine.oom").write_text("never kill uid 0\n")
    return directory


def test_each_way_to_change_a_rule_file_is_seen(rules: Path, tmp_path: Path) -> None:
    watch = RuleWatch([str(rules)], ".oom")
    assert not watch.changed()
    file = rules / "10-mine.oom"

    def rename_over() -> None:
        new = tmp_path / "new"
        new.write_text("x")
        new.rename(file)

    for change in (
        lambda: file.write_text("score rss\n"),
        lambda: file.chmod(0o600),
        rename_over,
        file.unlink,
        lambda: file.symlink_to("/dev/null"),
        lambda: (rules / "90-new.oom").touch(),
        lambda: (rules / "90-new.oom").rename(rules / "90-new.oom.off"),
    ):
        change()
        assert watch.changed()
        assert not watch.changed()
    watch.close()


def test_other_files_do_not_matter(rules: Path) -> None:
    watch = RuleWatch([str(rules)], ".oom")
    (rules / "README").write_text("x")
    (rules / ".10-mine.oom.swp").write_text("x")
    (rules.parent / "passwd").write_text("x")
    assert not watch.changed()
    watch.close()


def test_a_directory_that_comes_later_is_seen_and_watched(tmp_path: Path) -> None:
    directory = tmp_path / "usr" / "lib" / "oomrules.d"
    watch = RuleWatch([str(directory)], ".oom")
    (tmp_path / "var").mkdir()
    assert not watch.changed()
    for part in (tmp_path / "usr", tmp_path / "usr" / "lib", directory):
        part.mkdir()
        assert watch.changed()
    (directory / "10.oom").write_text("x")
    assert watch.changed()
    (directory / "10.oom").unlink()
    directory.rmdir()
    assert watch.changed()
    directory.mkdir()
    assert watch.changed()
    (directory / "10.oom").write_text("x")
    assert watch.changed()
    watch.close()


def test_a_file_that_was_named_is_watched_whatever_it_is_called(tmp_path: Path) -> None:
    file = tmp_path / "rules.txt"
    file.write_text("x")
    watch = RuleWatch([], ".oom", [str(file)])
    (tmp_path / "other.oom").write_text("x")
    assert not watch.changed()
    file.write_text("y")
    assert watch.changed()
    watch.close()


def test_units_are_seen_in_slices_and_in_users_managers_however_deep(tmp_path: Path) -> None:
    (tmp_path / "system.slice" / "a.service" / "payload.slice").mkdir(parents=True)
    (tmp_path / "user.slice" / "user-1.slice" / "user@1.service" / "app.slice").mkdir(parents=True)
    watch = UnitWatch(str(tmp_path))
    # The root, two slices, the user's, the manager and its slice; no service's own directories.
    assert watch.watches == 6
    assert not watch.changed()
    for place in (
        "system.slice/new.service",
        "user.slice/user-1.slice/session-2.scope",
        "user.slice/user-1.slice/user@1.service/app.slice/browser.scope",
        "machine.slice",
        "machine.slice/deep.slice",
        "machine.slice/deep.slice/vm.scope",
    ):
        (tmp_path / place).mkdir()
        assert watch.changed()
    (tmp_path / "system.slice" / "new.service").rmdir()
    assert watch.changed()
    (tmp_path / "system.slice" / "a.service" / "inner").mkdir()
    assert not watch.changed()
    (tmp_path / "machine.slice" / "deep.slice" / "vm.scope").rmdir()
    (tmp_path / "machine.slice" / "deep.slice").rmdir()
    assert watch.changed()
    assert watch.watches == 7
    watch.close()


def test_a_slice_that_comes_with_slices_inside_is_watched_all_the_way(tmp_path: Path) -> None:
    watch = UnitWatch(str(tmp_path))
    (tmp_path / "a.slice" / "b.slice").mkdir(parents=True)
    assert watch.changed()
    (tmp_path / "a.slice" / "b.slice" / "x.service").mkdir()
    assert watch.changed()
    watch.close()


def test_the_number_of_watches_is_bounded_and_units_churn_without_growth(tmp_path: Path) -> None:
    watch = UnitWatch(str(tmp_path), most=5)
    for number in range(20):
        (tmp_path / f"{number}.slice").mkdir()
    assert watch.changed()
    assert watch.watches == 5
    for number in range(20):
        (tmp_path / f"{number}.slice").rmdir()
    while watch.changed():
        pass
    assert watch.watches == 1
    for number in range(300):
        (tmp_path / f"churn-{number}.slice").mkdir()
        (tmp_path / f"churn-{number}.slice").rmdir()
        watch.changed()
    while watch.changed():
        pass
    assert watch.watches == 1
    watch.close()


def test_a_queue_that_overflows_is_made_good(tmp_path: Path) -> None:
    watch = UnitWatch(str(tmp_path))
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        most = int(file.read())
    for _ in range(most // 2 + 10):
        os.mkdir(tmp_path / "x.service")
        os.rmdir(tmp_path / "x.service")
    (tmp_path / "late.slice").mkdir()
    while watch.changed():
        pass
    (tmp_path / "late.slice" / "y.service").mkdir()
    assert watch.changed()
    watch.close()


def test_the_slices_of_a_user_leave_room_for_those_of_others(tmp_path: Path) -> None:
    managers = [tmp_path / f"user.slice/user-{n}.slice/user@{n}.service" for n in range(1, 5)]
    for manager in managers:
        manager.mkdir(parents=True)
    watch = UnitWatch(str(tmp_path), most=100)
    before = watch.watches
    for n in range(200):
        (managers[0] / f"x{n}.slice/y.slice").mkdir(parents=True)
        watch.changed()
    assert watch.watches - before < 40
    for manager in managers[1:]:
        for n in range(200):
            (manager / f"x{n}.slice").mkdir()
        watch.changed()
    assert watch.watches <= 50 + 6
    (tmp_path / "machine.slice").mkdir()
    assert watch.changed()
    (tmp_path / "machine.slice/a.service").mkdir()
    assert watch.changed()
    # What the user takes away he may make anew.
    for n in range(200):
        (managers[0] / f"x{n}.slice/y.slice").rmdir()
        (managers[0] / f"x{n}.slice").rmdir()
    while watch.changed():
        pass
    (managers[0] / "z.slice").mkdir()
    assert watch.changed()
    (managers[0] / "z.slice/b.service").mkdir()
    assert watch.changed()
