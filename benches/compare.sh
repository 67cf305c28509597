#!/usr/bin/env bash
# Measures the loader beside what an operator would otherwise use, and prints the ratios. See docs/benchmarks.md.
#
#   benches/compare.sh [framing] [pipe] [two] [rdb] [aof] [memory] [settle] [latency] [ties]
#   all of them if none is named
#
# The defaults are small, to see that it works. Figures worth keeping come from a quiet machine and, for example,
#   COMMANDS=6000000 KEYS=1000000 RDB_KEYS=5000000 SESSIONS=1000000 MEMORY_MB="2000 4000" PAIRS=5 CRITERION_ARGS= benches/compare.sh
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

COMMANDS=${COMMANDS:-200000}        # commands of the mixed source (pipe, two, latency), of the SETs (framing, aof), of those with RENAMEs (ties)
KEYS=${KEYS:-50000}                 # distinct keys of each type in the mixed source
SESSIONS=${SESSIONS:-20000}         # keys of the source with deadlines (settle)
RDB_KEYS=${RDB_KEYS:-200000}        # keys of the append-only file with an RDB base (rdb)
MEMORY_MB=${MEMORY_MB:-"64 128"}    # sizes of the sources whose load is watched (memory)
PAIRS=${PAIRS:-3}                   # interleaved repetitions; medians are compared
CRITERION_ARGS=${CRITERION_ARGS---quick}
DELAY_MS=${DELAY_MS:-5}             # one way, so half of the round trip (latency)
BENCH_DIR=${BENCH_DIR:-}            # where sources and outputs go; a temporary directory beside the repository's target

target=${CARGO_TARGET_DIR:-target}
loader=$(realpath -m "$target/release/redcluster-load")
source_maker=$(realpath -m "$target/release/examples/bench_source")
delay_proxy=$(realpath -m "$target/release/examples/delay_proxy")

say() { printf '%s\n' "$*"; }
fail() { printf 'compare.sh: %s\n' "$*" >&2; exit 1; }
calc() { awk "BEGIN { printf \"%.${2:-2}f\", $1 }"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# --- processes of our own ------------------------------------------------------------------------------------------

mkdir -p "$target"
work=$(mktemp -d "${BENCH_DIR:-$target}/compare.XXXXXX")
work=$(realpath "$work")
children=()
stop_children() {
    local pid
    for pid in ${children[@]+"${children[@]}"}; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    children=()
}
trap 'stop_children; rm -rf "$work"' EXIT

next_port=${PORT:-17600}
free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    port=$next_port
    next_port=$((next_port + 1))
}

# start_server: an empty redis-server without persistence; sets port and pid.
start_server() {
    free_port
    mkdir -p "$work/server-$port"
    run_server "$work/server-$port" --appendonly no
}

# run_server DIR OPTION...: a redis-server in a directory, on $port; waits until it has loaded.
run_server() {
    local dir=$1; shift
    redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --save "" "$@" --daemonize no >"$dir/log" 2>&1 &
    pid=$!
    children+=("$pid")
    for _ in $(seq 5000); do
        [ "$(redis-cli -p "$port" PING 2>/dev/null)" = PONG ] && return
        sleep 0.02
    done
    cat "$dir/log" >&2
    fail "redis-server does not start"
}

topology() { local at; for at in "$@"; do printf '[[replica_set]]\nmaster = "127.0.0.1:%d"\n' "$at"; done >"$work/sets.toml"; }

# timed COMMAND...: runs it; sets real_s and cpu_s (user and system time).
timed() {
    local TIMEFORMAT='%R %U %S' times
    { times=$( { time "$@" >"$work/stdout" 2>"$work/stderr"; } 2>&1); } || { cat "$work/stderr" >&2; fail "failed: $*"; }
    real_s=${times%% *}
    cpu_s=$(calc "$(cut -d ' ' -f 2 <<<"$times") + $(cut -d ' ' -f 3 <<<"$times")" 3)
}

# server_cpu PID: user and system time it has used, in seconds.
server_cpu() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$1/stat"; }

load() { rm -f "$work/checkpoint"; timed "$loader" "$@" --checkpoint "$work/checkpoint" -q; }

field() { sed -n "s/.*\"$1\":\([0-9.e+-]*\).*/\1/p" "$work/stdout"; }

sources() {
    local kind=$1; shift
    [ -s "$work/$kind" ] || "$source_maker" "$kind" "$@" >"$work/$kind"
}
bytes_of() { stat -c %s "$1"; }
per_s() { calc "$1 / $2" 0; }

# --- measurements --------------------------------------------------------------------------------------------------

# Framing (and routing) on one core beside redis-check-aof on the same bytes.
framing() {
    say "== framing: criterion's medians, one core, beside redis-check-aof"
    cargo bench --locked -q --bench framing -- $CRITERION_ARGS >"$work/criterion" 2>&1 || { cat "$work/criterion"; fail "cargo bench"; }
    sources sets "$COMMANDS" 1000000000
    redis-check-aof "$work/sets" >/dev/null 2>&1
    local runs check bytes name dir ns
    bytes=$(bytes_of "$work/sets")
    runs=$(for _ in $(seq "$PAIRS"); do timed redis-check-aof "$work/sets"; say "$real_s"; done)
    check=$(calc "$bytes / 1e6 / $(median <<<"$runs")" 1)
    say "redis-check-aof, 32-byte SETs, $((bytes / 1000000)) MB: $check MB/s"
    for name in memchr/32 frame/32 walk/32 memchr/4096 frame/4096 walk/4096; do
        dir=$target/criterion/source/$name/new
        [ -f "$dir/estimates.json" ] || continue
        ns=$(sed 's/.*"median":{[^}]*},"point_estimate":\([0-9.e+]*\).*/\1/' "$dir/estimates.json")
        bytes=$(sed 's/.*"Bytes":\([0-9]*\).*/\1/' "$dir/benchmark.json")
        printf '%-12s %9s MB/s %8s x redis-check-aof\n' "$name" "$(calc "$bytes * 1000 / $ns" 0)" "$(calc "$bytes * 1000 / $ns / $check" 1)"
    done
}

# One target: redis-cli --pipe and the loader in turn, each into a server of its own.
pipe() {
    say "== pipe: one target, $COMMANDS mixed commands, $PAIRS pairs in turn"
    sources mixed "$COMMANDS" "$KEYS"
    local nth before server ours="" theirs="" ours_cpu="" server_cpus=""
    for nth in $(seq "$PAIRS"); do
        start_server
        timed redis-cli -p "$port" --pipe <"$work/mixed"
        theirs+="$real_s"$'\n'
        printf 'pair %d: redis-cli --pipe %8s commands/s, its CPU %s s, server CPU %s s\n' "$nth" "$(per_s "$COMMANDS" "$real_s")" "$cpu_s" "$(server_cpu "$pid")"
        stop_children
        start_server
        topology "$port"
        before=$(server_cpu "$pid")
        load "$work/mixed" --topology "$work/sets.toml"
        server=$(calc "$(server_cpu "$pid") - $before" 2)
        ours+="$real_s"$'\n' ours_cpu+="$cpu_s"$'\n' server_cpus+="$server"$'\n'
        printf 'pair %d: redcluster-load  %8s commands/s, its CPU %s s, server CPU %s s\n' "$nth" "$(per_s "$COMMANDS" "$real_s")" "$cpu_s" "$server"
        stop_children
    done
    ours=$(printf %s "$ours" | median) theirs=$(printf %s "$theirs" | median)
    say "median: redis-cli --pipe $(per_s "$COMMANDS" "$theirs") commands/s, redcluster-load $(per_s "$COMMANDS" "$ours") commands/s"
    say "ratio of commands/s: $(calc "$theirs / $ours")    loader CPU / server CPU: $(calc "$(printf %s "$ours_cpu" | median) / $(printf %s "$server_cpus" | median)")"
}

# Two targets beside one.
two() {
    say "== two: two targets beside one, $COMMANDS mixed commands"
    sources mixed "$COMMANDS" "$KEYS"
    local one="" both="" first
    for _ in $(seq "$PAIRS"); do
        start_server; topology "$port"
        load "$work/mixed" --topology "$work/sets.toml"; one+="$real_s"$'\n'
        stop_children
        start_server; first=$port; start_server; topology "$first" "$port"
        load "$work/mixed" --topology "$work/sets.toml"; both+="$real_s"$'\n'
        stop_children
    done
    one=$(printf %s "$one" | median) both=$(printf %s "$both" | median)
    say "one target $one s, two targets $both s, ratio of commands/s: $(calc "$one / $both")"
}

# An append-only file with an RDB base into two targets, beside a redis-server that starts from it.
rdb() {
    say "== rdb: an RDB base of $RDB_KEYS small keys into two targets, beside redis-server starting from it"
    local dir=$work/native first ours="" theirs="" ours_cpu="" server_cpus="" begun
    mkdir -p "$dir"
    free_port; run_server "$dir" --appendonly yes --enable-debug-command yes
    redis-cli -p "$port" DEBUG POPULATE "$RDB_KEYS" key 32 >/dev/null
    redis-cli -p "$port" BGREWRITEAOF >/dev/null
    until redis-cli -p "$port" INFO persistence | tr -d '\r' | grep -qx 'aof_rewrite_in_progress:0' &&
        grep -q 'type b' "$dir/appendonlydir/appendonly.aof.manifest" && ! grep -q ' seq 1 ' "$dir/appendonlydir/appendonly.aof.manifest"; do sleep 0.1; done
    stop_children
    for _ in $(seq "$PAIRS"); do
        begun=$(date +%s.%N)
        free_port; run_server "$dir" --appendonly yes
        theirs+="$(calc "$(date +%s.%N) - $begun" 3)"$'\n'
        stop_children
        start_server; first=$port; local first_pid=$pid; start_server; topology "$first" "$port"
        load "$dir/appendonlydir" --topology "$work/sets.toml"
        ours+="$real_s"$'\n' ours_cpu+="$cpu_s"$'\n'
        server_cpus+="$(calc "$(server_cpu "$first_pid") + $(server_cpu "$pid")")"$'\n'
        stop_children
    done
    ours=$(printf %s "$ours" | median) theirs=$(printf %s "$theirs" | median)
    say "redis-server starts in $theirs s, redcluster-load $ours s, ratio of time: $(calc "$ours / $theirs")"
    say "loader CPU / servers' CPU: $(calc "$(printf %s "$ours_cpu" | median) / $(printf %s "$server_cpus" | median)")"
}

copy_and_sync() { cp "$1" "$2" && sync "$2"; }

# AOF output beside a copy of the file, both synced.
aof() {
    say "== aof: three AOF directories beside cp and sync of the same file"
    sources sets "$COMMANDS" 1000000000
    local ours="" theirs=""
    for _ in $(seq "$PAIRS"); do
        rm -rf "$work/copy" "$work/out"; sync "$work"
        timed copy_and_sync "$work/sets" "$work/copy"; theirs+="$real_s"$'\n'
        rm -rf "$work/copy" "$work/out"; sync "$work"
        load "$work/sets" --shards 3 --output "$work/out"; ours+="$real_s"$'\n'
    done
    rm -rf "$work/copy" "$work/out"
    ours=$(printf %s "$ours" | median) theirs=$(printf %s "$theirs" | median)
    say "$(($(bytes_of "$work/sets") / 1000000)) MB: cp $theirs s, redcluster-load $ours s, ratio of time: $(calc "$ours / $theirs")"
}

# watched COMMAND...: runs it; sets peak_kb, the most anonymous memory that it was seen with.
watched() {
    local kb child
    peak_kb=0
    "$@" >"$work/stdout" 2>"$work/stderr" &
    child=$!
    while kb=$(awk '/^RssAnon/ { print $2 }' "/proc/$child/status" 2>/dev/null) && [ -n "$kb" ]; do
        [ "$kb" -le "$peak_kb" ] || peak_kb=$kb
        sleep 0.01
    done
    wait "$child" || { cat "$work/stderr" >&2; fail "failed: $*"; }
}

# Anonymous memory while a source is loaded into a server and into directories. The keys repeat, so that the server stays small.
memory() {
    say "== memory: most anonymous memory (RssAnon) while loading"
    local mb
    for mb in $MEMORY_MB; do
        "$source_maker" sets "$((mb * 1000000 / 1057))" 20000 1000 >"$work/large"
        start_server; topology "$port"
        rm -f "$work/checkpoint"
        watched "$loader" "$work/large" --topology "$work/sets.toml" --checkpoint "$work/checkpoint" -q
        stop_children
        say "$mb MB into a server:      $((peak_kb / 1024)) MiB"
        rm -rf "$work/out" "$work/checkpoint"
        watched "$loader" "$work/large" --shards 3 --output "$work/out" --checkpoint "$work/checkpoint" -q
        rm -rf "$work/out" "$work/large"
        say "$mb MB into directories:   $((peak_kb / 1024)) MiB"
    done
}

# Settling beside the load before it, half of the keys with deadlines.
settle() {
    say "== settle: $SESSIONS keys, every second one with a deadline"
    sources sessions "$SESSIONS"
    local ratios="" loads="" settles=""
    for _ in $(seq "$PAIRS"); do
        start_server; topology "$port"
        load "$work/sessions" --topology "$work/sets.toml" --json
        loads+="$(field load_s)"$'\n' settles+="$(field settle_s)"$'\n'
        stop_children
    done
    loads=$(printf %s "$loads" | median) settles=$(printf %s "$settles" | median)
    say "load $(calc "$loads" 3) s, settling $(calc "$settles" 3) s, ratio of time: $(calc "$settles / $loads")"
}

# A long wire beside a short one, both through the same proxy.
latency() {
    say "== latency: one target behind a proxy, round trip of 0 and of $((2 * DELAY_MS)) ms, $COMMANDS mixed commands"
    sources mixed "$COMMANDS" "$KEYS"
    local delay upstream near="" far=""
    for _ in $(seq "$PAIRS"); do
        for delay in 0 "$DELAY_MS"; do
            start_server; upstream=$port
            free_port
            "$delay_proxy" "127.0.0.1:$port" "127.0.0.1:$upstream" "$delay" &
            children+=("$!")
            for _ in $(seq 500); do redis-cli -p "$port" PING >/dev/null 2>&1 && break; sleep 0.02; done
            topology "$port"
            load "$work/mixed" --topology "$work/sets.toml" --json
            if [ "$delay" = 0 ]; then near+="$(field load_s)"$'\n'; else far+="$(field load_s)"$'\n'; fi
            stop_children
        done
    done
    near=$(printf %s "$near" | median) far=$(printf %s "$far" | median)
    say "load without delay $(calc "$near" 3) s, with it $(calc "$far" 3) s, ratio of commands/s: $(calc "$near / $far")"
}

# Three targets from SETs of which some rename temporary names onto keys of other shards; and the survey of these files on
# one core.
ties() {
    say "== ties: three targets, $COMMANDS SETs, of which a share is RENAMEs"
    local percent ports times="" cpus none=""
    for percent in 0 1 10 50; do
        "$source_maker" renames "$COMMANDS" 1000000000 32 "$percent" >"$work/renames-$percent"
    done
    for _ in $(seq "$PAIRS"); do
        for percent in 0 1 10 50; do
            ports=""
            for _ in 1 2 3; do start_server; ports+="$port "; done
            topology $ports
            load "$work/renames-$percent" --topology "$work/sets.toml"
            times+="$percent $real_s"$'\n'
            stop_children
        done
    done
    for percent in 0 1 10 50; do
        cpus=$(for _ in $(seq "$PAIRS"); do load "$work/renames-$percent" --topology "$work/sets.toml" --dry-run --threads 1; say "$cpu_s"; done | median)
        real_s=$(printf %s "$times" | awk -v percent="$percent" '$1 == percent { print $2 }' | median)
        none=${none:-$real_s}
        say "$percent % RENAMEs: $(per_s "$COMMANDS" "$real_s") commands/s, $(calc "$none / $real_s") of those without; survey of $(calc "$(bytes_of "$work/renames-$percent") / 1e9 / $cpus") GB/s on one core"
    done
}

command -v redis-server >/dev/null && command -v redis-check-aof >/dev/null || fail "redis-server and redis-tools are needed"
cargo build --locked --release -q --bin redcluster-load --example bench_source --example delay_proxy
say "$(redis-server --version)"
say "$(nproc) cores, load average $(cut -d ' ' -f 1-3 /proc/loadavg), $("$loader" --version)"
for name in "${@:-framing pipe two rdb aof memory settle latency ties}"; do
    for part in $name; do
        case $part in
        framing | pipe | two | rdb | aof | memory | settle | latency | ties) "$part" ;;
        *) fail "there is no measurement called $part" ;;
        esac
        say
    done
done
