#!/usr/bin/env bash
# Writes one of the RDB files here: the same keys, in the encodings that a server chooses under the options given.
#
#   testdata/rdb/make.sh FILE SERVER [OPTION...]
#
# These were made, with the server's own name for the limits of small encodings, as
#   redis-6.2.rdb, redis-7.0.rdb, redis-8.0.rdb, valkey-9.1.rdb
#   redis-6.2-large.rdb  --hash-max-ziplist-entries 1 --zset-max-ziplist-entries 1 --set-max-intset-entries 1
#   redis-8.0-large.rdb  --hash-max-listpack-entries 1 --zset-max-listpack-entries 1 --set-max-intset-entries 1
#                        --set-max-listpack-entries 1 --list-max-listpack-size 1
set -euo pipefail
file=$(realpath -m "$1")
server=$2
shift 2
work=$(mktemp -d)
"$server" --port 0 --unixsocket "$work/socket" --dir "$work" --save '' --dbfilename dump.rdb --logfile "$work/log" "$@" &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid || true; rm -rf "$work"' EXIT

call() { redis-cli -s "$work/socket" -n "$db" "$@"; }
db=0
until call PING >/dev/null 2>&1; do sleep 0.1; done

later=4000000000000
{
    call SET string plain
    call SET number -12345
    call SET compressed "$(printf 'abc%.0s' {1..60})"
    call SET expires soon
    call PEXPIREAT expires $later
    call RPUSH list a -5 70000 "$(printf '\xff\r')"
    call RPUSH 'list of larger ones' "$(printf 'x%.0s' {1..40})" y
    call SADD numbers -1 5 70000
    call SADD set a 7 "$(printf 'abc%.0s' {1..30})"
    call ZADD 'sorted set' 1.5 a -inf b 3 c
    call HSET hash f v g 12
    call XADD stream 1-1 f v1
    call XADD stream 2-1 f v2
    call XADD stream 3-1 f v3
    call XGROUP CREATE stream group 0
    call XREADGROUP GROUP group consumer COUNT 2 STREAMS stream '>'
    call XDEL stream 2-1
    db=3
    call SADD letters a b c d
    call HSET pairs a 1 b 2 c 3 d 4
    call ZADD thirds 0.3333333333333333 a 0.6666666666666666 b 1 c 1.3333333333333333 d
    # Servers that do not know these answer with an error, and the file goes without.
    call FUNCTION LOAD $'#!lua name=library\nredis.register_function("f", function() return 1 end)'
    call HSET deadlines f v g w h x
    call HPEXPIREAT deadlines $later FIELDS 1 f
    call HPEXPIREAT deadlines $((later + 77777)) FIELDS 1 h
    call SAVE
} >/dev/null
mv "$work/dump.rdb" "$file"
