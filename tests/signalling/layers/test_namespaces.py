"""The names of a site in Redis, and its signatures."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from django.test import override_settings
from django.utils.crypto import salted_hmac

from signalling.layers import RedisChannelLayer
from signalling.layers.namespaces import VERSION, Namespace, Refused

HOST = "redis://redis.example.org"
NAME = "tea:bus:all"


def layer(*hosts: Any, keys: tuple[str, ...] = ("one",), **options: Any) -> RedisChannelLayer:
    """Return the layer of a process with these keys, the newest first."""
    with override_settings(SECRET_KEY=keys[0], SECRET_KEY_FALLBACKS=list(keys[1:])):
        return RedisChannelLayer(hosts=list(hosts) or [HOST], **options)


def prefixes(*hosts: Any, **options: Any) -> set[str]:
    return {namespace.prefix for namespace in layer(*hosts, **options).namespaces}


# --- The prefix -------------------------------------------------------------------------------


def test_the_processes_of_a_site_share_a_prefix() -> None:
    assert prefixes() == prefixes(f"{HOST}/0") == prefixes(("redis.example.org", 6379))
    (prefix,) = prefixes()
    assert prefix.startswith("signalling-")


@pytest.mark.parametrize(
    "other",
    [
        {"keys": ("two",)},
        {"hosts": [f"{HOST}/1"]},
        {"hosts": [f"{HOST}?db=1"]},
        {"hosts": ["unix:///run/redis?db=1"]},
        {"hosts": [{"address": HOST, "db": 1}]},
        {"hosts": [HOST, f"{HOST}/1"]},
    ],
    ids=str,
)
def test_sites_with_another_key_or_database_have_another_prefix(other: dict[str, Any]) -> None:
    hosts = other.pop("hosts", [])
    assert not prefixes(*hosts, **other) & prefixes()


def test_a_prefix_may_be_given() -> None:
    assert prefixes(f"{HOST}/1", keys=("one", "two"), prefix="tea") == {"tea"}


@pytest.mark.parametrize("prefix", ["", "a:b", "tea time", "*", "x" * 61])
def test_an_unsuitable_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        layer(prefix=prefix)


def test_while_the_key_is_replaced_all_processes_have_a_prefix_in_common() -> None:
    old, between, new = prefixes(), prefixes(keys=("two", "one")), prefixes(keys=("two",))
    assert not old & new
    assert between == old | new


# --- Signatures -------------------------------------------------------------------------------


def test_a_payload_is_opened_under_its_name() -> None:
    site = Namespace("tea", ["one"])
    assert site.open(NAME, site.seal(NAME, b"body")) == b"body"


def test_the_signature_is_a_truncated_hmac() -> None:
    payload = Namespace("tea", ["one"]).seal(NAME, b"body")
    key = salted_hmac("signalling.layers", "signature:1", "one", algorithm="sha256").digest()
    signature = hmac.digest(key, NAME.encode() + b"\0body", hashlib.sha256)
    assert payload == bytes([VERSION, 1]) + signature[:16] + b"body"


def test_every_changed_bit_of_a_payload_is_noticed() -> None:
    site = Namespace("tea", ["one"])
    payload = site.seal(NAME, b"body")
    for position in range(len(payload) * 8):
        changed = bytearray(payload)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(Refused):
            site.open(NAME, bytes(changed))
    for length in range(len(payload)):
        with pytest.raises(Refused):
            site.open(NAME, payload[:length])


def test_a_payload_is_refused_under_another_name() -> None:
    site = Namespace("tea", ["one"])
    with pytest.raises(Refused, match="signature"):
        site.open("tea:bus:another", site.seal(NAME, b"body"))


@pytest.mark.parametrize("keys", [[], ["two"], ["two", "three"]])
def test_a_payload_without_a_signature_of_a_known_key_is_refused(keys: list[str]) -> None:
    payload = Namespace("tea", keys).seal(NAME, b"body")
    with pytest.raises(Refused, match="signature"):
        Namespace("tea", ["one"]).open(NAME, payload)


def test_without_keys_any_payload_is_accepted() -> None:
    for keys in ([], ["one"], ["one", "two"]):
        assert (
            Namespace("tea", []).open(NAME, Namespace("tea", keys).seal(NAME, b"body")) == b"body"
        )


@pytest.mark.parametrize("version", [0, VERSION + 1, 0x93])
def test_another_version_is_refused(version: int) -> None:
    site = Namespace("tea", [])
    with pytest.raises(Refused) as refusal:
        site.open(NAME, bytes([version]) + site.seal(NAME, b"body")[1:])
    assert refusal.value.reason == "version"


def test_a_key_is_replaced_while_processes_run() -> None:
    old, between, new = (
        layer(keys=keys, prefix="tea").namespaces[0]
        for keys in (("one",), ("two", "one"), ("two",))
    )
    for sender, receiver in ((old, between), (between, old), (between, new), (new, between)):
        assert receiver.open(NAME, sender.seal(NAME, b"body")) == b"body"
    with pytest.raises(Refused):
        new.open(NAME, old.seal(NAME, b"body"))


def test_signing_keys_may_be_given() -> None:
    (site,) = layer(signing_keys=["shared"], keys=("one",), prefix="tea").namespaces
    (other,) = layer(signing_keys=["shared"], keys=("two",), prefix="tea").namespaces
    assert other.open(NAME, site.seal(NAME, b"body")) == b"body"
    with override_settings(SECRET_KEY=""):
        RedisChannelLayer(prefix="tea", signing_keys=["shared"])
