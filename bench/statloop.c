/* The yardstick, 1.0 in every ratio: opens, reads and closes each
 * /proc/PID/stat in C and does nothing with what it reads.
 *
 * One pass is made at once and one more for every line on standard input, so
 * that the measuring side can interleave it with the others. Each pass prints
 * its wall and CPU nanoseconds as one line of JSON.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clocks.h"

static int pass(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[300], text[4096];

	if (!proc)
		return -1;
	while ((entry = readdir(proc))) {
		int stat;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof path, "%s/stat", entry->d_name);
		stat = openat(dirfd(proc), path, O_RDONLY | O_CLOEXEC);
		if (stat < 0)
			continue;
		/* A process that ends here fails the read: it counts like any other. */
		(void)!read(stat, text, sizeof text);
		close(stat);
	}
	closedir(proc);
	return 0;
}

int main(void)
{
	char line[16];

	do {
		struct clocks start = read_clocks();

		if (pass()) {
			perror("statloop: /proc cannot be listed");
			return 2;
		}
		report_since(stdout, start);
	} while (fgets(line, sizeof line, stdin));
	return 0;
}
