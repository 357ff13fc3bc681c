// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/oom: an ordered list of pids that says whom the OOM killer takes first.
 *
 *	echo 11 22 33 > /proc/oom; cat /proc/oom
 *
 * The OOM notifier chain
 *
 * When an allocation has found no memory, out_of_memory() in mm/oom_kill.c runs under the mutex
 * oom_lock, so one at a time. Before it chooses anybody it calls the OOM notifier chain, whose
 * members may free memory of their own (balloons do) and say how many pages. If that is more
 * than none, nobody is killed and the allocation is tried again. Else the kernel looks at
 * panic_on_oom and oom_kill_allocating_task, goes through all processes, and kills one.
 *
 * This module is the chain's last member. It does not kill: it points the kernel at the first
 * listed process that is alive and killable, by signal->oom_flag_origin ("kill first on oom",
 * which swapoff and KSM set on themselves), and reports that it freed nothing. The walk over all
 * processes, a moment later and under the same mutex, then takes that one. A module that killed
 * by itself could not do half of what so comes for nothing: the victim gets the memory reserves
 * and the OOM reaper; every process that shares its mm dies with it; the report, the one line
 * "Out of memory: Killed process", memory.events, memory.oom.group, systemd's Result=oom-kill
 * and the unit's OOMPolicy= are as always; no second victim while the first exits, and none for
 * allocations that may not wait for one; SysRq-f kills one process, the listed one.
 * The pointer is withdrawn at the next OOM or SETTLE later, whichever is first.
 *
 * Only processes with CAP_SYS_RAWIO are signalled here: they may have set up hardware, and get
 * SIGTERM first. Until they are gone or `grace_ms` is over the chain reports a freed page, which
 * makes the kernel try again and kill nobody. After that they are pointed at like the others, and
 * get SIGKILL from here if nobody is out of memory any more.
 *
 * While a victim exits the chain reports a freed page as well: the kernel would kill nobody either,
 * unless the victim's memory came back between this and its own look.
 *
 * What the chain cannot do
 *
 * - An OOM within a memory cgroup does not pass it, and the kernel chooses among the processes
 *   of that cgroup. There oom_score_adj is what speaks: `oomrules emit --to oom_score_adj`.
 * - It is not told what allocation failed. One that is confined to some memory nodes (cpuset,
 *   mempolicy) passes it: the kernel takes the process pointed at only if that can have memory
 *   there, and chooses for itself otherwise. One that may not enter file systems kills nobody,
 *   and its task's flags say so in most cases, not in all: then CAP_SYS_RAWIO gets SIGTERM early.
 * - It does not know SysRq-f, which ignores what the chain has freed: a process with
 *   CAP_SYS_RAWIO gets no grace. While an earlier victim exits it takes the next one.
 * - vm.panic_on_oom panics and vm.oom_kill_allocating_task kills the allocating task, list or no
 *   list: both are the administrator's own word.
 *
 * Locks
 *
 * Under oom_lock nothing here allocates or sleeps. The list is published by RCU and is never
 * changed, readers of /proc/oom count references. `lock` guards the pointer and the grace period;
 * the order is oom_lock, lock, task_lock, siglock.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>
#include <linux/version.h>
#include <linux/workqueue.h>

/* A pid for every process that Linux can have, with seven digits and a separator. */
#define MAX_LISTED ((size_t)PID_MAX_LIMIT)
#define MAX_TEXT (MAX_LISTED * 8)

/*
 * How long the kernel may take from the chain to its choice. Too short, and it chooses for itself;
 * too long does little harm, since whoever is pointed at is the first of the list.
 */
#define SETTLE (2 * HZ)

/* A machine without memory stands still meanwhile, so it has a limit. */
#define MAX_GRACE_MS 10000

static unsigned int grace_ms = 2000;

static int set_grace_ms(const char *text, const struct kernel_param *param)
{
	return param_set_uint_minmax(text, param, 0, MAX_GRACE_MS);
}

static const struct kernel_param_ops grace_ms_ops = {
	.set = set_grace_ms,
	.get = param_get_uint,
};

module_param_cb(grace_ms, &grace_ms_ops, &grace_ms, 0644);
__MODULE_PARM_TYPE(grace_ms, "uint");
MODULE_PARM_DESC(grace_ms,
		 "milliseconds from SIGTERM to SIGKILL for processes with CAP_SYS_RAWIO, up to 10000; 0: no SIGTERM");

enum counter { WRITES, WRITES_REFUSED, KILLS, TERMS, REFUSALS, FALLBACKS, STATS };

static const char *const stat_names[STATS] = {
	"writes", "writes_refused", "kills", "terms", "refusals", "fallbacks",
};

static atomic_long_t stats[STATS];

/* The list */

struct entry {
	struct pid *pid;	/* NULL: there was no such process when it was written */
	pid_t nr;		/* as it was written */
};

struct list {
	struct kref kref;
	struct pid_namespace *ns;	/* the writer's */
	ktime_t written;		/* since boot, sleep included */
	size_t count;
	struct entry entries[];
};

static struct list __rcu *listed;

static struct list *list_alloc(size_t count)
{
	/* Nobody shall be killed to make room for the list of whom to kill. */
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	struct list *list = kvzalloc(struct_size(list, entries, count), gfp);

	if (!list)
		return NULL;
	kref_init(&list->kref);
	list->ns = get_pid_ns(task_active_pid_ns(current));
	list->written = ktime_get_boottime();
	list->count = count;
	return list;
}

static void list_free(struct kref *kref)
{
	struct list *list = container_of(kref, struct list, kref);
	size_t i;

	for (i = 0; i < list->count; i++) {
		put_pid(list->entries[i].pid);
		cond_resched();
	}
	put_pid_ns(list->ns);
	kvfree(list);
}

static void list_put(struct list *list)
{
	if (list)
		kref_put(&list->kref, list_free);
}

static struct list *list_get(void)
{
	struct list *list;

	rcu_read_lock();
	/* Its first reference is dropped only after a grace period, so it cannot be the last. */
	list = rcu_dereference(listed);
	kref_get(&list->kref);
	rcu_read_unlock();
	return list;
}

static void list_publish(struct list *list)
{
	struct list *old = unrcu_pointer(xchg(&listed, RCU_INITIALIZER(list)));

	if (old) {
		synchronize_rcu();
		list_put(old);
	}
}

/*
 * Reads the pids in a text that ends in its only newline; fills the list if there is one.
 * Returns how many there are, or an error.
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
		if (list) {
			list->entries[count].nr = nr;
			list->entries[count].pid = find_get_pid(nr);
		}
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
	list = list_alloc(count);
	if (!list) {
		count = -ENOMEM;
		goto out;
	}
	scan(text, size, list);
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
 * A reader has one list from its beginning to its end, whatever is written meanwhile: it is held
 * in m->private. The iterator is the position plus one.
 */
static void *oom_seq_at(const struct list *list, loff_t pos)
{
	/* One more than there are pids: the newline. */
	return list && pos <= list->count ? (void *)(unsigned long)(pos + 1) : NULL;
}

static void *oom_seq_start(struct seq_file *m, loff_t *pos)
{
	if (*pos == 0) {
		list_put(m->private);
		m->private = list_get();
	}
	return oom_seq_at(m->private, *pos);
}

static void *oom_seq_next(struct seq_file *m, void *v, loff_t *pos)
{
	return oom_seq_at(m->private, ++*pos);
}

static void oom_seq_stop(struct seq_file *m, void *v)
{
}

static int oom_seq_show(struct seq_file *m, void *v)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	size_t i = (unsigned long)v - 1;
	const struct list *list = m->private;
	const struct entry *entry = &list->entries[i];

	if (i == list->count)
		seq_putc(m, '\n');
	else
		/* Elsewhere a process has another number, or none, which is 0 as usual. */
		seq_put_decimal_ull(m, i ? " " : "",
				    ns == list->ns ? entry->nr : pid_nr_ns(entry->pid, ns));
	return 0;
}

static const struct seq_operations oom_seq_ops = {
	.start = oom_seq_start,
	.next = oom_seq_next,
	.stop = oom_seq_stop,
	.show = oom_seq_show,
};

static int oom_open(struct inode *inode, struct file *file)
{
	/* Root in a container owns this file too. */
	if ((file->f_mode & FMODE_WRITE) && !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	return seq_open(file, &oom_seq_ops);
}

static int oom_release(struct inode *inode, struct file *file)
{
	list_put(((struct seq_file *)file->private_data)->private);
	return seq_release(inode, file);
}

static const struct proc_ops oom_proc_ops = {
	.proc_open = oom_open,
	.proc_read = seq_read,
	.proc_write = oom_write,
	.proc_lseek = seq_lseek,
	.proc_release = oom_release,
};

/* The victim */

static DEFINE_SPINLOCK(lock);

/* Whom the kernel was pointed at, and whether that one was dying already. */
static struct {
	struct task_struct *task;
	bool dying;
} chosen;

/* Who has got SIGTERM, with its mm and when its grace ends. */
static struct {
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned long end;
} asked;

static struct workqueue_struct *queue;

/* What is to be said once the locks are released: consoles are slow. */
struct saying {
	pid_t pid;
	char comm[TASK_COMM_LEN];
	size_t place;
	size_t count;
	const char *signal;	/* what was sent from here; NULL: the kernel is to kill */
	uid_t uid;
	unsigned long total_vm, anon, file, shmem, pgtables;	/* KiB */
	short adj;
};

/* Whether the memory has been freed, or is given up as never to be. */
static bool is_reaped(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return mm_flags_test(MMF_OOM_SKIP, mm);
#else
	return test_bit(MMF_OOM_SKIP, &mm->flags);
#endif
}

/* Finds the thread by which a process has its mm, locked: the first one may be gone already. */
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

/* While this is so the kernel takes nobody else, as long as it still is when it looks. */
static bool is_victim_exiting(void)
{
	struct task_struct *task;

	for_each_process(task) {
		struct mm_struct *mm = READ_ONCE(task->signal->oom_mm);

		if (mm && !is_reaped(mm))
			return true;
	}
	return false;
}

static bool has_rawio(struct task_struct *task)
{
	const struct cred *cred = __task_cred(task);

	/* Over a namespace's own things is not over hardware. */
	return cred->user_ns == &init_user_ns && cap_raised(cred->cap_effective, CAP_SYS_RAWIO);
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

/* Whether killing the process would hit somebody who is not to be killed. */
static bool has_borrowed_mm(struct task_struct *thread)
{
	return in_vfork(thread) || thread->mm == READ_ONCE(init_pid_ns.child_reaper->mm);
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

static void say_it(const struct saying *say)
{
	if (say->signal)
		/* As the kernel says it, for whatever reads its log. */
		printk(KERN_ERR
		       "Out of memory: %s process %d (%s) total-vm:%lukB, anon-rss:%lukB, file-rss:%lukB, shmem-rss:%lukB, UID:%u pgtables:%lukB oom_score_adj:%hd\n",
		       say->signal, say->pid, say->comm, say->total_vm, say->anon, say->file,
		       say->shmem, say->uid, say->pgtables, say->adj);
	else if (say->pid)
		pr_notice("process %d (%s) goes first, number %zu of %zu listed\n", say->pid,
			  say->comm, say->place, say->count);
	else if (say->count)
		pr_notice("none of the %zu listed can be killed, the kernel chooses\n", say->count);
}

/*
 * Whether the kernel took whom it was pointed at, and that is news. Who exits by itself is made a
 * victim too when it runs out of memory on its way: only for the reserves, and nobody killed it.
 */
static bool is_kill(void)
{
	return chosen.task && !chosen.dying && tsk_is_oom_victim(chosen.task) &&
	       (READ_ONCE(chosen.task->signal->group_exit_code) & 0x7f) == SIGKILL;
}

/* Takes back the pointer, if there is one, and counts the kill that came of it. */
static void withdraw(void)
{
	if (!chosen.task)
		return;
	chosen.task->signal->oom_flag_origin = false;
	if (is_kill())
		atomic_long_inc(&stats[KILLS]);
	put_task_struct(chosen.task);
	chosen.task = NULL;
}

static void withdraw_later(struct work_struct *work)
{
	spin_lock(&lock);
	withdraw();
	spin_unlock(&lock);
}

static DECLARE_DELAYED_WORK(withdrawal, withdraw_later);

/* Whoever has the flag already is in swapoff or KSM: first anyway, and the flag is its own. */
static void point_at(struct task_struct *task)
{
	if (task->signal->oom_flag_origin)
		return;
	chosen.task = get_task_struct(task);
	chosen.dying = is_dying(task);
	task->signal->oom_flag_origin = true;
	mod_delayed_work(queue, &withdrawal, SETTLE);
}

static void signal_sharers(struct mm_struct *mm, int signal)
{
	struct task_struct *task;

	for_each_process(task)
		if (!(task->flags & PF_KTHREAD) && !is_global_init(task) && shares_mm(task, mm))
			kill_pid(task_tgid(task), signal, 1);
}

static void forget_asked(void)
{
	if (!asked.task)
		return;
	mmdrop(asked.mm);
	put_task_struct(asked.task);
	asked.task = NULL;
	asked.mm = NULL;
}

static void end_grace(struct work_struct *work)
{
	struct saying say = {};
	struct task_struct *thread;

	rcu_read_lock();
	spin_lock(&lock);
	/* Another one may have been asked while this waited for the lock. */
	if (!asked.task || time_before(jiffies, asked.end))
		goto out;
	thread = lock_thread_with_mm(asked.task);
	if (thread && thread->mm == asked.mm && !is_dying(thread)) {
		describe(&say, thread);
		say.signal = "Killed";
	}
	if (thread)
		task_unlock(thread);
	if (say.signal) {
		signal_sharers(asked.mm, SIGKILL);
		atomic_long_inc(&stats[KILLS]);
		/* It may be pointed at, and the kernel take it for its victim yet: that is this kill. */
		if (chosen.task == asked.task)
			chosen.dying = true;
	}
	forget_asked();
out:
	spin_unlock(&lock);
	rcu_read_unlock();
	say_it(&say);
}

static DECLARE_DELAYED_WORK(grace, end_grace);

/* To be called with the thread locked. */
static void ask(struct task_struct *thread, unsigned int ms)
{
	forget_asked();
	asked.task = get_task_struct(thread);
	asked.mm = thread->mm;
	mmgrab(asked.mm);
	asked.end = jiffies + msecs_to_jiffies(ms);
	mod_delayed_work(queue, &grace, msecs_to_jiffies(ms));
}

/* Finds the thread by which a listed process can be taken, locked; says whether it may not be. */
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

/* Takes a listed process if that can be, with so long a grace: true if somebody is to die. */
static bool take(struct task_struct *task, unsigned int ms, struct saying *say)
{
	struct task_struct *thread;
	struct mm_struct *mm;
	bool refused, term;

	thread = lock_takeable(task, &refused);
	if (!thread) {
		if (refused)
			atomic_long_inc(&stats[REFUSALS]);
		return false;
	}
	mm = thread->mm;
	describe(say, thread);
	term = ms && has_rawio(task) && !is_dying(task);
	if (term)
		ask(thread, ms);
	task_unlock(thread);
	if (term) {
		say->signal = "Terminated";
		signal_sharers(mm, SIGTERM);
		atomic_long_inc(&stats[TERMS]);
	}
	/* Also with SIGTERM: what the chain reports as freed is nothing to SysRq-f. */
	point_at(task);
	return true;
}

/*
 * While a victim exits the kernel kills nobody, but for SysRq-f. And it looks for itself, a moment
 * later: if the victim is reaped in between it kills. In both cases the next one of the list, and
 * nobody else.
 */
static void point_behind_victim(const struct list *list)
{
	struct task_struct *task, *thread;
	bool refused;
	size_t i;

	for (i = 0; i < list->count; i++) {
		task = pid_task(list->entries[i].pid, PIDTYPE_PID);
		if (!task || tsk_is_oom_victim(task))
			continue;
		thread = lock_takeable(task, &refused);
		if (!thread)
			continue;
		task_unlock(thread);
		point_at(task);
		return;
	}
}

/*
 * Chooses, with `lock` and RCU held. True: try again, somebody is exiting already.
 *
 * A task that is dying must not try again: most get the reserves next, and nobody is killed. For
 * the others the kernel goes on, and so somebody must be pointed at, whose grace is none.
 */
static bool choose(bool dying, struct saying *say)
{
	const struct list *list = rcu_dereference(listed);
	unsigned int ms = dying ? 0 : READ_ONCE(grace_ms);
	struct task_struct *task;
	size_t i;

	withdraw();
	if (is_victim_exiting()) {
		point_behind_victim(list);
		/*
		 * What the kernel would do, but for that moment: somebody else killed for nothing, with
		 * CAP_SYS_RAWIO without a grace.
		 */
		return !dying;
	}
	if (asked.task && !is_reaped(asked.mm)) {
		if (time_before(jiffies, asked.end) && !dying)
			return true;
		if (shares_mm(asked.task, asked.mm)) {
			point_at(asked.task);
			return false;
		}
	}
	for (i = 0; i < list->count; i++) {
		/* A thread's pid stands for its process, as for kill(2). */
		task = pid_task(list->entries[i].pid, PIDTYPE_PID);
		if (task && take(task, ms, say)) {
			say->place = i + 1;
			say->count = list->count;
			return say->signal;
		}
	}
	if (!dying)
		atomic_long_inc(&stats[FALLBACKS]);
	say->count = list->count;
	return false;
}

static int on_oom(struct notifier_block *block, unsigned long unused, void *freed)
{
	static pid_t last;	/* oom_lock is held */
	bool dying = fatal_signal_pending(current) || (current->flags & PF_EXITING);
	struct saying say = {};

	/* Somebody else on the chain has freed memory. */
	if (*(unsigned long *)freed)
		return NOTIFY_OK;
	/* It may hold what the victim needs for exiting: the kernel kills nobody for it. */
	if (current->flags & (PF_MEMALLOC_NOFS | PF_MEMALLOC_NOIO))
		return NOTIFY_OK;

	rcu_read_lock();
	spin_lock(&lock);
	if (choose(dying, &say))
		*(unsigned long *)freed += 1;
	spin_unlock(&lock);
	rcu_read_unlock();

	if (dying)
		return NOTIFY_OK;
	/* The kernel may have to come back for the same process. */
	if (say.signal || !say.pid || say.pid != last)
		say_it(&say);
	if (say.pid)
		last = say.pid;
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = {
	.notifier_call = on_oom,
	.priority = INT_MIN,
};

/* Statistics: a name and a number in each line. */
static int oom_stat_show(struct seq_file *m, void *v)
{
	struct list *list = list_get();
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
	return 0;
}

static int __init oom_init(void)
{
	struct list *list = list_alloc(0);
	int error = -ENOMEM;

	if (!list)
		return error;
	RCU_INIT_POINTER(listed, list);
	queue = alloc_workqueue("oom", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!queue)
		goto no_queue;
	if (!proc_create("oom", 0644, NULL, &oom_proc_ops))
		goto no_list;
	if (!proc_create_single("oom_stat", 0444, NULL, oom_stat_show))
		goto no_stat;
	error = register_oom_notifier(&oom_notifier);
	if (error)
		goto no_notifier;
	return 0;

no_notifier:
	remove_proc_entry("oom_stat", NULL);
no_stat:
	remove_proc_entry("oom", NULL);
no_list:
	destroy_workqueue(queue);
no_queue:
	list_publish(NULL);
	return error;
}

static void __exit oom_exit(void)
{
	unregister_oom_notifier(&oom_notifier);
	/* Also ends what is done through descriptors that are still open. */
	remove_proc_entry("oom_stat", NULL);
	remove_proc_entry("oom", NULL);
	cancel_delayed_work_sync(&withdrawal);
	cancel_delayed_work_sync(&grace);
	destroy_workqueue(queue);
	withdraw();
	forget_asked();
	list_publish(NULL);
}

module_init(oom_init);
module_exit(oom_exit);
MODULE_DESCRIPTION("/proc/oom: an ordered list of whom the OOM killer takes first");
MODULE_LICENSE("GPL");
