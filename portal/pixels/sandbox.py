"""Sandboxes the calling process irrevocably: it keeps what is open, and opens, connects to and starts nothing more."""

import ctypes
import errno
import os
import resource
import struct
import sys

DATA_LIMIT = 400 << 20
"""Bytes of data of one process, most of them mapped long before use: the resident size stays below that."""
ADDRESS_SPACE_LIMIT = 3 << 30
CPU_SECONDS_LIMIT = 600

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

# read, write, close, fstat, poll, lseek, mmap, mprotect, munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn,
# pread64, select, sched_yield, mremap, madvise, getpid, sendto, recvfrom, exit, gettimeofday, getrusage, sigaltstack,
# gettid, futex, sched_getaffinity, restart_syscall, clock_gettime, clock_nanosleep, exit_group, pselect6, ppoll,
# getrandom: needed for computing, memory and the one socket. None of them takes a path, an address or a process.
_SYSTEM_CALLS = {
    "x86_64": (
        0xC000003E,
        "0 1 3 5 7 8 9 10 11 12 13 14 15 17 23 24 25 28 39 44 45 60 96 98 131 186 202 204 219 228 230 231 270 271 318",
    ),
    "aarch64": (
        0xC00000B7,
        "62 63 64 57 67 72 73 80 93 94 98 113 115 123 124 128 132 134 135 139 165 169 172 178 206 207 214 215 216 222 "
        "226 233 278",
    ),
}
"""By machine: the number of the architecture in the kernel's audit, and the numbers of the system calls above."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def limit() -> None:
    """Limit the resources of the process. It writes no file, and leaves no core dump with a patient's pixels."""
    limits = {
        resource.RLIMIT_DATA: DATA_LIMIT,
        resource.RLIMIT_AS: ADDRESS_SPACE_LIMIT,
        resource.RLIMIT_CPU: CPU_SECONDS_LIMIT,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 3,
    }
    for each, value in limits.items():
        resource.setrlimit(each, (value, value))


def enter() -> None:
    """Refuse each system call that computing does not need. Raises OSError where the kernel has no such filter.

    On other systems than Linux on x86_64 and aarch64 only the limits apply.
    """
    known = _SYSTEM_CALLS.get(os.uname().machine) if sys.platform == "linux" else None
    if known is None or sys.maxsize < 1 << 32:
        return
    architecture, numbers = known
    allowed = [int(number) for number in numbers.split()]
    # Classic BPF: a call of another architecture ends the process, a call that is not allowed fails (EPERM).
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_JUMP_IF_EQUAL, len(allowed) - index, 0, number) for index, number in enumerate(allowed)),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    content = ctypes.create_string_buffer(code)
    program = _Program(len(code) // 8, ctypes.cast(content, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if refused or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "The kernel has no seccomp filter.")
