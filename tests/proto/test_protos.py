"""The protos keep buf's STANDARD rules (but PACKAGE_DIRECTORY_MATCH), and the checked-in code is
what protoc makes of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

import skipjoin.proto
from skipjoin.proto import admin_pb2, engine_pb2, job_pool_pb2

FILES: list[FileDescriptor] = [job_pool_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR, engine_pb2.DESCRIPTOR]
ROOT = Path(skipjoin.proto.__file__).resolve().parent.parent


def messages(file: FileDescriptor) -> list[Descriptor]:
    found, todo = [], list(file.message_types_by_name.values())
    while todo:
        message = todo.pop()
        found.append(message)
        todo += message.nested_types
    return found


def upper_snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def test_the_checked_in_code_is_what_protoc_makes() -> None:
    tool = ROOT / "tools" / "generate_proto.py"
    if not tool.exists():
        pytest.skip("an installed wheel has no tools")
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_names_keep_the_rules(file: FileDescriptor) -> None:
    assert file.package == "skipjoin.v1"
    for message in messages(file):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", message.name)
        for field in message.fields:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name), field.full_name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_enums_have_a_prefix_and_an_unspecified_zero(file: FileDescriptor) -> None:
    enums: list[EnumDescriptor] = list(file.enum_types_by_name.values())
    enums += [enum for message in messages(file) for enum in message.enum_types]
    for enum in enums:
        prefix = upper_snake(enum.name) + "_"
        assert enum.values_by_number[0].name == prefix + "UNSPECIFIED"
        assert all(value.name.startswith(prefix) for value in enum.values)


def test_services_have_their_own_requests_and_responses() -> None:
    used: list[str] = []
    services = [service for file in FILES for service in file.services_by_name.values()]
    assert {service.name for service in services} == {"JobPoolService", "AdminService"}
    for service in services:
        for method in service.methods:
            assert method.input_type.name == f"{method.name}Request"
            assert method.output_type.name == f"{method.name}Response"
            used += [method.input_type.full_name, method.output_type.full_name]
    assert len(used) == len(set(used))
