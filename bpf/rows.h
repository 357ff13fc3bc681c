/* SPDX-License-Identifier: GPL-2.0-only */
/* The rows of the task iterator, for the BPF program and for tests that hold
 * oomrules/processes/bpf.py against them. This is the only description of
 * the format. A change of it is a change of ROWS_VERSION, with one exception: an
 * unused member, which is always 0, may get a meaning in which 0 is the usual
 * value. Then rows of older programs can still be read.
 *
 * Reading from open to the tail gives a struct head, a struct row for each
 * process in the order of their pids, and a struct tail. All three are equally
 * long, and a pid is never 0, so one stride serves for everything. What does
 * not begin with a head and end with a tail is not a whole list. Who reads on
 * behind the tail may get rows of processes that have been started since.
 */
#ifndef OOMRULES_ROWS_H
#define OOMRULES_ROWS_H

#define ROWS_MAGIC 0x73656c75726d6f6fULL /* "oomrules" in memory */
#define ROWS_END 0x646e652e6d6f6f2eULL	 /* ".oom.end" in memory */
#define ROWS_VERSION 1

/* The bits of head.notes: a per-CPU counter stands behind rss and swap. Then
 * swap is what the kernel has summed up so far, which is less exact than what
 * /proc/PID/status says. */
#define ROWS_SWAP_IS_ROUGH 1

/* The bits of row.doubt: what the reader has to look up in /proc/PID/stat; and that the
 * first thread has ended, so that what /proc/PID says is of a dead one. */
#define ROW_TIMES_IN_DOUBT 1
#define ROW_FIRST_THREAD_ENDED 2

struct row {
	__u32 pid;  /* of the process, in the reader's pid namespace */
	__u32 ppid; /* 0 if the parent is outside of that */
	__u64 start; /* ns since boot */

	/* The sums of all threads, the dead ones too, in ns, and what was last
	 * shown of them: /proc shows utime and stime scaled to runtime, and
	 * neither of them ever less than before (cputime_adjust). */
	__u64 utime;
	__u64 stime;
	__u64 runtime;
	__u64 shown_utime;
	__u64 shown_stime;

	__u64 capabilities; /* the effective set */
	__u64 cgroup;	    /* id in the v2 hierarchy: the inode of its directory */

	/* A process is all its threads: these, the ids, the capabilities, the flags, the
	 * states and the control group are those of the first thread, or where that has
	 * ended of the first one that goes on. Nothing but zeros for a process without
	 * memory of its own. */
	__u64 total_vm; /* pages */
	__u64 rss;	/* pages */
	__u64 swap;	/* pages */
	__u64 locked;	/* pages */
	__u64 pgtables; /* bytes */

	__u32 flags;	  /* PF_* */
	__u32 state;	  /* task_struct.__state */
	__u32 exit_state; /* EXIT_* */
	__u32 uid;
	__u32 euid;
	__u32 gid;
	__u32 egid;
	__u32 threads;
	__s32 nice;
	__s32 oom_score_adj;
	__u32 session; /* pid of its leader, in the reader's pid namespace */
	__u32 tty_nr;  /* as in /proc/PID/stat */
	__u32 doubt;
	__u32 pid_depth; /* pid namespaces below the reader's; unused in older programs */
	char comm[16]; /* zeros behind its end */
};

struct head {
	__u32 pid; /* 0 */
	__u32 version;
	__u64 magic;
	__u32 row_size;
	__u32 notes;
	__u8 unused[sizeof(struct row) - 24];
};

struct tail {
	__u32 pid; /* 0 */
	__u32 version;
	__u64 magic; /* ROWS_END */
	__u8 unused[sizeof(struct row) - 16];
};

#endif
