"""A host's accounts and a directory service of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

# What the C library does while a directory service does not answer, and what it says of those
# who are in one. The interpreter calls these.
_DIRECTORY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

static int silent(const char *name)
{
    if (!strncmp(name, "slow", 4))
        for (;;)
            pause();
    return 0;
}

static int user(const char *name, uid_t uid, struct passwd *into, char *room,
                struct passwd **result)
{
    strcpy(room, name);
    *into = (struct passwd){.pw_name = room, .pw_passwd = room, .pw_uid = uid, .pw_gid = uid,
                            .pw_gecos = room, .pw_dir = room, .pw_shell = room};
    *result = into;
    return 0;
}

int getpwnam_r(const char *name, struct passwd *into, char *room, size_t size,
               struct passwd **result)
{
    silent(name);
    *result = NULL;
    if (!strcmp(name, "ann") || !strcmp(name, "Ann"))
        return user("ann", 50001, into, room, result);
    return 0;
}

int getpwuid_r(uid_t uid, struct passwd *into, char *room, size_t size, struct passwd **result)
{
    *result = NULL;
    if (uid == 60000)
        silent("slow");
    if (uid == 50001)
        return user("ann", 50001, into, room, result);
    if (uid == 50002) /* called so too, but the name is another's */
        return user("ann", 50002, into, room, result);
    if (uid == 50003)
        return user("root", 50003, into, room, result);
    return 0;
}

int getgrnam_r(const char *name, struct group *into, char *room, size_t size,
               struct group **result)
{
    silent(name);
    *result = NULL;
    return 0;
}
"""


@pytest.fixture(scope="session")
def directory_library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that answers as a directory service does: preload it."""
    folder = tmp_path_factory.mktemp("directory")
    (folder / "directory.c").write_text(_DIRECTORY)
    library = folder / "directory.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "directory.c")]
    subprocess.run(command, check=True)
    return str(library)


@pytest.fixture
def accounts_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of accounts of the test's own; a directory service is asked besides."""
    folder = tmp_path / "accounts"
    folder.mkdir()
    (folder / "passwd").write_text("root:x:0:0::/:/bin/sh\nbuild:x:1000:1000::/:/bin/sh\n")
    (folder / "group").write_text("root:x:0:\nbuild:x:1000:\n")
    (folder / "nsswitch.conf").write_text("passwd: files ldap\ngroup: files ldap\n")
    monkeypatch.setenv("OOMRULES_ACCOUNTS", str(folder))
    return folder
