/*
 * A process that is odd to look at. Prints its pid when it is so, and then does nothing.
 *
 *   odd threads N     has N threads besides its first one, with the smallest stacks
 *   odd ended N       the same, and its first thread has ended
 *   odd children N    has N children in its own memory
 *   odd locked MIB    has so much memory, and the lock of its address space is held for ever:
 *                     whoever reads its command line, environment or maps waits. It prints a
 *                     second pid, of the file server that never answers; when that one is
 *                     killed, the wait ends.
 *
 * For "locked" a file of FUSE is mapped, in a user and a mount namespace of its own, so that
 * every user can do it who may open /dev/fuse. A page of it is on its way to the server, which
 * keeps it. Writing to the page again waits for the server and holds the lock for reading
 * (fuse_page_mkwrite() in the kernel's fs/fuse/file.c); changing the mapping asks for the lock
 * for writing; from then on nobody else gets it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define STACK 1024

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int rest(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

/* Threads and children */

static void crowd(long number, int flags)
{
	char *stacks = mmap(NULL, number * STACK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (stacks == MAP_FAILED)
		fail("mmap");
	for (long i = 0; i < number; i++)
		if (clone(rest, stacks + (i + 1) * STACK, flags, NULL) < 0)
			fail("clone");
}

/* The file server */

static void answer(int fuse, const struct fuse_in_header *to, int error, void *body, size_t size)
{
	struct fuse_out_header header = {
		.len = sizeof(header) + size, .error = error, .unique = to->unique,
	};
	struct iovec parts[] = { { &header, sizeof(header) }, { body, size } };

	if (writev(fuse, parts, size ? 2 : 1) < 0 && errno != ENOENT)
		fail("answer");
}

static void serve(int fuse)
{
	static char request[1 << 16], zeros[1 << 16];
	struct fuse_in_header *in = (void *)request;

	while (read(fuse, request, sizeof(request)) > 0) {
		switch (in->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = {
				.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096,
			};
			answer(fuse, in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = {
				.attr_valid = 3600,
				.attr = { .ino = 1, .size = 4096, .mode = S_IFREG | 0644, .nlink = 1 },
			};
			answer(fuse, in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_OPEN: {
			struct fuse_open_out out = { .fh = 1 };

			answer(fuse, in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_READ:
			answer(fuse, in, 0, zeros, ((struct fuse_read_in *)(in + 1))->size);
			break;
		case FUSE_WRITE:
		case FUSE_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(fuse, in, -ENOSYS, NULL, 0);
		}
	}
	exit(0);
}

/* The process that waits for it */

static volatile char *page;

static void *write_again(void *unused)
{
	page[0] = 2;
	return unused;
}

static void say(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail(path);
	close(file);
}

static void lock(long mebibytes)
{
	char mine[64], map[64], options[128];
	unsigned int uid = getuid(), gid = getgid();
	pthread_t thread;
	struct stat status;
	pid_t server;
	int fuse, file;

	snprintf(mine, sizeof(mine), "/tmp/locked-%d", getpid());
	close(open(mine, O_CREAT | O_RDWR, 0600));
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		fail("unshare");
	say("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	say("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	say("/proc/self/gid_map", map);
	fuse = open("/dev/fuse", O_RDWR);
	if (fuse < 0)
		fail("/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=100644,user_id=0,group_id=0", fuse);
	if (mount("odd", mine, "fuse", MS_NOSUID | MS_NODEV, options))
		fail("mount");
	server = fork();
	if (server < 0)
		fail("fork");
	if (server == 0) {
		prctl(PR_SET_NAME, "server");
		serve(fuse);
	}
	/* Else the connection would outlive the server. */
	close(fuse);

	if (mmap(NULL, mebibytes << 20, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
		fail("mmap");
	/* It is empty until the server was asked for its size. */
	file = open(mine, O_RDWR);
	if (file < 0 || fstat(file, &status))
		fail(mine);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (page == MAP_FAILED)
		fail("mmap");
	page[0] = 1;
	if (sync_file_range(file, 0, 4096, SYNC_FILE_RANGE_WRITE))
		fail("sync_file_range");
	printf("%d %d\n", getpid(), server);
	fflush(stdout);
	/* Their stacks are made before anybody holds the lock. */
	if (pthread_create(&thread, NULL, write_again, NULL))
		fail("pthread_create");
	sleep(1);
	mprotect((void *)page, 4096, PROT_READ);
	rest(NULL);
}

int main(int argc, char **argv)
{
	long number = argc > 2 ? atol(argv[2]) : 0;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "locked"))
		lock(number);
	if (!strcmp(argv[1], "children"))
		crowd(number, CLONE_VM | SIGCHLD);
	else
		crowd(number, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			      CLONE_SYSVSEM);
	printf("%d\n", getpid());
	fflush(stdout);
	if (!strcmp(argv[1], "ended"))
		syscall(SYS_exit, 0);
	return rest(NULL);
}
