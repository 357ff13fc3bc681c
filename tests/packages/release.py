"""What has to hold before a release, as far as a program can see: ``make release`` begins with it.

    python -m tests.packages.release

It prints what does not hold, and ends with 1 then. It publishes nothing and makes no tag.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

# Where the version of the next release stands, and how.
_PLACES = {
    "oomrules/__init__.py": r'^__version__ = "(.*)"',
    "kernel/oom.c": r'^MODULE_VERSION\("(.*)"\);',
    "packaging/debian/changelog": r"\Aoomrules \((.*)\) ",
    "packaging/rpm/oomrules.spec": r"^Version: +(.*)",
    "packaging/arch/PKGBUILD": r"^pkgver=(.*)",
}
# The newest section of the changelog.
_SECTION = re.compile(r"^## \[(.*)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)
_BUNDLED = re.compile(r"^(\w+)==(\S+)", re.MULTILINE)
_PROVIDED = re.compile(r"^Provides: +bundled\(python3dist\((\w+)\)\) = (\S+)", re.MULTILINE)


def versions(top: Path = CHECKOUT) -> dict[str, str]:
    """Return which version stands in each file; empty where there is none."""
    found = {}
    for name, pattern in _PLACES.items():
        match = re.search(pattern, (top / name).read_text(encoding="utf-8"), re.MULTILINE)
        found[name] = match[1] if match else ""
    return found


def disagreements(top: Path = CHECKOUT) -> list[str]:
    """Return, in sentences, which versions differ."""
    found = versions(top)
    wanted = found["oomrules/__init__.py"]
    said = [
        f"{name}: the version is {version or 'missing'}, and {wanted} in oomrules/__init__.py"
        for name, version in found.items()
        if version != wanted
    ]
    bundled = dict(_BUNDLED.findall((top / "packaging/bundled.txt").read_text(encoding="utf-8")))
    spec = (top / "packaging/rpm/oomrules.spec").read_text(encoding="utf-8")
    if dict(_PROVIDED.findall(spec)) != bundled:
        said.append(
            "packaging/rpm/oomrules.spec: `Provides: bundled(…)` are not those of "
            "packaging/bundled.txt"
        )
    return said


def unwritten(top: Path = CHECKOUT) -> list[str]:
    """Return, in sentences, what the changelog lacks for a release of this version."""
    version = versions(top)["oomrules/__init__.py"]
    text = (top / "CHANGELOG.md").read_text(encoding="utf-8")
    section = _SECTION.search(text)
    if not section or section[1] != version or not section[2]:
        stands = section[0] if section else "nothing"
        return [
            f"CHANGELOG.md: the newest section is to be `## [{version}] - DATE`, not `{stands}`"
        ]
    debian = (top / "packaging/debian/changelog").read_text(encoding="utf-8")
    dated = re.search(r"^ -- .*>  (.*)", debian, re.MULTILINE)
    made = subprocess.run(
        ["date", "--utc", "--date", dated[1] if dated else "", "+%F"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.stdout.strip() != section[2]:
        return [f"packaging/debian/changelog: the date is not {section[2]}, that of CHANGELOG.md"]
    return []


def unclean(top: Path = CHECKOUT) -> list[str]:
    """Return, in sentences, why this is no state that can be released."""
    git = ["git", "-c", f"safe.directory={top}", "-C", str(top)]
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    if changed.returncode:
        return [f"{top}: there is no repository here that git can read"]
    said = [
        f"{line[3:]}: not committed; commit it or remove it" for line in changed.stdout.splitlines()
    ]
    tag = f"v{versions(top)['oomrules/__init__.py']}"
    tagged = subprocess.run([*git, "tag", "--list", tag], capture_output=True, text=True)
    if tagged.stdout.strip():
        said.append(f"{tag}: there is such a tag already; raise the version")
    return said


def all_of_them(top: Path = CHECKOUT) -> Iterator[str]:
    """Yield all that keeps this state from being released."""
    yield from disagreements(top)
    yield from unwritten(top)
    yield from unclean(top)


def main() -> int:
    """Print what keeps this state from being released; return the exit code."""
    said = list(all_of_them())
    for line in said:
        print(line)
    print(f"{len(said)} to mend" if said else f"ready: {versions()['oomrules/__init__.py']}")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
