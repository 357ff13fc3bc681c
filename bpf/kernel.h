/* SPDX-License-Identifier: GPL-2.0-only */
/* The few fields of the kernel's structures that the iterator reads. The order and the
 * offsets here mean nothing: each access is recorded by name and resolved against the
 * running kernel when the object is loaded (CO-RE). So no vmlinux.h is needed, and one
 * object serves every kernel. A name with three underscores is the same structure as an
 * older kernel has it.
 */
#ifndef OOMRULES_KERNEL_H
#define OOMRULES_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__s64 counter;
} atomic_long_t;

struct list_head {
	struct list_head *next;
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	/* Longer than it says: one for each level. */
	struct upid numbers[1];
};

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	unsigned int val;
} kgid_t;

typedef struct {
	__u64 val;
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kernel_cap_t cap_effective;
};

/* Before Linux 6.3. */
struct cred___words {
	struct {
		__u32 cap[2];
	} cap_effective;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct percpu_counter {
	__s64 count;
};

/* NR_MM_COUNTERS, in this order since Linux 4.5. */
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES, MM_COUNTERS };

struct mm_struct {
	unsigned long total_vm;
	unsigned long locked_vm;
	atomic_long_t pgtables_bytes;
	struct percpu_counter rss_stat[MM_COUNTERS];
};

/* Before Linux 6.2. */
struct mm_rss_stat {
	atomic_long_t count[MM_COUNTERS];
};

struct mm_struct___plain {
	struct mm_rss_stat rss_stat;
};

struct tty_driver {
	int major;
	int minor_start;
};

struct tty_struct {
	struct tty_driver *driver;
	int index;
};

struct prev_cputime {
	__u64 utime;
	__u64 stime;
};

typedef struct {
	unsigned int sequence;
} seqcount_t;

typedef struct {
	seqcount_t seqcount;
} seqcount_spinlock_t;

typedef struct {
	seqcount_spinlock_t seqcount;
} seqlock_t;

enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID, PIDTYPE_SID, PIDTYPE_MAX };

struct signal_struct {
	int nr_threads;
	struct list_head thread_head;
	struct pid *pids[PIDTYPE_MAX];
	struct tty_struct *tty;
	seqlock_t stats_lock;
	__u64 utime;
	__u64 stime;
	unsigned long long sum_sched_runtime;
	struct prev_cputime prev_cputime;
	short oom_score_adj;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	int exit_state;
	int static_prio;
	struct sched_entity se;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct list_head thread_node;
	struct pid *thread_pid;
	__u64 utime;
	__u64 stime;
	__u64 start_boottime;
	const struct cred *real_cred;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
