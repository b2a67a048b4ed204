"""Find the ends of sentences by the default rules of Unicode (UAX #29, Sentence Boundaries).

The rules hold for every language and know no abbreviations: "Mr. Smith" has a boundary.
"""

from __future__ import annotations

import regex

_IGNORED = r"[\p{SB=Extend}\p{SB=Format}]*+"  # rule SB5: they belong to the character before
_PARAGRAPH_END = r"(?:\r\n|[\r\n\p{SB=Sep}])"
_CLOSING = rf"(?:\p{{SB=Close}}{_IGNORED})*+(?:\p{{SB=Sp}}{_IGNORED})*+"
_LETTER = r"[\p{SB=Upper}\p{SB=Lower}]"
_BEFORE_LOWER = r"[^\p{SB=OLetter}\p{SB=Upper}\p{SB=Lower}\r\n\p{SB=Sep}\p{SB=STerm}\p{SB=ATerm}]*+"

_SENTENCE_END = regex.compile(
    rf"""
    {_PARAGRAPH_END}                                                  # SB4
    | (?: \p{{SB=STerm}}{_IGNORED}
        | \p{{SB=ATerm}}{_IGNORED}
          (?! \p{{SB=Numeric}} )                                      # SB6
          (?! (?<={_LETTER}{_IGNORED}\p{{SB=ATerm}}{_IGNORED}) \p{{SB=Upper}} )  # SB7
          (?! {_CLOSING}{_BEFORE_LOWER}\p{{SB=Lower}} )               # SB8
      )
      {_CLOSING}
      (?! [\p{{SB=SContinue}}\p{{SB=STerm}}\p{{SB=ATerm}}] )          # SB8a
      {_PARAGRAPH_END}?                                               # SB9, SB10, SB11
    """,
    regex.VERBOSE | regex.VERSION1,
)


def sentence_ends(text: str) -> list[int]:
    """Return the offset after each sentence, with the white space that follows it.

    The last one is the end of the text; a text without characters has none.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if text and (not ends or ends[-1] < len(text)):
        ends.append(len(text))
    return ends
