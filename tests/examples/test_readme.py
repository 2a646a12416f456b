"""The example of README's part on routing runs as it is printed."""

import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import globaltable
from globaltable.routing.client import roots
from globaltable.routing.integrations.function import Answer, routed
from globaltable.routing.service.unit_host import open_unit
from globaltable.testing import LocalCluster

README = Path(globaltable.__file__).parent.parent / "README.md"


@pytest.mark.cluster
async def test_the_unit_of_the_readme_accepts_a_message(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n([^`]*open_unit\([^`]*)```", README.read_text())
    assert len(code.splitlines()) <= 12
    roots.add(tmp_path / "roots")
    with LocalCluster(tables=("im.session", "routing.meta")) as cluster:
        code = code.replace("127.0.0.1:7101", cluster.addresses["a"])
        names: dict[str, Any] = {
            "Path": lambda name: tmp_path / name,
            "message": SimpleNamespace(chat="cid:1001", text="hello"),
            "open_unit": open_unit,
            "roots": roots,
            "routed": routed,
        }
        exec("async def example():\n" + textwrap.indent(code + "return answer\n", "    "), names)
        answer: Answer[None] = await names["example"]()
    assert answer.header, "the sender's next message goes without a question"
