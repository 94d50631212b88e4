"""stomp.py, in its three versions: python3 client.py HOST PORT QUEUE"""
import sys
import threading

import stomp


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.frames = {"message": [], "receipt": [], "error": []}
        self.changed = threading.Condition()

    def take(self, kind, frame):
        with self.changed:
            self.frames[kind].append(frame)
            self.changed.notify_all()

    def on_message(self, frame):
        self.take("message", frame)

    def on_receipt(self, frame):
        self.take("receipt", frame)

    def on_error(self, frame):
        self.take("error", frame)

    def wait(self, kind, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames[kind]) >= count, 10), self.frames
            return self.frames[kind][count - 1]


host, port, queue = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for version, kind in (("1.0", stomp.Connection10), ("1.1", stomp.Connection11), ("1.2", stomp.Connection12)):
    options = {} if version == "1.0" else {"heartbeats": (1000, 1000), "vhost": "/"}
    client, listener = kind([(host, port)], **options), Listener()
    client.set_listener("", listener)
    client.connect("guest", "guest", wait=True)
    destination = "/queue/%s.%s" % (queue, version)
    client.subscribe(destination, id="1", ack="client")

    transaction = client.begin()
    client.send(destination, "aborted", transaction=transaction)
    client.abort(transaction)
    transaction = client.begin()
    client.send(destination, "committed", transaction=transaction, headers={"key": "a:b"})
    client.commit(transaction)
    message = listener.wait("message", 1)
    assert message.body == "committed" and message.headers["key"] == "a:b", message
    if version == "1.0":
        client.ack(message.headers["message-id"])
    elif version == "1.1":
        client.ack(message.headers["message-id"], "1")
    else:
        client.ack(message.headers["ack"])

    client.send(destination, "receipted", receipt="r", headers={"persistent": "true"})
    listener.wait("receipt", 1)
    assert listener.wait("message", 2).body == "receipted"
    client.disconnect()
print("ok")
