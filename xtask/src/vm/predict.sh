# What `c1m doctor` foretells of fs.file-max, which is the whole host's, run into: within 2 %. For a machine of its own:
#   cargo xtask vm 6.12 -- "$(cat xtask/src/vm/predict.sh)"
failed=0
close() {
    name=$1 predicted=$2 stood=$3
    apart=$((predicted > stood ? predicted - stood : stood - predicted))
    if [ "$predicted" -gt 0 ] && [ $((apart * 50)) -le "$predicted" ]; then
        echo "$name passed: $predicted predicted, $stood stood"
    else
        echo "$name FAILED: $predicted predicted, $stood stood: $(tail -n 3 /run/client | tr '\n' ' ')"
        failed=1
    fi
}
number() { sed -n 's/,//g; s/^ *\([0-9]*\) of .* will stand.*/\1/p' | head -n 1; }
# As if a user had called sudo: the load runs as that user, who is not exempt from fs.file-max.
as_user() { SUDO_UID=65534 SUDO_GID=65534 "$@"; }
ip link set lo up

# Slowly, so that the server has each connection before the client takes another file.
files_max=$(cat /proc/sys/fs/file-max)
read -r files _ </proc/sys/fs/file-nr
echo $((files + 10000)) >/proc/sys/fs/file-max
predicted=$(as_user c1m doctor --connections 9000 | number)
su nobody -s /bin/sh -c 'exec c1m server' >/run/server 2>&1 &
for _ in $(seq 60); do grep -q listening /run/server && break; sleep 1; done
as_user c1m trace --hooks tracepoint -- client --connections 9000 --in-flight 8 --rate 1000 --hold 1s >/run/client 2>&1
stood=$(sed -n 's/,//g; s/.* attempted *\([0-9]*\) standing.*/\1/p' /run/client | head -n 1)
kill $!
wait
echo "$files_max" >/proc/sys/fs/file-max
close predicted-files "${predicted:-0}" "${stood:-0}"
exit $failed
