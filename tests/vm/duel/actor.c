/*
 * The processes of a duel: those on a host that a storm should not hurt, the storms, and the
 * watcher that measures. All of them share one table, a file in memory.
 *
 *     actor init                 make the table
 *     actor beat NAME FILE       every 50 ms touch 12 MiB of its own, look at 8 MiB of a file, as of
 *                                its libraries, and take 256 KiB for a moment: how late was it?
 *     actor hold NAME MIB        hold memory, and look at a little of it now and then
 *     actor rest NAME MIB        fill memory, 40 MiB a second, and look at none of it any more
 *     actor steady NAME MIB LEFT memory that is in the swap; then as much of what is available that LEFT
 *                                MiB of it are left, the last slowly
 *     actor read NAME FILE       look at all of a file, again and again, by mmap
 *     actor hog NAME MIB RATE [WORKING]
 *                                wait for the start; then take RATE MiB a second (0: as fast as it
 *                                can) up to MIB, and touch all of it again each WORKING ms
 *     actor crowd NAME COUNT MIB RATE
 *                                so many children, each of which does that
 *     actor bomb NAME COUNT MIB MS
 *                                a process that forks each MS milliseconds, as its children do, up
 *                                to so many in all; each holds memory
 *     actor watch SECONDS QUIET  start the storm, measure until it is over: all of it is gone, or it
 *                                grows no more and nobody has died for QUIET seconds
 *     actor look SECONDS         measure for so long or until SIGTERM, without a storm
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1UL << 20)
#define PAGE 4096UL
#define TABLE "/run/duel/table"
#define SLOTS 1024
#define BEAT_NS 50000000LL
#define BEAT_SIZE (12 * MIB)
#define BEAT_FILE (8 * MIB)
#define BEAT_NEW (MIB / 4)
/* A beat that is later than this is felt. */
#define FELT_NS 200000000LL
#define LOOK_NS 100000000LL

struct slot {
	int32_t pid;
	int32_t storm;
	int32_t growing;
	/* Of the watcher's own: when it was seen to be gone. */
	int32_t died_ms;
	char name[16];
};

struct table {
	int32_t used;
	int32_t go;
	int32_t forked;
	int32_t beater;
	/* Of the interactive program, in ns. */
	int64_t lost;
	int64_t worst;
	int64_t beats;
	int64_t last;
	struct slot slots[SLOTS];
};

static struct table *table;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void sleep_ns(int64_t span)
{
	struct timespec time = { span / 1000000000LL, span % 1000000000LL };

	if (span > 0)
		nanosleep(&time, NULL);
}

static void open_table(int flags)
{
	int file = open(TABLE, O_RDWR | O_CLOEXEC | flags, 0666);

	if (file < 0)
		fail(TABLE);
	if (flags && (fchmod(file, 0666) || ftruncate(file, sizeof(*table))))
		fail(TABLE);
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (table == MAP_FAILED)
		fail(TABLE);
	close(file);
}

/* Its own line in the table; the pid is written last. */
static struct slot *enter(const char *name, int storm)
{
	int at = __atomic_fetch_add(&table->used, 1, __ATOMIC_SEQ_CST);
	struct slot *slot;

	if (at >= SLOTS)
		exit(3);
	slot = &table->slots[at];
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	prctl(PR_SET_NAME, name);
	slot->storm = storm;
	slot->growing = storm;
	__atomic_store_n(&slot->pid, getpid(), __ATOMIC_SEQ_CST);
	return slot;
}

static char *reserve(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

/* A third of each page is noise, so that zram does not get it for nothing. */
static void fill(char *memory, size_t size)
{
	static uint64_t noise = 88172645463325252ULL;

	noise ^= (uint64_t)getpid() << 32;
	for (size_t at = 0; at < size; at += PAGE) {
		uint64_t *word = (uint64_t *)(memory + at);

		for (size_t i = 0; i < PAGE / 3 / sizeof(*word); i++) {
			noise ^= noise << 13;
			noise ^= noise >> 7;
			noise ^= noise << 17;
			word[i] = noise;
		}
	}
}

static void touch(volatile char *memory, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		memory[at]++;
}

static void wait_for_start(void)
{
	while (!__atomic_load_n(&table->go, __ATOMIC_SEQ_CST))
		usleep(20000);
}

static volatile char *look_at(const char *path, size_t *size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat info;
	char *memory;

	if (file < 0 || fstat(file, &info))
		fail(path);
	if (!*size || (off_t)*size > info.st_size)
		*size = info.st_size;
	memory = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, file, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	close(file);
	return memory;
}

static void look(volatile char *memory, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		(void)memory[at];
}

static _Noreturn void beat(const char *name, const char *path)
{
	size_t library = BEAT_FILE;
	volatile char *code = look_at(path, &library);
	char *memory = reserve(BEAT_SIZE);
	int64_t due;

	fill(memory, BEAT_SIZE);
	look(code, library);
	enter(name, 0);
	table->beater = getpid();
	/* From one beat's end to the next one's, so that no lateness is counted twice. */
	for (due = now() + BEAT_NS;; due = now() + BEAT_NS) {
		int64_t late;
		char *new;

		sleep_ns(due - now());
		touch(memory, BEAT_SIZE);
		look(code, library);
		new = reserve(BEAT_NEW);
		touch(new, BEAT_NEW);
		munmap(new, BEAT_NEW);
		late = now() - due;
		table->beats++;
		if (late > table->worst)
			table->worst = late;
		if (late > FELT_NS)
			table->lost += late - FELT_NS;
		table->last = now();
	}
}

static _Noreturn void hold(const char *name, size_t size)
{
	char *memory = reserve(size);

	fill(memory, size);
	enter(name, 0);
	for (size_t at = 0;; at = (at + MIB) % size) {
		usleep(1000000);
		touch(memory + at, MIB);
	}
}

static _Noreturn void rest(const char *name, size_t size)
{
	char *memory = reserve(size);

	for (size_t at = 0; at < size; at += MIB) {
		fill(memory + at, MIB);
		usleep(25000);
	}
	enter(name, 0);
	for (;;)
		pause();
}

static _Noreturn void read_on(const char *name, const char *path)
{
	size_t size = 0;
	volatile char *memory = look_at(path, &size);

	look(memory, size);
	enter(name, 0);
	for (;;) {
		usleep(100000);
		look(memory, size);
	}
}

static _Noreturn void grow(struct slot *slot, size_t size, long rate, long working)
{
	/* In pieces that keep a slow one steady. */
	size_t piece = rate && rate < 20 ? MIB / 8 : MIB, have = 0;
	char *memory = reserve(size);
	int64_t begun, touched;

	wait_for_start();
	begun = touched = now();
	while (have < size) {
		fill(memory + have, piece);
		have += piece;
		if (rate)
			sleep_ns(begun + (int64_t)(have * 1000000000.0 / MIB / rate) - now());
		if (working && now() - touched > working * 1000000LL) {
			touch(memory, have);
			touched = now();
		}
	}
	slot->growing = 0;
	for (;;) {
		usleep(working ? working * 1000 : 1000000);
		touch(memory, size);
	}
}

static _Noreturn void crowd(const char *name, long count, size_t size, long rate)
{
	signal(SIGCHLD, SIG_IGN);
	while (count-- > 0)
		if (!fork())
			grow(enter(name, 1), size, rate, 1000);
	for (;;)
		pause();
}

static _Noreturn void bomb(const char *name, long count, size_t size, long every)
{
	struct slot *slot = enter(name, 1);

	signal(SIGCHLD, SIG_IGN);
	wait_for_start();
	for (;;) {
		char *memory = reserve(size);

		fill(memory, size);
		for (;;) {
			usleep(every * 1000);
			touch(memory, size);
			if (__atomic_add_fetch(&table->forked, 1, __ATOMIC_SEQ_CST) >= count) {
				slot->growing = 0;
				for (;;)
					pause();
			}
			if (!fork())
				break;
		}
		/* The child has memory of its own, not its parent's. */
		munmap(memory, size);
		slot = enter(name, 1);
	}
}

/* The watcher. */

static long number(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? atol(at + strlen(key)) : -1;
}

static long read_figures(int file, char *text, size_t size)
{
	ssize_t got = pread(file, text, size - 1, 0);

	text[got > 0 ? got : 0] = 0;
	return got;
}

static void settle_in(void)
{
	struct sched_param first = { .sched_priority = 1 };
	FILE *adj = fopen("/proc/self/oom_score_adj", "w");

	if (!adj || fputs("-1000", adj) < 0 || fclose(adj))
		fail("oom_score_adj");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) || sched_setscheduler(0, SCHED_FIFO, &first))
		fail("mlockall");
}

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static int gone(int pid)
{
	return kill(pid, 0) && errno == ESRCH;
}

/* Notes who has died; how many of the storm are there, and whether any of them grows. */
static int count_storm(int64_t begun, int *growing, int64_t *changed)
{
	static int known;
	int alive = 0, used = table->used < SLOTS ? table->used : SLOTS;

	*growing = 0;
	if (used != known) {
		known = used;
		*changed = now();
	}
	for (int i = 0; i < used; i++) {
		struct slot *slot = &table->slots[i];

		if (!slot->pid || slot->died_ms)
			continue;
		if (gone(slot->pid)) {
			slot->died_ms = (now() - begun) / 1000000 + 1;
			*changed = now();
		} else if (slot->storm) {
			alive++;
			*growing |= slot->growing;
		}
	}
	return alive;
}

static _Noreturn void steady(const char *name, size_t size, long left)
{
	int meminfo = open("/proc/meminfo", O_RDONLY);
	static char text[8192];

	/* No faster than the disk writes, else all others wait for it. */
	for (size_t at = 0; at < size; at += MIB) {
		char *memory = reserve(MIB);

		fill(memory, MIB);
		if (madvise(memory, MIB, MADV_PAGEOUT))
			exit(1);
		usleep(100000);
	}
	enter(name, 0);
	while (read_figures(meminfo, text, sizeof(text)) > 0) {
		long more = (number(text, "MemAvailable:") >> 10) - left;

		if (more <= 0)
			break;
		fill(reserve(MIB), MIB);
		usleep(more > 24 ? 25000 : 500000);
	}
	for (;;)
		pause();
}

static int watch(double seconds, double quiet, int storm)
{
	int meminfo = open("/proc/meminfo", O_RDONLY), psi = open("/proc/pressure/memory", O_RDONLY);
	long least = 1L << 60, swap_least = 1L << 60, full_worst = 0, full_before = -1;
	/* It is the first of all processes, so when it is late the guest itself stood still. */
	double stood = 0;
	long full_begun = 0, some_begun = 0, full = 0, some = 0;
	int64_t begun, changed, last, from;
	static char text[8192];
	int over = 0, growing = 0, alive = 0;

	settle_in();
	signal(SIGTERM, end);
	table->lost = table->worst = table->beats = 0;
	begun = changed = last = now();
	from = begun;
	if (storm)
		__atomic_store_n(&table->go, 1, __ATOMIC_SEQ_CST);
	while (now() - begun < seconds * 1e9 && !over && !ended) {
		int64_t due = now() + LOOK_NS;

		sleep_ns(LOOK_NS);
		last = now();
		if (last - due > LOOK_NS / 2)
			stood += (last - due) / 1e9;
		if (read_figures(meminfo, text, sizeof(text)) > 0) {
			long available = number(text, "MemAvailable:");
			long swap = number(text, "SwapFree:");

			least = available < least ? available : least;
			swap_least = swap < swap_least ? swap : swap_least;
		}
		if (read_figures(psi, text, sizeof(text)) > 0) {
			char *line = strstr(text, "full");

			some = number(text, "total=");
			full = line ? number(line, "total=") : 0;
			if (full_before < 0) {
				full_begun = full;
				some_begun = some;
				full_before = full;
			}
			/* The worst second, in ms. */
			if (last - from > 1000000000LL) {
				long worse = (full - full_before) / 1000;

				full_worst = worse > full_worst ? worse : full_worst;
				full_before = full;
				from = last;
			}
		}
		alive = count_storm(begun, &growing, &changed);
		if (storm)
			over = (!alive || !growing) && last - changed > quiet * 1e9;
	}
	/* A beat that is still on its way counts too. */
	if (table->last && !gone(table->beater) && last - table->last > FELT_NS) {
		int64_t late = last - table->last - BEAT_NS;

		table->lost += late - FELT_NS;
		table->worst = late > table->worst ? late : table->worst;
	}
	printf("{\"took\": %.2f, \"stood\": %.3f, \"over\": %d, \"alive\": %d, \"beats\": %ld, \"lost\": %.3f,"
	       " \"worst\": %.3f, \"least_kib\": %ld, \"least_swap_kib\": %ld, \"some_ms\": %ld,"
	       " \"full_ms\": %ld, \"worst_second_ms\": %ld, \"died\": [",
	       (last - begun) / 1e9, stood, over, alive, (long)table->beats, table->lost / 1e9,
	       table->worst / 1e9, least, swap_least, (some - some_begun) / 1000,
	       (full - full_begun) / 1000, full_worst);
	for (int i = 0, printed = 0; i < table->used && i < SLOTS; i++) {
		struct slot *slot = &table->slots[i];

		if (slot->died_ms)
			printf("%s[\"%s\", %d, %d, %.1f]", printed++ ? ", " : "", slot->name,
			       slot->pid, slot->storm, slot->died_ms / 1e3);
	}
	printf("]}\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *name = argc > 2 ? argv[2] : "";
	long given[4] = { 0 };

	for (int i = 3; i < argc && i < 7; i++)
		given[i - 3] = atol(argv[i]);
	open_table(!strcmp(what, "init") ? O_CREAT | O_TRUNC : 0);
	if (!strcmp(what, "init"))
		return 0;
	if (!strcmp(what, "beat"))
		beat(name, argc > 3 ? argv[3] : "");
	if (!strcmp(what, "hold"))
		hold(name, given[0] * MIB);
	if (!strcmp(what, "rest"))
		rest(name, given[0] * MIB);
	if (!strcmp(what, "steady"))
		steady(name, given[0] * MIB, given[1]);
	if (!strcmp(what, "read"))
		read_on(name, argc > 3 ? argv[3] : "");
	if (!strcmp(what, "hog"))
		grow(enter(name, 1), given[0] * MIB, given[1], given[2]);
	if (!strcmp(what, "crowd"))
		crowd(name, given[0], given[1] * MIB, given[2]);
	if (!strcmp(what, "bomb"))
		bomb(name, given[0], given[1] * MIB, given[2]);
	if (!strcmp(what, "watch"))
		return watch(atof(name), argc > 3 ? atof(argv[3]) : 5, 1);
	if (!strcmp(what, "look"))
		return watch(atof(name), 0, 0);
	return 2;
}
