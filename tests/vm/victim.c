/*
 * A process to be killed. Prints its pid and those of its children when it is ready, and then
 * does nothing. Arguments, in this order of effect:
 *
 *   in=PATH     moves to this cgroup first
 *   adj=N       its oom_score_adj
 *   plain       of user 1000, and so without CAP_SYS_RAWIO
 *   polite      exits with status 7, half a second after SIGTERM; its memory is locked, or it
 *               would have to wait for some first
 *   stubborn    catches SIGTERM, and goes on
 *   deaf        ignores SIGTERM
 *   blocking    has blocked SIGTERM, and never looks
 *   listening   has blocked SIGTERM and waits for it at a descriptor; then exits with status 7; its
 *               memory is locked
 *   renewing    executes itself at SIGTERM, and is stubborn from then on
 *   bind=N      may have memory of node N only, by its memory policy
 *   late        is ready now, and takes its memory at SIGUSR1
 *   impatient   exits with status 8 when it waits for memory
 *   hold=N      has N MiB, taken one after the other
 *   share       has a child in the same memory
 *   vfork       is suspended in vfork(2): its child has its memory on loan
 *   leaderless  its first thread ends, another one goes on
 *   stopped     stops itself
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static char stack[1 << 16] __attribute__((aligned(16)));

static int rest(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

static void *rest_as_thread(void *unused)
{
	rest(unused);
	return NULL;
}

static void leave(int signal)
{
	(void)signal;
	usleep(500000);
	_exit(7);
}

static void go_on(int signal)
{
	(void)signal;
}

static char **arguments;

static void renew(int signal)
{
	(void)signal;
	setenv("RENEWED", "", 1);
	execv("/proc/self/exe", arguments);
	_exit(9);
}

static int listen_to(const sigset_t *signals)
{
	struct pollfd file = { .fd = signalfd(-1, signals, 0), .events = POLLIN };

	while (poll(&file, 1, -1) < 1)
		continue;
	_exit(7);
}

static volatile long taken;

static void *watch(void *unused)
{
	long before = -1;

	(void)unused;
	while (taken != before) {
		before = taken;
		usleep(2000000);
	}
	_exit(8);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static const char *option(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], name, strlen(name)))
			return argv[i] + strlen(name);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *in = option(argc, argv, "in=");
	const char *adj = option(argc, argv, "adj=");
	const char *hold = option(argc, argv, "hold=");
	const char *bind = option(argc, argv, "bind=");
	unsigned long nodes = bind ? 1ul << atoi(bind) : 0;
	pthread_t thread;
	sigset_t term;
	pid_t child;

	arguments = argv;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	if (bind && syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 64))
		fail("set_mempolicy");

	if (in) {
		char path[256];
		FILE *file;

		snprintf(path, sizeof(path), "%s/cgroup.procs", in);
		file = fopen(path, "w");
		if (!file || fputs("0", file) < 0 || fclose(file))
			fail(path);
	}
	if (adj) {
		FILE *file = fopen("/proc/self/oom_score_adj", "w");

		if (!file || fputs(adj, file) < 0 || fclose(file))
			fail("oom_score_adj");
	}
	if (option(argc, argv, "plain") && setuid(1000))
		fail("setuid");
	if (option(argc, argv, "polite")) {
		if (mlockall(MCL_CURRENT | MCL_FUTURE))
			fail("mlockall");
		signal(SIGTERM, leave);
	}
	if (option(argc, argv, "stubborn"))
		signal(SIGTERM, go_on);
	if (option(argc, argv, "deaf"))
		signal(SIGTERM, SIG_IGN);
	if (option(argc, argv, "blocking") || option(argc, argv, "listening"))
		sigprocmask(SIG_BLOCK, &term, NULL);
	if (option(argc, argv, "listening") && mlockall(MCL_CURRENT | MCL_FUTURE))
		fail("mlockall");
	if (option(argc, argv, "renewing")) {
		signal(SIGTERM, getenv("RENEWED") ? go_on : renew);
		/* It was blocked while its handler ran. */
		sigprocmask(SIG_UNBLOCK, &term, NULL);
	}
	if (option(argc, argv, "late")) {
		sigset_t usr1;
		int signal;

		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		sigprocmask(SIG_BLOCK, &usr1, NULL);
		printf("%d\n", getpid());
		fflush(stdout);
		sigwait(&usr1, &signal);
	}
	if (option(argc, argv, "impatient") &&
	    (mlockall(MCL_CURRENT) || pthread_create(&thread, NULL, watch, NULL)))
		fail("impatient");
	for (long i = hold ? atol(hold) : 0; i > 0; i--) {
		char *piece = malloc(1 << 20);

		if (!piece)
			fail("malloc");
		memset(piece, 1, 1 << 20);
		taken++;
	}
	if (option(argc, argv, "share")) {
		child = clone(rest, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
		if (child < 0)
			fail("clone");
		printf("%d %d\n", getpid(), child);
	} else if (option(argc, argv, "vfork")) {
		child = vfork();
		if (child < 0)
			fail("vfork");
		if (child == 0) {
			printf("%d %d\n", getppid(), getpid());
			fflush(stdout);
			rest(NULL);
		}
	} else if (!option(argc, argv, "late")) {
		printf("%d\n", getpid());
	}
	fflush(stdout);
	if (option(argc, argv, "listening"))
		return listen_to(&term);
	if (option(argc, argv, "stopped"))
		raise(SIGSTOP);
	if (option(argc, argv, "leaderless")) {
		if (pthread_create(&thread, NULL, rest_as_thread, NULL))
			fail("pthread_create");
		pthread_exit(NULL);
	}
	return rest(NULL);
}
