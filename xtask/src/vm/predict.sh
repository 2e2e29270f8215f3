# What `c1m doctor` foretells of limits that are the whole host's, run into: within 2 %.
close() {
    name=$1 predicted=$2 stood=$3
    apart=$((predicted > stood ? predicted - stood : stood - predicted))
    if [ "$predicted" -gt 0 ] && [ $((apart * 50)) -le "$predicted" ]; then
        echo "CHECK_LINE $name passed"
    else
        echo "CHECK_LINE $name FAILED: $predicted predicted, $stood stood: $(tail -n 3 /run/client | tr '\n' ' ')"
    fi
}
number() { sed -n 's/,//g; s/^ *\([0-9]*\) of .* will stand.*/\1/p' | head -n 1; }
as_user() { su nobody -s /bin/sh -c "exec $*"; }
ip link set lo up

# As a user, for root is exempt; slowly, so that the server has each connection before the client takes another file.
files_max=$(cat /proc/sys/fs/file-max)
read -r files _ </proc/sys/fs/file-nr
echo $((files + 10000)) >/proc/sys/fs/file-max
predicted=$(as_user c1m doctor --connections 9000 | number)
as_user c1m server >/run/server 2>&1 &
for _ in $(seq 60); do grep -q listening /run/server && break; sleep 1; done
as_user c1m client --connections 9000 --in-flight 8 --rate 1000 --hold 1s >/run/client 2>&1
stood=$(sed -n 's/,//g; s/.* attempted *\([0-9]*\) standing.*/\1/p' /run/client | head -n 1)
kill $!
wait
echo "$files_max" >/proc/sys/fs/file-max
close predicted-files "${predicted:-0}" "${stood:-0}"

tcp_mem=$(cat /proc/sys/net/ipv4/tcp_mem)
echo 40000 40000 40000 >/proc/sys/net/ipv4/tcp_mem
ulimit -n 65536
predicted=$(c1m doctor --connections 100000 --queued 60000 | number)
c1m doctor --connections 100000 --queued 60000 --measure >/run/client 2>&1
stood=$(cut -d ' ' -f 1 /run/client)
echo "$tcp_mem" >/proc/sys/net/ipv4/tcp_mem
close predicted-tcp-mem "${predicted:-0}" "${stood:-0}"
