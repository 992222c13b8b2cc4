"""config.pbtxt, read by protobuf with the fields of Triton's model_config.proto."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from compress.bundle.programs.triton import model_config
from compress.core.tensor_spec import TensorSpec
from compress.target.target import Target, load_target

Field = descriptor_pb2.FieldDescriptorProto
TYPES = ("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")


def schema() -> Any:
    """ModelConfig with the part of the real schema that a plain engine needs; any other word is an error."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    types = file.enum_type.add(name="DataType")
    for number, name in enumerate((*TYPES, "FP16", "FP32", "FP64", "STRING", "BF16")):
        types.value.add(name=f"TYPE_{name}", number=number)

    def message(parent: Any, name: str, *fields: tuple[str, int, int, str, bool]) -> Any:
        made = parent.add(name=name)
        for field, number, kind, type_name, repeated in fields:
            label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, type_name=type_name or None, label=label)
        return made

    string, int32, int64, enum, nested = (
        Field.TYPE_STRING,
        Field.TYPE_INT32,
        Field.TYPE_INT64,
        Field.TYPE_ENUM,
        Field.TYPE_MESSAGE,
    )
    message(file.message_type, "ModelTensorReshape", ("shape", 1, int64, "", True))
    for name, reshape in (("ModelInput", 5), ("ModelOutput", 5)):
        message(
            file.message_type,
            name,
            ("name", 1, string, "", False),
            ("data_type", 2, enum, ".inference.DataType", False),
            ("dims", 4 if name == "ModelInput" else 3, int64, "", True),
            ("reshape", reshape, nested, ".inference.ModelTensorReshape", False),
        )
    group = message(
        file.message_type,
        "ModelInstanceGroup",
        ("name", 1, string, "", False),
        ("count", 2, int32, "", False),
        ("kind", 4, enum, ".inference.ModelInstanceGroup.Kind", False),
    )
    kinds = group.enum_type.add(name="Kind")
    for number, name in enumerate(KINDS):
        kinds.value.add(name=name, number=number)
    message(
        file.message_type,
        "ModelConfig",
        ("name", 1, string, "", False),
        ("platform", 2, string, "", False),
        ("max_batch_size", 4, int32, "", False),
        ("input", 5, nested, ".inference.ModelInput", True),
        ("output", 6, nested, ".inference.ModelOutput", True),
        ("instance_group", 7, nested, ".inference.ModelInstanceGroup", True),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("inference.ModelConfig")
    return message_factory.GetMessageClass(found)


def read(*arguments: Any, **options: Any) -> Any:
    text = model_config(*arguments, **options)
    assert text is not None
    return text_format.Parse(text, schema()())


@pytest.fixture
def target() -> Target:
    return replace(load_target("jetson"), batch_sizes=(1, 8))


IMAGE = TensorSpec('it\'s "x"/ö', "float32", ("batch", 3, 8, 8))


def test_batches_are_tritons_own(target: Target) -> None:
    outputs = [TensorSpec("y", "float16", ("batch", 4)), TensorSpec("score", "int64", ("batch",))]
    found = read(target, [IMAGE], outputs)
    assert (found.platform, found.max_batch_size) == ("tensorrt_plan", 8)
    assert [(each.name, each.data_type, list(each.dims)) for each in found.input] == [
        (IMAGE.name, 11, [3, 8, 8])
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in found.output] == [
        ("y", 10, [4]),
        ("score", 9, [1]),
    ]
    assert [each.HasField("reshape") for each in found.output] == [False, True]  # Triton wants a size
    assert [(group.kind, group.count) for group in found.instance_group] == [(1, 1)]


def test_a_network_of_a_fixed_batch_tells_whole_shapes(target: Target) -> None:
    fixed = TensorSpec("x", "float32", (2, 3, 8, 8))
    found = read(target, [fixed], [TensorSpec("y", "float32", (2, 4))])
    assert (found.max_batch_size, list(found.input[0].dims), list(found.output[0].dims)) == (
        0,
        [2, 3, 8, 8],
        [2, 4],
    )


def test_an_accelerator_takes_one_shape(target: Target) -> None:
    found = read(target, [IMAGE], [TensorSpec("y", "float32", ("batch", 4))], dla=True)
    assert (found.max_batch_size, list(found.input[0].dims), list(found.output[0].dims)) == (
        0,
        [1, 3, 8, 8],
        [1, 4],
    )


def test_releases_without_int64_read_int32(target: Target) -> None:
    ids = TensorSpec("ids", "int64", ("batch", 7))
    old = read(replace(target, tensorrt="8.6"), [ids], [ids])
    assert (old.input[0].data_type, read(target, [ids], [ids]).input[0].data_type) == (8, 9)


def test_a_type_that_triton_lacks_has_no_file(target: Target) -> None:
    assert model_config(target, [TensorSpec("x", "complex64", ("batch", 3))], []) is None
