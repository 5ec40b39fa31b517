"""The verb `edge`: tables in every shape in which people have them, and recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitedge_core.__main__ import main
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.edge import predict_rows, read_rows

TABLE = """device,runtime,precision,model,batch,latency_ms
Samsung Galaxy S24,tflite [NPU],w8a8,vit_base_patch16_224 (torchvision ViT-B/16),1,4.7
Hailo-8 (PCIe host),HailoRT,int8,vit_tiny 224x224x3,8,19.7
Raspberry Pi 5,ncnn CPU 4 threads powersave=0,fp16/fp32 mixed (ncnn default),digits_vit_small,1,
Raspberry Pi 5,ncnn CPU 4 threads powersave=0,int4,mobilenet_v2,1,
Samsung Galaxy S24,tflite [NPU],w8a8,segformer_b0 512x512,1,
Samsung Galaxy S24,tflite [NPU],w8a8,mobilenet_v2,none,
"""
ANSWER = {"device", "runtime", "precision", "model", "batch", "latency_ms", "low_ms", "high_ms"}


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def test_every_row_has_a_latency_or_a_reason(table, capsys):
    assert main(["edge", "--rows", str(table), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 6
    for answer in answers[:3]:
        assert set(answer) == ANSWER
        assert 0 < answer["low_ms"] < answer["latency_ms"] < answer["high_ms"]
    for answer, why in zip(answers[3:], ("int4", "segmenter", "none"), strict=True):
        assert why in answer["out_of_domain"]
        assert answer["out_of_domain"].endswith(".")
        assert set(answer) == ANSWER - {"latency_ms", "low_ms", "high_ms"} | {"out_of_domain"}
    assert [answer["batch"] for answer in answers] == [1, 8, 1, 1, 1, 1]


def test_a_latency_column_is_ignored(table):
    with_latencies = read_rows(table)
    table.write_text(TABLE.replace(",4.7", ",999").replace(",19.7", ","), encoding="utf-8")
    assert read_rows(table) == with_latencies


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_are_told_apart(tmp_path, encoding):
    path = tmp_path / "rows.csv"
    path.write_bytes("device,runtime,precision,model\nTélé,x,fp32,resnet50\n".encode(encoding))
    assert [(row.device, row.model, row.batch) for row in read_rows(path)] == [("Télé", "resnet50", 1)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_spelling_of_the_heading(tmp_path, delimiter):
    path = tmp_path / "rows.csv"
    lines = (("Model", " Device ", "RUNTIME", "precision", "Batch"), ("resnet50", "Pi", "x", "fp32", "2"))
    path.write_text("\r\n".join(delimiter.join(line) for line in lines), encoding="utf-8")
    row = read_rows(path)[0]
    assert (row.device, row.model, row.batch) == ("Pi", "resnet50", 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "lacks the column 'device'"),
        ("device,runtime,precision,model\n", "no rows"),
        ("device,runtime,model\na,b,c\n", "lacks the column 'precision'"),
        ("\n\n", "lacks the column 'device'"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, capsys, text, sentence):
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    assert main(["edge", "--rows", str(path), "--json"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert sentence in told.err


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(VitEdgeError, match=r"There is no file .*\.$"):
        read_rows(tmp_path / "rows.csv")


@pytest.mark.parametrize("batch", ["0", "-1", "1.5", "inf", "nan", "x"])
def test_a_batch_that_is_no_number_of_images_is_one_sentence(tmp_path, batch):
    path = tmp_path / "rows.csv"
    path.write_text(f"device,runtime,precision,model,batch\na,b,c,resnet50,{batch}\n", encoding="utf-8")
    assert "no number of images" in predict_rows(read_rows(path))[0]["out_of_domain"]


def test_binary_rubbish_is_one_sentence(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(VitEdgeError):
        read_rows(path)


def test_a_recipe_on_the_targets_of_a_device(capsys):
    step = "uniform_ptq:w_bits=8,a_bits=8"
    arguments = ["edge", "--model", "deit_tiny_patch16_224", "--step", step, "--device", "galaxy s24", "--json"]
    assert main(arguments) == 0
    answers = json.loads(capsys.readouterr().out)
    assert {answer["device"] for answer in answers} == {"Samsung Galaxy S24"}
    by_precision = {(answer["runtime"], answer["precision"]): answer for answer in answers}
    known = by_precision["tflite [NPU]", "w8a8"]
    assert set(known) > ANSWER
    assert known["nearest"]["published_ms"] > 0
    assert "choose w8a8" in by_precision["tflite [NPU]", "fp16 (AI Hub float)"]["out_of_domain"]


def test_people_get_a_table(table, capsys):
    assert main(["edge", "--rows", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 6
    assert "80 % interval" in lines[0]


def test_an_unknown_device_is_told_its_nearest_name(capsys):
    assert main(["edge", "--model", "digits_vit_small", "--device", "Samsung Galaxy S26"]) == 2
    assert "Samsung Galaxy S2" in capsys.readouterr().err


def test_rows_and_a_recipe_exclude_each_other(table, capsys):
    assert main(["edge", "--rows", str(table), "--model", "digits_vit_small"]) == 2
    assert "Either --rows" in capsys.readouterr().err
