/*
 * badness() of Linux 2.6.10 (mm/oom_kill.c), written anew from its description.
 *
 * Reads one process per line from standard input:
 *
 *	pid total_vm utime stime start nice uid euid effective uptime
 *
 * total_vm in pages; utime, stime in jiffies at HZ 1000; start and uptime in whole
 * seconds; effective is the capability set in hex. The lines are the task list, from the
 * oldest task to the youngest.
 *
 * Prints "pid points sixteenths" for each, in the same order; the last number is what the
 * points would be, in units of 1/16, if the last three steps did not round. Then comes an
 * empty line and the pids in the order in which the kernel would choose them if it killed
 * and chose again until nothing is left: the highest points, and among equals the first
 * in the list, since only a strictly higher number displaces the one found before.
 */
#include <stdio.h>
#include <stdlib.h>

#define SHIFT_HZ 10 /* HZ = 1000 */

#define CAP_SYS_RAWIO 17
#define CAP_SYS_ADMIN 21

_Static_assert(sizeof(unsigned long) == 8, "the ranges of the test are those of 64 bits");

struct task {
	unsigned long total_vm, utime, stime, effective;
	long start, uptime;
	unsigned int uid, euid;
	int pid, nice;
	unsigned long points, sixteenths;
	size_t position;
};

/* The largest s with s * s <= x, bit by bit, as a kernel without floating point has it. */
static unsigned long int_sqrt(unsigned long x)
{
	unsigned long s = 0;

	for (int bit = 31; bit >= 0; bit--) {
		unsigned long wider = s | 1UL << bit;

		if (wider * wider <= x)
			s = wider;
	}
	return s;
}

static int capable(const struct task *p, int capability)
{
	return p->effective >> capability & 1;
}

static void badness(struct task *p)
{
	unsigned long points, cpu_time, run_time, s;

	points = p->total_vm;

	cpu_time = (p->utime + p->stime) >> (SHIFT_HZ + 3);
	s = int_sqrt(cpu_time);
	if (s)
		points /= s;

	run_time = 0;
	if (p->uptime >= p->start)
		run_time = (unsigned long)(p->uptime - p->start) >> 10;
	s = int_sqrt(int_sqrt(run_time));
	if (s)
		points /= s;

	p->sixteenths = points * 16;
	if (p->nice > 0) {
		points *= 2;
		p->sixteenths *= 2;
	}
	if (capable(p, CAP_SYS_ADMIN) || p->uid == 0 || p->euid == 0) {
		points /= 4;
		p->sixteenths /= 4;
	}
	if (capable(p, CAP_SYS_RAWIO)) {
		points /= 4;
		p->sixteenths /= 4;
	}
	p->points = points;
}

static int by_choice(const void *left, const void *right)
{
	const struct task *a = left, *b = right;

	if (a->points != b->points)
		return a->points > b->points ? -1 : 1;
	return a->position < b->position ? -1 : 1;
}

int main(void)
{
	size_t count = 0, room = 1 << 18;
	struct task *tasks = malloc(room * sizeof(*tasks));
	struct task *p;

	for (; tasks && count < room; count++) {
		p = &tasks[count];
		if (scanf("%d %lu %lu %lu %ld %d %u %u %lx %ld", &p->pid, &p->total_vm,
			  &p->utime, &p->stime, &p->start, &p->nice, &p->uid, &p->euid,
			  &p->effective, &p->uptime) != 10)
			break;
		p->position = count;
		badness(p);
		printf("%d %lu %lu\n", p->pid, p->points, p->sixteenths);
	}
	if (!tasks || !feof(stdin))
		return 1;
	qsort(tasks, count, sizeof(*tasks), by_choice);
	printf("\n");
	for (p = tasks; p < tasks + count && p->points; p++)
		printf("%d\n", p->pid);
	return 0;
}
