#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""torch_kernels.py on a machine without a GPU: on the stand-in for the driver, whose memory the CPU can reach, so that its mistakes
are not found on a GPU that is there for minutes.

    rehearse.py build/release        needs PyTorch and Triton; a minute and a half

What torch calls "cuda" here is its CPU, and Triton interprets. Fused attention exists on CPUs as well; memory-efficient and cuDNN's do
not, and are said to be missing. That tells whether the program works, and nothing about a GPU.
"""
import ctypes
import os
import subprocess
import sys
import tempfile
import time

LENGTHS, HEADS = (1, 100, 257), 2  # the interpreter takes its time


def as_on_a_gpu():
    """In the process that computes: a context of the stand-in, and tensors of the CPU where some of the GPU are asked for."""
    cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
    for result in (cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), cuda.cuCtxPushCurrent_v2(context)):
        assert result == 0, "the stand-in says %d" % result
    import kvpager
    import torch
    import torch_kernels

    def on_cpu(make):
        return lambda *size, device="cpu", **rest: make(*size, **rest)

    torch.zeros, torch.randn = on_cpu(torch.zeros), on_cpu(torch.randn)
    torch.Tensor.is_cuda = property(lambda tensor: True)
    torch.cuda.synchronize = lambda: None
    torch.cuda.get_device_name = lambda: "stand-in"
    kvpager.CUDA = 1  # DLPack's number of a CPU
    torch_kernels.LENGTHS, torch_kernels.HEADS = LENGTHS, HEADS
    torch_kernels.OVERREAD_PAGES, torch_kernels.OVERREAD_QUERIES = (1,), (1,)
    torch_kernels.main()


def main(build):
    build = os.path.abspath(build)
    with tempfile.TemporaryDirectory(prefix="kvp-rehearse-") as folder:
        with open(folder + "/conf", "w") as f:
            f.write("[device gpu]\nbackend = cuda\nuuid = 0\ncapacity = 1G\n[tenant t]\nmatch = any\n")
        with open(folder + "/state", "wb") as f:
            f.truncate(4096)
        env = dict(os.environ, LD_LIBRARY_PATH=build + "/tests/standin", KVP_STANDIN_STATE=folder + "/state",
                   KVP_STANDIN_MEMORY=str(4 << 30), KVPAGER_SOCKET=folder + "/s", TRITON_INTERPRET="1", KVP_REHEARSAL="1")
        daemon = subprocess.Popen([build + "/bin/kvpagerd", "--config", folder + "/conf"], env=env)
        try:
            while not os.path.exists(folder + "/s") and daemon.poll() is None:
                time.sleep(0.01)
            for kernel in ("FlashAttention", "memory-efficient", "cuDNN", "math", "Triton"):
                subprocess.run([sys.executable, __file__, build + "/lib/libkvpager.so.0", kernel], env=env, check=True, timeout=300)
        finally:
            daemon.terminate()
            daemon.wait(20)


if __name__ == "__main__":
    if os.environ.get("KVP_REHEARSAL"):
        as_on_a_gpu()
    else:
        main(*sys.argv[1:])
