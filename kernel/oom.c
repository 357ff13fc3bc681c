// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/oom: an ordered list of the pids that the OOM killer takes first.
 *
 *	echo 11 22 33 > /proc/oom; cat /proc/oom
 *
 * The OOM notifier chain
 *
 * When an allocation has found no memory, out_of_memory() in mm/oom_kill.c runs under the mutex
 * oom_lock, one at a time. Before it chooses a victim it calls the OOM notifier chain, whose
 * members may free memory of their own (balloons do) and report how many pages. If they report
 * any, no process is killed and the allocation is tried again. Otherwise the kernel looks at
 * panic_on_oom and oom_kill_allocating_task, goes through all processes, and kills one.
 *
 * This module is the chain's last member. It does not kill: it points the kernel at the first
 * listed process that is alive, killable and of use, by signal->oom_flag_origin ("kill first on
 * oom", which swapoff and KSM set on themselves), and reports that it freed nothing. The kernel's
 * walk over all processes, a moment later and under the same mutex, then takes that process.
 *
 * A module that killed by itself would lose most of what the kernel then does: the victim gets
 * the memory reserves and the OOM reaper; every process that shares its mm dies with it; the
 * report, the one line "Out of memory: Killed process", memory.events, memory.oom.group, systemd's
 * Result=oom-kill and the unit's OOMPolicy= are as always; there is no second victim while the
 * first exits, and none for allocations that may not wait for one; SysRq-f kills one process, the
 * listed one. The pointer is withdrawn at the next OOM or SETTLE later, whichever is first.
 *
 * A process is of use if it may have memory on a node that the allocating task may have memory
 * on. The kernel checks the same, and the allocation's own mask, which cannot be seen here.
 *
 * Only processes with CAP_SYS_RAWIO are signalled here: they may have set up hardware, and get
 * SIGTERM first. Until they are gone or their grace is over the chain reports a freed page, which
 * makes the kernel try again and kill no process. After that they are pointed at like the others,
 * and get SIGKILL from here if no task is out of memory any more. All graces of an episode of OOMs
 * together take `grace_ms`, and no process gets two.
 *
 * While a victim exits the chain reports a freed page as well. The kernel would not kill either,
 * unless the victim's memory came back between this look and its own.
 *
 * A page that is reported as freed also keeps the kernel from looking at panic_on_oom and
 * oom_kill_allocating_task. So they are read here first, at each OOM, and obeyed.
 *
 * The limit of a memory cgroup
 *
 * An OOM at the limit of a memory cgroup (a unit, a container) runs the same out_of_memory(), under
 * the same mutex, but does not call the chain. A kprobe at the entry of out_of_memory() stands in
 * for it. It points the kernel at the first listed process that is killable and in that cgroup or
 * below. The kernel's walk, which is over the processes of the cgroup only, then takes that one.
 *
 * The probe's handler runs before the first instruction of out_of_memory(), with preemption off.
 * It may not sleep, cannot make the kernel try again, and cannot wait for a console:
 *
 * - There is no grace. A process with CAP_SYS_RAWIO gets SIGKILL at once, as without this module.
 * - What it has to say is logged by a work item, and a kill only once the kernel has done it.
 * - It looks at no more than MAX_LOOKS entries of the list.
 *
 * While a victim in the cgroup exits, the kernel's walk stops there, whomever it is pointed at. The
 * kernel looks at neither memory nodes nor oom_kill_allocating_task at such a limit, and at
 * panic_on_oom only if it is 2. So none of them is looked at here.
 *
 * The module works without the probe, for the chain. It says so in /proc/oom_stat, which calls a
 * function with a probe of its own: probes can be switched off for all of the kernel, unnoticed by
 * those who have registered one.
 *
 * What cannot be done
 *
 * - Where probes are entered by a breakpoint and not by ftrace, x86 runs the handler like that of
 *   an NMI. A lock must not be taken there, so the kernel chooses. With PREEMPT_RT there is no
 *   probe, because task_lock may sleep.
 * - The chain is not told which allocation failed. The memory policy of a part of an address space
 *   (mbind) is not seen: the kernel then passes over a process that is pointed at and bound
 *   elsewhere, and chooses for itself. An allocation that may not enter file systems kills no
 *   process. Its task's flags say that in most cases; in the others a process with CAP_SYS_RAWIO
 *   gets SIGTERM early.
 * - The chain cannot tell SysRq-f, which ignores what the chain has freed, from other kworkers. For
 *   any kworker a process with CAP_SYS_RAWIO gets no grace, and the kernel is always pointed at a
 *   process: while an earlier victim exits, at the next one.
 * - The flag belongs to the process, and swapoff and KSM set and clear it too. Withdrawing it from
 *   a process that has called swapoff meanwhile clears that process's own flag. If another process
 *   has the flag for its swapoff, the kernel takes the one that comes later in its walk.
 *
 * Locks
 *
 * Under oom_lock nothing here sleeps for memory: allocations (the queued SIGTERM, a buffer of the
 * two sysctls) take free memory or the reserves, or fail. The list is published by RCU and its
 * pids are never changed. A function that goes through it holds a reference to the list, and RCU
 * for one entry at a time. Only walks over all processes are long, like the kernel's own, and they
 * keep the watchdog quiet. `lock` guards the pointer and the grace, and is held for one process at
 * a time. The order is oom_lock, lock, task_lock, siglock. The chain and the probe are both called
 * under oom_lock, so there is one choice at a time, and one pointer.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/nmi.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>
#include <linux/version.h>
#include <linux/workqueue.h>

/* A pid for every process that Linux can have, with seven digits and a separator. */
#define MAX_LISTED ((size_t)PID_MAX_LIMIT)
#define MAX_TEXT (MAX_LISTED * 8)

/* At most this many lists wait to be freed; beyond that a writer waits for them. */
#define MAX_OLD 8

/*
 * How long the kernel may take from the chain to its choice. If this is too short, the kernel
 * chooses for itself. Too long does little harm, since the process pointed at is the first listed.
 */
#define SETTLE (2 * HZ)

/* How soon after a choice at the limit of a cgroup it is looked whether the kernel has killed. */
#define SOON (HZ / 10)

/*
 * Preemption is off while the handler of the probe goes through the list. This many entries take a
 * few milliseconds. If no process among them can be killed, the kernel chooses. Dead entries at the
 * beginning of the list are looked at only once, so the next OOM sees further. Of all processes,
 * too, no more than this are looked at, for a victim that exits.
 */
#define MAX_LOOKS ((size_t)65536)

/* A machine without memory stands still during a grace, so the grace has a limit. */
#define MAX_GRACE_MS 10000

/* OOMs belong to one episode until there was none for this long. */
#define EPISODE (30 * HZ)

/* How many processes that have got SIGTERM are remembered; they do not get another one. */
#define MAX_WARNED 64

static unsigned int grace_ms = 2000;

/* How much of grace_ms this episode has used up, in jiffies. */
static unsigned long grace_used;

/* A grace that is set again begins in full. */
static int set_grace_ms(const char *text, const struct kernel_param *param)
{
	int error = param_set_uint_minmax(text, param, 0, MAX_GRACE_MS);

	if (!error)
		WRITE_ONCE(grace_used, 0);
	return error;
}

static const struct kernel_param_ops grace_ms_ops = {
	.set = set_grace_ms,
	.get = param_get_uint,
};

module_param_cb(grace_ms, &grace_ms_ops, &grace_ms, 0644);
__MODULE_PARM_TYPE(grace_ms, "uint");
MODULE_PARM_DESC(grace_ms,
		 "milliseconds that SIGTERM may delay SIGKILL for processes with CAP_SYS_RAWIO, in all of an episode, up to 10000; 0: no SIGTERM");

static unsigned short mode = 0644;

static int get_mode(char *buffer, const struct kernel_param *param)
{
	return scnprintf(buffer, PAGE_SIZE, "%#o\n", mode);
}

static const struct kernel_param_ops mode_ops = {
	.set = param_set_ushort,
	.get = get_mode,
};

module_param_cb(mode, &mode_ops, &mode, 0444);
__MODULE_PARM_TYPE(mode, "ushort");
MODULE_PARM_DESC(mode, "permissions of /proc/oom, 0644 unless given; 0600 where processes are hidden");

enum counter { WRITES, WRITES_REFUSED, KILLS, TERMS, REFUSALS, FALLBACKS, STATS };

static const char *const stat_names[STATS] = {
	"writes", "writes_refused", "kills", "terms", "refusals", "fallbacks",
};

static atomic_long_t stats[STATS];

static struct workqueue_struct *queue;

/* The list */

struct entry {
	struct pid *pid;
	unsigned int place;	/* in the list as it was written */
};

struct list {
	struct kref kref;
	struct rcu_work free;
	struct pid_namespace *ns;	/* the writer's */
	ktime_t written;		/* since boot, sleep included */
	size_t count;
	size_t text;			/* bytes that are enough for it */
	pid_t *numbers;			/* as they were written; behind the entries */
	size_t first;			/* the entries before this one are dead; for on_oom() */
	size_t living;
	struct entry entries[];		/* those that lived when it was written */
};

static struct list __rcu *listed;
static atomic_t lists;

static void list_free(struct work_struct *work)
{
	struct list *list = container_of(to_rcu_work(work), struct list, free);
	size_t i;

	for (i = 0; i < list->living; i++) {
		put_pid(list->entries[i].pid);
		cond_resched();
	}
	put_pid_ns(list->ns);
	kvfree(list);
	atomic_dec(&lists);
}

static struct list *list_alloc(size_t count)
{
	/* No process shall be killed to make room for the list. */
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	struct list *list;

	list = kvzalloc(struct_size(list, entries, count) + count * sizeof(pid_t), gfp);
	if (!list)
		return NULL;
	atomic_inc(&lists);
	kref_init(&list->kref);
	INIT_RCU_WORK(&list->free, list_free);
	list->ns = get_pid_ns(task_active_pid_ns(current));
	list->written = ktime_get_boottime();
	list->count = count;
	list->numbers = (pid_t *)&list->entries[count];
	return list;
}

/* May be called in a context that may neither sleep nor wait for memory. */
static void list_release(struct kref *kref)
{
	queue_rcu_work(queue, &container_of(kref, struct list, kref)->free);
}

static void list_put(struct list *list)
{
	if (list)
		kref_put(&list->kref, list_release);
}

static struct list *list_get(void)
{
	struct list *list;

	rcu_read_lock();
	do
		/* It may have been replaced, and its last reference dropped, but RCU keeps it. */
		list = rcu_dereference(listed);
	while (!kref_get_unless_zero(&list->kref));
	rcu_read_unlock();
	return list;
}

static void list_publish(struct list *list)
{
	list_put(unrcu_pointer(xchg(&listed, RCU_INITIALIZER(list))));
}

/* A writer that is faster than RCU and the queue waits, or old lists would pile up. */
static void wait_for_old_lists(void)
{
	if (atomic_read(&lists) <= MAX_OLD)
		return;
	rcu_barrier();
	flush_workqueue(queue);
}

/* Appends a number to the list. */
static void add_number(struct list *list, size_t place, pid_t nr)
{
	struct pid *pid = find_get_pid(nr);
	bool lives;

	list->numbers[place] = nr;
	rcu_read_lock();
	/* A pid may also be that of a session or a group alone. */
	lives = pid_task(pid, PIDTYPE_PID);
	rcu_read_unlock();
	if (lives)
		list->entries[list->living++] = (struct entry){ .pid = pid, .place = place };
	else
		put_pid(pid);
}

/*
 * Reads the pids in a text that ends in its only newline; fills the list unless it is NULL.
 * Returns the number of pids, or an error.
 */
static ssize_t scan(const char *text, size_t size, struct list *list)
{
	const char *end = text + size - 1;
	size_t count = 0;

	if (*end != '\n')
		return -EINVAL;
	while (text < end) {
		unsigned int nr = 0;

		if (*text == ' ' || *text == '\t') {
			text++;
			continue;
		}
		do {
			unsigned int digit = (unsigned char)*text - '0';

			if (digit > 9 || nr > (INT_MAX - digit) / 10)
				return -EINVAL;
			nr = nr * 10 + digit;
		} while (++text < end && *text != ' ' && *text != '\t');
		if (!nr)
			return -EINVAL;
		if (count == MAX_LISTED)
			return -EFBIG;
		if (list)
			add_number(list, count, nr);
		count++;
		cond_resched();
	}
	return count;
}

static ssize_t replace_list(const char __user *buffer, size_t size)
{
	struct list *list;
	ssize_t count;
	char *text;

	if (size > MAX_TEXT)
		return -EFBIG;
	text = kvmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!text)
		return -ENOMEM;
	if (copy_from_user(text, buffer, size)) {
		count = -EFAULT;
		goto out;
	}
	count = scan(text, size, NULL);
	if (count < 0)
		goto out;
	wait_for_old_lists();
	list = list_alloc(count);
	if (!list) {
		count = -ENOMEM;
		goto out;
	}
	scan(text, size, list);
	list->text = size;
	list_publish(list);
out:
	kvfree(text);
	return count;
}

static ssize_t oom_write(struct file *file, const char __user *buffer, size_t size, loff_t *pos)
{
	ssize_t error = -EINVAL;

	if (!size)
		return 0;
	if (*pos)
		pr_notice_once("a list has to come in one write, at position 0; this one of %s did not\n",
			       current->comm);
	else
		error = replace_list(buffer, size);
	if (error < 0) {
		atomic_long_inc(&stats[WRITES_REFUSED]);
		return error;
	}
	atomic_long_inc(&stats[WRITES]);
	*pos += size;
	return size;
}

/*
 * Shows the whole list at once. A reader that takes several reads sees one list from beginning to
 * end: a text of its own, charged to the reader. It keeps nothing that is charged to the writer.
 */
static int oom_show(struct seq_file *m, void *v)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct list *list = list_get();
	struct pid *pid;
	size_t i, next = 0;
	pid_t nr;

	for (i = 0; i < list->count && !seq_has_overflowed(m); i++) {
		pid = NULL;
		if (next < list->living && list->entries[next].place == i)
			pid = list->entries[next++].pid;
		/* In another namespace a process has another number, or none, shown as 0. */
		nr = ns == list->ns ? list->numbers[i] : pid_nr_ns(pid, ns);
		seq_put_decimal_ull(m, i ? " " : "", nr);
		cond_resched();
	}
	seq_putc(m, '\n');
	list_put(list);
	return 0;
}

static int oom_open(struct inode *inode, struct file *file)
{
	struct list *list;
	size_t size;

	/* Root in a container owns this file too. */
	if ((file->f_mode & FMODE_WRITE) && !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	if (!(file->f_mode & FMODE_READ))
		return single_open(file, oom_show, NULL);
	list = list_get();
	/* One more than is needed tells a full buffer from one that is too small. */
	size = list->text + 2;
	list_put(list);
	return single_open_size(file, oom_show, NULL, size);
}

static const struct proc_ops oom_proc_ops = {
	.proc_open = oom_open,
	.proc_read = seq_read,
	.proc_write = oom_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

/* Sysctls of the administrator */

enum word { PANIC_ON_OOM, OOM_KILL_ALLOCATING_TASK, WORDS };

static const char *const word_paths[WORDS] = {
	"sys/vm/panic_on_oom", "sys/vm/oom_kill_allocating_task",
};

/*
 * No module can name these variables of the kernel, but they are also files. The files are kept
 * open in a mount of /proc of our own (as UML's mconsole has one), so that no namespace, chroot or
 * mount hides them.
 */
static struct vfsmount *proc_mount;
static struct file *word_files[WORDS];

static void close_words(void)
{
	int i;

	for (i = 0; i < WORDS; i++)
		if (word_files[i])
			fput(word_files[i]);
	kern_unmount(proc_mount);
}

static int open_words(void)
{
	struct file_system_type *proc = get_fs_type("proc");
	struct file *file;
	int i;

	if (!proc)
		return -ENODEV;
	proc_mount = kern_mount(proc);
	if (IS_ERR(proc_mount))
		return PTR_ERR(proc_mount);
	for (i = 0; i < WORDS; i++) {
		file = file_open_root_mnt(proc_mount, word_paths[i], O_RDONLY, 0);
		/* A kernel without sysctls has none to obey. */
		if (file == ERR_PTR(-ENOENT))
			continue;
		if (IS_ERR(file)) {
			close_words();
			return PTR_ERR(file);
		}
		word_files[i] = file;
	}
	return 0;
}

/*
 * Whether a sysctl is not 0, for on_oom(). It is read by read_iter() itself, without the checks
 * for a process that reads a file. The few bytes of memory for that may come from the reserves.
 */
static bool is_said(enum word word)
{
	static bool said[WORDS];	/* oom_lock is held */
	char text[12];
	struct kvec vec = { .iov_base = text, .iov_len = sizeof(text) };
	struct kiocb kiocb = { .ki_filp = word_files[word] };
	struct iov_iter iter;
	unsigned int flags;

	if (!word_files[word])
		return false;
	iov_iter_kvec(&iter, ITER_DEST, &vec, 1, sizeof(text));
	flags = memalloc_noreclaim_save();
	/* If the read fails the last value stands. */
	if (kiocb.ki_filp->f_op->read_iter(&kiocb, &iter) > 0)
		said[word] = text[0] != '0';
	memalloc_noreclaim_restore(flags);
	return said[word];
}

/* Processes */

/* What can be seen of an OOM: the task that allocates, not the allocation. */
struct oom {
	struct mem_cgroup *memcg;	/* whose limit was reached; NULL: the host has no memory */
	nodemask_t nodes;	/* where the task may have memory */
	bool quiet;		/* most likely no process is killed: say and count nothing */
	bool may_wait;		/* the task can be told to try again */
	bool may_signal;	/* it is an occasion for SIGTERM */
	bool ignores_freed;	/* it may be SysRq-f, which goes on whatever the chain has freed */
	unsigned int refusals;
};

/* What is logged once the locks are released: consoles are slow. */
struct saying {
	pid_t pid;
	char comm[TASK_COMM_LEN];
	size_t place, listed;
	const char *signal;	/* what was sent from here; NULL: the kernel is to kill */
	uid_t uid;
	unsigned long total_vm, anon, file, shmem, pgtables;	/* KiB */
	short adj;
};

/* A walk over many processes takes a while, as the kernel's own does at each OOM. */
static void quiet_watchdog(unsigned int *seen)
{
	if (++*seen % 1024 == 0)
		touch_softlockup_watchdog();
}

/* Whether the memory has been freed, or the kernel has given up on freeing it. */
static bool is_reaped(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return mm_flags_test(MMF_OOM_SKIP, mm);
#else
	return test_bit(MMF_OOM_SKIP, &mm->flags);
#endif
}

/* Finds a thread that still has the mm of a process, and locks it; the first may be gone. */
static struct task_struct *lock_thread_with_mm(struct task_struct *task)
{
	struct task_struct *thread;

	for_each_thread(task, thread) {
		task_lock(thread);
		if (thread->mm)
			return thread;
		task_unlock(thread);
	}
	return NULL;
}

static bool shares_mm(struct task_struct *task, const struct mm_struct *mm)
{
	struct task_struct *thread;

	for_each_thread(task, thread) {
		const struct mm_struct *its = READ_ONCE(thread->mm);

		if (its)
			return its == mm;
	}
	return false;
}

/* Gets the nodes on which a thread may have memory, by its cpuset and its memory policy. */
static void get_nodes(struct task_struct *thread, nodemask_t *nodes)
{
	task_lock(thread);
#ifdef CONFIG_CPUSETS
	*nodes = thread->mems_allowed;
#else
	nodes_setall(*nodes);
#endif
#ifdef CONFIG_NUMA
	/* A policy without a node of the cpuset has no effect. */
	if (thread->mempolicy && thread->mempolicy->mode == MPOL_BIND &&
	    nodes_intersects(*nodes, thread->mempolicy->nodes))
		nodes_and(*nodes, *nodes, thread->mempolicy->nodes);
#endif
	task_unlock(thread);
}

/* Whether the process is one of those among which the kernel chooses; with RCU held. */
static bool is_member(struct task_struct *task, const struct oom *oom)
{
#ifdef CONFIG_MEMCG
	/* As the kernel's walk sees it: a process is where its first thread is. */
	if (oom->memcg)
		return mem_cgroup_is_descendant(mem_cgroup_from_task(task->group_leader),
						oom->memcg);
#endif
	return true;
}

/* Whether the process may have memory on a node that the allocating task may use. */
static bool is_of_use(struct task_struct *task, const struct oom *oom)
{
	struct task_struct *thread;
	unsigned int seen = 0;
	nodemask_t nodes;

	/* At the limit of a cgroup the kernel does not look at nodes. */
	if (oom->memcg)
		return true;
	for_each_thread(task, thread) {
		get_nodes(thread, &nodes);
		if (nodes_intersects(nodes, oom->nodes))
			return true;
		quiet_watchdog(&seen);
	}
	return false;
}

/* While a victim exits the kernel takes no other one, if it still exits when the kernel looks. */
static bool is_victim_exiting(const struct oom *oom)
{
	struct task_struct *task;
	unsigned int seen = 0;
	bool exiting = false;

	rcu_read_lock();
	for_each_process(task) {
		struct mm_struct *mm = READ_ONCE(task->signal->oom_mm);

		exiting = mm && !is_reaped(mm) && is_member(task, oom) && is_of_use(task, oom);
		if (exiting || (oom->memcg && seen == MAX_LOOKS))
			break;
		quiet_watchdog(&seen);
	}
	rcu_read_unlock();
	return exiting;
}

static bool is_refused(struct task_struct *task)
{
	return is_global_init(task) || (task->flags & PF_KTHREAD) ||
	       READ_ONCE(task->signal->oom_score_adj) == OOM_SCORE_ADJ_MIN;
}

static bool is_dying(const struct task_struct *task)
{
	return READ_ONCE(task->signal->flags) & SIGNAL_GROUP_EXIT;
}

/* Whether killing the process would hit a process that must not be killed. */
static bool has_borrowed_mm(struct task_struct *thread)
{
	return in_vfork(thread) || thread->mm == READ_ONCE(init_pid_ns.child_reaper->mm);
}

/* Finds a thread with the mm of a listed process, and locks it. `refused`: it may not be killed. */
static struct task_struct *lock_takeable(struct task_struct *task, bool *refused)
{
	struct task_struct *thread;

	*refused = is_refused(task);
	if (*refused)
		return NULL;
	thread = lock_thread_with_mm(task);
	if (!thread)
		return NULL;
	if (!is_reaped(thread->mm)) {
		*refused = has_borrowed_mm(thread);
		if (!*refused)
			return thread;
	}
	task_unlock(thread);
	return NULL;
}

/* To be called with the thread locked. */
static void describe(struct saying *say, struct task_struct *thread)
{
	struct mm_struct *mm = thread->mm;
	const int to_kib = PAGE_SHIFT - 10;

	say->pid = task_tgid_nr(thread);
	strscpy(say->comm, thread->group_leader->comm, sizeof(say->comm));
	say->uid = from_kuid(&init_user_ns, task_uid(thread));
	say->total_vm = mm->total_vm << to_kib;
	say->anon = get_mm_counter(mm, MM_ANONPAGES) << to_kib;
	say->file = get_mm_counter(mm, MM_FILEPAGES) << to_kib;
	say->shmem = get_mm_counter(mm, MM_SHMEMPAGES) << to_kib;
	say->pgtables = mm_pgtables_bytes(mm) >> 10;
	say->adj = thread->signal->oom_score_adj;
}

static void say_signal(const struct saying *say)
{
	/* In the kernel's own words, for programs that read its log. */
	printk(KERN_ERR
	       "Out of memory: %s process %d (%s) total-vm:%lukB, anon-rss:%lukB, file-rss:%lukB, shmem-rss:%lukB, UID:%u pgtables:%lukB oom_score_adj:%hd\n",
	       say->signal, say->pid, say->comm, say->total_vm, say->anon, say->file, say->shmem,
	       say->uid, say->pgtables, say->adj);
}

/* Sends a signal to a process and all that share its memory; with RCU held. */
static void signal_sharers(struct task_struct *task, struct mm_struct *mm, int signal)
{
	struct task_struct *other;
	unsigned int seen = 0;

	kill_pid(task_tgid(task), signal, 1);
	/* Each thread is a user of its mm. */
	if (atomic_read(&mm->mm_users) <= get_nr_threads(task))
		return;
	for_each_process(other) {
		if (!same_thread_group(other, task) && !(other->flags & PF_KTHREAD) &&
		    !is_global_init(other) && shares_mm(other, mm))
			kill_pid(task_tgid(other), signal, 1);
		quiet_watchdog(&seen);
	}
}

/* The pointer */

static DEFINE_SPINLOCK(lock);

/* The process that the kernel was pointed at, and whether it was dying already. */
static struct {
	struct task_struct *task;
	bool dying;
	unsigned long begin;	/* jiffies */
	bool at_limit;		/* of a cgroup; this is said and counted if the kernel kills it: */
	struct saying say;
	unsigned int refusals;
} chosen;

/* What a work item is to log: the probe's handler cannot wait for a console. */
static struct {
	struct saying first;	/* that went first; pid 0: none */
	size_t none_of;		/* so many listed, and none could be killed */
} news;

static const char at_a_limit[] = ", at the limit of a control group";

static void say_first(const struct saying *say, const char *where)
{
	pr_notice_ratelimited("process %d (%s) goes first, number %zu of %zu listed%s\n", say->pid,
			      say->comm, say->place, say->listed, where);
}

static void say_none(size_t listed, const char *where)
{
	pr_notice_ratelimited("none of the %zu listed can be killed, the kernel chooses%s\n",
			      listed, where);
}

static void tell_news(struct work_struct *work)
{
	struct saying first;
	size_t none_of;

	spin_lock(&lock);
	first = news.first;
	none_of = news.none_of;
	news.first.pid = 0;
	news.none_of = 0;
	spin_unlock(&lock);
	if (first.pid)
		say_first(&first, at_a_limit);
	if (none_of)
		say_none(none_of, at_a_limit);
}

static DECLARE_WORK(telling, tell_news);

/*
 * Whether the kernel killed the process that it was pointed at. A process that exits by itself and
 * runs out of memory meanwhile becomes a victim too, but only for the reserves: it was not killed.
 */
static bool is_kill(void)
{
	return chosen.task && !chosen.dying && tsk_is_oom_victim(chosen.task) &&
	       (READ_ONCE(chosen.task->signal->group_exit_code) & 0x7f) == SIGKILL;
}

/* Takes back the pointer, if there is one, and counts the kill if there was one. */
static void withdraw(void)
{
	if (!chosen.task)
		return;
	chosen.task->signal->oom_flag_origin = false;
	if (is_kill()) {
		atomic_long_inc(&stats[KILLS]);
		if (chosen.at_limit) {
			atomic_long_add(chosen.refusals, &stats[REFUSALS]);
			news.first = chosen.say;
			queue_work(queue, &telling);
		}
	}
	put_task_struct(chosen.task);
	chosen.task = NULL;
}

static void withdraw_later(struct work_struct *work);
static DECLARE_DELAYED_WORK(withdrawal, withdraw_later);

static void withdraw_later(struct work_struct *work)
{
	spin_lock(&lock);
	if (chosen.task && !is_kill() && time_before(jiffies, chosen.begin + SETTLE))
		queue_delayed_work(queue, &withdrawal, SOON);
	else
		withdraw();
	spin_unlock(&lock);
}

/* A process that has the flag already is in swapoff or KSM: it is first anyway, by its own flag. */
static void point_at(struct task_struct *task, const struct oom *oom, const struct saying *say)
{
	if (task->signal->oom_flag_origin)
		return;
	chosen.task = get_task_struct(task);
	chosen.dying = is_dying(task);
	chosen.begin = jiffies;
	chosen.at_limit = oom->memcg;
	chosen.say = *say;
	chosen.refusals = oom->refusals;
	task->signal->oom_flag_origin = true;
	mod_delayed_work(queue, &withdrawal, oom->memcg ? SOON : SETTLE);
}

/* The grace */

/* The process that has got SIGTERM, with its mm. */
static struct {
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned long begin;	/* jiffies, like the other two */
	unsigned long waited;	/* when a task was last told to wait for it */
	unsigned long end;
} asked;

/* When the last OOM was, in jiffies. */
static unsigned long last_oom;

/* Processes that got SIGTERM, by pid: exec does not change it. The oldest is overwritten first. */
static struct pid *warned[MAX_WARNED];
static unsigned int warnings;

static bool was_warned(struct task_struct *task)
{
	int i;

	for (i = 0; i < MAX_WARNED; i++)
		if (warned[i] == task_tgid(task))
			return true;
	return false;
}

static void remember_warned(struct task_struct *task)
{
	struct pid **oldest = &warned[warnings++ % MAX_WARNED];

	put_pid(*oldest);
	*oldest = get_pid(task_tgid(task));
}

static void forget_warned(void)
{
	int i;

	for (i = 0; i < MAX_WARNED; i++)
		put_pid(warned[i]);
}

static void forget_asked(void)
{
	if (!asked.task)
		return;
	grace_used += asked.waited - asked.begin;
	mmdrop(asked.mm);
	put_task_struct(asked.task);
	asked.task = NULL;
	asked.mm = NULL;
}

/* Returns what is left of the grace, in jiffies; less than a tenth counts as nothing. */
static unsigned long grace_left(void)
{
	unsigned long all = msecs_to_jiffies(READ_ONCE(grace_ms));
	unsigned long least = all / 10;

	return all > grace_used + least ? all - grace_used : 0;
}

static bool has_rawio(struct task_struct *task)
{
	const struct cred *cred = __task_cred(task);

	/* The capability in another user namespace gives no access to hardware. */
	return cred->user_ns == &init_user_ns && cap_raised(cred->cap_effective, CAP_SYS_RAWIO);
}

static bool is_halted(struct task_struct *thread)
{
	return task_is_stopped_or_traced(thread) || cgroup_task_frozen(thread) ||
	       (READ_ONCE(thread->__state) & TASK_FROZEN);
}

/* Whether SIGTERM would have an effect. A change right after this costs a grace, or loses one. */
static bool heeds_sigterm(struct task_struct *task)
{
	struct sighand_struct *sighand = rcu_dereference(task->sighand);
	struct task_struct *thread;
	unsigned int seen = 0;
	__sighandler_t handler;
	bool listens;

	if (!sighand)
		return false;
	handler = READ_ONCE(sighand->action[SIGTERM - 1].sa.sa_handler);
	if (handler == SIG_IGN)
		return false;
	/* The init of a namespace ignores signals that it does not handle. */
	if (handler == SIG_DFL && (READ_ONCE(task->signal->flags) & SIGNAL_UNKILLABLE))
		return false;
	/* A process that reads signals from a descriptor has blocked them. */
	listens = waitqueue_active(&sighand->signalfd_wqh);
	for_each_thread(task, thread) {
		if (!is_halted(thread) && (listens || !sigismember(&thread->blocked, SIGTERM)))
			return true;
		quiet_watchdog(&seen);
	}
	return false;
}

static void end_grace(struct work_struct *work);
static DECLARE_DELAYED_WORK(grace, end_grace);

/*
 * The kernel's own kill is better: it gives reserves and the reaper. While the kernel is pointed at
 * the process, and may be about to report its kill, SIGKILL from here can wait.
 */
static bool leave_to_kernel(void)
{
	return chosen.task && chosen.task->signal == asked.task->signal &&
	       time_before(jiffies, asked.end + 2 * SETTLE);
}

/* Describes the process that was asked, if it may still be killed; with RCU and `lock` held. */
static bool describe_asked(struct saying *say)
{
	struct task_struct *thread;
	bool refused, its;

	thread = lock_takeable(asked.task, &refused);
	if (!thread)
		return false;
	its = thread->mm == asked.mm;
	if (its)
		describe(say, thread);
	task_unlock(thread);
	return its;
}

static void end_grace(struct work_struct *work)
{
	struct saying say = {};
	struct task_struct *task = NULL;
	struct mm_struct *mm;

	rcu_read_lock();
	spin_lock(&lock);
	/* Another process may have been asked while this waited for the lock. */
	if (!asked.task || time_before(jiffies, asked.end))
		goto out;
	if (leave_to_kernel()) {
		mod_delayed_work(queue, &grace, SETTLE);
		goto out;
	}
	if (!is_dying(asked.task) && describe_asked(&say)) {
		task = get_task_struct(asked.task);
		mm = asked.mm;
		mmgrab(mm);
		/* Under the lock: the kernel finds it dying, and does not report it again. */
		kill_pid(task_tgid(task), SIGKILL, 1);
		atomic_long_inc(&stats[KILLS]);
	}
	forget_asked();
out:
	spin_unlock(&lock);
	if (task)
		signal_sharers(task, mm, SIGKILL);
	rcu_read_unlock();
	if (!task)
		return;
	say.signal = "Killed";
	say_signal(&say);
	mmdrop(mm);
	put_task_struct(task);
}

/* Sends SIGTERM and begins a grace; returns false if the process gets none. */
static bool ask(struct task_struct *task, struct saying *say)
{
	struct task_struct *thread;
	struct mm_struct *mm = NULL;
	unsigned long left = 0;

	rcu_read_lock();
	spin_lock(&lock);
	if (!is_dying(task) && has_rawio(task) && !was_warned(task) && heeds_sigterm(task))
		left = grace_left();
	thread = left ? lock_thread_with_mm(task) : NULL;
	if (thread) {
		mm = thread->mm;
		mmgrab(mm);
		task_unlock(thread);
		asked.task = get_task_struct(task);
		asked.mm = mm;
		asked.begin = asked.waited = jiffies;
		asked.end = jiffies + left;
		remember_warned(task);
		/* A task without memory comes back before that, and has the kernel kill it. */
		mod_delayed_work(queue, &grace, left + HZ / 2);
	}
	spin_unlock(&lock);
	if (mm)
		/* `asked` holds the mm: only its end, or this very caller, lets it go. */
		signal_sharers(task, mm, SIGTERM);
	rcu_read_unlock();
	if (!mm)
		return false;
	atomic_long_inc(&stats[TERMS]);
	say->signal = "Terminated";
	say_signal(say);
	return true;
}

enum asking { NOBODY, WAIT, OVER };

/*
 * Whether there is a process to wait for. Once its grace is over the kernel is pointed at it; for
 * SysRq-f it always is.
 */
static enum asking look_at_asked(struct oom *oom)
{
	enum asking asking = NOBODY;
	struct saying say = {};
	bool wait;

	rcu_read_lock();
	spin_lock(&lock);
	if (asked.task && is_reaped(asked.mm))
		forget_asked();
	if (!asked.task)
		goto out;
	/* One at a time. */
	oom->may_signal = false;
	if (!is_of_use(asked.task, oom))
		goto out;
	wait = oom->may_wait && time_before(jiffies, asked.end);
	if (wait)
		asked.waited = jiffies;
	else if (oom->may_wait)
		/* The grace is over. It counts in full, however seldom tasks came back. */
		asked.waited = asked.end;
	if ((!wait || oom->ignores_freed) && describe_asked(&say)) {
		point_at(asked.task, oom, &say);
		asking = OVER;
	}
	if (wait)
		asking = WAIT;
out:
	spin_unlock(&lock);
	rcu_read_unlock();
	return asking;
}

/* The choice */

static bool is_takeable(struct task_struct *task, struct oom *oom, struct saying *say)
{
	struct task_struct *thread;
	bool refused;

	if (!is_member(task, oom))
		return false;
	/* Its memory is back or given up, or the kernel waits for its exit. */
	if (tsk_is_oom_victim(task))
		return false;
	thread = lock_takeable(task, &refused);
	oom->refusals += refused;
	if (!thread)
		return false;
	describe(say, thread);
	task_unlock(thread);
	return is_of_use(task, oom);
}

/* Finds the first listed process that can be killed, and takes a reference. */
static struct task_struct *pick(struct list *list, struct oom *oom, struct saying *say)
{
	struct task_struct *task;
	size_t i, end = list->living;

	if (oom->memcg)
		end = min(end, list->first + MAX_LOOKS);
	oom->refusals = 0;
	for (i = list->first; i < end; i++) {
		rcu_read_lock();
		/* A thread's pid stands for its process, as for kill(2). */
		task = pid_task(list->entries[i].pid, PIDTYPE_PID);
		if (!task && i == list->first)
			list->first++;
		if (task && is_takeable(task, oom, say))
			get_task_struct(task);
		else
			task = NULL;
		rcu_read_unlock();
		if (task) {
			say->place = list->entries[i].place + 1;
			say->listed = list->count;
			return task;
		}
		if (!oom->memcg)
			cond_resched();
	}
	return NULL;
}

/* Logs which process goes first, once if the kernel comes back for the same one. */
static bool announce(const struct saying *say)
{
	static pid_t last;	/* oom_lock is held */

	if (say->pid == last)
		return false;
	last = say->pid;
	say_first(say, "");
	return true;
}

static void complain(const struct list *list, const struct oom *oom)
{
	if (!oom->memcg) {
		say_none(list->count, "");
		return;
	}
	spin_lock(&lock);
	news.none_of = list->count;
	spin_unlock(&lock);
	queue_work(queue, &telling);
}

/* Points the kernel at the first that can be killed. True: that one was asked, so wait for it. */
static bool take_first(struct list *list, struct oom *oom)
{
	struct task_struct *task;
	struct saying say = {};
	bool again, wait = false;

	do {
		task = pick(list, oom, &say);
		if (!task)
			break;
		wait = oom->may_signal && ask(task, &say);
		/* A console can be slow: look again, for a living process and a new pointer. */
		again = !wait && !oom->quiet && !oom->memcg && announce(&say);
		if (!wait && !again) {
			spin_lock(&lock);
			point_at(task, oom, &say);
			spin_unlock(&lock);
		}
		put_task_struct(task);
	} while (again);
	/* At a limit tasks come back again and again while a victim exits; a kill is told later. */
	if (oom->memcg)
		oom->quiet = task || is_victim_exiting(oom);
	if (oom->quiet)
		return false;
	atomic_long_add(oom->refusals, &stats[REFUSALS]);
	if (task)
		return wait;
	atomic_long_inc(&stats[FALLBACKS]);
	if (list->count)
		complain(list, oom);
	return false;
}

/*
 * Chooses. True: try again, a process is exiting already.
 *
 * Where the task cannot be told to try again the kernel goes on. While a victim exits it kills no
 * other process, with two exceptions: SysRq-f, and a victim that is reaped just before it looks. In
 * both cases it shall take the next one of the list, and no other process.
 */
static bool choose(struct list *list, struct oom *oom)
{
	if (is_victim_exiting(oom)) {
		oom->may_signal = false;
		oom->quiet = true;
		if (!oom->may_wait || oom->ignores_freed)
			take_first(list, oom);
		return oom->may_wait;
	}
	switch (look_at_asked(oom)) {
	case WAIT:
		return true;
	case OVER:
		return false;
	case NOBODY:
		break;
	}
	return take_first(list, oom);
}

static void look_at_task(struct oom *oom)
{
	get_nodes(current, &oom->nodes);
	/*
	 * A dying task must not try again: most get the reserves next. A freed page would also hide
	 * the OOM from panic_on_oom.
	 */
	oom->may_wait = !fatal_signal_pending(current) && !(current->flags & PF_EXITING) &&
			!is_dying(current) && !is_said(PANIC_ON_OOM);
	oom->quiet = !oom->may_wait;
	/*
	 * Within a file system's transaction the kernel kills no process. Some kernel threads are in
	 * one, another may be SysRq-f, and none of them is a reason to send SIGTERM.
	 */
	oom->may_signal = oom->may_wait && !current->journal_info &&
			  !(current->flags & (PF_KSWAPD | PF_WQ_WORKER | PF_KTHREAD));
	oom->ignores_freed = current->flags & PF_WQ_WORKER;
}

/* Withdraws the pointer of the last OOM, and begins an episode if that OOM is long ago. */
static void begin_round(void)
{
	spin_lock(&lock);
	withdraw();
	if (time_after(jiffies, last_oom + EPISODE))
		grace_used = 0;
	last_oom = jiffies;
	spin_unlock(&lock);
}

static int on_oom(struct notifier_block *block, unsigned long unused, void *freed)
{
	struct oom oom = {};
	struct list *list;

	begin_round();
	/* The task may hold what a victim needs for exiting: the kernel kills no process for it. */
	if (current->flags & (PF_MEMALLOC_NOFS | PF_MEMALLOC_NOIO))
		return NOTIFY_OK;
	look_at_task(&oom);
	/* Another member of the chain has freed memory. */
	if (*(unsigned long *)freed && !oom.ignores_freed)
		return NOTIFY_OK;
	/* The kernel kills this one. */
	if (is_said(OOM_KILL_ALLOCATING_TASK) && current->mm && !is_refused(current))
		return NOTIFY_OK;

	list = list_get();
	if (choose(list, &oom))
		*(unsigned long *)freed += 1;
	list_put(list);
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = {
	.notifier_call = on_oom,
	.priority = INT_MIN,
};

/* The limit of a memory cgroup */

static bool memcg = true;

/* Why there is no probe, as a positive errno; 0: there is one, or none is wanted. */
static int memcg_error;

static atomic_long_t memcg_ooms;

#if defined(CONFIG_MEMCG) && defined(CONFIG_KPROBES) && \
	defined(CONFIG_HAVE_FUNCTION_ARG_ACCESS_API) && !defined(CONFIG_PREEMPT_RT)

/* Is called at the entry of out_of_memory(), under oom_lock. */
static int at_out_of_memory(struct kprobe *probe, struct pt_regs *regs)
{
	const struct oom_control *control = (void *)regs_get_kernel_argument(regs, 0);
	struct oom oom = { .memcg = control->memcg };
	struct list *list;

	/* The chain comes next. */
	if (!oom.memcg)
		return 0;
	atomic_long_inc(&memcg_ooms);
	if (in_nmi()) {
		atomic_long_inc(&stats[FALLBACKS]);
		return 0;
	}
	spin_lock(&lock);
	withdraw();
	spin_unlock(&lock);
	list = list_get();
	take_first(list, &oom);
	list_put(list);
	return 0;
}

/* Is called at the entry of try_probe(). */
static int at_try_probe(struct kprobe *probe, struct pt_regs *regs)
{
	*(bool *)regs_get_kernel_argument(regs, 0) = !in_nmi();
	return 0;
}

/* Does nothing. Its probe sets `works`, if probes do. */
static noinline __noclone void try_probe(bool *works)
{
	asm volatile("" : : "r"(works) : "memory");
}

static struct kprobe probe, trial;

static int begin_probes(void)
{
	int error;

	/* Registering fills in more, which must not be there when it is done again. */
	trial = (struct kprobe){ .addr = (void *)try_probe, .pre_handler = at_try_probe };
	error = register_kprobe(&trial);
	if (error)
		return error;
	probe = (struct kprobe){ .symbol_name = "out_of_memory", .pre_handler = at_out_of_memory };
	error = register_kprobe(&probe);
	if (error)
		unregister_kprobe(&trial);
	return error;
}

/* When it returns no handler runs any more. */
static void end_probes(void)
{
	unregister_kprobe(&probe);
	unregister_kprobe(&trial);
}

#else

static int begin_probes(void)
{
	return -EOPNOTSUPP;
}

static void end_probes(void)
{
}

static void try_probe(bool *works)
{
}

#endif

/* These two are for those who hold the lock of the parameters. */
static bool probed;
static bool may_probe;	/* not before the rest of the module is there, nor once it goes */

static int set_probes(bool wanted)
{
	int error = 0;

	if (wanted && !probed)
		error = begin_probes();
	else if (!wanted && probed)
		end_probes();
	probed = wanted && !error;
	WRITE_ONCE(memcg_error, -error);
	return error;
}

static void allow_probes(bool allowed)
{
	kernel_param_lock(THIS_MODULE);
	may_probe = allowed;
	if (set_probes(allowed && memcg))
		pr_notice("at the limit of a control group the kernel chooses, as out_of_memory() cannot be probed (error %d): oom_score_adj covers that\n",
			  memcg_error);
	kernel_param_unlock(THIS_MODULE);
}

static int set_memcg(const char *text, const struct kernel_param *param)
{
	int error = param_set_bool(text, param);

	return error || !may_probe ? error : set_probes(memcg);
}

static const struct kernel_param_ops memcg_ops = {
	.set = set_memcg,
	.get = param_get_bool,
};

module_param_cb(memcg, &memcg_ops, &memcg, 0644);
__MODULE_PARM_TYPE(memcg, "bool");
MODULE_PARM_DESC(memcg, "whether the list holds at the limit of a memory cgroup, too; 1 unless given");

/* Statistics: a name and a number in each line. */
static int oom_stat_show(struct seq_file *m, void *v)
{
	struct list *list = list_get();
	bool probe_works = false;
	long counts[STATS];
	int i;

	spin_lock(&lock);
	for (i = 0; i < STATS; i++)
		counts[i] = atomic_long_read(&stats[i]);
	if (is_kill())
		counts[KILLS]++;
	spin_unlock(&lock);

	for (i = 0; i < STATS; i++)
		seq_printf(m, "%s %ld\n", stat_names[i], counts[i]);
	seq_printf(m, "listed %zu\n", list->count);
	seq_printf(m, "list_age_ms %lld\n", ktime_ms_delta(ktime_get_boottime(), list->written));
	list_put(list);

	try_probe(&probe_works);
	seq_printf(m, "memcg %d\n", probe_works);
	seq_printf(m, "memcg_error %d\n", READ_ONCE(memcg_error));
	seq_printf(m, "memcg_ooms %ld\n", atomic_long_read(&memcg_ooms));
	return 0;
}

/* Waits for all lists to be freed, and ends the queue. */
static void end_lists(void)
{
	list_publish(NULL);
	rcu_barrier();
	destroy_workqueue(queue);
}

static int __init oom_init(void)
{
	struct list *list;
	int error = -ENOMEM;

	if (mode & ~0666) {
		pr_err("mode=%#o: only permissions to read and write, as in 0600\n", mode);
		return -EINVAL;
	}
	queue = alloc_workqueue("oom", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!queue)
		return error;
	list = list_alloc(0);
	if (!list)
		goto no_list;
	list_publish(list);
	error = open_words();
	if (error)
		goto no_words;
	error = -ENOMEM;
	if (!proc_create("oom", mode, NULL, &oom_proc_ops))
		goto no_file;
	if (!proc_create_single("oom_stat", 0444, NULL, oom_stat_show))
		goto no_stat;
	error = register_oom_notifier(&oom_notifier);
	if (error)
		goto no_notifier;
	/* Without the probe the module is still of use. */
	allow_probes(true);
	return 0;

no_notifier:
	remove_proc_entry("oom_stat", NULL);
no_stat:
	remove_proc_entry("oom", NULL);
no_file:
	close_words();
no_words:
no_list:
	end_lists();
	return error;
}

static void __exit oom_exit(void)
{
	allow_probes(false);
	unregister_oom_notifier(&oom_notifier);
	/* This also ends reads and writes through descriptors that are still open. */
	remove_proc_entry("oom_stat", NULL);
	remove_proc_entry("oom", NULL);
	cancel_delayed_work_sync(&withdrawal);
	cancel_delayed_work_sync(&grace);
	withdraw();
	forget_asked();
	forget_warned();
	close_words();
	end_lists();
}

module_init(oom_init);
module_exit(oom_exit);
MODULE_DESCRIPTION("/proc/oom: an ordered list of whom the OOM killer takes first");
MODULE_LICENSE("GPL");
/* Without it dkms would take another version of this module for the same, and keep the old one. */
MODULE_VERSION("0.2.0");
