/*
 * The guest's first program, alone in the initramfs: load the modules that the kernel needs to
 * see its disk and the agent's port, mount the disk, go on with the real init.
 *
 * Debian's own initrd does this too, in 30 s more: it is large, and everything in it is emulated.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Leaving the first program is a kernel panic, which ends QEMU; the console has the reason. */
static void die(const char *what)
{
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
		die(path);
	close(fd);
}

int main(void)
{
	char name[256];
	FILE *list;
	int console;

	mkdir("/dev", 0755);
	mkdir("/root", 0755);
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") != 0)
		die("/dev");
	console = open("/dev/console", O_RDWR);
	if (console >= 0) {
		dup2(console, 0);
		dup2(console, 1);
		dup2(console, 2);
		if (console > 2)
			close(console);
	}

	list = fopen("/modules", "re");	/* one path a line, what is needed first comes first */
	if (!list)
		die("/modules");
	while (fgets(name, sizeof(name), list)) {
		name[strcspn(name, "\n")] = '\0';
		load(name);
	}
	fclose(list);

	/* The driver looks at the disk in a thread of its own. */
	for (int tries = 0; mount("/dev/vda", "/root", "ext4", MS_NOATIME, "") != 0; tries++) {
		if (tries == 1000)
			die("/dev/vda");
		usleep(10000);
	}
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) != 0)
		die("moving /dev");
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
		die("switching root");
	execl("/sbin/init", "/sbin/init", (char *)NULL);
	die("/sbin/init");
}
