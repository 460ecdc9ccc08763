"""The files in which fairseq and the hub keep backbones, read as `bench` reads checkpoints.

    python -m tests.parity.files FOLDER     # reads what `fairseq_files` had genuine fairseq write

That is done in a process of its own, where fairseq cannot be imported: what is not there cannot be called.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import safetensors.torch
import torch
import transformers

from bench.errors import WeightsError
from bench.models.wav2vec2 import Backbone, BackboneDetector, infer
from bench.weights import load_into, read
from tests.parity.reference import EXTRACTOR, TARGETS, fairseq, randomise

# Small, with the 16 heads that a width other than 768 stands for.
_SIZE = {"encoder-layers": 2, "encoder-embed-dim": 64, "encoder-ffn-embed-dim": 96, "encoder-attention-heads": 16}
_TASKS = {
    "wav2vec2": "--task=audio_pretraining --arch=wav2vec2 --criterion=wav2vec --infonce --quantize-targets --conv-bias",
    "hubert": "--task=hubert_pretraining --arch=hubert --criterion=hubert --labels=['km'] --label-rate=50",
}
_TRAINING = "--extractor-mode=layer_norm --layer-norm-first --optimizer=adam --lr=0.0005 --lr-scheduler=fixed --cpu"
_HUB_SIZE = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 16,
    "conv_dim": (32,) * 7,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


def fairseq_files(folder: Path) -> None:
    """Have fairseq write a pre-training model of each kind, in each way that its versions did, and read it elsewhere.

    Raises:
        SystemExit: some were not read, or not as they were written; stdout says which.
    """
    for name in _TASKS:
        _write(folder, name)
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    without = os.pathsep.join(path for path in paths if not (Path(path) / "fairseq").is_dir())
    command = [sys.executable, "-P", "-m", "tests.parity.files", str(folder)]
    if subprocess.run(command, env=os.environ | {"PYTHONPATH": without}).returncode:
        raise SystemExit("NOT all of fairseq's files can be read")


def _write(folder: Path, name: str) -> None:
    """The checkpoint of fairseq's own trainer after a step, and the tensors in it as safetensors."""
    (folder / "dict.km.txt").write_text("".join(f"{target} 1\n" for target in range(TARGETS)), encoding="utf-8")
    options, tasks, trainers, savers = map(fairseq, ("options", "tasks", "trainer", "checkpoint_utils"))
    size = [f"--{option}={value}" for option, value in _SIZE.items()]
    size.append(f"--conv-feature-layers={EXTRACTOR.format(32)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what fairseq uses of torch and hydra
        arguments = [str(folder), f"--save-dir={folder}", *_TASKS[name].split(), *_TRAINING.split(), *size]
        args = options.parse_args_and_arch(options.get_training_parser(), arguments)
        config = fairseq("dataclass.utils").convert_namespace_to_omegaconf(args)
        task = tasks.setup_task(config.task)
        trainer = trainers.Trainer(config, task, task.build_model(config.model), task.build_criterion(config.criterion))
        wave = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
        padding = torch.zeros_like(wave, dtype=torch.bool)
        sample: dict[str, Any] = {"id": torch.arange(2), "net_input": {"source": wave, "padding_mask": padding}}
        if name == "hubert":
            sample["target_list"] = [torch.arange(98).remainder(TARGETS).expand(2, -1)]
        trainer.train_step([sample])
        trainer.consolidate_optimizer()  # as its `save_checkpoint` command does first
    content = trainer.state_dict()
    safetensors.torch.save_file(content["model"], folder / f"{name}.safetensors")
    trainer.save_checkpoint(str(folder / f"{name}.pt"), {"epoch": 1})
    # Versions before wrote the configuration as the objects it is, and torch before 1.6 no archives.
    content |= {"args": args, "cfg": config}
    savers.torch_persistent_save(content, str(folder / f"{name}-objects.pt"))
    torch.save(content, folder / f"{name}-legacy.pt", _use_new_zipfile_serialization=False)


def _read_all(folder: Path) -> None:
    """Read every file of `fairseq_files`, compare it bit by bit with its tensors, and load it strictly."""
    for module in ("fairseq", "hydra", "omegaconf"):
        assert find_spec(module) is None, f"{module} can be imported, so nothing is proven"
    failed = False
    for path in sorted(folder.glob("*.pt")):
        expected = safetensors.torch.load_file(folder / f"{path.stem.partition('-')[0]}.safetensors")
        try:
            found = read(path)
        except WeightsError as error:
            print(f"{path.name:22}  NOT read: {error}")
            failed = True
            continue
        assert found.keys() == expected.keys()
        assert all(found[name].equal(expected[name]) for name in expected)
        load_into(BackboneDetector(**BackboneDetector.infer(found)), found, path)
        print(f"{path.name:22}  read without fairseq: {len(found)} tensors, all equal and loaded strictly")
    if failed:
        raise SystemExit(1)


def hub_folders(folder: Path) -> None:
    """Have transformers write models as the hub keeps them; the backbone must give what `from_pretrained` gives.

    Raises:
        AssertionError: it does not.
        WeightsError: a folder was not read.
    """
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # tells what is left out
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
    wave = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    for name, encoder in (
        ("Wav2Vec2Model", "Wav2Vec2Model"),
        ("Wav2Vec2ForPreTraining", "Wav2Vec2Model"),
        ("HubertModel", "HubertModel"),
    ):
        whole: Any = getattr(transformers, name)
        written = whole(whole.config_class(**_HUB_SIZE))
        randomise(written)
        written.save_pretrained(folder / name)
        theirs = getattr(transformers, encoder).from_pretrained(folder / name).eval()
        tensors = read(folder / name)
        ours = Backbone(asdict(infer(tensors))).eval()
        load_into(ours, tensors, folder / name)
        with torch.inference_mode():
            expected = theirs(wave).last_hidden_state
            torch.testing.assert_close(ours(wave)[0], expected, rtol=0, atol=2e-5)
            # By the same convolutions, to the last bit.
            with patch.object(ours, "_extract", lambda wave: ours.feature_extractor(wave).mT):  # noqa: B023 # used here
                assert ours(wave)[0].equal(expected)
        print(f"{name:22}  read from a folder of the hub: equal to from_pretrained")


if __name__ == "__main__":
    _read_all(Path(sys.argv[1]))
