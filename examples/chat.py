#!/usr/bin/env python3
"""chatd from Python, on the JSON port, with nothing but the standard library.

    CHATD_USER=messi CHATD_PASSWORD=surabaya examples/chat.py 127.0.0.1:8889

Commands are lines: send NAME TEXT, inbox, wait SECONDS, history NAME, show, logout. The class Chat is a client
to build on; docs/PROTOCOL.md tells what goes over the wire.
"""
import getpass, json, os, socket, sys, time


class Refused(Exception):
    """The server said ERROR; its words."""


class Chat:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), 30)
        self.token = None
        self.can_wait = True

    def ask(self, line, patience=30):
        """One request, one reply: a line with CR LF, and JSON up to CR LF CR LF, which is ASCII."""
        self.socket.settimeout(patience)
        self.socket.sendall(line.encode() + b'\r\n')
        reply = b''
        while not reply.endswith(b'\r\n\r\n'):
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError('the server closed the connection')
            reply += piece
        reply = json.loads(reply)
        if reply['status'] != 'OK':
            raise Refused(reply['message'])
        return reply

    def auth(self, user, password):
        self.token = self.ask(f'auth {user} {password}')['tokenid']

    def send(self, user, text):
        # Old clients look for two spaces before the text and one after it.
        self.ask(f'send {self.token} {user}  {text} ')

    def inbox(self):
        return self.ask(f'inbox {self.token}')['messages']

    def wait(self, seconds):
        """The inbox as soon as there is something in it; a server that cannot wait is asked now and then."""
        until = time.monotonic() + seconds
        while self.can_wait:
            try:
                return self.ask(f'wait {self.token} {seconds}', seconds + 30)['messages']
            except Refused as refused:
                if str(refused) != '**Protocol Tidak Benar':
                    raise
                self.can_wait = False
        while not (messages := self.inbox()) and time.monotonic() < until:
            time.sleep(2)
        return messages

    def history(self, user, before=0, count=20):
        return self.ask(f'history {self.token} {user} {before} {count}')['history']

    def show(self):
        return self.ask(f'show {self.token}')['messages']

    def logout(self):
        self.ask(f'logout {self.token}')


def printable(text):
    """What others wrote, with nothing in it that could move about on a terminal."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text.strip())


def show_inbox(senders):
    for messages in senders.values():
        for message in messages:
            print(f"{printable(message['msg_from'])}: {printable(message['msg'])}")


def run(chat, line):
    command, *words = line.split(' ', 2)
    match [command, *words]:
        case ['send', user, text]:
            chat.send(user, text)
            print('sent')
        case ['inbox']:
            show_inbox(chat.inbox())
        case ['wait', seconds]:
            show_inbox(chat.wait(int(seconds)))
        case ['history', user]:
            for message in chat.history(user):
                print(f"{message['time']} {printable(message['msg_from'])}: {printable(message['msg'])}")
        case ['show']:
            print(', '.join(chat.show()))
        case ['logout']:
            chat.logout()
        case _:
            # What is not known here may be known to the server.
            print(chat.ask(f"{command} {chat.token} {' '.join(words)}"))


def main():
    host, _, port = sys.argv[1].rpartition(':')
    user = os.environ.get('CHATD_USER') or input('user: ')
    password = os.environ.get('CHATD_PASSWORD') or getpass.getpass()
    chat = Chat(host, int(port))
    try:
        chat.auth(user, password)
    except Refused as refused:
        sys.exit(f'error: {refused}')
    for line in sys.stdin:
        try:
            run(chat, line.rstrip('\n'))
        except Refused as refused:
            print(f'error: {refused}')


if __name__ == '__main__':
    main()
