#!/usr/bin/env bash
# chatd from the shell, on the text port. One command, or with none, one for each line of the input:
#
#     CHATD_USER=messi CHATD_PASSWORD=surabaya examples/chat.sh 127.0.0.1 8890 send henderson feeling good
#     CHATD_USER=… CHATD_PASSWORD=… examples/chat.sh 127.0.0.1 8890 group create team
#     df -h / | sed 's/^/send henderson /' | CHATD_USER=… CHATD_PASSWORD=… examples/chat.sh 127.0.0.1 8890
#
# A group is written to as a user is; `group list`, `group join NAME` and the others are in docs/PROTOCOL.md, as `send`.
# One line out, one line back, which is all there is to the text port. This uses bash's own /dev/tcp, because no two
# programs called nc agree on when to close; by hand, `nc HOST PORT` or telnet does as well.
set -euo pipefail

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

(($# >= 2)) || fail "usage: ${0##*/} HOST PORT [COMMAND…]"
[[ ${CHATD_USER-} && ${CHATD_PASSWORD-} ]] || fail "set CHATD_USER and CHATD_PASSWORD"
host=$1 port=$2
shift 2
token=

connect() {
    { exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || fail "$host:$port: no connection"
}

# Sends a line and leaves what comes back in $reply; fails when that is an error.
ask() {
    # printf is part of bash: the password is in no list of processes. A server that is gone is no reason to die of it.
    { printf '%s\n' "$*" >&3; } 2>/dev/null || fail "$host:$port: the connection is lost"
    IFS= read -r -t 60 reply <&3 || fail "no reply from $host:$port"
    reply=${reply%$'\r'}
    [[ $reply != "Error, "* && $reply != [*-]Maaf* ]]
}

# What others wrote, with nothing in it that a terminal obeys: control characters, those of one byte and of two, and the
# characters that end a line or turn the direction of writing.
show() {
    local LC_ALL=C text=$reply
    text=${text//[[:cntrl:]]/?}
    text=${text//$'\xc2'[$'\x80'-$'\x9f']/?}
    text=${text//$'\xd8\x9c'/?}
    text=${text//$'\xe2\x80'[$'\x8e\x8f'$'\xa8'-$'\xae']/?}
    printf '%s\n' "${text//$'\xe2\x81'[$'\xa6'-$'\xaf']/?}"
}

# What was handed out counts as read once it is shown.
acknowledge() {
    case $1 in inbox* | wait* | fetch*) ask ack || true ;; esac
}

# Ends the session, on a connection of its own, because on the old one a reply may be under way.
log_out() {
    [[ -z $token ]] || (exec 3>&-; connect; ask "logout $token") 2>/dev/null || true
}

# The session ends with the program, whatever ends that.
trap '' PIPE
trap log_out EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

connect
ask "auth $CHATD_USER $CHATD_PASSWORD" || { show >&2; exit 1; }
token=${reply##* }
status=0
if (($#)); then
    if ask "$*"; then
        show
        acknowledge "$*"
    else
        show >&2
        status=1
    fi
else
    while IFS= read -r line || [[ $line ]]; do
        if ask "$line"; then
            show
            acknowledge "$line"
        else
            show
            status=1
        fi
    done
fi
exit "$status"
