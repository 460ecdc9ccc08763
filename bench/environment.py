"""What a number was computed with: versions of the libraries that touch a score, and the hardware."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

import soundfile
import torch

from bench.errors import UsageError

DISTRIBUTION = "antispoof-bench"
LIBRARIES = ("torch", "torchaudio", "transformers", "numpy", "scikit-learn", "soundfile", "av")


def versions() -> dict[str, str]:
    """Versions of the harness, Python and every library that touches a score."""
    found = {"bench": metadata.version(DISTRIBUTION), "python": platform.python_version()}
    found |= {library: metadata.version(library) for library in LIBRARIES}
    # torch's own word names its CUDA build too.
    return found | {"torch": str(torch.__version__), "libsndfile": soundfile.__libsndfile_version__}


def hardware(device: str) -> dict[str, str | int]:
    """The processor, the cores this process may use, and the device that scored. No host name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    return {"device": name, "cpu": _cpu(), "cores": cores, "system": f"{platform.system()} {platform.machine()}"}


def peak_memory_bytes(device: str) -> int:
    """The most memory this process has held so far, on the device that scores."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_bytes(device: str) -> int:
    """All the memory of the device that scores; of a CPU, that of the machine."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def pick_device(wanted: str) -> str:
    """The first of `pick_devices`, for what runs on one."""
    return pick_devices(wanted)[0]


def pick_devices(wanted: str) -> tuple[str, ...]:
    """The devices that score: `auto` to all GPUs where there are any, else the CPU; else those named, with commas
    between them. `cpu,cpu` is two processes that share the cores.

    Raises:
        UsageError: neither a CPU nor a CUDA device, both of them, one GPU twice, or one that is not there. Never falls
            back silently.
    """
    if wanted == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return tuple(f"cuda:{number}" for number in range(count)) if count > 1 else ("cuda" if count else "cpu",)
    devices = tuple(_present(name.strip()) for name in wanted.split(","))
    gpus = [torch.device(name).index or 0 for name in devices if name != "cpu"]
    if len(set(gpus)) < len(gpus) or 0 < len(gpus) < len(devices):
        raise UsageError(f"{wanted!r} cannot score together", remedy="name each GPU once, or the CPU alone")
    return devices


def _present(wanted: str) -> str:
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UsageError(f"no device is called {wanted!r}", remedy="use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"detectors do not run on {wanted!r} yet", remedy="use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"{wanted} is not there: torch sees {torch.cuda.device_count()} GPUs", remedy="use --device cpu"
        )
    return wanted


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
