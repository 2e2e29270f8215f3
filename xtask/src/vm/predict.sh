# What `c1m doctor` foretells of limits that are the whole host's, run into: within 2 %. And what is told of a run that has
# taken every file of the host. For a machine of its own:
#   cargo xtask vm 6.12 -- "$(cat xtask/src/vm/predict.sh)"
failed=0
judge() {
    name=$1 what=$2
    shift 2
    if "$@"; then
        echo "$name passed: $what"
    else
        echo "$name FAILED: $what: $(tail -n 3 /run/client | tr '\n' ' ')"
        failed=1
    fi
}
within_2_percent() {
    apart=$(($1 > $2 ? $1 - $2 : $2 - $1))
    [ "$1" -gt 0 ] && [ $((apart * 50)) -le "$1" ]
}
close() { judge "$1" "$2 predicted, $3 stood" within_2_percent "$2" "$3"; }
number() { sed -n 's/,//g; s/^ *\([0-9]*\) of .* will stand.*/\1/p' | head -n 1; }
of_table() { sed -n "s/,//g; s/.* \([0-9]*\) $1 .*/\1/p" /run/client | head -n 1; }
# As if a user had called sudo: the load runs as that user, who is not exempt from fs.file-max.
as_user() { SUDO_UID=65534 SUDO_GID=65534 "$@"; }
server() {
    su nobody -s /bin/sh -c 'exec c1m server' >/run/server 2>&1 &
    for _ in $(seq 60); do grep -q listening /run/server && break; sleep 1; done
}
ip link set lo up
ulimit -n 40000

# Slowly, so that the server has each connection before the client takes another file.
files_max=$(cat /proc/sys/fs/file-max)
read -r files _ </proc/sys/fs/file-nr
echo $((files + 10000)) >/proc/sys/fs/file-max
load="client --connections 9000 --in-flight 8 --rate 1000 --hold 1s"
predicted=$(as_user c1m doctor --connections 9000 | number)
server
as_user c1m trace --hooks tracepoint -- $load >/run/client 2>&1
kill $!
wait
close predicted-files "${predicted:-0}" "$(of_table standing)"

# Nobody here is root, and the report needs files, too.
server
mkdir -m 777 /run/user
su nobody -s /bin/sh -c "ulimit -n 2000; exec c1m $load --json /run/user/json" >/run/client 2>&1
kill $!
wait
echo "$files_max" >/proc/sys/fs/file-max
# The record is one line of megabytes: a pattern that is not in it would be tried from each of its bytes to the last.
count() { tr '{' '\n' </run/user/json | sed -n "s/^\"slug\":\"$1\".*\"count\":\([0-9]*\).*/\1/p"; }
standing=$(of_table standing) lost=$(count enfile)
# The last of those that found a file: the server had none left for them.
waits=$(count accept-starved)
judge report-without-files "${standing:-0} standing, ${lost:-0} lost by enfile, ${waits:-0} not accepted" \
    [ $((standing + lost + waits)) = 9000 ]

# What the kernel keeps apart for each CPU (SK_MEMORY_PCPU_RESERVE, 1 MB) is 1 % of such numbers.
for case in "33000 20000 50000 60000" "60000 20000 30000 90000"; do
    queued=${case%% *}
    mem=$(cat /proc/sys/net/ipv4/tcp_mem)
    echo "${case#* }" >/proc/sys/net/ipv4/tcp_mem
    predicted=$(c1m doctor --queued "$queued" --connections 15000 | number)
    c1m doctor --queued "$queued" --connections 15000 --measure >/run/client 2>&1
    echo "$mem" >/proc/sys/net/ipv4/tcp_mem
    close "predicted-tcp_mem-$queued" "${predicted:-0}" "$(sed -n 's/ connections hold.*//p' /run/client)"
done
exit $failed
