"""Ids and texts of any Unicode, among them strings that two layers may interpret differently."""

from __future__ import annotations

from hypothesis import strategies as st

from embedder.index.contract.limits import MAX_ID_BYTES

HOSTILE_IDS = [
    *("a", "a\0", "a\0b", "a\0zzz", "\0", "\0\0", "\0a", "a\n", "\n", "a\nb", "\r\n", "\u2028"),
    *("a/b", "a//b", "/", "/a", "a/", ".", "..", "../a", "%", "%00", "a%0Ab", "?x=1", "#", "a;b"),
    *("fetch", "count", "scroll", "delete", "points", " ", " a ", "\t", "'", '"', "\\", "\\u0000"),
    *("[1]", "{}", "null", "1", "é", "e\u0301", "ß", "SS", "\ufeff", "\ufffd", "\uffff", "🙂"),
    *("\U0010ffff", "\x7f", "\x80", "*", "_", "a" * 255, "\0" * 255, "🙂" * 63),
]
ANY_TEXT = st.text(st.characters(codec="utf-8"))
IDS = st.sampled_from(HOSTILE_IDS) | ANY_TEXT.filter(
    lambda name: 0 < len(name.encode()) <= MAX_ID_BYTES
)
