"""A plan in the words of trace-cmd, of perf and of a shell that has nothing but tracefs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from fputrace.plain import PlainTuple
from fputrace.record.plan import Event, Plan, Probe

SYMBOLS = "fpu|fpregs|vcpu_load|vcpu_put"
"""What the lines of kallsyms contain that tell which function a probe sits on."""


class Run(PlainTuple):
    """Where a recording goes, and how long it lasts: while ``command`` runs, ``seconds`` at most.

    Without either it lasts until somebody interrupts it.
    """

    output: str
    command: tuple[str, ...] = ()
    seconds: float | None = None


def trace_cmd_words(plan: Plan, run: Run) -> list[str]:
    """The arguments of trace-cmd: all in an instance, so that the top buffer stays as it is.

    ``--no-filter``: trace-cmd hides its own threads otherwise, and a CPU that ran them seems to
    have lost events.
    """
    words = ["trace-cmd", "record", "--no-filter", "-o", run.output, "-B", plan.instance]
    words += ["-C", plan.clock, "-b", str(plan.buffer_kb)]
    for event in plan.events:
        words += ["-e", event.name]
        if event.filter:
            words += ["-f", event.filter]
    if plan.probes:
        words += ["-e", plan.group]
    return words + _workload(run)


def perf_words(plan: Plan, run: Run) -> list[str]:
    """The arguments of perf.  An event is a perf event of its own on every CPU.

    ``-m``: pages of the ring buffer of each CPU, a power of two (tools/perf, perf_mmap).
    """
    pages = 1
    while pages * 2 * plan.page_size <= plan.buffer_kb << 10:
        pages *= 2
    words = ["perf", "record", "-a", "-k", "mono", "-m", str(pages), "-o", run.output]
    for event in [*plan.events, *([Event(plan.group)] if plan.probes else [])]:
        words += ["-e", event.name if ":" in event.name else f"{event.name}:*"]
        if event.filter:
            words += ["--filter", event.filter]
    # Without a command perf would wait for ever; sleep is what it itself suggests.
    return [*words, "--", *(_workload(run) or ["sleep", "infinity"])]


def commands(plan: Plan, words: Sequence[str]) -> str:
    """Shell text that makes the probes, records with `words`, and removes what it made."""
    control = shlex.quote(f"{plan.tracefs}/{plan.control}")
    lines = [f"echo {shlex.quote(plan.definition(probe))} >> {control}" for probe in plan.probes]
    lines.append(_wrapped(words))
    if words[0] == "trace-cmd":
        instance = shlex.quote(f"{plan.tracefs}/instances/{plan.instance}")
        lines.append(f"[ ! -d {instance} ] || rmdir {instance}")
    lines += [
        f"echo {shlex.quote(f'-:{plan.group}/{probe.name}')} >> {control}" for probe in plan.probes
    ]
    return "\n".join(lines) + "\n"


def script(plan: Plan, run: Run) -> str:
    """A POSIX sh program that needs nothing but tracefs, dd and tar, and leaves nothing behind.

    It writes a tar of what ``fputrace analyze`` reads as a copy of tracefs.
    """
    # As long as a sleep may last where nothing is said: "infinity" is not POSIX.
    workload = shlex.join(_workload(run) or ["sleep", "2147483647"])
    values = {
        "@TRACEFS@": shlex.quote(plan.tracefs),
        "@OUTPUT@": shlex.quote(run.output),
        "@CONTROL@": plan.control,
        "@CLOCK@": plan.clock,
        "@PAGE@": str(plan.page_size),
        "@BUFFER@": str(plan.buffer_kb),
        "@SYMBOLS@": SYMBOLS,
        "@PROBES@": "\n".join(_probe_line(probe) for probe in plan.probes) or ":",
        "@EVENTS@": "\n".join(_event_line(event) for event in plan.events),
        "@ADD_GROUP@": "on $group" if plan.probes else ":",
        "@FILES@": " ".join([*(_folder(event) for event in plan.events), "events/$group/*"]),
        "@WORKLOAD@": workload,
    }
    text = _SCRIPT
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _workload(run: Run) -> list[str]:
    if run.command and run.seconds is not None:
        return ["timeout", f"{run.seconds:g}", *run.command]
    if run.command:
        return list(run.command)
    return [] if run.seconds is None else ["sleep", f"{run.seconds:g}"]


def _wrapped(words: Sequence[str]) -> str:
    """A command over several lines, an option and its value together."""
    lines: list[str] = []
    for word in words:
        quoted = shlex.quote(word)
        option = word.startswith("-") and len(lines) > 0
        if not lines or option:
            lines.append(quoted)
        else:
            lines[-1] += f" {quoted}"
    return " \\\n  ".join(lines)


def _probe_line(probe: Probe) -> str:
    return f"add {probe.kind} {shlex.quote(probe.name)} {shlex.quote(probe.place)}"


def _event_line(event: Event) -> str:
    words = ["on", event.name.replace(":", "/"), *([event.filter] if event.filter else [])]
    return " ".join(shlex.quote(word) for word in words)


def _folder(event: Event) -> str:
    """Shell pattern for the folders of an event, or of each of a system."""
    return "events/" + (event.name.replace(":", "/") if ":" in event.name else f"{event.name}/*")


_SCRIPT = r"""#!/bin/sh
# Records who holds the FPU registers, for fputrace analyze. As root: sh FILE [OUTPUT.tar]
# It uses an ftrace instance and probes of its own, and removes both again, interrupted or not.
set -u
export LC_ALL=C
top=@TRACEFS@
output=${1:-@OUTPUT@}
name=fputrace-$$
group=fputrace_$$
here=$top/instances/$name
control=$top/@CONTROL@
case $output in /*) ;; *) output=$PWD/$output ;; esac
# Of this run alone: pages of another one must never get between its own.
copy=$output.parts.$$

say() { echo "fputrace: $*" >&2; }

# Appends the pages of CPU $1 that are full; with $2 those that are not, too.  A reader that waits
# for events gets a page for each, and makes some itself.  Fails where they cannot be stored.
take() {
    stats=$here/per_cpu/$1/stats
    left=$(sed -n 's/^bytes: *//p' "$stats")
    pages=$((left / @PAGE@))
    [ -z "${2-}" ] || [ "$(sed -n 's/^entries: *//p' "$stats")" = 0 ] || pages=$((pages + 1))
    [ "$pages" = 0 ] ||
        dd if="$here/per_cpu/$1/trace_pipe_raw" bs=@PAGE@ count=$pages \
            >> "$copy/per_cpu/$1/trace_pipe_raw" 2> /dev/null
}
# Until the file "go" is taken away, which a full disk does not hinder.
read_pages() {
    trap '' INT TERM HUP
    while [ -e "$copy/go" ] && [ -d "$here" ] && [ -d /proc/$$ ]; do
        # Behind a part of a page no other may follow.
        take "$1" || { say "pages of $1 cannot be stored in $copy"; return 1; }
        sleep 1
    done
}

# Takes away the instance and the probes of process $1 (this one, or one that was killed).
remove() {
    left=$top/instances/fputrace-$1
    if [ -d "$left" ]; then
        echo 0 > "$left/tracing_on"
        echo 0 > "$left/events/enable"
        tries=0
        until rmdir "$left" 2> /dev/null; do
            tries=$((tries + 1))
            [ $tries -lt 10 ] || { say "$left stays"; break; }
            sleep 1
        done
    fi
    [ -e "$control" ] || return
    sed -n "s,^[a-z][0-9]*:\(fputrace_$1/[^ ]*\).*,\1,p" "$control" | while read -r event; do
        echo "-:$event" >> "$control" || say "the probe $event stays"
    done
}

workload=
stop=
made=
kept=
end() {
    trap '' INT TERM HUP
    [ -z "$workload" ] || kill $workload 2> /dev/null
    rm -f "$copy/go"
    [ -z "$made" ] || remove $$
    [ -n "$kept" ] || rm -rf "$copy"
    rm -f "$copy.tar"
}
# Gives up behind the recording: what there is of it stays.
fail() {
    kept=1
    say "$1: $output is not written; what was recorded stays in $copy"
    exit 2
}
interrupt() {
    stop=1
    [ -z "$workload" ] || kill $workload 2> /dev/null
}

add() {
    echo "$1:$group/$2 $3" >> "$control" || say "no probe on $2: $3"
}
on() {
    if [ ! -e "$here/events/$1/enable" ]; then
        say "no event $1 here"
        return
    fi
    [ $# = 1 ] || echo "$2" > "$here/events/$1/filter" || say "no filter of $1: $2"
    echo 1 > "$here/events/$1/enable" || say "no event $1"
}

tasks() {
    for task in /proc/[0-9]*/task/[0-9]*; do
        { read -r comm < "$task/comm"; } 2> /dev/null || continue
        echo "${task##*/} $comm" || return
    done
}

if [ ! -d "$top/events" ]; then
    say "tracefs is not mounted at $top: mount -t tracefs nodev $top"
    exit 2
fi
if [ -d "$output" ]; then
    say "$output is a folder: name a file in it"
    exit 2
fi
for other in "$output".parts.*; do
    [ ! -e "$other" ] || say "$other is there from another run; if that is over, remove it"
done
# What killed runs left; numbers of processes mean nothing inside a container.
if [ "$(readlink /proc/self/ns/pid)" = "pid:[4026531836]" ]; then
    {
        ls "$top/instances" | sed -n 's/^fputrace-\([0-9][0-9]*\)$/\1/p'
        [ ! -e "$control" ] || sed -n 's,^[a-z][0-9]*:fputrace_\([0-9][0-9]*\)/.*,\1,p' "$control"
    } | sort -u | while read -r pid; do
        # This process has made nothing yet: what has its number is an earlier one's.
        [ "$pid" != $$ ] && [ -d "/proc/$pid" ] || remove "$pid"
    done
fi

mkdir "$copy" || { say "no folder for what is recorded can be made: $copy"; exit 2; }
trap end EXIT
trap interrupt INT TERM HUP
mkdir "$here" && made=1 || { say "this needs root"; exit 2; }

echo 0 > "$here/tracing_on"
echo @CLOCK@ > "$here/trace_clock"
echo @BUFFER@ > "$here/buffer_size_kb" || say "no room for @BUFFER@ KiB a CPU: it stays smaller"
{ tasks > "$copy/saved_cmdlines" && echo > "$copy/go"; } || { say "no room in $copy"; exit 2; }
@PROBES@
@EVENTS@
@ADD_GROUP@

# Pages are read while it records: what lasts longer than a buffer must not be lost.
cpus=
readers=
for cpu in "$here"/per_cpu/cpu*; do
    cpu=${cpu##*/}
    cpus="$cpus $cpu"
    mkdir -p "$copy/per_cpu/$cpu" || exit 2
    read_pages "$cpu" &
    readers="$readers $!"
done
echo 1 > "$here/tracing_on"

say "recording into $output; Ctrl-C stops it"
if [ -z "$stop" ]; then
    @WORKLOAD@ &
    workload=$!
    [ -z "$stop" ] || kill $workload
    wait $workload
    [ -n "$stop" ] || workload=
fi
trap '' INT TERM HUP
echo 0 > "$here/tracing_on"

# The last pages.
rm "$copy/go" 2> /dev/null || { say "$copy is gone, and the recording with it"; exit 2; }
for reader in $readers; do
    wait "$reader" || kept=1
done
[ -z "$kept" ] || fail "pages are missing"
for cpu in $cpus; do
    while [ "$(sed -n 's/^entries: *//p' "$here/per_cpu/$cpu/stats")" != 0 ]; do
        take "$cpu" all || fail "the last pages of $cpu cannot be stored"
    done
done

for cpu in $cpus; do
    grep -E '^(overrun|commit overrun|dropped events): *[1-9]' "$here/per_cpu/$cpu/stats" |
        sed "s/^/fputrace: lost on $cpu: /" >&2
done
(
    set -e
    cd "$here"
    for folder in @FILES@; do
        [ -e "$folder/format" ] || continue
        mkdir -p "$copy/$folder"
        cat "$folder/format" > "$copy/$folder/format"
        cat "$folder/enable" > "$copy/$folder/enable"
    done
    cat "$top/events/header_page" > "$copy/events/header_page"
    for cpu in $cpus; do
        cat "per_cpu/$cpu/stats" > "$copy/per_cpu/$cpu/stats"
    done
    cat trace_clock > "$copy/trace_clock"
    [ ! -e buffer_subbuf_size_kb ] || cat buffer_subbuf_size_kb > "$copy/buffer_subbuf_size_kb"
    tasks >> "$copy/saved_cmdlines"
    [ ! -e "$top/saved_cmdlines" ] || cat "$top/saved_cmdlines" >> "$copy/saved_cmdlines"
    # A status of 1 says that there is no such line.
    [ ! -e "$control" ] || grep "[:/]$group/" "$control" > "$copy/@CONTROL@" || [ $? = 1 ]
    [ ! -e /proc/kallsyms ] || grep -E '@SYMBOLS@' /proc/kallsyms > "$copy/kallsyms" || [ $? = 1 ]
    uname -a > "$copy/uname"
)
# Not "( ) || fail": that would take away the meaning of "set -e".
[ $? = 0 ] || fail "the formats of the events cannot be stored"
cd / && tar -cf - -C "$copy" . > "$copy.tar" && mv "$copy.tar" "$output" ||
    fail "tar has failed (tar -cf FILE -C $copy . makes it elsewhere)"
say "written: $output"
"""
