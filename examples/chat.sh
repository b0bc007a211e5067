#!/usr/bin/env bash
# chatd from the shell, on the text port. One command, or with none, one for each line of the input:
#
#     CHATD_USER=messi CHATD_PASSWORD=surabaya examples/chat.sh 127.0.0.1 8890 send henderson feeling good
#     df -h / | sed 's/^/send henderson /' | CHATD_USER=… CHATD_PASSWORD=… examples/chat.sh 127.0.0.1 8890
#
# One line out, one line back, which is all there is to the text port. This uses bash's own /dev/tcp, because no two
# programs called nc agree on when to close; by hand, `nc HOST PORT` or telnet does as well.
set -euo pipefail

host=$1 port=$2
shift 2
exec 3<>"/dev/tcp/$host/$port"

# Sends a line and leaves what comes back in $reply; fails when that is an error.
ask() {
    # printf is part of bash: the password is in no list of processes.
    printf '%s\n' "$*" >&3
    IFS= read -r -t 60 reply <&3 || { echo "no reply from $host:$port" >&2; exit 1; }
    reply=${reply%$'\r'}
    [[ $reply != "Error, "* && $reply != [*-]Maaf* ]]
}

ask "auth $CHATD_USER $CHATD_PASSWORD" || { echo "$reply" >&2; exit 1; }
status=0
if (($#)); then
    ask "$*" || status=1
    if ((status)); then echo "$reply" >&2; else echo "$reply"; fi
else
    while IFS= read -r line || [[ $line ]]; do
        ask "$line" || status=1
        echo "$reply"
    done
fi
ask logout
exit "$status"
