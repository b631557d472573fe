# SPDX-License-Identifier: MIT
"""libkvpager by ctypes: a cache as tensors by DLPack, without a compiler. What the tests on a GPU need of it, and no more.

    conn = Connection("lib/libkvpager.so.0", socket)
    cache = Cache(conn, layers=2, kv_heads=8, head_dim=128, max_seqs=4, max_tokens=4096, layout=TOKEN_MAJOR_FUSED)
    row = cache.acquire(100)
    cache.step({row: 100})
    keys = torch.from_dlpack(cache.tensor(0, K))        # [rows, tokens, heads, dim], backed as far as steps went
"""
import ctypes
import os
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

PER_LAYER, TOKEN_MAJOR, TOKEN_MAJOR_FUSED = 0, 1, 2
K, V = 0, 1
PARTS_KV = 0
SECOND = 1000000


class Options(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("socket_path", c_char_p), ("tenant", c_char_p)]


class DeviceInfo(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("page_size", c_uint64), ("capacity", c_uint64), ("name", c_char * 64), ("backend", c_char * 16),
                ("uuid", c_char * 48)]


class Group(ctypes.Structure):
    _fields_ = [(n, c_uint32) for n in ("layers", "kv_heads", "head_dim", "v_head_dim", "element_bits", "parts")]


class Geometry(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("device", c_uint32), ("layout", c_uint32), ("max_seqs", c_uint32), ("n_groups", c_uint32),
                ("max_tokens", c_uint64), ("overread_tokens", c_uint64), ("groups", POINTER(Group))]


class Step(ctypes.Structure):
    _fields_ = [("seq", c_uint32), ("ret_status", c_int32), ("tokens", c_uint64), ("ret_ready", c_uint64)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("n_dims", c_uint32), ("device", c_uint32), ("shape", c_uint64 * 4), ("stride", c_uint64 * 4),
                ("element_bits", c_uint32), ("reserved", c_uint32)]


class Error(OSError):
    pass


def checked(r, *_):
    if r < 0:
        raise Error(-r, os.strerror(-r))
    return r


class Library:
    def __init__(self, path):
        self.so = ctypes.CDLL(path, use_errno=False)
        for name, arguments in (("connect", [POINTER(Options), POINTER(c_void_p)]), ("device_info", [c_void_p, c_uint32,
                                                                                                     POINTER(DeviceInfo)]),
                                ("cache_create", [c_void_p, POINTER(Geometry), POINTER(c_void_p)]),
                                ("cache_tensor", [c_void_p, c_uint32, c_uint32, ctypes.c_int, POINTER(Tensor)]),
                                ("seq_acquire", [c_void_p, c_uint64, c_uint64, POINTER(c_uint32)]),
                                ("seq_release", [c_void_p, c_uint32]), ("seq_trim", [c_void_p, c_uint32, c_uint64]),
                                ("step", [c_void_p, POINTER(Step), c_size_t, c_uint64]), ("cache_settle", [c_void_p, c_uint64])):
            function = getattr(self.so, "kvp_" + name)
            function.argtypes, function.restype = arguments, ctypes.c_int
            if name != "cache_tensor":
                function.errcheck = checked
            setattr(self, name, function)
        for name in ("disconnect", "cache_destroy"):
            function = getattr(self.so, "kvp_" + name)
            function.argtypes, function.restype = [c_void_p], None
            setattr(self, name, function)


class Connection:
    def __init__(self, library, socket=None, tenant=None):
        self.lib = library if isinstance(library, Library) else Library(library)
        self.handle = c_void_p()
        options = Options(ctypes.sizeof(Options), socket and socket.encode(), tenant and tenant.encode())
        self.lib.connect(byref(options), byref(self.handle))

    def device(self, number=0):
        info = DeviceInfo(ctypes.sizeof(DeviceInfo))
        self.lib.device_info(self.handle, number, byref(info))
        return info

    def close(self):
        self.lib.disconnect(self.handle)
        self.handle = None


class Cache:
    def __init__(self, conn, layers, kv_heads, head_dim, max_seqs, max_tokens, layout, bits=16, device=0, kind="float"):
        self.conn, self.lib, self.kind = conn, conn.lib, kind
        self.group = Group(layers, kv_heads, head_dim, 0, bits, PARTS_KV)
        geometry = Geometry(ctypes.sizeof(Geometry), device, layout, max_seqs, 1, max_tokens, 0, ctypes.pointer(self.group))
        self.handle = c_void_p()
        self.lib.cache_create(conn.handle, byref(geometry), byref(self.handle))

    def acquire(self, expected, timeout=5 * SECOND):
        row = c_uint32()
        self.lib.seq_acquire(self.handle, expected, timeout, byref(row))
        return row.value

    def step(self, lengths, timeout=10 * SECOND):
        """Rows reach these lengths; how far each is backed."""
        steps = (Step * len(lengths))(*(Step(row, 0, tokens, 0) for row, tokens in lengths.items()))
        self.lib.step(self.handle, steps, len(lengths), timeout)
        return {s.seq: s.ret_ready for s in steps}

    def release(self, row):
        self.lib.seq_release(self.handle, row)

    def trim(self, row, tokens):
        self.lib.seq_trim(self.handle, row, tokens)

    def settle(self, timeout=10 * SECOND):
        self.lib.cache_settle(self.handle, timeout)

    def where(self, layer, part):
        tensor = Tensor()
        checked(self.lib.cache_tensor(self.handle, 0, layer, part, byref(tensor)))
        return tensor

    def tensor(self, layer, part):
        """For torch.from_dlpack(). The cache must outlive what comes of it."""
        return DLPack(self.where(layer, part), self.kind)

    def destroy(self):
        self.lib.cache_destroy(self.handle)
        self.handle = None


# ---- DLPack: dlpack.h, version 0 ----

class DLTensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32), ("code", c_uint8),
                ("bits", c_uint8), ("lanes", c_uint16), ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)),
                ("byte_offset", c_uint64)]


class DLManagedTensor(ctypes.Structure):
    pass


DELETER = ctypes.CFUNCTYPE(None, POINTER(DLManagedTensor))
DLManagedTensor._fields_ = [("tensor", DLTensor), ("manager", c_void_p), ("deleter", DELETER)]
CUDA = 2
CODES = {"float": 2, "bfloat": 4}

capsule_new = ctypes.pythonapi.PyCapsule_New
capsule_new.restype, capsule_new.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]


@DELETER
def forget(_):
    pass  # the memory is the cache's, and the structs are kept below


class DLPack:
    kept = []  # what torch points to lives as long as the program

    def __init__(self, tensor, kind):
        shape = (c_int64 * 4)(*tensor.shape)
        strides = (c_int64 * 4)(*tensor.stride)
        self.device = (CUDA, tensor.device)
        self.managed = DLManagedTensor(DLTensor(tensor.data, CUDA, tensor.device, 4, CODES[kind], tensor.element_bits, 1, shape, strides,
                                                0), None, forget)
        self.kept.append((self.managed, shape, strides))

    def __dlpack__(self, stream=None, **_):
        return capsule_new(ctypes.addressof(self.managed), b"dltensor", None)

    def __dlpack_device__(self):
        return self.device
