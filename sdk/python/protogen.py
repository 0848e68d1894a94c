"""Makes `tape/v1` from the .proto files: message types, service stubs, and a typed method for every unary call.

Run it by hand (`python protogen.py`) after a change of the protos in an editable install; otherwise the build does it.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVICES = {"Tape": "TapeMethods", "Admin": "AdminMethods"}

# Not for every caller to set: the client fills these in from a DurableRun, or makes them up once per call.
_SCALARS = {1: "float", 2: "float", 8: "bool", 9: "str", 12: "bytes"}
_ZERO = {"float": "0.0", "int": "0", "bool": "False", "str": '""', "bytes": 'b""'}


def proto_root(here: Path) -> Path:
    """Where the protos are: inside an sdist, or in the repository beside the server."""
    for candidate in (here / "proto", here.parent.parent / "server" / "proto" / "proto"):
        if (candidate / "tape" / "v1" / "tape.proto").is_file():
            return candidate
    raise FileNotFoundError(f"no tape/v1/tape.proto below {here} or in ../../server/proto/proto")


def generate(protos: Path, out: Path) -> None:
    """Write `out/tape/v1` from the protos below `protos`. Replaces what was there, file by file."""
    import grpc_tools
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    files = [str(path.relative_to(protos)) for path in sorted((protos / "tape" / "v1").glob("*.proto"))]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "set.pb"
        status = protoc.main(
            [
                "protoc",
                f"-I{protos}",
                f"-I{well_known}",
                f"--python_out={scratch}",
                f"--pyi_out={scratch}",
                f"--grpc_python_out={scratch}",
                f"--descriptor_set_out={descriptors}",
                "--include_source_info",
                *files,
            ]
        )
        if status != 0:
            raise RuntimeError(f"protoc failed with status {status}")
        target = out / "tape" / "v1"
        target.mkdir(parents=True, exist_ok=True)
        (target / "__init__.py").write_text('"""Generated from the .proto files: the wire types of Tape."""\n')
        for made in sorted((Path(scratch) / "tape" / "v1").iterdir()):
            shutil.copyfile(made, target / made.name)
        parsed = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
        (target / "methods.py").write_text(_methods(parsed))


def _methods(parsed: Any) -> str:
    """Source of one mixin per service: a keyword-only method per unary call, documented by the proto's comments."""
    messages: dict[str, tuple[str, Any]] = {}
    for file in parsed.file:
        for message in file.message_type:
            messages[f".{file.package}.{message.name}"] = (_module(file.name), message)
    body: list[str] = []
    for file in parsed.file:
        comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for at, service in enumerate(file.service):
            if service.name not in SERVICES:
                continue
            body += ["", "", f"class {SERVICES[service.name]}(UnaryCaller):"]
            body += [f'    """The calls of service {service.name}, one method each."""']
            for index, method in enumerate(service.method):
                doc = comments.get((6, at, 2, index), "")
                body += _method(f"/{file.package}.{service.name}/{method.name}", method, messages, doc)
    imports = sorted({module for module, _ in messages.values()})
    head = [
        '"""Generated from the .proto files: one typed method for every call. Do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import AsyncIterator, Iterable, Mapping",
        "from typing import Any",
        "",
        "from tape._calls import UnaryCaller",
        *[f"from tape.v1 import {module}" for module in imports],
    ]
    return "\n".join(head + body) + "\n"


def _method(path: str, method: Any, messages: dict[str, tuple[str, Any]], doc: str) -> list[str]:
    module, request = messages[method.input_type]
    answer_module, answer = messages[method.output_type]
    parameters = [f"{_safe(field.name)}: {_annotation(field, messages)}" for field in request.field]
    filled = [f"{field.name}={_safe(field.name)}" for field in request.field if not keyword.iskeyword(field.name)]
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
    answer_type = f"{answer_module}.{answer.name}"
    streams = method.server_streaming
    returns = f"AsyncIterator[{answer_type}]" if streams else answer_type
    call = "self._stream" if streams else "await self._unary"
    lines = ["", f"    {'' if streams else 'async '}def {name}(", "        self,", "        *,"]
    lines += [f"        {parameter}," for parameter in parameters]
    lines += ["        timeout_s: float | None = None,", f"    ) -> {returns}:"]
    lines += _docstring(doc or f"{method.name}.")
    lines += [f"        request = {module}.{request.name}("]
    lines += [f"            {pair}," for pair in filled]
    lines += ["        )"]
    lines += [f'        return {call}("{path}", request, {answer_type}, timeout_s)']
    return lines


def _docstring(comment: str) -> list[str]:
    text = [line.strip().replace("\\", "\\\\").replace('"""', "'''") for line in comment.strip().splitlines()]
    return [f'        """{text[0]}', *[f"        {line}".rstrip() for line in text[1:]], '        """']


def _annotation(field: Any, messages: dict[str, tuple[str, Any]]) -> str:
    repeated = field.label == 3
    if field.type == 11:
        if field.type_name not in messages:  # the entry type of a map of strings
            value = "int" if "int" in field.type_name.lower() else "str"
            return f"Mapping[str, {value}] | None = None"
        module, message = messages[field.type_name]
        one = f"{module}.{message.name}"
        return f"Iterable[{one}] | None = None" if repeated else f"{one} | None = None"
    if field.type == 14:
        return "Iterable[Any] | None = None" if repeated else "Any = None"
    one = _SCALARS.get(field.type, "int")
    return f"Iterable[{one}] | None = None" if repeated else f"{one} = {_ZERO[one]}"


def _module(file: str) -> str:
    return Path(file).stem + "_pb2"


def _safe(name: str) -> str:
    return name + "_" if keyword.iskeyword(name) else name


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    generate(proto_root(here), here / "src")
    sys.stdout.write(f"wrote {here / 'src' / 'tape' / 'v1'}\n")
