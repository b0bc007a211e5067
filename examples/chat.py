#!/usr/bin/env python3
"""chatd from Python, on the JSON port, with nothing but the standard library.

    CHATD_USER=messi CHATD_PASSWORD=surabaya examples/chat.py 127.0.0.1:8889

Commands are lines: send NAME TEXT, inbox, wait SECONDS, history NAME, show, logout, group list, group create NAME,
group join NAME, group leave NAME, group members NAME, group invite NAME USER. NAME is a user or a group. The class
Chat is a client to build on; docs/PROTOCOL.md tells what goes over the wire.
"""
import getpass, json, os, signal, socket, struct, sys, time

UNKNOWN = '**Protocol Tidak Benar'


class Refused(Exception):
    """The server said ERROR; its words."""


class Chat:
    def __init__(self, host, port):
        self.address = host, port
        self.socket = socket.create_connection(self.address, 30)
        self.token = None
        self.can_fetch = self.can_wait = self.can_ack = True

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
        try:
            reply = json.loads(reply)
            if reply['status'] != 'OK':
                raise Refused(reply['message'])
        except (ValueError, KeyError, TypeError):
            raise ConnectionError('this is no chat server') from None
        return reply

    def auth(self, user, password):
        self.token = self.ask(f'auth {user} {password}')['tokenid']

    def send(self, user, text):
        # Old clients look for two spaces before the text and one after it.
        self.ask(f'send {self.token} {user}  {text} ')

    def fetch(self, seconds=0):
        """What has come, as soon as there is something: a list, in which one to a group says so. A server that is too
        old for that says who sent what, and no more."""
        try:
            if self.can_fetch:
                return self.ask(f'fetch {self.token} {seconds}', seconds + 30)['fetch']
        except Refused as refused:
            if str(refused) != UNKNOWN:
                raise
            self.can_fetch = False
        senders = self.wait(seconds) if seconds else self.inbox()
        return [message for messages in senders.values() for message in messages]

    def inbox(self):
        return self.ask(f'inbox {self.token}')['messages']

    def wait(self, seconds):
        """The inbox as soon as there is something in it; a server that cannot wait is asked now and then."""
        until = time.monotonic() + seconds
        while self.can_wait:
            try:
                return self.ask(f'wait {self.token} {seconds}', seconds + 30)['messages']
            except Refused as refused:
                if str(refused) != UNKNOWN:
                    raise
                self.can_wait = False
        while not (messages := self.inbox()) and time.monotonic() < until:
            time.sleep(2)
        return messages

    def ack(self):
        """To be said once messages are shown: until then the server keeps them. A server of 2020 has no such word."""
        try:
            if self.can_ack:
                self.ask(f'ack {self.token}')
        except Refused as refused:
            if str(refused) != UNKNOWN:
                raise
            self.can_ack = False

    def history(self, user, before=0, count=20):
        return self.ask(f'history {self.token} {user} {before} {count}')['history']

    def group(self, verb, *words):
        """list and members give names; create, join, leave, invite and others are done, or refused with words."""
        reply = self.ask(' '.join(['group', self.token, verb, *words]))
        return reply.get('groups', reply.get('members'))

    def show(self):
        return self.ask(f'show {self.token}')['messages']

    def logout(self):
        if self.token:
            token, self.token = self.token, None
            self.ask(f'logout {token}')

    def give_up(self):
        """Ends the session where something went wrong, on a connection of its own: on the old one a reply may be under
        way, and one more request there would say that it was read. A reset says that it was not."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()
        if self.token:
            self.socket = socket.create_connection(self.address, 5)
            self.logout()


def printable(text):
    """What others wrote, with nothing in it that could move about on a terminal."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in str(text).strip())


def readable(message):
    sender = printable(message['msg_from'])
    if message.get('kind') == 'group':
        sender += f" to {printable(message['to'])}"
    text = f"[file {message['file_name']}]" if 'file_name' in message else message['msg']
    return f'{sender}: {printable(text)}'


def show_mail(chat, messages):
    for message in messages:
        print(readable(message), flush=True)
    if messages:
        chat.ack()


def run(chat, line):
    command, *words = line.split(' ', 2)
    match [command, *words]:
        case ['send', user, text] if user and text.strip():
            chat.send(user, text)
            print('sent')
        case ['send', *_]:
            print('error: send NAME TEXT')
        case ['inbox']:
            show_mail(chat, chat.fetch())
        case ['wait', seconds] if seconds.isascii() and seconds.isdigit():
            show_mail(chat, chat.fetch(int(seconds)))
        case ['history', user]:
            for message in chat.history(user):
                print(f"{printable(message['time'])} {readable(message)}")
        case ['group', 'list' | 'members' as verb, *rest]:
            print(', '.join(printable(name) for name in chat.group(verb, *rest)))
        case ['group', verb, names]:
            chat.group(verb, names)
            print('done')
        case ['show']:
            print(', '.join(printable(name) for name in chat.show()))
        case ['logout']:
            chat.logout()
        case _:
            # What is not known here may be known to the server.
            print(printable(chat.ask(f"{command} {chat.token} {' '.join(words)}")))


def converse(chat):
    for line in sys.stdin:
        if not (line := line.rstrip('\r\n')):
            continue
        try:
            run(chat, line)
        except Refused as refused:
            print(f'error: {printable(refused)}')
        sys.stdout.flush()


def main():
    host, colon, port = sys.argv[1].rpartition(':') if len(sys.argv) == 2 else ('', '', '')
    if not (host and colon and port.isascii() and port.isdigit()):
        sys.exit('usage: chat.py HOST:PORT')
    # A signal ends the session, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        user = os.environ.get('CHATD_USER') or input('user: ')
        password = os.environ.get('CHATD_PASSWORD') or getpass.getpass()
        chat = Chat(host.strip('[]'), int(port))
        try:
            chat.auth(user, password)
            converse(chat)
            chat.logout()
        except BaseException:
            chat.give_up()
            raise
    except Refused as refused:
        sys.exit(f'error: {printable(refused)}')
    except (OSError, OverflowError, UnicodeError) as error:
        sys.stdout = None  # where it was the pipe that broke, there is nothing to be flushed
        sys.exit(f'error: {printable(error)}')
    except EOFError:
        sys.exit('error: no user, no password')
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == '__main__':
    main()
