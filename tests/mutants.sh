#!/bin/bash
# Can the kill and fault tests fail? Takes what makes a load exactly-once out of a copy of the tree, one thing at a time,
# and expects the tests that are about it to fail. A mutant that no test notices makes this script fail.
#
#   tests/mutants.sh            all mutants, in less than ten minutes
#   tests/mutants.sh guard ...  only these
#
# Needs what the tests need: redis-server, cargo, perl. Not part of CI.
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/mutants.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Kept between runs, so that only what a mutant changes is compiled.
export CARGO_TARGET_DIR=${MUTANTS_TARGET_DIR:-${TMPDIR:-/tmp}/mutants-target}
export RUST_BACKTRACE=0

cuts="faults::network::connections_cut faults::network::bytes_of"
refusals="faults::guard faults::refusal::memory_runs_out faults::refusal::replicas_are_missing"
kills="kill::killed_in_the_middle_of_a_write kill::killed_while_loading_into_masters_again"

# name | what is taken out | files | perl program | tests that must notice
mutants() {
    cat <<'END' | sed "s/@cuts/$cuts/; s/@refusals/$refusals/; s/@kills/$kills/"
none|nothing: all of these pass|||@kills @cuts faults::refusal::memory_runs_out faults::master::an_open kill::killed_while_going_on faults::settle::killed_while_deadlines faults::settle::killed_while_markers
marker|the marker is set after the EXEC|src/sink/pipeline.rs|s/\[b"SET"\.as_slice\(\), key, (.*?)\]\);/[b"PING".as_slice()]);/; my $text = $1; s/(encode::command\(&mut text, &\[b"EXEC"\.as_slice\(\)\]\);)/$1 encode::command(&mut text, &[b"CLIENT".as_slice(), b"REPLY", b"SKIP"]); encode::command(&mut text, &[b"SET".as_slice(), key, $text]);/|@kills @cuts
guard|the marker is neither watched nor compared|src/sink/pipeline.rs src/sink/transaction.rs|s/encode::command\(&mut text, &\[b"WATCH"\.as_slice\(\), key\]\)/encode::command(&mut text, &[b"UNWATCH".as_slice()])/; s/if found == self\.expected\.as_bytes\(\)/if !found.is_empty()/|@cuts @refusals
watch|the marker is not watched|src/sink/pipeline.rs|s/encode::command\(&mut text, &\[b"WATCH"\.as_slice\(\), key\]\)/encode::command(&mut text, &[b"UNWATCH".as_slice()])/|@cuts @refusals
rewrite|a master that was restarted need not rewrite its file|src/sink/server.rs|s/self\.mend_append_only_file\(&mut connection\)\?;/let _ = Self::mend_append_only_file;/|faults::master::an_open
cut|what stands behind a data file's sure length stays|src/sink/aof/data.rs|s/file\.set_len\(.*?\)\?;//|kill::killed_while_going_on
settle|the offset is taken off every deadline|src/sink/settle.rs|s/if t>=o then/if t>0 then/g|faults::settle::killed_while_deadlines
checkpoint|nothing is written down before markers are removed|src/job/load.rs|s/run\.enter\(Status::Finishing\)\?;//|faults::settle::killed_after_the_last
END
}

build() {
    (cd "$work/tree" && cargo test --quiet --test it --no-run 2>&1) > "$work/build" ||
        { echo "$1 does not compile:"; tail -20 "$work/build"; exit 1; }
    binary=$(cd "$work/tree" && cargo test --test it --no-run --message-format=json 2>/dev/null |
        perl -ne 'print "$1\n" if /"executable":"([^"]*\/it-[^"]*)"/' | tail -1)
}

# The failed tests, one a line; fails itself if none was run.
run() {
    (cd "$work/tree" && timeout 300 "$binary" --test-threads 4 "$@" > "$work/log" 2>&1) || true
    grep -q '^test .* \.\.\. ' "$work/log" || { echo "no test matches: $*" >&2; tail -5 "$work/log" >&2; exit 1; }
    perl -ne 'print "$1\n" if /^test (\S+) .*FAILED$/' "$work/log"
    # A crash or a time-out leaves no summary; that is noticed, too.
    grep -q '^test result' "$work/log" || echo "(did not end)"
}

wanted=" $* "
verdict=0
printf '%-11s %-52s %-9s %s\n' mutant 'what is taken out' verdict 'failed tests'
while IFS='|' read -r name what files program tests; do
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || continue
    rm -rf "$work/tree"
    mkdir "$work/tree"
    (cd "$tree" && tar cf - --exclude=./target --exclude=./fuzz --exclude=./.git .) | tar xf - -C "$work/tree"
    for file in $files; do
        perl -0pi -e "$program" "$work/tree/$file"
        ! cmp -s "$tree/$file" "$work/tree/$file" || { echo "$name changes nothing in $file: adapt it"; exit 1; }
    done
    build "$name"
    # shellcheck disable=SC2086 # several filters
    failed=$(run $tests | sort -u)
    shown=$(echo "$failed" | tr '\n' ' ')
    if [ "$name" = none ]; then
        [ -z "$failed" ] && result=passes || { result=FAILS; verdict=1; }
    else
        [ -n "$failed" ] && result=noticed || { result=SURVIVES; verdict=1; }
    fi
    printf '%-11s %-52s %-9s %s\n' "$name" "$what" "$result" "$shown"
done < <(mutants)
exit $verdict
