"""What a number was computed with: versions and hardware without a host name, and a device that is really there."""

from __future__ import annotations

import json
import platform
import socket
from importlib import metadata
from pathlib import Path

import pytest
import soundfile
import torch

from bench import environment
from bench.environment import hardware, peak_memory_bytes, pick_device, versions
from bench.errors import UsageError


def test_versions_name_every_library_that_touches_a_score() -> None:
    """The harness, Python, and torch and its family, numpy, scikit-learn, soundfile with its libsndfile, and PyAV."""
    found = versions()
    libraries = {"torchaudio", "transformers", "numpy", "scikit-learn", "soundfile", "av"}
    assert set(found) == {"bench", "python", "libsndfile", "torch", *libraries}
    assert found["torch"] == torch.__version__  # with its CUDA build
    assert {name: found[name] for name in libraries} == {name: metadata.version(name) for name in libraries}
    assert found["bench"] == metadata.version("antispoof-bench")
    assert found["python"] == platform.python_version()
    assert found["libsndfile"] == soundfile.__libsndfile_version__


def test_hardware_tells_processor_cores_and_device_but_not_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cores are those this process may use; neither host nor user is named."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5, 8}, raising=False)
    found = hardware("cpu")
    assert set(found) == {"device", "cpu", "cores", "system"}
    assert (found["device"], found["cores"]) == ("cpu", 3)
    assert found["system"] == f"{platform.system()} {platform.machine()}"
    monkeypatch.setattr("socket.gethostname", lambda: "a-telling-name")
    monkeypatch.setattr("platform.node", lambda: "a-telling-name")
    assert socket.gethostname() not in json.dumps(hardware("cpu"))


def test_the_processor_is_named_as_the_system_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc/cpuinfo where there is one with a model name, else what Python knows, else `unknown`."""
    for content, processor, expected in (
        ("processor: 0\nmodel name\t: Fast CPU @ 3 GHz\nmodel name\t: Slow\n", "x", "Fast CPU @ 3 GHz"),
        ("processor: 0\n", "arm", "arm"),
        (None, "arm", "arm"),
        (None, "", "unknown"),
        ("", "", "unknown"),
    ):

        def read_text(path: Path, encoding: str, content: str | None = content) -> str:
            if content is None:
                raise FileNotFoundError(path)
            return content

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", read_text)
            patch.setattr("platform.processor", lambda processor=processor: processor)
            assert hardware("cpu")["cpu"] == expected


def test_peak_memory_is_in_bytes() -> None:
    """A process that has imported torch holds between 50 MB and all there is, and never less than before."""
    before = peak_memory_bytes("cpu")
    assert 50e6 < before < 1e13
    block = torch.ones(30_000_000)
    assert block.sum() == 30_000_000
    assert peak_memory_bytes("cpu") >= before


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the processor where there is none."""
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda available=available: available)
        monkeypatch.setattr("torch.cuda.device_count", lambda available=available: int(available))
        assert pick_device("auto") == expected


@pytest.mark.parametrize(
    ("wanted", "what", "remedy"),
    [
        ("gpu", "no device is called 'gpu'", "use auto, cpu, cuda or cuda:N"),
        ("", "no device is called ''", "use auto, cpu, cuda or cuda:N"),
        ("cuda:-1", "no device is called 'cuda:-1'", "use auto, cpu, cuda or cuda:N"),
        ("mps", "detectors do not run on 'mps' yet", "use auto, cpu, cuda or cuda:N"),
        ("meta", "detectors do not run on 'meta' yet", "use auto, cpu, cuda or cuda:N"),
        ("cuda:2", "cuda:2 is not there: torch sees 2 GPUs", "use --device cpu"),
    ],
)
def test_a_device_that_is_not_there_is_never_replaced(
    monkeypatch: pytest.MonkeyPatch, wanted: str, what: str, remedy: str
) -> None:
    """A usage error with what there is; the processor is not taken silently."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UsageError) as caught:
        pick_device(wanted)
    assert (caught.value.what, caught.value.remedy) == (what, remedy)


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name it was given."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [pick_device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:1")] == ["cpu", "cuda", "cuda:0", "cuda:1"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UsageError, match="cuda is not there: torch sees 0 GPUs"):
        pick_device("cuda")


def test_the_name_of_the_distribution_is_that_of_this_project() -> None:
    """`versions` looks it up by name."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'name = "{environment.DISTRIBUTION}"' in text
