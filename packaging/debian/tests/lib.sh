# shellcheck shell=sh
# What the tests share.

failed() {
    echo "FAILED: $*" >&2
    exit 1
}

# within SECONDS COMMAND...: wait until a command works.
within() {
    left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || failed "not in time: $*"
        sleep 1
    done
}

# The process that the rules of the test name is the first of the list.
first() {
    [ "$(cut -d ' ' -f 1 /run/oomrules/list 2>/dev/null)" = "$1" ]
}

# has VALUE PID...: whether all have this oom_score_adj.
has() {
    value=$1
    shift
    for pid in "$@"; do
        [ "$(cat "/proc/$pid/oom_score_adj")" = "$value" ] || return 1
    done
}

# Whether the value is another one than a process had before.
changed() {
    [ "$(cat "/proc/$1/oom_score_adj")" != 0 ]
}

# values: pid, start time and oom_score_adj of each process that is there.
values() {
    for folder in /proc/[0-9]*; do
        value=$(cat "$folder/oom_score_adj" 2>/dev/null) || continue
        started=$(sed 's/.*) //' "$folder/stat" 2>/dev/null | cut -d ' ' -f 20) || continue
        echo "${folder#/proc/} $started $value"
    done | sort
}

# write_rules NAME: the first of the list is the process with this name.
write_rules() {
    mkdir -p /etc/oomrules.d
    echo "kill first comm \"$1\" by 9" >/etc/oomrules.d/50-autopkgtest.oom
}

# start NAME: a process with this name, that holds some memory; its pid.
start() {
    cp /bin/sleep "/tmp/$1"
    "/tmp/$1" 3600 >/dev/null 2>&1 &
    echo $!
}
