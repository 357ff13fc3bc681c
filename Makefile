# make setup         .venv with .venv/bin/oomrules
# make run           set up, rank this very host, and leave the list in oom.list
# make test          every test that needs no guest
# make test-vm       the tests in a guest with a real systemd
# make test-fresh    `make run` and `make test` on bare Debian 12 and 13 machines
# make test-picture  pictures in a real browser, Debian's chromium
# make screenshots   the pictures in docs/picture.md
# make scenarios, churn, storm, trials, dkms, duel, calm
#                    the long tests in the guest
# make mutations     ten thousand damaged OOM reports are read
# make fillings      whom rules would have taken in OOM reports, whatever these lack
# make lint          ruff, mypy, typos and shellcheck
# make kernels       the kernel module compiled for every kernel of Debian's archive
# make debug-kernel  a kernel that looks for faults, for `make test-vm KERNEL=debug`
# make man           the manual pages, in build/man
# make test-man      what man and mandoc say of them
# make bpf           the fast source of processes, for this and any other kernel
# make bench         ratios against other OOM daemons
# make bench-fleet   recorded hosts per second of `oomrules fleet`, beside a plain loop
# make deb           packages for Debian 12 and 13, in build/deb
# make test-deb      the packages built, installed, removed in bare Debian 12 and 13 machines
# make wheel         a wheel and a source distribution, in dist
# make release       what has to hold before a release, checked; nothing is published
# make install       all files where a distribution has them
#
# Each target sets up what it needs, on a fresh Debian machine too. The default is the
# distribution's Python, because gi (PyGObject) comes with it. For another one:
# `make test PYTHON=python3.13 VENV=.venv-3.13`.

PYTHON ?= /usr/bin/python3
VENV ?= .venv
# Which tests `make test` runs; all of them if it is empty.
TESTS ?=
BIN := $(VENV)/bin

.PHONY: setup run test test-vm test-fresh churn storm scenarios trials dkms duel calm mutations fillings kernels debug-kernel lint bpf bench bench-fleet clean system-packages bpf-packages test-picture screenshots
.DELETE_ON_ERROR:

setup: $(BIN)/.ready

# Packages that pip cannot bring: venv itself, gi, and for tests a C compiler and a bus of their own.
system-packages:
	@sh install-packages.sh python3 python3-venv python3-gi gcc libc6-dev dbus-daemon

$(BIN)/.ready: pyproject.toml | system-packages
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

# Apart, so that a newcomer's machine needs none of these: shellcheck has no wheel for some of them.
$(BIN)/.lint: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lint]'
	@touch $@

run: setup
	$(BIN)/oomrules rank --top 20
	$(BIN)/oomrules emit --to oom.list
	@printf 'oom.list: '; cat oom.list

test: setup
	$(BIN)/python -m pytest $(TESTS)

# In a real guest, built from packages and kept in .vm. The first run needs root, QEMU and five
# minutes. Another of Debian's kernels: KERNEL=6.12. The kernel of `make debug-kernel`:
# make test-vm KERNEL=debug VM_ARGS='-k test_module'
KERNEL ?=
test-vm: setup
	OOMRULES_VM_KERNEL=$(KERNEL) $(BIN)/python -m pytest tests/vm --ignore=tests/vm/long --durations=30 \
	  -o cache_dir=.vm/pytest $(VM_ARGS)

# `make run` and `make test` as a newcomer types them, in roots of Debian 12 and 13 that are built
# from packages and kept in .vm for a week. Needs root, and tests the committed state.
test-fresh: setup
	$(BIN)/python -m pytest tests/fresh -o cache_dir=.vm/pytest-fresh $(FRESH_ARGS)

# Apart, since the browser and its driver take 400 MB: without a screen, as root or as a user.
$(BIN)/.browser: $(BIN)/.ready
	@sh install-packages.sh chromium chromium-driver chromium-sandbox fonts-dejavu-core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]'
	@touch $@

test-picture: $(BIN)/.browser
	$(BIN)/python -m pytest tests/browser $(PICTURE_ARGS)

screenshots: $(BIN)/.browser
	$(BIN)/python -m tests.browser.screenshots docs/pictures

# Units come and go for minutes, in the guest; not part of CI.
churn: setup
	$(BIN)/python -m pytest tests/vm/long/test_churn.py -s

# Half an hour: which process the rules name and which was killed, in docs/generated/scenarios.md.
# ONLY=9,10 plays some of them again.
scenarios: setup
	$(BIN)/python -m tests.vm.scenarios docs/generated/scenarios.md $(if $(ONLY),--only $(ONLY))

# The module and the service in the guest: writers, readers and OOMs at once, of the whole guest and
# at limits; 20 OOMs at a limit, and what the module adds to one; an hour of churn, 48 times out of
# memory, every fault. A thousand reloads on this host. STORM=short takes minutes.
STORMS = test_module_load test_limits test_limit_storm test_limit_cost test_storms test_service_storm
storm: setup
	STORM=$(STORM) OOMRULES_VM_KERNEL=$(KERNEL) $(BIN)/python -m pytest -s tests/service/long \
	  $(STORMS:%=tests/vm/long/%.py)

# Control groups of v1 and containers of nspawn, in guests of their own; then Podman, LXC, a hundred
# thousand threads and a lock that is held: docs/odd-hosts.md. An image of its own, with their
# packages, and a guest of 4 GiB.
trials: setup
	$(BIN)/python -m pytest -s tests/vm/long/test_groups_v1.py tests/vm/long/test_nspawn.py \
	  tests/vm/long/test_odd_hosts.py tests/vm/long/test_containers.py $(TRIALS_ARGS)

# The module by Debian's dkms: built, signed, loaded at the boot of two kernels, removed. Five minutes,
# and 2 GB of disk; the kernels and their headers are fetched once.
dkms: setup
	$(BIN)/python -m pytest -s tests/vm/long/test_dkms.py $(DKMS_ARGS)

# Storms of memory under the kernel alone, other daemons and oomrules, in an image of its own with
# their packages: docs/generated/duel.md. Four hours in all, and 10 GB of disk; what was played is
# kept, and is not played again until something of it changes. For less of it:
# make duel DUEL='--repeat 1 --swap none --contender earlyoom --contender desktop'
duel: setup
	$(BIN)/python -m tests.vm.duel docs/generated/duel.md $(DUEL)

# Ten minutes: ten thousand damaged OOM reports. MUTATIONS is how many, MUTATIONS_FROM the first.
mutations: setup
	$(BIN)/python -m pytest -s tests/report/long/test_mutations.py

# An hour: the answer about each published report against 200 fillings of what it lacks, and what
# would have to be known for certainty. FILLINGS is how many, REPORTS which reports: 1-20,47.
fillings: setup
	$(BIN)/python -m pytest -s tests/report/long/test_possible_victims.py

# Hosts that look as if they were in need and are not: nobody may die. And cases of other daemons'
# tests, in which somebody has to. CALM=long has an hour of churn.
calm: setup
	CALM=$(CALM) $(BIN)/python -m pytest -s tests/vm/long/test_calm.py tests/vm/long/test_guard_cases.py \
	  tests/vm/long/test_guard_told_late.py $(CALM_ARGS)

# Half an hour of two processors and 8 GB of disk, once: KASAN, lockdep and the other checks.
debug-kernel: setup
	$(BIN)/python -m tests.vm.kernel

# Needs root, Debian's archive and some minutes; leaves no file behind.
kernels: setup
	$(BIN)/python -m tests.fresh.kernels

# What is written in shell; .ci is not in a source distribution.
SHELL_SCRIPTS := install-packages.sh kernel/dkms.conf tests/fresh/enter.sh $(wildcard .ci/run)
SHELL_SCRIPTS += packaging/deb.sh packaging/source.sh packaging/tarballs.sh
SHELL_SCRIPTS += packaging/debian/oomrules.postinst packaging/debian/oomrules.postrm
SHELL_SCRIPTS += packaging/debian/oomrules.prerm packaging/debian/oomrules-dkms.postinst
SHELL_SCRIPTS += packaging/debian/oomrules-dkms.prerm packaging/debian/tests/lib.sh
SHELL_SCRIPTS += packaging/debian/tests/main packaging/debian/tests/upgrade

lint: $(BIN)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/typos
	$(BIN)/mypy

# The object has the kernel's types by name, so it needs neither headers nor this kernel.
BPF_OBJECT := build/oom_iter.bpf.o
BPF_FLAGS := -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/$(shell uname -m)-linux-gnu

bpf: $(BPF_OBJECT)

# clang makes it, bpftool (kept beside it) loads it.
bpf-packages:
	@sh install-packages.sh clang llvm libbpf-dev libc6-dev bpftool

$(BPF_OBJECT): bpf/oom_iter.bpf.c bpf/kernel.h bpf/rows.h | bpf-packages
	@mkdir -p $(@D)
	clang $(BPF_FLAGS) -c $< -o $@
	llvm-strip -g $@

# The manual pages, from docs/man by pandoc. Their date is that of the package that is built
# (SOURCE_DATE_EPOCH), else that of the newest version.
.PHONY: man test-man man-packages
MAN_PAGES := $(patsubst docs/man/%.md,build/man/%,$(wildcard docs/man/*.md))
MAN_DATE = $(if $(SOURCE_DATE_EPOCH),$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%F),$(shell \
  sed -n 's/^## \[[0-9.]*\] - //p' CHANGELOG.md | head -n 1))

man: $(MAN_PAGES)

man-packages:
	@command -v pandoc >/dev/null || sh install-packages.sh pandoc

# In two steps, since make sees no fault of the first program of a pipe. Variables, since newer pandoc
# escapes the hyphens of metadata, which is no date then. Without the paragraphs that pandoc begins right
# below a heading, which mandoc complains of.
build/man/%: docs/man/%.md docs/man/man.lua docs/man/man.template oomrules/__init__.py CHANGELOG.md \
    | man-packages
	@mkdir -p $(@D)
	pandoc --from markdown-smart --to man --template docs/man/man.template --fail-if-warnings \
	  --lua-filter docs/man/man.lua --variable title=$(basename $*) \
	  --variable section=$(patsubst .%,%,$(suffix $*)) --variable date=$(MAN_DATE) \
	  --variable footer="oomrules $(VERSION)" --variable header=oomrules --output $@.tmp $<
	sed '/^\.S[HS]/{n;/^\.PP$$/d;}' $@.tmp > $@
	@rm $@.tmp

test-man: man setup
	@sh install-packages.sh man-db groff mandoc
	$(BIN)/python -m pytest tests/man/rendered

bench: setup
	$(BIN)/python bench/run.py
	$(BIN)/python bench/service.py
	$(BIN)/python bench/guard.py

# HOSTS is the largest number of hosts; the figures of 10,000 take four minutes.
HOSTS ?= 10000
bench-fleet: setup
	$(BIN)/python bench/fleet.py $(HOSTS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis oom.list

# For distributions: put all files where a package has them. The Python dependencies go into
# oomrules' own directory; BUNDLE= leaves them to the distribution's packages.
DESTDIR ?=
PREFIX ?= /usr
LIBDIR := $(DESTDIR)$(PREFIX)/lib/oomrules
UNITDIR := $(DESTDIR)$(PREFIX)/lib/systemd/system
RULESDIR := $(DESTDIR)$(PREFIX)/lib/oomrules.d
# Where dkms looks for the kernel module's sources.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' oomrules/__init__.py)
SOURCEDIR := $(DESTDIR)$(PREFIX)/src/oomrules-$(VERSION)
BUNDLE ?= lark cgroupspy pydbus

.PHONY: install
install:
	install -d $(LIBDIR) $(UNITDIR) $(RULESDIR)/presets $(RULESDIR)/tests $(SOURCEDIR) \
	  $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/oomrules/generated \
	  $(DESTDIR)$(PREFIX)/share/doc/oomrules/pictures $(DESTDIR)/etc/oomrules.d
	cp -R --no-preserve=ownership oomrules $(LIBDIR)/
	find $(LIBDIR) -name __pycache__ -prune -exec rm -rf {} +
	cp -R --no-preserve=ownership grammar rules.d $(LIBDIR)/oomrules/
	install -m 644 rules.d/*.oom $(RULESDIR)/
	install -m 644 rules.d/presets/*.oom $(RULESDIR)/presets/
	install -m 644 rules.d/tests/*.test.toml $(RULESDIR)/tests/
	install -m 644 systemd/*.service systemd/*.timer $(UNITDIR)/
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/oomrules/
	install -m 644 docs/generated/*.md $(DESTDIR)$(PREFIX)/share/doc/oomrules/generated/
	install -m 644 docs/pictures/*.png $(DESTDIR)$(PREFIX)/share/doc/oomrules/pictures/
	install -m 644 kernel/oom.c kernel/Kbuild kernel/Makefile $(SOURCEDIR)/
	sed 's/@VERSION@/$(VERSION)/' kernel/dkms.conf > $(SOURCEDIR)/dkms.conf
	$(foreach page,$(wildcard $(MAN_PAGES)),install -D -m 644 $(page) \
	  $(DESTDIR)$(PREFIX)/share/man/man$(patsubst .%,%,$(suffix $(page)))/$(notdir $(page)) &&) true
	$(if $(wildcard $(BPF_OBJECT)),install -D -m 644 $(BPF_OBJECT) $(LIBDIR)/bpf/$(notdir $(BPF_OBJECT)))
	$(if $(BUNDLE),$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile \
	  --no-deps --upgrade --target $(LIBDIR) $(BUNDLE))
	printf '%s\n' '#!$(PYTHON) -I' 'import sys' \
	  'sys.path.insert(0, "$(PREFIX)/lib/oomrules")' \
	  'from oomrules.commands.main import main' 'if __name__ == "__main__":' '    sys.exit(main())' \
	  > $(DESTDIR)$(PREFIX)/bin/oomrules
	chmod 755 $(DESTDIR)$(PREFIX)/bin/oomrules

# Packages: docs/packaging.md.
.PHONY: deb deb-packages test-deb test-deb-vm wheel release
deb-packages:
	@sh install-packages.sh build-essential debhelper dh-dkms dh-python pandoc python3-pip

deb: | deb-packages
	sh packaging/deb.sh build/deb

# A wheel carries all but the module and the units; hatchling's dates are fixed.
$(BIN)/.release: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[release]'
	@touch $@

wheel: $(BIN)/.release
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

# Needs root, ten minutes and 3 GB of disk. Tests the committed state.
test-deb: $(BIN)/.release
	$(BIN)/python -m pytest tests/packages -o cache_dir=.vm/pytest-packages $(DEB_ARGS)

# In guests of Debian 12 and 13, as of the committed state. For one of them, or one test:
# make test-deb-vm DEB_ARGS='-k "debian_12 and upgrade"'
test-deb-vm: setup
	$(BIN)/python -m pytest -s tests/vm/long/test_packages.py -o cache_dir=.vm/pytest-packages $(DEB_ARGS)

# Before a release: docs/packaging.md has the rest of the list.
release: $(BIN)/.release
	$(BIN)/python -m tests.packages.release
	$(MAKE) wheel deb
	sh packaging/tarballs.sh build/tarballs
