"""What accelerators offer, by their vendors' published numbers.

TPUs: the tables of cloud.google.com/tpu/docs/v4, v5e, v5p and v6e. GPUs: NVIDIA's data sheets, for
the SXM module where there is one; rates of tensor cores without sparsity, accumulating in float32.
"""

import re
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One chip.

    Attributes:
      name: as people call it.
      kind: regular expression of what JAX calls it (`device_kind`).
      bfloat16: peak FLOP/s of products of bfloat16 numbers.
      float32: the same of float32 numbers as JAX multiplies them by default, which is in TF32 on
        GPUs since the A100, and in bfloat16 on TPUs.
      memory: bytes.
      bandwidth: of the memory, bytes/s.
      interconnect: bytes/s that a chip sends over all its links to the chips of its slice or host,
        while it receives as many (vendors also add the two).
      per_host: chips of a host.
    """

    name: str
    kind: str
    bfloat16: float
    float32: float
    memory: int
    bandwidth: float
    interconnect: float
    per_host: int

    def peak(self, dtype: str) -> float:
        """FLOP/s of matrix products of `bfloat16` or `float32` numbers."""
        return {"bfloat16": self.bfloat16, "float32": self.float32}[dtype]


# The first entry whose kind is found is meant.
DEVICES = {
    "v4": Device("TPU v4", r"TPU v4", 275e12, 275e12, 32 * GIB, 1200e9, 300e9, 4),
    "v5e": Device("TPU v5e", r"TPU v5 ?(lite|e)", 197e12, 197e12, 16 * GIB, 819e9, 200e9, 4),
    "v5p": Device("TPU v5p", r"TPU v5", 459e12, 459e12, 95 * GIB, 2765e9, 600e9, 4),
    "v6e": Device("TPU v6e", r"TPU v6", 918e12, 918e12, 32 * GIB, 1600e9, 400e9, 4),
    # Volta multiplies bfloat16 in float32.
    "v100": Device("V100", r"V100.*32GB", 15.7e12, 15.7e12, 32 * GIB, 900e9, 150e9, 8),
    "v100-16gb": Device("V100 16 GB", r"V100", 15.7e12, 15.7e12, 16 * GIB, 900e9, 150e9, 8),
    "a100": Device("A100", r"A100.*80GB", 312e12, 156e12, 80 * GIB, 2039e9, 300e9, 8),
    "a100-40gb": Device("A100 40 GB", r"A100", 312e12, 156e12, 40 * GIB, 1555e9, 300e9, 8),
    "h100-pcie": Device("H100 PCIe", r"H100 PCIe", 756e12, 378e12, 80 * GIB, 2000e9, 64e9, 8),
    "h100": Device("H100", r"H100.*HBM3$", 989e12, 494e12, 80 * GIB, 3350e9, 450e9, 8),
    "h200": Device("H200", r"H200$", 989e12, 494e12, 141 * GIB, 4800e9, 450e9, 8),
    "b200": Device("B200", r"B200", 2250e12, 1100e12, 180 * GIB, 7700e9, 900e9, 8),
    "l4": Device("L4", r"NVIDIA L4$", 121e12, 60e12, 24 * GIB, 300e9, 32e9, 8),
    "l40s": Device("L40S", r"L40S", 362e12, 183e12, 48 * GIB, 864e9, 32e9, 8),
    "rtx4090": Device("RTX 4090", r"RTX 4090$", 165e12, 82.6e12, 24 * GIB, 1008e9, 32e9, 8),
}


def find(device_kind: str) -> Device | None:
    """What is known of the device that JAX calls so; None of one that is not listed."""
    return next(
        (device for device in DEVICES.values() if re.search(device.kind, device_kind)), None
    )
