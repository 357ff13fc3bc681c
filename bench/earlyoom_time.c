/* Loaded into earlyoom (LD_PRELOAD) to time it from a look at memory to its signal, unchanged.
 *
 * earlyoom sleeps, rewinds /proc/meminfo and reads it; it looks for a victim, reads it once more and
 * signals by kill. The nanoseconds from the first look after a sleep to the signal go to the file
 * that EARLYOOM_TIMES names, a line each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clocks.h"

static struct clocks looked;
static void (*real_rewind)(FILE *);
static int (*real_kill)(pid_t, int);
static int (*real_nanosleep)(const struct timespec *, struct timespec *);
static int slept = 1;
static int report = -1;

__attribute__((constructor)) static void prepare(void)
{
	const char *path = getenv("EARLYOOM_TIMES");

	*(void **)&real_rewind = dlsym(RTLD_NEXT, "rewind");
	*(void **)&real_kill = dlsym(RTLD_NEXT, "kill");
	*(void **)&real_nanosleep = dlsym(RTLD_NEXT, "nanosleep");
	if (path)
		report = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (report < 0) {
		perror("earlyoom_time: no way to report");
		_exit(2);
	}
}

void rewind(FILE *file)
{
	if (slept)
		looked = read_clocks();
	slept = 0;
	real_rewind(file);
}

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
	slept = 1;
	return real_nanosleep(wanted, left);
}

int kill(pid_t pid, int signal_number)
{
	if (signal_number) {
		struct clocks now = read_clocks();

		dprintf(report, "%lld\n", now.wall - looked.wall);
	}
	return real_kill(pid, signal_number);
}
