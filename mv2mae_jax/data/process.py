"""Settings of a process that loads data."""

import ctypes
import platform

import cv2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def tune_process(*worker: int) -> None:
    """Makes reading and cropping fast in this process.

    Records are large and short-lived: glibc would return their memory to the system and fetch it
    again for each. Crops are small: OpenCV's own threads would only contend with ours.
    """
    del worker
    cv2.setNumThreads(0)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
