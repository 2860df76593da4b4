import re
from pathlib import Path

import pytest

from kfp_textclf.components.common.cost import Prices
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import load_params, parameter_names

MINIMAL = "dataset: mine\ndatasets: {mine: {train: a.csv}}\n"


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("train.epochs=2", "train", "epochs", 2),
        ("train.learning_rate=3e-5", "train", "learning_rate", 3e-5),
        ("train.checkpoint_uri=s3://bucket/x", "train", "checkpoint_uri", "s3://bucket/x"),
        ("train.freeze_embeddings=false", "train", "freeze_embeddings", False),
        ("prepare.column_order=[text, label]", "prepare", "column_order", ["text", "label"]),
        ("prepare.text_column=123", "prepare", "text_column", "123"),
        ("publish.publish_to=file:///models/a=b", "publish", "publish_to", "file:///models/a=b"),
    ],
)
def test_override_is_converted_to_the_type_of_the_parameter(params_file, override, section, name, value):
    assert getattr(getattr(load_params(params_file, [override]), section), name) == value


def test_later_override_wins(params_file: Path):
    assert load_params(params_file, ["train.epochs=2", "train.epochs=3"]).train.epochs == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=2", r"^train\.epoch: unknown parameter; did you mean train\.epochs\?"),
        ("trian.epochs=2", r"^trian: unknown parameter"),
        ("train.epochs=two", r"^train\.epochs='two': .*integer"),
        ("train.epochs=0", r"^train\.epochs='0': .*greater than or equal to 1"),
        ("train.learning_rate=nan", r"^train\.learning_rate='nan': .*finite"),
        ("evaluate.floor=inf", r"^evaluate\.floor='inf'"),
        ("train.class_weights=heavy", r"^train\.class_weights='heavy': .*'none', 'balanced' or 'sqrt'"),
        ("train.checkpoint_uri=gs://bucket", r"^train\.checkpoint_uri='gs://bucket': "),
        ("train.checkpoint_steps=0", r"^train\.checkpoint_steps='0': .*greater than or equal to 1"),
        ("train.prices.cpu_core_hour=-1", r"^train\.prices\.cpu_core_hour='-1': .*greater than or equal to 0"),
        ("train.prices.gpu_hour={nvidia-l4: -1}", r"^train\.prices\.gpu_hour\.nvidia-l4=-1: "),
        ("train.prices.cpu=1", r"^train\.prices\.cpu: unknown parameter"),
        ("train.epochs", r"^'train\.epochs': is not of the form name=value"),
        ("seed.x=1", r"^seed\.x: 'seed' is a value"),
        ("prepare.column_order=[a", r"^prepare\.column_order: the value is not valid YAML"),
        ("seed=[2020-99-99]", r"^seed: the value is not valid YAML \(month must be in 1\.\.12\)$"),
        ("train.batch_size=100000000000000000000", r"^train\.batch_size='1000.*less than or equal to"),
        ("train={epochs: 3}", r"^train: is a section; set its parameters one by one"),
    ],
)
def test_bad_override_is_refused_by_name(params_file: Path, override: str, message: str):
    params_file.write_text(MINIMAL + "seed: 1\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_params(params_file, [override])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train: {epochs: 3}\ntrain: {learning_rate: 0.1}\n", "train stands there twice"),
        ("train: {epochs: 3, epochs: 4}\n", "epochs stands there twice"),
        ("seed: 2020-13-41\n", "month must be in 1..12"),
        (f"seed: {'9' * 5000}\n", "digits"),
        (f"seed: {'[' * 3000}\n", "recursion"),
    ],
)
def test_file_that_yaml_does_not_allow_is_refused_in_a_line(params_file: Path, text: str, reason: str):
    params_file.write_text(MINIMAL + text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"^{re.escape(str(params_file))}: is not valid YAML \(.*{reason}") as raised:
        load_params(params_file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"])
def test_name_that_no_file_can_have_is_no_data_set(params_file: Path, name: str):
    with pytest.raises(UserError, match="is neither a file nor a name under datasets"):
        load_params(params_file, [f"dataset={name}"]).files()


def test_unknown_data_set_names_the_known_ones(params_file: Path):
    with pytest.raises(UserError, match=r"dataset='other': .*\(mine\)"):
        load_params(params_file, ["dataset=other"]).files()


def test_a_file_is_a_data_set(params_file: Path, tmp_path: Path):
    (tmp_path / "b.csv").touch()
    files = load_params(params_file, [f"dataset={tmp_path / 'b.csv'}"]).files()
    assert (files.train, files.test) == (str(tmp_path / "b.csv"), "")


def test_pipeline_arguments_have_no_two_parameters_of_one_name():
    leaves = [name.rpartition(".")[2] for name in parameter_names()]
    assert len(leaves) == len(set(leaves))
    assert "train.epochs" in parameter_names()


def test_a_price_is_one_of_the_table(params_file: Path):
    arguments = load_params(params_file, ["train.prices.cpu_core_hour=0.1"]).arguments()
    assert arguments["prices"]["cpu_core_hour"] == 0.1
    assert Prices.parse(arguments["prices"]).gpu_hour["nvidia-l4"] > 0


def test_checks_are_merged_with_the_defaults_and_only_what_differs_is_passed_on(params_file: Path):
    text = MINIMAL + "prepare: {checks: {link: off, markup: error, formula: warn}, limits: {link: 0.5, empty: 0.01}}\n"
    params_file.write_text(text, encoding="utf-8")
    arguments = load_params(params_file, ["prepare.checks.markup=warn", "prepare.limits.min_characters=4"]).arguments()
    assert arguments["checks"] == {"link": "off"}, "a bare off is false in YAML"
    assert arguments["limits"] == {"link": 0.5, "min_characters": 4.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prepare.checks.marcup=warn", r"^prepare\.checks\.marcup: unknown check; did you mean markup\?"),
        ("prepare.checks.markup=fatal", r"^prepare\.checks\.markup='fatal': is not one of error, warn, off"),
        ("prepare.limits.markup=some", r"^prepare\.limits\.markup='some': is not a number"),
        ("prepare.limits={markup: -1}", r"^prepare\.limits\.markup=-1: is not a number of 0 or more"),
        ("prepare.checks=markup", r"^prepare\.checks='markup': .*dictionary"),
    ],
)
def test_check_that_is_none_is_refused_by_name(params_file: Path, override: str, message: str):
    with pytest.raises(UserError, match=message):
        load_params(params_file, [override])
