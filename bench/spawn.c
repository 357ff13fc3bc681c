/* Starts COUNT idle processes that differ a little, prints "ready", and keeps
 * them until its standard input closes or SIGTERM or SIGINT arrives.
 *
 * For every line on standard input, BUSY percent of them do a little work, which
 * changes what their stat says, and then it prints "done". On a real host some
 * processes always have done something since the last look, and a reader may
 * spend less on those that have not.
 *
 * Built statically, so that a plain fork copies next to no page tables and five
 * thousand children cost little memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;
static atomic_int *worked; /* shared: how many have done their work so far */
static char *memory;

static void stop(int signal_number)
{
	(void)signal_number;
	stopping = 1;
}

/* One page fault: stat counts it. */
static void work(int signal_number)
{
	(void)signal_number;
	madvise(memory, 4096, MADV_DONTNEED);
	*(volatile char *)memory = 1;
	atomic_fetch_add(worked, 1);
}

/* User services and browser tabs raise their own score like this. Without such
 * differences a reader of oom_score would meet nothing but ties. */
static void raise_oom_score(int by)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "w");

	if (file) {
		fprintf(file, "%d", by);
		fclose(file);
	}
}

/* The variety lets a ranking find real differences: names, scores, niceness,
 * owners and sizes all vary, each with its own period. */
static void live(int number, pid_t parent, int ready[2])
{
	static const char *const names[] = {"postgres", "nginx", "cc1plus", "sshd", "worker"};
	char name[16];
	size_t touched = (size_t)4096 << (number % 6);

	snprintf(name, sizeof name, "%s%d", names[number % 5], number % 100);
	prctl(PR_SET_NAME, name);
	if (number % 4 == 0)
		raise_oom_score(100 + number / 4 % 3 * 100);
	if (number % 7 == 0)
		setpriority(PRIO_PROCESS, 0, 1 + number % 19);
	memory = mmap(NULL, touched, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(1);
	memset(memory, 1, touched);
	/* Only root can change owner; without it every process has the same one. */
	if (geteuid() == 0 && number % 2 && setuid((uid_t)(1000 + number % 20)))
		_exit(1);

	/* Changing the owner clears the death signal, so it is set afterwards. The
	 * parent may have died before this line: then nobody would signal us. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);

	signal(SIGUSR1, work);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_IGN);
	/* Open standard streams would keep the measuring side's pipes from closing. */
	close(0);
	close(1);
	close(2);
	close(ready[0]);
	close(ready[1]);
	for (;;)
		pause();
}

static int work_all(const pid_t *pids, int count, int busy)
{
	int before = atomic_load(worked), expected = before;

	for (int i = 0; i < count; i++)
		if (i % 100 < busy && !kill(pids[i], SIGUSR1))
			expected++;
	/* Ten seconds are plenty; who has not answered by then never will. */
	for (int i = 0; i < 10000 && atomic_load(worked) < expected; i++)
		usleep(1000);
	return atomic_load(worked) == expected ? 0 : -1;
}

static int end_all(const pid_t *pids, int count)
{
	int lost = 0;

	/* A child that is already gone was killed by somebody else, which a
	 * benchmark of killers must notice. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		lost++;
	/* With nobody lost, every number still belongs to its child. Otherwise the
	 * death signal ends the rest, so that no recycled number is hit. */
	for (int i = 0; i < count && !lost; i++)
		kill(pids[i], SIGKILL);
	while (!lost && waitpid(-1, NULL, 0) > 0)
		;
	return lost;
}

int main(int argc, char **argv)
{
	int count = argc == 3 ? atoi(argv[1]) : 0;
	int busy = argc == 3 ? atoi(argv[2]) : 0;
	struct sigaction action = {.sa_handler = stop};
	struct pollfd input = {.fd = 0, .events = POLLIN};
	sigset_t blocked, unblocked;
	pid_t *pids, parent = getpid();
	int started, lost, ready[2];
	char byte;

	if (count < 1) {
		fprintf(stderr, "usage: spawn COUNT BUSY\n");
		return 2;
	}
	pids = calloc((size_t)count, sizeof *pids);
	worked = mmap(NULL, sizeof *worked, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!pids || worked == MAP_FAILED || pipe(ready)) {
		fprintf(stderr, "spawn: no room for %d processes: %s\n", count, strerror(errno));
		return 2;
	}
	/* The signals stay blocked outside ppoll, so that none slips in between the
	 * test of the flag and the wait. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &unblocked);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	for (started = 0; started < count; started++) {
		pids[started] = fork();
		if (pids[started] == 0) {
			sigprocmask(SIG_SETMASK, &unblocked, NULL);
			live(started, parent, ready);
		}
		if (pids[started] < 0) {
			fprintf(stderr, "spawn: only %d of %d processes could be started: %s\n",
				started, count, strerror(errno));
			end_all(pids, started);
			return 2;
		}
	}
	/* Each child closes its end once it has settled: the end of the file means
	 * that all have. */
	close(ready[1]);
	while (read(ready[0], &byte, 1) < 0 && errno == EINTR)
		;
	puts("ready");
	fflush(stdout);

	while (!stopping) {
		if (ppoll(&input, 1, NULL, &unblocked) <= 0)
			continue;
		if (read(0, &byte, 1) != 1)
			break;
		if (byte == '\n' && work_all(pids, count, busy)) {
			fprintf(stderr, "spawn: not every busy process answered\n");
			break;
		}
		puts("done");
		fflush(stdout);
	}
	lost = end_all(pids, count);
	if (lost) {
		fprintf(stderr, "spawn: %d processes died before their time\n", lost);
		return 1;
	}
	return 0;
}
