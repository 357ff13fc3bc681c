// SPDX-License-Identifier: GPL-2.0-only
/* Every process of the host in one read: today's form of the 2005 patch's
 * /proc/PID/oom. The rows are described in rows.h, and say what /proc would:
 * the formulas are those of fs/proc/array.c and fs/proc/task_mmu.c.
 *
 * Nothing is locked and nothing is changed. The program runs under
 * rcu_read_lock, so tasks, signal structs and credentials stay what they are.
 * An mm may go at any time, which is looked at once more after it was read.
 */
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "kernel.h"
#include "rows.h"

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define DEFAULT_PRIO 120 /* of nice 0 */
#define TRIES 4
/* Threads of one process; with more of them, the reader asks /proc. */
#define MOST_THREADS (1 << 16)

char LICENSE[] SEC("license") = "GPL";

struct times {
	__u64 utime;
	__u64 stime;
	__u64 runtime;
};

struct walk {
	struct times sum;
	struct list_head *head; /* as an address only */
	struct list_head *next;
	struct task_struct *found; /* as an address only */
	int whole;
};

/* The thread that a walk is at; nothing at the end of the list. */
static struct task_struct *at(struct walk *walk)
{
	if (walk->next == walk->head || !walk->next) {
		walk->whole = walk->next == walk->head;
		return 0;
	}
	return (void *)walk->next - bpf_core_field_offset(struct task_struct, thread_node);
}

static void begin(struct walk *walk, struct signal_struct *signal)
{
	walk->head = (void *)signal + bpf_core_field_offset(struct signal_struct, thread_head);
	walk->next = signal->thread_head.next;
}

static long look_at_thread(__u32 number, struct walk *walk)
{
	struct task_struct *thread = at(walk);

	(void)number;
	if (!thread)
		return 1;
	if (BPF_CORE_READ(thread, mm) && !(BPF_CORE_READ(thread, flags) & PF_EXITING)) {
		walk->found = thread;
		return 1;
	}
	walk->next = BPF_CORE_READ(thread, thread_node.next);
	return 0;
}

static long add_thread(__u32 number, struct walk *walk)
{
	struct task_struct *thread = at(walk);

	(void)number;
	if (!thread)
		return 1;
	walk->sum.utime += BPF_CORE_READ(thread, utime);
	walk->sum.stime += BPF_CORE_READ(thread, stime);
	walk->sum.runtime += BPF_CORE_READ(thread, se.sum_exec_runtime);
	walk->next = BPF_CORE_READ(thread, thread_node.next);
	return 0;
}

static unsigned int sequence(struct signal_struct *signal)
{
	return *(volatile unsigned int *)&signal->stats_lock.seqcount.seqcount.sequence;
}

/* thread_group_cputime(): the dead threads' times in signal, and the living ones'. A thread
 * that dies meanwhile moves from one to the other, which stats_lock counts. */
static int add_times(struct task_struct *leader, struct signal_struct *signal, struct row *row)
{
	for (int try = 0; try < TRIES; try++) {
		unsigned int before = sequence(signal);
		struct walk walk = {};

		walk.sum.utime = signal->utime;
		walk.sum.stime = signal->stime;
		walk.sum.runtime = signal->sum_sched_runtime;
		if (signal->nr_threads == 1) {
			walk.sum.utime += leader->utime;
			walk.sum.stime += leader->stime;
			walk.sum.runtime += leader->se.sum_exec_runtime;
			walk.whole = 1;
		} else {
			begin(&walk, signal);
			bpf_loop(MOST_THREADS, add_thread, &walk, 0);
		}
		row->utime = walk.sum.utime;
		row->stime = walk.sum.stime;
		row->runtime = walk.sum.runtime;
		if (walk.whole && !(before & 1)
		    && before == sequence(signal))
			return 0;
	}
	return ROW_TIMES_IN_DOUBT;
}

/* What a pid is called at a level of namespaces; 0 if it is not known there. */
static __u32 number(struct pid *pid, unsigned int level)
{
	void *address;

	if (!pid || pid->level < level)
		return 0;
	if (!level)
		return pid->numbers[0].nr;
	/* To the verifier this is a plain number, which may be reckoned with. */
	bpf_probe_read_kernel(&address, sizeof(address), &pid);
	address += level * (__u64)bpf_core_type_size(struct upid);
	return BPF_CORE_READ((struct pid *)address, numbers[0].nr);
}

/* How many pid namespaces a pid is below a level. */
static __u32 depth(struct pid *pid, unsigned int level)
{
	return pid && pid->level > level ? pid->level - level : 0;
}

static __u64 positive(__s64 count)
{
	return count < 0 ? 0 : count;
}

/* get_mm_counter(). A macro, because the index has to be a constant for the compiler to
 * record what is accessed. The verifier of 6.1 does not look into arrays of typedefs. */
#define counter_by(mm, which, read)                                                         \
	({                                                                                  \
		struct mm_struct___plain *plain = (void *)(mm);                             \
		positive(bpf_core_field_exists(plain->rss_stat.count)                       \
				 ? BPF_CORE_READ(plain, rss_stat.count[which].counter)      \
				 : (read));                                                 \
	})
#define counter(mm, which) counter_by(mm, which, (mm)->rss_stat[which].count)
#define counter_of(mm, which) counter_by(mm, which, BPF_CORE_READ(mm, rss_stat[which].count))

static void add_memory(struct task_struct *task, struct row *row)
{
	struct mm_struct *mm = task->mm;

	/* get_task_mm(): what a kernel thread has is only borrowed. */
	if (!mm || task->flags & PF_KTHREAD)
		return;
	row->total_vm = mm->total_vm;
	row->locked = mm->locked_vm;
	row->pgtables = mm->pgtables_bytes.counter;
	row->rss = counter(mm, MM_FILEPAGES) + counter(mm, MM_ANONPAGES)
		 + counter(mm, MM_SHMEMPAGES);
	row->swap = counter(mm, MM_SWAPENTS);
	if (*(struct mm_struct *volatile *)&task->mm != mm)
		row->total_vm = row->locked = row->pgtables = row->rss = row->swap = 0;
}

static __u64 capabilities(const struct cred *cred)
{
	const struct cred___words *words = (const void *)cred;

	if (bpf_core_field_exists(cred->cap_effective.val))
		return cred->cap_effective.val;
	return words->cap_effective.cap[0] | (__u64)words->cap_effective.cap[1] << 32;
}

/* What belongs to a thread, of the first one: the pointers are the kernel's own. */
static void add_first(struct task_struct *task, struct row *row)
{
	const struct cred *cred = task->real_cred;

	row->capabilities = capabilities(cred);
	row->cgroup = task->cgroups->dfl_cgrp->kn->id;
	row->flags = task->flags;
	row->state = task->__state;
	row->exit_state = task->exit_state;
	row->uid = cred->uid.val;
	row->euid = cred->euid.val;
	row->gid = cred->gid.val;
	row->egid = cred->egid.val;
	add_memory(task, row);
}

/* The same of another thread, which the verifier knows nothing of: every access may fail. */
static void add_other(struct task_struct *thread, struct row *row)
{
	const struct cred *cred = BPF_CORE_READ(thread, real_cred);
	const struct cred___words *words = (const void *)cred;
	struct mm_struct *mm = BPF_CORE_READ(thread, mm);

	if (bpf_core_field_exists(cred->cap_effective.val))
		row->capabilities = BPF_CORE_READ(cred, cap_effective.val);
	else
		row->capabilities = BPF_CORE_READ(words, cap_effective.cap[0])
				  | (__u64)BPF_CORE_READ(words, cap_effective.cap[1]) << 32;
	row->cgroup = BPF_CORE_READ(thread, cgroups, dfl_cgrp, kn, id);
	row->flags = BPF_CORE_READ(thread, flags);
	row->state = BPF_CORE_READ(thread, __state);
	row->exit_state = BPF_CORE_READ(thread, exit_state);
	row->uid = BPF_CORE_READ(cred, uid.val);
	row->euid = BPF_CORE_READ(cred, euid.val);
	row->gid = BPF_CORE_READ(cred, gid.val);
	row->egid = BPF_CORE_READ(cred, egid.val);
	row->total_vm = BPF_CORE_READ(mm, total_vm);
	row->locked = BPF_CORE_READ(mm, locked_vm);
	row->pgtables = BPF_CORE_READ(mm, pgtables_bytes.counter);
	row->rss = counter_of(mm, MM_FILEPAGES) + counter_of(mm, MM_ANONPAGES)
		 + counter_of(mm, MM_SHMEMPAGES);
	row->swap = counter_of(mm, MM_SWAPENTS);
	if (BPF_CORE_READ(thread, mm) != mm)
		row->total_vm = row->locked = row->pgtables = row->rss = row->swap = 0;
}

/* find_lock_task_mm(): a process is all its threads, and the first one may have ended. One
 * that ends while it is looked at is looked for once more. */
static void add_threads(struct task_struct *task, struct signal_struct *signal, struct row *row)
{
	add_first(task, row);
	if (signal->nr_threads == 1 || (row->total_vm && !(row->flags & PF_EXITING)))
		return;
	for (int try = 0; try < TRIES; try++) {
		struct walk walk = {};

		begin(&walk, signal);
		bpf_loop(MOST_THREADS, look_at_thread, &walk, 0);
		if (!walk.found)
			continue;
		add_other(walk.found, row);
		row->doubt |= ROW_FIRST_THREAD_ENDED;
		if (row->total_vm)
			return;
	}
}

/* new_encode_dev(tty_devnum(tty)) */
static __u32 terminal(struct tty_struct *tty)
{
	__u32 major, minor;

	if (!tty)
		return 0;
	major = tty->driver->major;
	minor = tty->driver->minor_start + tty->index;
	return (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
}

static void fill(struct task_struct *task, struct row *row, unsigned int level)
{
	struct signal_struct *signal = task->signal;

	row->pid = number(task->thread_pid, level);
	row->ppid = number(task->real_parent->signal->pids[PIDTYPE_TGID], level);
	row->pid_depth = depth(task->thread_pid, level);
	row->start = task->start_boottime;
	row->doubt = add_times(task, signal, row);
	row->shown_utime = signal->prev_cputime.utime;
	row->shown_stime = signal->prev_cputime.stime;
	row->threads = signal->nr_threads;
	row->nice = task->static_prio - DEFAULT_PRIO;
	row->oom_score_adj = signal->oom_score_adj;
	row->session = number(signal->pids[PIDTYPE_SID], level);
	row->tty_nr = terminal(signal->tty);
	bpf_core_read_str(row->comm, sizeof(row->comm), &task->comm);
	add_threads(task, signal, row);
}

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct task_struct *reader;
	struct row row;

	if (!task) {
		struct tail tail = {.version = ROWS_VERSION, .magic = ROWS_END};

		bpf_seq_write(seq, &tail, sizeof(tail));
		return 0;
	}
	if (!ctx->meta->seq_num) {
		struct mm_struct___plain *plain = 0;
		struct head head = {
			.version = ROWS_VERSION,
			.magic = ROWS_MAGIC,
			.row_size = sizeof(row),
			.notes = bpf_core_field_exists(plain->rss_stat.count) ? 0 : ROWS_SWAP_IS_ROUGH,
		};

		bpf_seq_write(seq, &head, sizeof(head));
	}
	if (task->group_leader != task)
		return 0;
	/* The kernel iterates over the reader's pid namespace; the numbers are ours to find. */
	reader = bpf_get_current_task_btf();
	__builtin_memset(&row, 0, sizeof(row));
	fill(task, &row, reader->thread_pid->level);
	/* Being reaped at this moment: no longer to be found by any number. */
	if (row.pid)
		bpf_seq_write(seq, &row, sizeof(row));
	return 0;
}
