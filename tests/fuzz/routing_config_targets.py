"""What routing is told by people: its configuration, policies, and the texts they are stored as."""

from pathlib import Path
from typing import Any, Final

import globaltable
from globaltable.errors import ConfigError, Corrupt
from globaltable.routing import config, policy_text
from globaltable.routing.context import Context
from globaltable.routing.policies import Policy, Question
from globaltable.routing.stored_text import Head, cut, joined
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Subject, Target

_EXAMPLE: Final = Path(globaltable.__file__).parent.parent / "routing.example.toml"


def _config() -> Subject:
    text = _EXAMPLE.read_text()
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))

    def decode(data: bytes) -> Any:
        try:
            return config.parse(data.decode())
        except UnicodeDecodeError as error:
            raise ConfigError("not UTF-8") from error

    return Subject([text.encode(), plain.encode()], decode)


def _policy() -> Subject:
    loaded = config.load(_EXAMPLE)
    context = Context("beijing", "bj.1", {"tier": "vip", "kind": "education"})
    question = Question("chat", "cid:1", context, loaded.fleet, loaded.homes)

    def decode(data: bytes) -> Policy:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ConfigError("not UTF-8") from error
        policy = policy_text.parse_json("policy", text)
        unit = policy.propose(question)
        assert unit is None or loaded.fleet.may_take(unit)
        return policy

    seeds = [policy_text.to_json(one).encode() for one in loaded.policies.values()]
    seeds += [b'{"switch": "tier", "cases": {"vip": {"unit": "sz-vip"}}, "else": {"nearest": {}}}']
    return Subject(
        seeds, decode, lambda one: policy_text.parse_json("again", policy_text.to_json(one))
    )


def _head() -> Subject:
    def decode(data: bytes) -> Head:
        head = Head.parse(data.decode(errors="replace"))
        assert joined(head, {}) is None
        return head

    return Subject([cut("x" * 500)[0].unit.encode()], decode, lambda head: Head.parse(head.unit))


TARGETS = (
    Target("routing configuration", _config, (ConfigError,), Grammar.TEXT, share=20),
    Target("policy", _policy, (ConfigError,), Grammar.TEXT),
    Target("name of a stored text", _head, (Corrupt,), Grammar.TEXT),
)
