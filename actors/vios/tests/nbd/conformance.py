#!/usr/bin/python3
"""conformance.py URI: 33 checks of an NBD server, over libnbd and raw sockets.
The export must be writable, at least 64 MiB (its first 64 MiB are overwritten) and take 40 connections at once
(qemu-nbd: -e 40). Needs Debian's python3-libnbd, and with it Debian's own Python.
URI nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH.  Closing line: 'N passed, N failed, N skipped'.
A check is skipped only where the server does not advertise the optional feature."""
import nbd, os, random, socket, struct, sys, threading, time, urllib.parse as up
uri = sys.argv[1]; u = up.urlparse(uri); exp = up.unquote(u.path.lstrip('/'))
res = {'ok': 0, 'FAIL': 0, 'skip': 0}
class Skip(Exception): pass
def H(**k):
    h = nbd.NBD(); h.set_strict_mode(0); h.set_handshake_flags(3)
    if k.get('meta', True): h.add_meta_context('base:allocation')
    if not k.get('sr', True): h.set_request_structured_replies(False)
    h.connect_uri(k.get('uri', uri)); return h
def raw():
    if u.scheme.endswith('unix'): s = socket.socket(socket.AF_UNIX); s.connect(up.parse_qs(u.query)['socket'][0])
    else: s = socket.create_connection((u.hostname, u.port or 10809))
    s.settimeout(5); return s
def rx(s, n):
    b = b''
    while len(b) < n:
        c = s.recv(n - len(b))
        if not c: raise EOFError
        b += c
    return b
def hello(s, cf=3):
    m, o, f = struct.unpack('>8s8sH', rx(s, 18)); assert m == b'NBDMAGIC' and o == b'IHAVEOPT', (m, o); assert f & 1, 'not fixed newstyle'
    s.sendall(struct.pack('>I', cf)); return f
def opt(s, o, d=b''): s.sendall(b'IHAVEOPT' + struct.pack('>II', o, len(d)) + d)
def rep(s):
    m, o, t, n = struct.unpack('>QIII', rx(s, 20)); assert m == 0x3e889045565a9; return o, t, rx(s, n)
def go(s):
    hello(s); opt(s, 7, struct.pack('>I', len(exp)) + exp.encode() + struct.pack('>H', 0)); i = {}
    while True:
        o, t, d = rep(s)
        if t == 1: return i
        assert t == 3, hex(t); i[struct.unpack('>H', d[:2])[0]] = d
def req(s, ty, h, off, n, data=b'', fl=0): s.sendall(struct.pack('>IHHQQI', 0x25609513, fl, ty, h, off, n) + data)
def simple(s): m, e, h = struct.unpack('>IIQ', rx(s, 16)); assert m == 0x67446698, hex(m); return e, h
def err(f, *codes):
    try: f()
    except nbd.Error as e: assert e.errnum in codes, f'{e.errno}, wanted {codes}'; return
    assert 0, f'succeeded, wanted {codes}'
def t_list():
    s = raw(); hello(s); opt(s, 3); n = 0
    while True:
        o, t, d = rep(s)
        if t == 1: break
        if t == 0x80000002: raise Skip('list refused by policy')
        assert t == 2; n += 1
    assert n >= 1
def t_unknown_option(): s = raw(); hello(s); opt(s, 0x7777, b'xyz'); assert rep(s)[1] == 0x80000001; opt(s, 0x7778); assert rep(s)[1] == 0x80000001
def t_unknown_export():
    s = raw(); hello(s); n = b'no-such-export-xyz'; opt(s, 7, struct.pack('>I', len(n)) + n + b'\0\0'); t = rep(s)[1]
    if t == 3: raise Skip('server takes any export name')
    assert t in (0x80000006, 0x80000002), hex(t); opt(s, 2)
def t_bad_go_length(): s = raw(); hello(s); opt(s, 7, struct.pack('>I', 999) + b'ab' + b'\0\0'); assert rep(s)[1] == 0x80000003
def t_abort(): s = raw(); hello(s); opt(s, 2); assert rep(s)[1] == 1; assert s.recv(1) == b''
def t_export_name_old(): s = raw(); hello(s, 1); opt(s, 1, exp.encode()); size, fl = struct.unpack('>QH', rx(s, 10)); rx(s, 124); req(s, 0, 7, 0, 512); assert simple(s) == (0, 7); rx(s, 512)
def t_block_size_info():
    i = go(raw())
    if 3 not in i: raise Skip('no NBD_INFO_BLOCK_SIZE')
    _, mn, pf, mx = struct.unpack('>HIII', i[3]); assert mn and mn & (mn - 1) == 0 and pf >= mn and mx >= pf, (mn, pf, mx)
def t_rw_roundtrip():
    h = H(); r = random.Random(1)
    for off, n in ((0, 512), (512, 4096), (1 << 20, 1 << 20), (12345 * 512, 65536)):
        b = bytes(r.getrandbits(8) for _ in range(min(n, 4096))) * (n // min(n, 4096)); h.pwrite(b, off); assert h.pread(n, off) == b
def t_unaligned():
    h = H()
    try: mn = h.get_block_size(nbd.SIZE_MINIMUM)
    except Exception: mn = 1
    if mn > 1: err(lambda: h.pread(mn - 1, 1), 22); raise Skip(f'min block {mn}')
    h.pwrite(bytes(8192), 0); h.pwrite(b'abc', 4095); assert h.pread(5, 4094) == b'\0abc\0'
def t_32mib(): h = H(); b = os.urandom(1 << 20) * 32; h.pwrite(b, 0); assert h.pread(32 << 20, 0) == b
def t_read_past_end(): h = H(); z = h.get_size(); err(lambda: h.pread(4096, z), 22); err(lambda: h.pread(8192, z - 4096), 22); h.pread(512, z - 512)
def t_write_past_end(): h = H(); z = h.get_size(); err(lambda: h.pwrite(bytes(4096), z), 28, 22); err(lambda: h.pwrite(bytes(8192), z - 4096), 28, 22); h.pread(512, 0)
def t_wrap_offset(): h = H(); err(lambda: h.pread(4096, (1 << 64) - 4096), 22); err(lambda: h.pwrite(bytes(4096), (1 << 63) - 4096), 28, 22); h.pread(512, 0)
def t_unknown_command(): s = raw(); go(s); req(s, 99, 5, 0, 0); assert simple(s) == (22, 5); req(s, 0, 6, 0, 512); assert simple(s) == (0, 6)
def t_bad_flag(): s = raw(); go(s); req(s, 0, 5, 0, 512, fl=0x8000); e, hd = simple(s); assert e == 22 and hd == 5, e
def t_bad_magic():
    s = raw(); go(s); s.sendall(b'\xff' * 28)
    try:                                   # close, or one error reply: both are seen in the field
        if s.recv(4) != b'': assert struct.unpack('>I', rx(s, 4))[0] != 0
    except (ConnectionError, EOFError): pass
    H().pread(512, 0)
def t_handles_echo(): s = raw(); go(s); [req(s, 0, 0xdead0000 + i, i * 512, 512) for i in range(64)]; seen = set(); [(seen.add(simple(s)[1]), rx(s, 512)) for _ in range(64)]; assert seen == {0xdead0000 + i for i in range(64)}
def t_write_past_end_drains(): s = raw(); go(s); z = H().get_size(); req(s, 1, 1, z, 4096, bytes(4096)); e, hd = simple(s); assert e in (28, 22) and hd == 1; req(s, 0, 2, 0, 512); assert simple(s) == (0, 2)
def t_flush():
    h = H()
    if not h.can_flush(): raise Skip('no flush')
    h.pwrite(b'f' * 512, 0); h.flush()
def t_fua():
    h = H()
    if not h.can_fua(): raise Skip('no FUA')
    h.pwrite(b'u' * 512, 0, nbd.CMD_FLAG_FUA); assert h.pread(512, 0) == b'u' * 512
def t_trim():
    h = H()
    if not h.can_trim(): raise Skip('no trim')
    h.pwrite(b't' * (1 << 20), 2 << 20); h.trim(1 << 20, 2 << 20); h.pread(1 << 20, 2 << 20); z = h.get_size(); err(lambda: h.trim(8192, z - 4096), 28, 22)
def t_write_zeroes():
    h = H()
    if not h.can_zero(): raise Skip('no write zeroes')
    h.pwrite(b'z' * (1 << 20), 3 << 20); h.zero(1 << 20, 3 << 20); assert h.pread(1 << 20, 3 << 20) == bytes(1 << 20)
    h.pwrite(b'z' * 65536, 3 << 20); h.zero(65536, 3 << 20, nbd.CMD_FLAG_NO_HOLE); assert h.pread(65536, 3 << 20) == bytes(65536); h.zero(h.get_size() // 2 // 4096 * 4096 if h.get_size() < (1 << 31) else 1 << 30, 0)
def t_block_status():
    h = H()
    if not h.can_meta_context('base:allocation'): raise Skip('no base:allocation')
    h.pwrite(b's' * 65536, 4 << 20); e = []
    h.block_status(1 << 20, 4 << 20, lambda m, o, x, er: e.extend(x)); assert sum(e[0::2]) >= 65536 and all(n > 0 for n in e[0::2]) and not e[1] & 1, e
    e2 = []; h.block_status(1 << 20, 4 << 20, lambda m, o, x, er: e2.extend(x), nbd.CMD_FLAG_REQ_ONE); assert len(e2) == 2 and e2[0] <= 1 << 20, e2
def t_structured_read():
    h = H()
    if not h.get_structured_replies_negotiated(): raise Skip('no structured replies')
    b = os.urandom(65536); h.pwrite(b, 0); out = bytearray(65536)
    def cb(buf, off, st, er): out[off:off + len(buf)] = bytes(buf) if st != nbd.READ_HOLE else bytes(len(buf))
    h.pread_structured(65536, 0, cb); assert bytes(out) == b
def t_simple_replies_too(): h = H(sr=False, meta=False); b = os.urandom(4096); h.pwrite(b, 0); assert h.pread(4096, 0) == b
def t_multi_conn():
    a, b = H(), H()
    if not a.can_multi_conn(): raise Skip('no multi-conn')
    for i in range(50): d = os.urandom(4096); a.pwrite(d, i * 4096); a.flush(); assert b.pread(4096, i * 4096) == d
def t_multi_conn_shared_flush():           # b's flush must cover writes a has had answered
    a, b = H(), H()
    if not a.can_multi_conn(): raise Skip('no multi-conn')
    a.pwrite(b'm' * 4096, 0); b.flush(); assert H().pread(4096, 0) == b'm' * 4096
def t_deep_queue():
    h = H(); N = 256; bufs = [nbd.Buffer.from_bytearray(bytearray(struct.pack('>Q', i) * 512)) for i in range(N)]; c = [h.aio_pwrite(bufs[i], i * 4096) for i in range(N)]
    for x in c:
        while not h.aio_command_completed(x): h.poll(-1)
    for i in range(N): assert bytes(h.pread(8, i * 4096)) == struct.pack('>Q', i)
def t_overlapping_order():                 # write, wait for the answer, write again: last one wins
    h = H()
    for i in range(200): h.pwrite(struct.pack('>I', i) * 128, 8 << 20)
    assert h.pread(4, 8 << 20) == struct.pack('>I', 199)
def t_disc_completes_inflight():
    h = H(); h.pwrite(bytes(1 << 20), 9 << 20); s = raw(); go(s); d = os.urandom(1 << 20); req(s, 1, 1, 9 << 20, 1 << 20, d); simple(s); req(s, 2, 2, 0, 0); s.close(); time.sleep(.2); assert H().pread(1 << 20, 9 << 20) == d
def t_half_write_then_gone():              # a client that dies inside a write payload: no partial write, server lives
    h = H(); h.pwrite(b'A' * 65536, 10 << 20); s = raw(); go(s); req(s, 1, 1, 10 << 20, 65536, b'B' * 1000); s.close(); time.sleep(.3); g = H().pread(65536, 10 << 20); assert g == b'A' * 65536, 'a write that was never whole was applied'
def t_many_clients(): hs = [H() for _ in range(8)]; [x.pwrite(bytes([i]) * 4096, i * 4096) for i, x in enumerate(hs)]; assert all(hs[0].pread(1, i * 4096) == bytes([i]) for i in range(8))
def t_handshake_flood(): ss = [raw() for _ in range(32)]; [x.close() for x in ss]; H().pread(512, 0)
for n, f in [(n, f) for n, f in list(globals().items()) if n.startswith('t_')]:
    r = ['ok', '']
    def go1():
        try: f()
        except Skip as e: r[:] = ['skip', str(e)]
        except BaseException as e: r[:] = ['FAIL', f'{type(e).__name__}: {e}'[:160]]
    th = threading.Thread(target=go1, daemon=True); th.start(); th.join(20)
    if th.is_alive(): r = ['FAIL', 'hung 20 s']
    res[r[0]] += 1; print(f'{r[0]:4s} {n[2:]} {r[1]}', flush=True)
print(f"{res['ok']} passed, {res['FAIL']} failed, {res['skip']} skipped"); os._exit(bool(res['FAIL']))
