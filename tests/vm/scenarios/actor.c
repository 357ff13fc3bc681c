/*
 * An actor of the scenarios: a process with a name and a size, that grows when the file /run/go
 * is there, and stops growing once one of the processes in /run/watched loses its memory.
 *
 *     actor NAME [KEY=NUMBER]...
 *
 *     hold=MIB      memory that it has from the start
 *     reserve=MIB   address space that it never touches
 *     grow=MIB      how much it grows
 *     rate=MIB      by how much in a second; 0: as fast as it can
 *     read=MIB      looks at so much of a file without end, so that it is wanted in the page cache
 *     fork=N        children like it
 *     share=1       a second process, NAME-twin, with the same memory
 *     deaf=1        ignores SIGTERM
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MIB (1UL << 20)
#define PAGE 4096
/* MiB a second: slow enough that whoever is to see the growth does. */
#define RATE 40

static char twin_stack[1 << 16];

static long option(char **argv, const char *key, long otherwise)
{
	size_t length = strlen(key);

	for (; *argv; argv++)
		if (!strncmp(*argv, key, length) && (*argv)[length] == '=')
			return atol(*argv + length + 1);
	return otherwise;
}

static void *take(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED) {
		perror("actor: mmap");
		exit(1);
	}
	return memory;
}

/* Whether a process has its memory no more: gone, or on its way. */
static int dead(long pid)
{
	char path[64];
	long pages = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/statm", pid);
	file = fopen(path, "re");
	if (!file)
		return 1;
	if (fscanf(file, "%ld", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages == 0;
}

static int somebody_died(void)
{
	static long pids[512];
	static int count = -1;

	if (count < 0) {
		FILE *file = fopen("/run/watched", "re");

		count = 0;
		/* Those who are dead from the beginning do not count. */
		while (file && count < 512 && fscanf(file, "%ld", &pids[count]) == 1)
			count += !dead(pids[count]);
		if (file)
			fclose(file);
	}
	for (int i = 0; i < count; i++)
		if (dead(pids[i]))
			return 1;
	return 0;
}

static void read_on(const char *name, size_t size)
{
	void *zeros = take(MIB);
	volatile char *memory;
	char path[64];
	int file;

	snprintf(path, sizeof(path), "/root/%s.file", name);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	/* Written, since what is merely allocated is not read from the disk. */
	for (size_t at = 0; at < size; at += MIB)
		if (file < 0 || write(file, zeros, MIB) != (ssize_t)MIB) {
			perror("actor: its file");
			exit(1);
		}
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED) {
		perror("actor: mmap");
		exit(1);
	}
	for (;;) {
		for (size_t at = 0; at < size; at += PAGE)
			(void)memory[at];
		usleep(10000);
	}
}

static int twin(void *name)
{
	prctl(PR_SET_NAME, name);
	while (pause())
		;
	return 0;
}

int main(int argc, char **argv)
{
	long grow = option(argv, "grow", 0), children = option(argv, "fork", 0);
	long rate = option(argv, "rate", RATE);
	char name[16], path[64];
	FILE *ready;

	if (argc < 2)
		return 2;
	prctl(PR_SET_NAME, argv[1]);
	if (option(argv, "deaf", 0))
		signal(SIGTERM, SIG_IGN);
	take(option(argv, "reserve", 0) * MIB + MIB);
	while (children-- > 0)
		if (!fork())
			break;
	memset(take(option(argv, "hold", 0) * MIB + 1), 1, option(argv, "hold", 0) * MIB);
	if (option(argv, "share", 0)) {
		snprintf(name, sizeof(name), "%s-twin", argv[1]);
		clone(twin, twin_stack + sizeof(twin_stack), CLONE_VM | SIGCHLD, name);
	}
	snprintf(path, sizeof(path), "/run/actors/%d", getpid());
	ready = fopen(path, "we");
	if (ready)
		fclose(ready);
	if (option(argv, "read", 0))
		read_on(argv[1], option(argv, "read", 0) * MIB);
	while (access("/run/go", F_OK))
		usleep(50000);
	while (grow-- > 0 && !somebody_died()) {
		memset(take(MIB), 1, MIB);
		if (rate)
			usleep(1000000 / rate);
	}
	for (;;)
		pause();
}
