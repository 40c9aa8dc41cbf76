"""Reads pods so that those which are alike share what is alike.

The pods of one controller differ in little but their names and nodes. Of each further pod
only the differences are read, and everything else is the same object in memory: reading is
some times faster, a pod takes a fraction of the memory, and whoever asks whether two pods are
alike compares identities first.

Nothing is guessed. A template holds the bytes of a spec around its gaps: the name of the node,
and the names that admission generates for the volume with the service account's token. A spec
that has these same bytes, and in the gaps names without quotes or escapes, is the same JSON
but for those strings; which fields they reach is found out by reading the template with two
different fillings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from sys import intern
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from plimsoll.world import wire

K = TypeVar("K")
V = TypeVar("V")

_MOST: Final = 10_000
"""Distinct pieces of one sort that are kept for sharing; beyond, it begins anew."""
_MOST_TEMPLATES: Final = 2_000
_TRIES: Final = 4
"""Templates for the pods of one controller: revisions, and pods that are not bound yet."""

_GAP: Final = re.compile(
    rb'"nodeName":\s*"(?P<node>[A-Za-z0-9.-]+)"|"kube-api-access-(?P<volume>[A-Za-z0-9]{5})"'
)
_NODE: Final = re.compile(rb"[A-Za-z0-9.-]+")
_VOLUME_LENGTH: Final = 5
_NOTHING: Final[list[str]] = []
_NO_OBJECT: Final = msgspec.Raw(b"{}")
_NO_LIST: Final = msgspec.Raw(b"[]")


class HeadMeta(wire.Wire, frozen=True, kw_only=True):
    """Metadata of a pod whose repeated parts are not looked into yet."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: list[str] = []
    labels: msgspec.Raw = _NO_OBJECT
    annotations: msgspec.Raw = _NO_OBJECT
    owner_references: msgspec.Raw = _NO_LIST


class Head(wire.Wire, frozen=True, kw_only=True):
    """A pod whose repeated parts are not looked into yet."""

    api_version: str = ""
    kind: str = ""
    metadata: HeadMeta
    spec: msgspec.Raw = _NO_OBJECT
    status: wire.PodStatus = wire.PodStatus()


class PodReader:
    """Decodes pods. One instance for all pods that are to share."""

    def __init__(self) -> None:
        self._head = msgspec.json.Decoder(Head)
        self._pod = msgspec.json.Decoder(wire.Pod)
        self._spec = msgspec.json.Decoder(wire.PodSpec)
        self._texts = msgspec.json.Decoder(dict[str, str])
        self._owners = msgspec.json.Decoder(list[wire.OwnerReference])
        self._families: _Shared[tuple[bytes, bytes, bytes], _Family] = _Shared()
        self._maps: _Shared[bytes, dict[str, str]] = _Shared()
        self._references: _Shared[bytes, list[wire.OwnerReference]] = _Shared()
        self._siblings: _Shared[tuple[bytes, bytes], _Siblings] = _Shared(_MOST_TEMPLATES)
        self._nodes: _Shared[bytes, str] = _Shared()
        self._statuses: _Shared[bytes, wire.PodStatus] = _Shared()
        self._parts: _Shared[tuple[type, bytes], Any] = _Shared()
        self._by_text: _Shared[bytes, wire.PodSpec] = _Shared()
        self._by_content: _Shared[bytes, wire.PodSpec] = _Shared()

    def decode(self, raw: bytes | msgspec.Raw) -> wire.Pod:
        """The pod that a JSON document describes.

        Raises:
            msgspec.ValidationError: it is no pod; the path is that within the document.
            msgspec.DecodeError: it is no JSON.
        """
        try:
            return self.pod(self._head.decode(raw))
        except msgspec.ValidationError:
            # The same mistake once more, this time with its path from the document's root.
            return self._pod.decode(raw)

    def pod(self, head: Head) -> wire.Pod:
        """The pod behind a head.

        Raises:
            msgspec.ValidationError: a part is not of its type; only ``decode`` tells the path.
        """
        meta = head.metadata
        key = bytes(meta.labels), bytes(meta.annotations), bytes(meta.owner_references)
        family = self._families.get(key) or self._families.share(key, self._family(*key))
        return wire.Pod(
            metadata=wire.Meta(
                name=meta.name,
                namespace=intern(meta.namespace),
                uid=meta.uid,
                resource_version=meta.resource_version,
                generation=meta.generation,
                labels=family.labels,
                annotations=family.annotations,
                creation_timestamp=meta.creation_timestamp,
                deletion_timestamp=meta.deletion_timestamp,
                finalizers=meta.finalizers or _NOTHING,
                owner_references=family.owners,
            ),
            spec=self._spec_of(bytes(head.spec), family.siblings),
            status=self._status(head.status),
        )

    def _family(self, labels: bytes, annotations: bytes, owners: bytes) -> _Family:
        return _Family(
            labels=self._map(labels),
            annotations=self._map(annotations),
            owners=self._references.get(owners)
            or self._references.share(owners, self._owners.decode(owners)),
            siblings=self._siblings.share((labels, owners), _Siblings()),
        )

    def _map(self, raw: bytes) -> dict[str, str]:
        return self._maps.get(raw) or self._maps.share(raw, self._texts.decode(raw))

    def _status(self, status: wire.PodStatus) -> wire.PodStatus:
        content = msgspec.json.encode(
            (
                status.phase,
                status.nominated_node_name,
                status.conditions,
                status.container_statuses,
                status.init_container_statuses,
                status.resources,
                status.allocated_resources,
            )
        )
        known = self._statuses.get(content)
        if known is None:
            known = msgspec.structs.replace(
                status,
                conditions=self._alike(status.conditions),
                container_statuses=self._alike(status.container_statuses),
                init_container_statuses=self._alike(status.init_container_statuses),
                allocated_resources=self._alike(status.allocated_resources),
                start_time=None,
            )
            self._statuses.share(content, known)
        return msgspec.structs.replace(known, start_time=status.start_time)

    def _alike(self, part: V) -> V:
        shared: V = self._parts.share((type(part), msgspec.json.encode(part)), part)
        return shared

    def _spec_of(self, raw: bytes, siblings: _Siblings) -> wire.PodSpec:
        for template in siblings.templates:
            found = template.node_of(raw)
            if found is None:
                continue
            if not found:
                return template.spec
            node = self._nodes.get(found) or self._node(found)
            if node:
                return msgspec.structs.replace(template.spec, node_name=node)
        known = self._by_text.get(raw)
        if known is not None:
            return known
        gaps = list(_GAP.finditer(raw))
        if not gaps:
            return self._by_text.share(raw, self._common(self._spec.decode(raw)))
        # The only pod of its kind is not worth a template.
        if 0 < siblings.strangers <= _TRIES:
            learnt = self._template(raw, gaps)
            if learnt is not None:
                siblings.templates.append(learnt)
        siblings.strangers += 1
        return self._common(self._spec.decode(raw))

    def _node(self, raw: bytes) -> str:
        """The name of a node; empty: the text is no plain name."""
        return self._nodes.share(raw, raw.decode()) if _NODE.fullmatch(raw) else ""

    def _common(self, spec: wire.PodSpec) -> wire.PodSpec:
        """The spec, made of the parts of one that is the same but for node and volumes."""
        content = msgspec.json.encode(msgspec.structs.replace(spec, node_name="", volumes=[]))
        return msgspec.structs.replace(
            self._by_content.share(content, spec),
            node_name=spec.node_name,
            volumes=self._alike(spec.volumes),
        )

    def _template(self, raw: bytes, gaps: Iterable[re.Match[bytes]]) -> _Template | None:
        """What the spec has in common with others; None: its gaps reach further than known."""
        pieces, is_node, begin = [], [], 0
        for gap in gaps:
            name = gap.lastgroup or ""
            pieces.append(raw[begin : gap.start(name)])
            is_node.append(name == "node")
            begin = gap.end(name)
        pieces.append(raw[begin:])
        if is_node.count(True) > 1:
            return None
        one, other = (
            self._spec.decode(_filled(pieces, is_node, node, volume))
            for node, volume in ((b"a", b"aaaaa"), (b"b", b"bbbbb"))
        )
        if True in is_node and (one.node_name, other.node_name) != ("a", "b"):
            return None
        if _without_gaps(one) != _without_gaps(other):
            return None
        spec = msgspec.structs.replace(one, node_name="") if True in is_node else one
        return _Template(pieces, is_node, self._common(spec))


class _Shared(dict[K, V], Generic[K, V]):
    """Pieces by content, the first of each content for all."""

    def __init__(self, most: int = _MOST) -> None:
        super().__init__()
        self._most = most

    def share(self, key: K, value: V) -> V:
        """The piece known for the key, or this one from now on."""
        if len(self) >= self._most:
            self.clear()
        return self.setdefault(key, value)


class _Family(NamedTuple):
    """What pods of one origin share of their metadata."""

    labels: dict[str, str]
    annotations: dict[str, str]
    owners: list[wire.OwnerReference]
    siblings: _Siblings


class _Siblings:
    """Pods with the same owner and labels."""

    def __init__(self) -> None:
        self.templates: list[_Template] = []
        self.strangers = 0
        """Pods that fitted no template."""


class _Template:
    """A spec with gaps, as the bytes between them."""

    def __init__(self, pieces: list[bytes], is_node: list[bool], spec: wire.PodSpec) -> None:
        self.spec = spec
        self._first = pieces[0]
        self._rest = tuple(zip(is_node, pieces[1:], strict=True))

    def node_of(self, raw: bytes) -> bytes | None:
        """What stands for the node's name in a spec like this; None: it is not like this.

        Empty where the template has no node. The rest of the name's string is not looked at.
        """
        if not raw.startswith(self._first):
            return None
        node, at = b"", len(self._first)
        for is_node, piece in self._rest:
            if is_node:
                end = raw.find(b'"', at)
                node = raw[at:end]
            else:
                end = at + _VOLUME_LENGTH
                if not raw[at:end].isalnum():
                    return None
            if not raw.startswith(piece, end):
                return None
            at = end + len(piece)
        return node if at == len(raw) else None


def _filled(pieces: list[bytes], is_node: list[bool], node: bytes, volume: bytes) -> bytes:
    fillings = [node if is_gap_of_node else volume for is_gap_of_node in is_node]
    return b"".join(part for pair in zip(pieces, [*fillings, b""], strict=True) for part in pair)


def _without_gaps(spec: wire.PodSpec) -> wire.PodSpec:
    """The spec but for the node, and for the names of volumes that say nothing else."""
    nameless = wire.Volume()
    volumes = [
        nameless if msgspec.structs.replace(volume, name="") == nameless else volume
        for volume in spec.volumes
    ]
    return msgspec.structs.replace(spec, node_name="", volumes=volumes)
