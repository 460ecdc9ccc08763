"""Classifiers of the model hub against transformers' own loader and pipeline, one file at a time."""

from __future__ import annotations

import json
import math
import pickle
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils import logging as transformers_logging

from bench.cards import AudioRecipe
from bench.errors import BenchError, CardError, WeightsError
from bench.models.native import NativeClassifier
from bench.scorer import Scorer
from tests.tiny import World

hub: Any = transformers  # typed in part only
logging: Any = transformers_logging

LENGTHS = (16_000, 9_600, 400, 16_000, 23_456)
REAL_FAKE = ("real", "fake")
SPEECH: Mapping[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}
LAYER_NORM = {**SPEECH, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# Name: configuration, classifier, feature extractor.
KINDS: Mapping[str, tuple[Any, Any, Any]] = {
    "wav2vec2-group": (
        hub.Wav2Vec2Config(**SPEECH),
        hub.Wav2Vec2ForSequenceClassification,
        hub.Wav2Vec2FeatureExtractor(return_attention_mask=False),
    ),
    "wav2vec2-layer": (
        hub.Wav2Vec2Config(**LAYER_NORM),
        hub.Wav2Vec2ForSequenceClassification,
        hub.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    ),
    "wav2vec2-raw": (
        hub.Wav2Vec2Config(**LAYER_NORM),
        hub.Wav2Vec2ForSequenceClassification,
        hub.Wav2Vec2FeatureExtractor(do_normalize=False),
    ),
    "hubert": (
        hub.HubertConfig(**SPEECH),
        hub.HubertForSequenceClassification,
        hub.Wav2Vec2FeatureExtractor(),
    ),
    "wavlm": (
        hub.WavLMConfig(**SPEECH),
        hub.WavLMForSequenceClassification,
        hub.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    ),
    "ast": (
        hub.ASTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            num_mel_bins=32,
            max_length=64,
        ),
        hub.ASTForAudioClassification,
        hub.ASTFeatureExtractor(num_mel_bins=32, max_length=64),
    ),
    "whisper": (
        hub.WhisperConfig(
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_layers=1,
            decoder_attention_heads=2,
            decoder_ffn_dim=32,
            num_mel_bins=16,
            max_source_positions=50,
            classifier_proj_size=8,
        ),
        hub.WhisperForAudioClassification,
        hub.WhisperFeatureExtractor(feature_size=16, chunk_length=1),
    ),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever opens a connection fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True, scope="module")
def no_bars() -> Any:
    """Saving a model draws none."""
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


def save(folder: Path, kind: str = "wav2vec2-group", labels: Sequence[str] = REAL_FAKE) -> Path:
    """A random model of a kind, as its publisher would save it; its head is scaled so that files differ."""
    config, classifier, extractor = KINDS[kind]
    config = type(config).from_dict({**config.to_dict(), "id2label": dict(enumerate(labels))})
    config.label2id = {label: output for output, label in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = classifier(config)
        for name, value in model.named_parameters():
            if name.startswith("classifier.") and name.endswith("weight"):
                torch.nn.init.normal_(value, std=30.0)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the kind wav2vec 2.0 base, {0: real, 1: fake}."""
    return save(tmp_path / "model")


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    """Replaces a JSON file by what `change` makes of it, or changes in it."""
    content = json.loads(file.read_text())
    changed = change(content)
    file.write_text(json.dumps(content if changed is None else changed))


def relabel(folder: Path, labels: Any) -> Path:
    if isinstance(labels, (list, tuple)):
        labels = dict(enumerate(labels))
    edit(folder / "config.json", lambda config: config.update(id2label=labels))
    return folder


def retensor(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def files(lengths: Sequence[int] = LENGTHS) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [
        torch.cumsum(torch.randn(length, generator=random), 0) * 0.01 * (row + 1) / len(lengths)
        for row, length in enumerate(lengths)
    ]


def score(detector: torch.nn.Module, rows: Sequence[Tensor]) -> Tensor:
    """Scores of files in one padded batch."""
    wave = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    with torch.inference_mode():
        scores: Tensor = detector(wave, torch.tensor([len(row) for row in rows]))
    return scores


def build(folder: Path, **arguments: Any) -> NativeClassifier:
    return NativeClassifier.from_folder(folder, **arguments).eval()


def pipeline_logits(folder: Path, rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """Raw logits by label, file by file from transformers' own pipeline."""
    pipe = hub.AudioClassificationPipeline(
        model=hub.AutoModelForAudioClassification.from_pretrained(folder),
        feature_extractor=hub.AutoFeatureExtractor.from_pretrained(folder),
    )
    told = [pipe(row.numpy(), function_to_apply="none", top_k=None) for row in rows]
    labels = {entry["label"] for entry in told[0]}
    return {
        label: torch.tensor([e["score"] for entries in told for e in entries if e["label"] == label])
        for label in labels
    }


def refusal(folder: Path, **arguments: Any) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        build(folder, **arguments)
    return caught.value


# Scores


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # WavLM of transformers, mask of int
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_pipeline(tmp_path: Path, kind: str) -> None:
    """A padded batch of files of unequal lengths gets what transformers' pipeline gives each file alone."""
    folder, rows = save(tmp_path, kind), files()
    logits = pipeline_logits(folder, rows)
    wanted = logits["real"] - logits["fake"]
    assert wanted.std() > 1e-3  # a hundred tolerances
    torch.testing.assert_close(score(build(folder), rows), wanted, rtol=1e-5, atol=1e-5)


@given(order=st.permutations(range(6)), count=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_a_score_does_not_depend_on_its_batch(
    order: list[int], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Alone, or in any company and order, also for a network that normalises over time."""
    rows = files((1_600, 400, 1_600, 2_000, 800, 401))
    folder = tmp_path_factory.getbasetemp() / "batches"
    detector = build(folder if folder.exists() else save(folder))
    alone = torch.cat([score(detector, [row]) for row in rows])
    chosen = order[:count]
    torch.testing.assert_close(score(detector, [rows[i] for i in chosen]), alone[chosen], rtol=1e-5, atol=1e-5)


def test_a_file_shorter_than_a_frame_is_filled_up_with_zeros(model: Path) -> None:
    """Fewer than 400 samples are scored as if zeros followed."""
    row = files((123,))[0]
    filled = torch.cat([row, torch.zeros(277)])
    detector = build(model)
    assert score(detector, [row]) == score(detector, [filled])
    assert score(detector, [row, *files((5_000,))])[0] == pytest.approx(float(score(detector, [filled])), abs=1e-5)


def test_a_detector_is_float32_without_gradients(model: Path) -> None:
    """Whatever type the weights were stored in; the values are those that were stored."""
    halves = {name: value.half() for name, value in load_file(model / "model.safetensors").items()}
    save_file(halves, model / "model.safetensors")
    edit(model / "config.json", lambda config: config.update(dtype="float16"))
    recipe = AudioRecipe(window="whole")
    detector = Scorer("native", "bench.models.native:NativeClassifier", {}, recipe, model).build(torch.device("cpu"))
    assert isinstance(detector, NativeClassifier) and not detector.training and not detector.network.training
    assert {(value.dtype, value.requires_grad) for value in detector.parameters()} == {(torch.float32, False)}
    for name, value in detector.network.state_dict().items():
        assert value.equal(halves[name].float()), name


def test_hub_names_are_detectors(tmp_path: Path) -> None:
    """`hf:org/name` is scored from a folder org/name among the weights, and the cell says from which."""
    world = World(tmp_path)
    world.dataset("few", range(1, 5))
    folder = save(tmp_path / "weights" / "some-org" / "some.model")
    cell = world.cell("hf:some-org/some.model", "few")
    assert cell.status == "complete" and cell.detector == "hf:some-org/some.model"
    assert cell.manifest["detector"]["weights"]["verified"] is False
    rows = [torch.cat([torch.full((80,), n / 32768), torch.zeros(320)]) for n in range(1, 5)]
    stored = cell.scores().set_index("trial")["score"]
    wanted = score(build(folder), rows)
    np.testing.assert_allclose([stored[str(n)] for n in range(1, 5)], wanted, rtol=1e-5, atol=1e-5)


# Which label is bona fide


def test_the_order_of_the_labels_is_read(model: Path) -> None:
    """The same weights with the labels exchanged score with the opposite sign."""
    rows = files()
    first = score(build(model), rows)
    assert score(build(relabel(model, ("fake", "real"))), rows).equal(-first)


@pytest.mark.parametrize(
    ("bona_fide", "spoof"),
    [
        ("real", "fake"),
        ("REAL", "Fake"),
        ("bonafide", "spoof"),
        ("Bona-Fide", "SPOOFED"),
        ("bona fide", "deep_fake"),
        ("bona_fide", "Deepfake"),
        ("genuine", "synthetic"),
        ("HumanVoice", "AIVoice"),
        ("human speech", "AI-generated speech"),
        ("authentic", "ai"),
        ("real_audio", "synthesised audio"),
    ],
)
def test_known_words_decide(model: Path, bona_fide: str, spoof: str) -> None:
    """In any case, with any separator, with the noun or without, in both orders."""
    for labels in ((bona_fide, spoof), (spoof, bona_fide)):
        detector = build(relabel(model, labels))
        assert (detector.bona_fide, detector.spoof) == ([labels.index(bona_fide)], [labels.index(spoof)])


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1"),
        ("0", "1"),
        ("real", "real"),
        ("fake", "spoof"),
        ("real", "unreal"),
        ("real", "not real"),
        ("bonafide", "other"),
        ("real", "fake", "noise"),
        ("true", "false"),
        ("voice", "fake"),
        ("", "fake"),
        ("fake",),
    ],
)
def test_other_words_do_not_decide(model: Path, labels: tuple[str, ...]) -> None:
    """What cannot be told, for one label or for all, is an error that shows the labels and the way out."""
    error = refusal(relabel(model, labels))
    shown = ", ".join(f"{output}: {label!r}" for output, label in enumerate(labels))
    assert error.what == f"which label is bona fide and which is spoof cannot be told: id2label {{{shown}}}"
    assert str(error.where).endswith("config.json")
    assert "make a card of your own that `extends` this one, with `arguments: {bona_fide: <label>}`" in str(
        error.remedy
    )


def test_labels_left_out_are_not_guessed(model: Path) -> None:
    """Without id2label transformers makes up LABEL_0 and LABEL_1, which say nothing."""
    edit(model / "config.json", lambda config: [config.pop(name) for name in ("id2label", "label2id")] and None)
    assert refusal(model).what.endswith("cannot be told: id2label {0: 'LABEL_0', 1: 'LABEL_1'}")


def test_a_model_of_hundreds_of_labels_is_refused_in_a_line(model: Path) -> None:
    """A classifier of sound events is no detector; its labels are not listed one by one."""
    error = refusal(relabel(model, [f"sound {number}" for number in range(527)]))
    assert error.what.endswith("{0: 'sound 0', 1: 'sound 1', 2: 'sound 2', 3: 'sound 3', ...}")


@pytest.mark.parametrize("labels", [{"0": "real", "2": "fake"}, {"-1": "real", "0": "fake"}])
def test_labels_are_numbered_from_0(model: Path, labels: dict[str, str]) -> None:
    """A number that is no output of the network is an error."""
    assert "does not number labels 0, 1, ..." in refusal(relabel(model, labels)).what


@pytest.mark.parametrize("labels", ["real", 3, {"a": "real", "b": "fake"}, {"0": ["real"], "1": None}, {"0": {}}])
def test_labels_that_are_none_are_an_error(model: Path, labels: Any) -> None:
    """Whatever stands in place of labels, it is told as a fault of this folder."""
    assert str(refusal(relabel(model, labels)).where).startswith(str(model))


def test_a_card_may_name_the_bona_fide_label(model: Path) -> None:
    """Its word goes before the labels', and all other labels are spoof; a number may stand for a label of digits."""
    detector = build(relabel(model, ("LABEL_0", "LABEL_1")), bona_fide="LABEL_1")
    assert (detector.bona_fide, detector.spoof) == ([1], [0])
    assert build(relabel(model, ("0", "1")), bona_fide=0).bona_fide == [0]
    assert build(relabel(model, ("real", "fake")), bona_fide="fake").bona_fide == [1]


def test_a_label_that_is_not_there_is_an_error_of_the_card(model: Path) -> None:
    """With the labels that there are, and spelled as they are."""
    with pytest.raises(CardError) as caught:
        build(model, bona_fide="Real")
    assert caught.value.what == "no label of this model is called 'Real': id2label {0: 'real', 1: 'fake'}"
    assert caught.value.remedy == "correct the card's `arguments: {bona_fide: <label>}`"


def test_several_labels_give_the_log_odds(tmp_path: Path) -> None:
    """Of more than two labels the probabilities of each side add up."""
    folder, rows = save(tmp_path, labels=("spoof", "human", "ai", "bona fide")), files()
    logits = pipeline_logits(folder, rows)
    probability = torch.stack([logits[label].double() for label in ("spoof", "human", "ai", "bona fide")]).softmax(0)
    bona_fide = probability[1] + probability[3]
    wanted = (bona_fide / (1 - bona_fide)).log().float()
    torch.testing.assert_close(score(build(folder), rows), wanted, rtol=1e-4, atol=1e-4)


# Weights


def test_weights_of_older_versions_are_read(model: Path) -> None:
    """The names that torch's weight norm had when most models of the hub were saved."""
    rows, conv = files(), "wav2vec2.encoder.pos_conv_embed.conv"
    wanted = score(build(model), rows)

    def rename(tensors: dict[str, Tensor]) -> None:
        for number, letter in enumerate("gv"):
            tensors[f"{conv}.weight_{letter}"] = tensors.pop(f"{conv}.parametrizations.weight.original{number}")

    assert score(build(retensor(model, rename)), rows).equal(wanted)


def test_tensors_of_a_torch_file_are_read(model: Path) -> None:
    """A folder with pytorch_model.bin in place of safetensors scores the same."""
    rows = files()
    wanted = score(build(model), rows)
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    assert score(build(model), rows).equal(wanted)


class Opens:
    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.place, "w")


def test_a_torch_file_executes_nothing(model: Path, tmp_path: Path) -> None:
    """A pickle that wants to call something is refused, and nothing has run."""
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Opens(tmp_path / "mark")}))
    assert str(refusal(model).where).endswith("pytorch_model.bin")
    assert not (tmp_path / "mark").exists()


def drop_bias(tensors: dict[str, Tensor]) -> None:
    del tensors["classifier.bias"]


def add_tensor(tensors: dict[str, Tensor]) -> None:
    tensors["quantizer.codevectors"] = torch.zeros(2)


def cut_head(tensors: dict[str, Tensor]) -> None:
    tensors["classifier.weight"] = torch.zeros(3, 8)


def round_head(tensors: dict[str, Tensor]) -> None:
    tensors["classifier.weight"] = tensors["classifier.weight"].to(torch.int8)


def spoil_head(tensors: dict[str, Tensor]) -> None:
    tensors["classifier.weight"][0, 0] = math.nan


def swap_head(tensors: dict[str, Tensor]) -> None:
    for name in ("classifier", "projector"):
        for kind in ("weight", "bias"):
            tensors[f"head.{name}.{kind}"] = tensors.pop(f"{name}.{kind}")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop_bias, "missing: classifier.bias"),
        (add_tensor, "unknown: quantizer.codevectors"),
        (cut_head, "of another shape: classifier.weight"),
        (round_head, "of another type: classifier.weight"),
        (spoil_head, "not finite: classifier.weight"),
        (
            swap_head,
            "missing: classifier.bias, classifier.weight, projector.bias, … (4); "
            "unknown: head.classifier.bias, head.classifier.weight, head.projector.bias, … (4)",
        ),
    ],
)
def test_weights_are_loaded_strictly(
    model: Path, change: Callable[[dict[str, Tensor]], None], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """No tensor stays random, is left over, or is bent into another shape or type; the error names it, once."""
    error = refusal(retensor(model, change))
    assert error.what == f"these tensors are not the weights of its config.json ({told})"
    assert error.where == str(model)
    assert capfd.readouterr() == ("", "")


def test_weights_for_another_number_of_labels_are_refused(model: Path) -> None:
    """A config.json whose labels are not those of the head."""
    assert (
        "of another shape: classifier.bias, classifier.weight" in refusal(relabel(model, ("real", "fake", "ai"))).what
    )


def test_loading_leaves_the_terminal_as_it_was(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No progress bar is drawn, and whether others may draw theirs is not changed."""
    verbosity = logging.get_verbosity()
    for switch in (logging.enable_progress_bar, logging.disable_progress_bar):
        switch()
        before = logging.is_progress_bar_enabled()
        build(model)
        assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == (before, verbosity)
    assert capfd.readouterr() == ("", "")


# Foreign code and foreign folders


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("config.json", "auto_map", {"AutoModelForAudioClassification": "modeling.Model"}),
        ("config.json", "auto_map", {"AutoConfig": "other/repo--configuration.Config"}),
        ("config.json", "custom_pipelines", {"antispoofing": {"impl": "pipeline.Antispoofing", "pt": ["AutoModel"]}}),
        ("config.json", "quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("config.json", "attn_implementation", "some-org/some-kernel"),
        ("config.json", "_attn_implementation", {"": "some-org/some-kernel"}),
        ("config.json", "configuration_files", ["../config.4.0.0.json"]),
        ("preprocessor_config.json", "auto_map", {"AutoFeatureExtractor": "extraction.Extractor"}),
    ],
)
def test_code_of_the_repository_is_refused(model: Path, tmp_path: Path, file: str, field: str, value: Any) -> None:
    """Although transformers has a class of its own for it, and although the code lies beside; nothing of it runs."""
    for name in ("modeling", "configuration", "pipeline", "extraction"):
        (model / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    edit(model / file, lambda settings: settings.update({field: value}))
    error = refusal(model)
    assert error.what == f"refused: `{field}` asks for more than this file and transformers' own code"
    assert error.where == str(model / file)
    assert error.remedy == "such a model needs a detector class of your own, see CONTRIBUTING.md"
    assert not (tmp_path / "mark").exists()


def test_code_is_found_at_any_depth(model: Path) -> None:
    """Settings of a processor hold those of its feature extractor."""
    inner = {"feature_extractor": [{"auto_map": {"AutoFeatureExtractor": "extraction.Extractor"}}]}
    (model / "processor_config.json").write_text(json.dumps(inner))
    assert refusal(model).where == str(model / "processor_config.json")


def test_empty_fields_and_own_attention_ask_for_nothing(model: Path) -> None:
    """What is said to be absent is no code, and both ways of attention in transformers are its own."""
    rows = files()
    wanted = score(build(model), rows)
    edit(model / "config.json", lambda c: c.update(auto_map={}, custom_pipelines=None, attn_implementation="eager"))
    torch.testing.assert_close(score(build(model), rows), wanted, rtol=1e-5, atol=1e-5)


def test_another_sampling_rate_is_refused(model: Path) -> None:
    """A model for 8 kHz would hear everything at double speed."""
    edit(model / "preprocessor_config.json", lambda settings: settings.update(sampling_rate=8_000))
    error = refusal(model)
    assert error.what == "its feature extractor takes 8000 samples a second, a card of this kind gives 16000"
    assert error.remedy == "use a model made for 16 kHz"


def test_another_task_is_refused(tmp_path: Path) -> None:
    """A model that transformers knows, but not as a classifier of audio."""
    folder = save(tmp_path / "text")
    edit(folder / "config.json", lambda _: {"model_type": "bert", "id2label": {"0": "real", "1": "fake"}})
    assert refusal(folder).what == "'bert' is no audio classifier of transformers"


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[" * 100_000, "[]", "3", "{}", '{"model_type": "nobody"}'])
def test_damaged_settings_are_told(model: Path, file: str, content: str | None) -> None:
    """A file that is missing, no JSON or about something else is an error that names the folder."""
    if content is None:
        (model / file).unlink()
    else:
        (model / file).write_text(content)
    if file == "preprocessor_config.json" and content in ("{}", '{"model_type": "nobody"}'):
        build(model)  # every field has a default, and the kind follows from config.json
    else:
        assert str(refusal(model).where).startswith(str(model))


FIELDS = st.sampled_from(sorted(KINDS["wav2vec2-layer"][0].to_dict()))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-2, 40), st.text(max_size=5), st.lists(st.integers(0, 3)))


@given(changes=st.dictionaries(FIELDS, VALUES, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_whatever_the_settings_say_is_a_model_or_an_error(
    changes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No value of any field makes the loader stumble over anything but its own errors."""
    folder = save(tmp_path_factory.mktemp("fuzz"))
    edit(folder / "config.json", lambda config: config.update(changes))
    try:
        assert isinstance(build(folder), NativeClassifier)
    except BenchError as error:
        assert str(error.where).startswith(str(folder))
