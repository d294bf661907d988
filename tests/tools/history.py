#!/usr/bin/python3
"""Does a disk keep every acknowledged write, in order, whatever happens on the way to it?

A client over libnbd, which shares nothing with the disk or with vioduct-loadtest. Each block of
4 KiB is a register that holds (run, block, version, CRC). A block has one request at a time, many
blocks do at once. Rules:

  1  a read gives a version that was issued, of this block, whole
  2  never an older one than the last that was acknowledged or read
  3  a write that failed may have happened or not; once a later write or read has settled the block,
     it does not come back

It writes and reads until SIGINT, waits, and reads every block twice; a line each second on standard
error says how far it is. The last line on standard output is the verdict, as JSON. Exit code 0: no
rule was broken.
"""

import argparse
import json
import random
import select
import signal
import struct
import sys
import time
import zlib

import nbd

BLOCK = 4096
HEAD = struct.Struct("<8sIIQ")
CRC = struct.Struct("<I")
MAGIC = b"VIODUCT1"
# Of requests: reads, else writes; of writes: FUA; a flush after so many.
READS, FUA, FLUSH_EVERY = 0.4, 0.1, 64
RECONNECT_PAUSE = 0.1


class Block:
    """What is known of one block."""

    def __init__(self, run, number):
        self.run, self.number = run, number
        self.issued = self.settled = 0
        self.doubtful = set()
        self.is_busy = False

    def next_content(self):
        self.issued += 1
        self.doubtful.add(self.issued)
        head = HEAD.pack(MAGIC, self.run, self.number, self.issued)
        body = (head * (BLOCK // len(head) + 1))[: BLOCK - CRC.size]
        return self.issued, bytearray(body + CRC.pack(zlib.crc32(body)))

    def settle(self, version):
        self.settled = version
        self.doubtful = {later for later in self.doubtful if later > version}

    def judge(self, content):
        """What is wrong with what a read gave; None if nothing is."""
        if content.count(0) == BLOCK:
            version = 0
        else:
            body, crc = content[: -CRC.size], CRC.unpack(content[-CRC.size :])[0]
            magic, run, number, version = HEAD.unpack(body[: HEAD.size])
            if magic != MAGIC or zlib.crc32(body) != crc:
                return "torn, or of nobody"
            if (run, number) != (self.run, self.number):
                return f"block {number} of run {run:x}"
        if version > self.issued:
            return f"version {version}, which was not issued: the last is {self.issued}"
        if version != self.settled and version not in self.doubtful:
            return f"version {version}, but {self.settled} was acknowledged or read before"
        self.settle(version)
        return None


class History:
    def __init__(self, args):
        self.args = args
        self.random = random.Random(args.seed)
        run = random.getrandbits(32)
        self.blocks = [Block(run, number) for number in range(args.blocks)]
        self.under_way = {}
        self.counts = dict(writes=0, reads=0, flushes=0, errors=0, reconnects=0)
        self.broken = []
        self.began = time.monotonic()
        self.worst_s = 0.0
        self.disk = self.connect()

    def connect(self):
        disk = nbd.NBD()
        disk.connect_uri(self.args.uri)
        return disk

    def reconnect(self):
        """The link is gone: whatever was under way is in doubt."""
        self.counts["reconnects"] += 1
        for request in self.under_way.values():
            self.end(request, False)
        self.under_way.clear()
        while True:
            try:
                self.disk = self.connect()
                return
            except nbd.Error:
                time.sleep(RECONNECT_PAUSE)

    def say(self, *words):
        at = time.monotonic() - self.began
        print(f"{at:+.2f}s", *words, file=sys.stderr, flush=True)

    def clear(self):
        """Every block holds zeroes, which is version 0."""
        for block in self.blocks:
            self.insist(lambda disk: disk.pwrite(bytearray(BLOCK), block.number * BLOCK))
        self.insist(lambda disk: disk.flush())

    def issue(self):
        """Sends one more request; False if no block is free."""
        if sum(self.counts.values()) % FLUSH_EVERY == FLUSH_EVERY - 1 and not self.is_flushing():
            cookie = self.disk.aio_flush()
            self.under_way[cookie] = (None, 0, None, time.monotonic())
            return True
        free = [block for block in self.random.sample(self.blocks, 8) if not block.is_busy]
        if not free:
            return False
        block, offset = free[0], free[0].number * BLOCK
        block.is_busy = True
        if self.random.random() < READS:
            version, buffer = 0, nbd.Buffer(BLOCK)
            cookie = self.disk.aio_pread(buffer, offset)
        else:
            version, content = block.next_content()
            buffer = nbd.Buffer.from_bytearray(content)
            flags = nbd.CMD_FLAG_FUA if self.random.random() < FUA else 0
            cookie = self.disk.aio_pwrite(buffer, offset, flags=flags)
        self.under_way[cookie] = (block, version, buffer, time.monotonic())
        return True

    def is_flushing(self):
        return any(block is None for block, *_rest in self.under_way.values())

    def end(self, request, is_done):
        block, version, buffer, began = request
        self.worst_s = max(self.worst_s, time.monotonic() - began)
        if block is not None:
            block.is_busy = False
        if not is_done:
            self.counts["errors"] += 1
        elif block is None:
            self.counts["flushes"] += 1
        elif version > 0:
            self.counts["writes"] += 1
            block.settle(version)
        else:
            self.counts["reads"] += 1
            self.check(block, buffer.to_bytearray())

    def check(self, block, content):
        wrong = block.judge(bytes(content))
        if wrong is not None:
            self.broken.append(f"block {block.number} holds {wrong}")
            self.say("BROKEN", self.broken[-1])

    def pump(self):
        """Lets the connection work for a while, and takes what is done."""
        fd, way = self.disk.aio_get_fd(), self.disk.aio_get_direction()
        wants_read = [fd] if way & nbd.AIO_DIRECTION_READ else []
        wants_write = [fd] if way & nbd.AIO_DIRECTION_WRITE else []
        can_read, can_write, _ = select.select(wants_read, wants_write, [], 0.05)
        if can_read:
            self.disk.aio_notify_read()
        elif can_write:
            self.disk.aio_notify_write()
        for cookie in list(self.under_way):
            try:
                is_over, is_done = self.disk.aio_command_completed(cookie), True
            except nbd.Error:
                is_over, is_done = True, False
            if is_over:
                self.end(self.under_way.pop(cookie), is_done)
        if self.disk.aio_is_dead() or self.disk.aio_is_closed():
            raise nbd.Error("the link is gone")

    def go_on(self, is_asking):
        try:
            while is_asking and len(self.under_way) < self.args.depth and self.issue():
                pass
            self.pump()
        except nbd.Error as error:
            self.say(error)
            self.reconnect()

    def drive(self, is_over):
        self.began, second = time.monotonic(), 1
        while not is_over():
            self.go_on(True)
            if time.monotonic() - self.began >= second:
                self.say(self.counts)
                second += 1
        while self.under_way:
            self.go_on(False)

    def sweep(self):
        for block in self.blocks:
            content = self.insist(lambda disk: disk.pread(BLOCK, block.number * BLOCK))
            self.check(block, content)

    def insist(self, ask):
        """Asks until it is carried out, however often that fails or the link is lost."""
        while True:
            try:
                return ask(self.disk)
            except nbd.Error:
                self.counts["errors"] += 1
                if self.disk.aio_is_dead() or self.disk.aio_is_closed():
                    self.reconnect()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=256)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--settle", type=float, default=2.0, help="seconds between two sweeps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("uri")
    history = History(parser.parse_args())
    stops = []
    signal.signal(signal.SIGINT, lambda *_: stops.append(True))
    history.clear()
    history.drive(lambda: bool(stops))
    history.sweep()
    time.sleep(history.args.settle)
    history.sweep()
    worst_ms = history.worst_s * 1000
    print(json.dumps(dict(history.counts, broken=len(history.broken), worst_ms=worst_ms)))
    return 1 if history.broken else 0


if __name__ == "__main__":
    sys.exit(main())
