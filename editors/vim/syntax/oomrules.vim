" Vim syntax file for the rules of oomrules. A test compares its words with the tables of
" the program.

if exists("b:current_syntax")
  finish
endif

syntax iskeyword @,48-57,_,.

syntax keyword oomrulesKeyword never kill only first last prefer spare by score define list in anything
syntax keyword oomrulesKeyword with without any of when and or not
syntax keyword oomrulesKeyword units wanted part whole under child
syntax keyword oomrulesKeyword terminate warn for within then stop
syntax match oomrulesKeyword "\<in\s\+user\s\+unit\>\ze\s"
syntax keyword oomrulesFunction root cap max min
syntax keyword oomrulesAttribute pid ppid comm cmdline exe uid euid gid egid user group nice capabilities
syntax keyword oomrulesAttribute cpu_time run_time threads state total_vm rss anon shmem locked swap
syntax keyword oomrulesAttribute pgtables pid_depth oom_score_adj tty session cgroup unit slice user.unit user.slice unit.processes unit.memory
syntax keyword oomrulesAttribute unit.memory_max unit.memory_high unit.swap unit.pressure unit.oom_kills
syntax keyword oomrulesAttribute footprint growth totalpages unit.memory_min unit.memory_low user.footprint
syntax keyword oomrulesAttribute user.processes cgroup.memory cgroup.memory_max cgroup.processes host.memory
syntax keyword oomrulesAttribute host.available host.free host.shmem host.swap host.swap_free host.totalpages
syntax keyword oomrulesAttribute host.pressure host.stall
syntax keyword oomrulesAttribute unit.description unit.active_state unit.oom_policy unit.oom_score_adjust
syntax keyword oomrulesAttribute unit.managed_oom_preference unit.managed_oom_memory_pressure session.active
syntax keyword oomrulesAttribute session.remote session.idle session.class session.type
syntax keyword oomrulesAttribute parent.comm parent.exe parent.cmdline parent.uid parent.user scope.memory
syntax keyword oomrulesAttribute scope.memory_max scope.memory_high scope.swap scope.pressure scope.stall
syntax keyword oomrulesAttribute scope.oom_kills scope.processes scope.footprint
syntax keyword oomrulesAttribute container.id container.runtime container.name container.image
syntax keyword oomrulesAttribute pod.uid pod.qos pod.name pod.namespace pod.priority
syntax keyword oomrulesCapability CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
syntax keyword oomrulesCapability LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK
syntax keyword oomrulesCapability IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
syntax keyword oomrulesCapability SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
syntax keyword oomrulesCapability AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
syntax keyword oomrulesCapability BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
syntax keyword oomrulesCapability ADMIN ALARM BIND_SERVICE BOOT BROADCAST CHROOT CONTROL IMMUTABLE LOCK
syntax keyword oomrulesCapability MODULE NICE OVERRIDE OWNER PACCT PTRACE RAW RAWIO READ READ_SEARCH RESOURCE
syntax keyword oomrulesCapability RESTORE SUSPEND TIME TTY_CONFIG WRITE
syntax match oomrulesCapability "\<CAP_[A-Z_]\+\>"
syntax match oomrulesNumber "\v<\d[0-9_]*(\.\d+)?(KiB|MiB|GiB|TiB|PiB|min|ms|B|s|h|d|w)?>"
syntax match oomrulesNumber "\v<(\d[0-9_]*(w|d|h|min|s|ms)){2,}>"
syntax match oomrulesNumber "\v<\d[0-9_]*(\.\d+)?\%"
syntax match oomrulesList "@\h\w*"
syntax match oomrulesOperator "[-+*/~<>=]\|[!=<>]="
syntax region oomrulesString start=+"+ skip=+\\"+ end=+"+ oneline
syntax match oomrulesComment "#.*$" contains=oomrulesAllow,@Spell
syntax match oomrulesAllow "oomrules:\s*allow\>.*$" contained

highlight default link oomrulesKeyword Keyword
highlight default link oomrulesFunction Function
highlight default link oomrulesAttribute Identifier
highlight default link oomrulesCapability Constant
highlight default link oomrulesNumber Number
highlight default link oomrulesList Type
highlight default link oomrulesOperator Operator
highlight default link oomrulesString String
highlight default link oomrulesComment Comment
highlight default link oomrulesAllow SpecialComment

let b:current_syntax = "oomrules"
