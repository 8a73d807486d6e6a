import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from faceveil.pipeline.option_parsing import add_arguments, build_options
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms.detectors.quality import FAST_QUALITIES
from faceveil.transforms.inputs.match import Input

REQUIRED = {"input": ["a.jpg"], "output": "out"}


def built(**flags: Any) -> JobOptions:
    return build_options({**REQUIRED, **flags}, [])[0]


def configured(tmp_path: Path, text: str, beam_flags: list[str] | None = None, **flags: Any) -> Any:
    (tmp_path / "c.yaml").write_text(text)
    return build_options({**REQUIRED, **flags}, beam_flags or [], str(tmp_path / "c.yaml"))


def test_defaults() -> None:
    options = built()
    assert (options.method, options.score_threshold, options.coverage) == ("blur", 0.21, 1.0)
    assert options.detector.quality == FAST_QUALITIES["balanced"]
    assert options.inputs == [Input("data", "a.jpg")]


def test_every_option_has_a_flag_and_help() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = parser.format_help()
    for name in FIELDS:
        assert f"--{name}" in text


def test_splits() -> None:
    options = built(input=["train=a/*.jpg", "val=b=c/*.jpg"])
    assert options.inputs == [Input("train", "a/*.jpg", True), Input("val", "b=c/*.jpg", True)]
    assert built(input=["dir/x=1/*.jpg"]).inputs == [Input("data", "dir/x=1/*.jpg")]


def test_what_is_left_out_is_left_out_of_every_input() -> None:
    options = built(input=["train=a", "val=@list"], exclude=["*.gif", "thumbs"])
    assert [(given.is_list, given.exclude) for given in options.inputs] == [
        (False, ("*.gif", "thumbs")),
        (True, ("*.gif", "thumbs")),
    ]


def test_paths_in_quotes_and_files_may_begin_at_home_or_be_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "salt").write_text("salt" * 8)
    text = "output: ~/out\nrecords_output: file:///a%20b\nmodel: [~/m, centerface]\ngenerator: ~/g\nsalt_file: ~/salt"
    (tmp_path / "c.yaml").write_text(f"{text}\nmethod: synthesize\ninput: {{train: ~/a/**, val: ~/b}}")
    options, _ = build_options({}, [], "~/c.yaml")
    assert (options.output, options.records_output) == (f"{tmp_path}/out", "/a b")
    assert (options.detector.models, options.generator) == ((f"{tmp_path}/m", "centerface"), f"{tmp_path}/g")
    assert [given.pattern for given in options.inputs] == [f"{tmp_path}/a/**", f"{tmp_path}/b"]
    assert options.face_salt == b"salt" * 8
    with pytest.raises(OptionError, match="output 5: must be a text"):
        configured(tmp_path, "records_output: 5")


def test_a_split_in_the_file_is_one_even_where_a_folder_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "date=2024").mkdir()
    (tmp_path / "c.yaml").write_text("input: {date: 2024/**}\noutput: out")
    options, _ = build_options({}, [], "c.yaml")
    assert options.inputs == [Input("date", "./2024/**", True)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coverage": "1.5"}, "--coverage 1.5: must be more than 0 and at most 1"),
        ({"coverage": "nan"}, "--coverage nan: must be more than 0 and at most 1"),
        ({"score_threshold": "high"}, "--score_threshold high: must be a number"),
        ({"detect_size": "1024.5"}, "--detect_size 1024.5: must be a whole number"),
        ({"method": "smear"}, "--method smear: must be one of blur, pixelate, bar, solid"),
        ({"method": "solid", "strength": "1"}, "--strength: is for blur and pixelate; --method solid has none"),
        ({"fallback_method": "bar"}, "--fallback_method: is for --method synthesize, not blur"),
        ({"keep_metadata": ["dates", "gps"]}, "--keep_metadata gps: must be one of dates, exposure"),
        (
            {"shard_bytes": "a lot"},
            "--shard_bytes a lot: must be a number of bytes, such as 1000000, 256MiB or 1GB",
        ),
        ({"shard_bytes": "0"}, "--shard_bytes 0: must be at least 1"),
        ({"input": []}, "--input: is required"),
        ({"output": ""}, "--output: is required"),
        ({"input": ["train="]}, "--input train=: names a split without a glob"),
        ({"input": ["train=a", "b"]}, "--input: either every input names its split"),
    ],
)
def test_errors_name_the_option_the_value_and_what_is_allowed(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        built(**flags)


def test_a_flag_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    options, _ = configured(tmp_path, "method: bar\ncoverage: 0.7\nshard_bytes: 1MiB", method="solid")
    assert (options.method, options.coverage, options.shard_bytes) == ("solid", 0.7, 2**20)


def test_inputs_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("input: {train: a/*.jpg, val: [b/*.jpg, c/*.jpg]}\noutput: out")
    options, _ = build_options({}, [], str(tmp_path / "c.yaml"))
    assert options.inputs == [
        *(Input("train", "a/*.jpg", True), Input("val", "b/*.jpg", True)),
        Input("val", "c/*.jpg", True),
    ]


def test_beam_options_pass_through_from_both(tmp_path: Path) -> None:
    _, beam_flags = configured(tmp_path, "runner: FlinkRunner\nsave_main_session: true", ["--direct_num_workers=2"])
    assert beam_flags == ["--runner=FlinkRunner", "--save_main_session", "--direct_num_workers=2"]


@pytest.mark.parametrize(
    ("beam_flags", "message"),
    [
        (["--methud=blur"], "--methud: unrecognized argument; did you mean method?"),
        (["--direct_num_worker", "2"], "did you mean direct_num_workers?"),
        (["--runner=FooRunner"], "--runner FooRunner: must be one of DataflowRunner, "),
        (["--runner", "foo"], "--runner foo: must be one of DataflowRunner, "),
        (["-v"], "-v: unrecognized argument; "),
        (["--xyzzy"], "--xyzzy: unrecognized argument; see"),
        (["photos"], "photos: unrecognized argument"),
    ],
)
def test_an_unknown_flag_is_an_error(beam_flags: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        build_options(REQUIRED, beam_flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("covrage: 0.7", "c.yaml: covrage: unrecognized argument; did you mean coverage?"),
        ("coverage: 7", "c.yaml: coverage 7: must be more than 0 and at most 1"),
        ("detect_size: true", "c.yaml: detect_size True: must be a whole number"),
        ("overwrite: 'yes'", "c.yaml: overwrite yes: must be true or false"),
        ("- a list", "c.yaml: must be a list of `option: value` lines"),
        ("a: [", "c.yaml: cannot be read"),
    ],
)
def test_errors_in_the_file_name_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        configured(tmp_path, text)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"--config nowhere\.yaml: cannot be read"):
        build_options(REQUIRED, [], "nowhere.yaml")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    build_options(REQUIRED, [], str(path))


def test_the_article_s_settings() -> None:
    path = Path(__file__).parents[2] / "configs" / "picsellia.yaml"
    options, _ = build_options(REQUIRED, [], str(path))
    assert (options.method, options.score_threshold, options.coverage, options.shape, options.margin) == (
        *("blur", 0.5, 0.7),
        *("box", 0),
    )


@pytest.mark.parametrize(
    "flags",
    [
        {"image_feature": ["a", "a"]},
        {"image_feature": ["a", "image"]},  # whose faces would be written where those of the first are
        {"image_feature": ["a", "image/face/score"]},
        {"image_feature": ["a"], "drop_features": ["a"]},
        {"image_feature": ["a"], "allow_features": ["a"]},
        {"drop_features": ["a"], "allow_features": ["a"]},
        {"allow_features": ["image/face/count"]},
    ],
)
def test_a_feature_is_one_thing(flags: dict[str, list[str]]) -> None:
    with pytest.raises(OptionError, match="is named twice"):
        built(**flags)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score_threshold": 1.5}, "--score_threshold 1.5: must be more than 0 and at most 1"),
        ({"method": "smudge"}, "--method smudge: must be one of"),
        ({"num_shards": 2.5}, "--num_shards 2.5: must be a whole number"),
        ({"overwrite": True, "retry_quarantined": True}, "use one of them"),
        ({"input": ("a=x/*", "y/*")}, "either every input names its split"),
        ({"image_feature": ()}, "--image_feature: names no feature"),
        ({"hash_keys": True}, "--hash_keys: needs a secret salt"),
    ],
)
def test_options_built_in_python_validate_themselves(
    values: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEVEIL_SALT", raising=False)
    with pytest.raises(OptionError, match=re.escape(message)):
        JobOptions(**values)


def test_the_salt_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    file.write_bytes(b"0123456789abcdef")
    options = JobOptions(input=("a/*",), output="out", hash_keys=True, method="synthesize", salt_file=str(file))
    file.unlink()
    assert options.key_hash
    assert options.face_salt == b"0123456789abcdef"
    assert options.inputs[0].key_hash == options.key_hash
    assert "0123456789abcdef" not in repr(options)
