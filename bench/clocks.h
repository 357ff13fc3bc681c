/* The one way of timing a pass, shared by the yardstick and the peers. */
#ifndef CLOCKS_H
#define CLOCKS_H

#include <stdio.h>
#include <time.h>

struct clocks {
	long long wall, cpu; /* nanoseconds */
};

static inline long long nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline struct clocks read_clocks(void)
{
	return (struct clocks){nanoseconds(CLOCK_MONOTONIC), nanoseconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static inline void report_since(FILE *out, struct clocks start)
{
	struct clocks end = read_clocks();

	fprintf(out, "{\"wall\": %lld, \"cpu\": %lld}\n", end.wall - start.wall, end.cpu - start.cpu);
	fflush(out);
}

#endif
