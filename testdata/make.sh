#!/usr/bin/env bash
# Makes dump.aof and appendonlydir/ anew, with a real redis-server (7.0 or later) of its own that listens on a
# unix socket in a temporary directory and on no port at all. See README.md beside this file.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

server=${REDIS_SERVER:-redis-server}
work=$(mktemp -d "${TMPDIR:-/tmp}/testdata.XXXXXX")
pid=

stop_server() {
    if [ -n "$pid" ]; then
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        pid=
    fi
}
trap 'stop_server; rm -rf "$work"' EXIT

redis() { redis-cli -s "$work/sock" "$@"; }

# start_server NAME: an empty server in a directory of that name.
start_server() {
    mkdir "$work/$1"
    "$server" --port 0 --unixsocket "$work/sock" --dir "$work/$1" --logfile "$work/$1.log" --daemonize no \
        --save "" --appendonly yes --appendfsync always --aof-use-rdb-preamble no --aof-timestamp-enabled yes \
        --auto-aof-rewrite-percentage 0 --stream-node-max-entries 10 </dev/null >/dev/null 2>&1 &
    pid=$!
    for _ in $(seq 500); do
        redis PING >/dev/null 2>&1 && return
        sleep 0.02
    done
    cat "$work/$1.log" >&2
    exit 1
}

# send: the commands on stdin, one a line, with redis-cli's own quoting. An error reply ends the script.
send() {
    local replies
    replies=$(redis)
    if printf '%s\n' "$replies" | grep -E '^\(error\)|^(ERR|WRONGTYPE|EXECABORT|NOSCRIPT)'; then
        exit 1
    fi
}

# What a shop had done before its server rewrote the file for the first time.
before_rewrite() {
    send <<'COMMANDS'
FUNCTION LOAD "#!lua name=shop\nredis.register_function('add_to_cart', function(keys, args) redis.call('HINCRBY', keys[1], args[1], args[2]) return redis.call('RPUSH', keys[1] .. ':log', args[1]) end)"
SET greeting "hello, world"
SET empty ""
SET "" "the key is empty"
SET bytes "\x00\xff\r\n*3\r\n$3\r\nSET\r\n"
SET "key\r\nwith \xe2\x82\xac" "1 \xe2\x82\xac"
SET page:1 "<html>one</html>"
APPEND page:1 "<!-- seen -->"
SETRANGE page:1 6 "ONE"
SETBIT visited 1000 1
INCR visits
INCRBY visits 41
INCRBYFLOAT balance 10.25
HSET user:1 name Ada age 36 email ada@example.org
HINCRBY user:1 age 1
HINCRBYFLOAT user:1 score 0.5
SADD tags:1 red green blue 1 2 3
SADD ids:1 3 1 2
SREM tags:1 green
ZADD ranking 1 ada 2.5 grace 3 edsger
ZINCRBY ranking 0.75 ada
RPUSH queue job-1 job-2 job-3
LPUSH queue job-0
LREM queue 0 job-2
PFADD visitors ada grace edsger
PFCOUNT visitors
GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
XADD orders 1700000000000-1 sku 17 count 2
XADD orders 1700000000001-0 sku 18 count 1
XGROUP CREATE orders shipping 0
XREADGROUP GROUP shipping worker-1 COUNT 1 STREAMS orders >
MSET color:1 red color:2 green color:3 blue color:4 white color:5 black color:6 grey
SELECT 1
SET session:1 "user 1"
EXPIREAT session:1 4102444800
SELECT 5
RPUSH staging one two three
SELECT 0
COMMANDS
    # More arguments than the 128 that one old reader of these files allowed, here and in the rewritten file.
    {
        printf 'RPUSH numbers'; printf ' %d' $(seq 150); printf '\n'
        printf 'HSET squares'; for n in $(seq 150); do printf ' %d %d' "$n" $((n * n)); done; printf '\n'
        printf 'SADD names'; for n in $(seq 150); do printf ' name-%d' "$n"; done; printf '\n'
        for n in $(seq 60); do printf 'SET item:%d "item number %d"\n' "$n" "$n"; done
    } | send
}

# What came after it.
after_rewrite() {
    send <<'COMMANDS'
INCR visits
APPEND page:1 "<!-- again -->"
MULTI
DECRBY stock:17 2
RPUSH history:17 "2 sold"
SELECT 1
HSET receipt:1 sku 17 count 2
SELECT 0
INCR sold
EXEC
FCALL add_to_cart 1 cart:1 apple 3
EVAL "redis.call('SET', KEYS[1], ARGV[1]) redis.call('APPEND', KEYS[1], '!')" 1 note:1 "written by a script"
DEL color:1 color:2 color:3 nosuchkey
SET draft:81 "an article"
RENAME draft:81 article:1
SPOP tags:1
LPOP queue
XACK orders shipping 1700000000000-1
XADD events MAXLEN ~ 20 LIMIT 10 1700000000002-1 page 1
SELECT 7
SET moved "by SWAPDB"
SWAPDB 7 8
SELECT 5
FLUSHDB
SET after-flush 1
SELECT 0
COMMANDS
    for n in $(seq 2 60); do echo "XADD events MAXLEN ~ 20 LIMIT 10 1700000000002-$n page $n"; done | send
}

# Deadlines. Those that are a few seconds away are over whenever the file is loaded, and the server is killed before
# it would have deleted the keys and written that down.
deadlines() {
    send <<'COMMANDS'
SELECT 1
SET session:2 "slid along" PX 20000
EXPIREAT session:2 4102444800
SET session:3 "over" PX 20000
SETEX session:4 20 "over too"
SET attempts 5 PX 20000
INCR attempts
PERSIST attempts
SET lease:1 far PXAT 253402300799000
EXPIREAT lease:1 4102444800 LT
HSET cart:2 pear 1
PEXPIREAT cart:2 4102444800123
SET greeting:2 hello EX 20
GETEX greeting:2 PERSIST
SELECT 0
RESTORE restored 4102444800000 "\x00\x05value\n\x00\x81\xf6\xc18\xc1\xaa\x9bn" ABSTTL
COMMANDS
}

# wait_for_rewrite: until no rewrite of the append-only file is under way or waits for its turn.
wait_for_rewrite() {
    for _ in $(seq 500); do
        redis INFO persistence | grep -qE '^aof_rewrite_(in_progress|scheduled):1' || return 0
        sleep 0.02
    done
    exit 1
}

# The single file: everything as it was done, in one increment.
start_server single
before_rewrite
sleep 1.1
after_rewrite
sleep 1.1
deadlines
stop_server
if grep -v '^#' "$work/single/appendonlydir/appendonly.aof.1.base.aof"; then exit 1; fi
cp "$work/single/appendonlydir/appendonly.aof.1.incr.aof" "$work/dump.aof"

# The same with a rewrite in between, which makes a base of commands, and a later one whose child dies, which
# leaves a second increment.
start_server multi
before_rewrite
redis BGREWRITEAOF >/dev/null
wait_for_rewrite
sleep 1.1
after_rewrite
redis CONFIG SET rdb-key-save-delay 100000 >/dev/null
redis BGREWRITEAOF >/dev/null
child=
for _ in $(seq 500); do
    child=$(sed -n 's/.*Background append only file rewriting started by pid \([0-9]*\).*/\1/p' "$work/multi.log" | tail -n 1)
    [ "$(grep -c 'rewriting started by pid' "$work/multi.log")" = 2 ] && break
    sleep 0.02
done
[ "$(cut -d ' ' -f 4 "/proc/$child/stat")" = "$pid" ]
kill -KILL "$child"
wait_for_rewrite
sleep 1.1
deadlines
stop_server

cp "$work/dump.aof" "$here/dump.aof"
rm -rf "$here/appendonlydir"
mkdir "$here/appendonlydir"
cp "$work"/multi/appendonlydir/appendonly.aof.* "$here/appendonlydir/"
ls -l "$here/dump.aof" "$here/appendonlydir"
