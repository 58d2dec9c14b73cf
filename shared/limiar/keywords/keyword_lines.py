"""Terms and their synonyms out of lines: pairs, lists with synonyms beneath, labels and tables."""

from __future__ import annotations

import re

from limiar.keywords.cleaning import is_placeholder

Pair = tuple[str, list[str]]
"""A term and its synonyms, as they were written."""

BULLET = re.compile(
    r"^\s*(?:[-*+•–—▪·◦●‣►✅✔]\ufe0f?|\d{1,2}\ufe0f?\u20e3|\(?\d{1,3}[.):]\)?|\(?[a-z]\))\s+(?:\[[ x]\]\s+)?",
    re.IGNORECASE,
)
_PAIR = re.compile(r" ?(?:(?<!\d):(?!//)|:(?!//|\d)|=>|->|→|=| [-–—] ) ?")
_IN_BRACKETS = re.compile(r"^(?P<term>[^()\[\]]{2,80}?) ?[(\[](?P<rest>[^()\[\]]+)[)\]] ?[.;]?$")
_BETWEEN = re.compile(r" ?(?:[;|]|(?<!\d),|,(?!\d)| / ) ?")  # but not in "Lei 14.133/2021" and "R$ 50,00"
_TERM_NAME = re.compile(r"(?:term|termo|keyword|palavra|palavra[- ]chave|name|nome) ?\d*")
_SYNONYMS_NAME = re.compile(r"(?:sin[oôó]nim|synonym|termos relacionados|related|varia[cçnt]|alternativ|outras formas)")
_LABEL = re.compile(
    r"^(?:(?:sin[oôó]nimos?|synonyms?)(?:\(s\))? ?[:–—-]|also known as|also:|aka\b|tamb[eé]m conhecid[oa]s? como) ?",
    re.IGNORECASE,
)
_REMARKS = frozenset({"observação", "observações", "observacao", "obs", "nota", "notas", "note", "notes"})
_MOST_WORDS_IN_LINE = 6
_DEEPER = 2  # columns


def is_term_name(name: str) -> bool:
    """Whether a member or a line of this name holds a term."""
    return _TERM_NAME.fullmatch(plain_name(name)) is not None


def is_synonyms_name(name: str) -> bool:
    """Whether a member or a line of this name holds synonyms."""
    return _SYNONYMS_NAME.match(plain_name(name)) is not None


def plain_name(name: str) -> str:
    """A name without its spelling's accidents: "Palavras_chave " is "palavras chave"."""
    return name.strip(' "*_').lower().replace("_", " ")


def terms_in(text: str) -> list[str]:
    """The terms of an enumeration, without a label such as "sinônimos:" before them."""
    items = (_LABEL.sub("", item.strip()) for item in _BETWEEN.split(" ".join(text.split())))
    return [item for item in items if item]


def pair_of(item: str) -> Pair:
    """A line such as "termo: sin1, sin2", "termo: [a, b]", "termo - a, b", "termo (a, b)", or a term alone."""
    item = " ".join(item.split())
    if (brackets := _IN_BRACKETS.match(item)) and ":" not in brackets["term"]:
        return brackets["term"], terms_in(brackets["rest"])
    term, *rest = _PAIR.split(item, maxsplit=1)
    if not rest or not rest[0]:
        return term if rest else item, []
    return term, terms_in(rest[0].strip().strip("[](){}").rstrip(".;"))


class KeywordLines:
    """Reads lines in their order into `pairs`."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._indent: int | None = None  # of the term that deeper lines belong to
        self._waiting = ""  # a line that is a term if its synonyms follow
        self._columns: tuple[int, int | None] | None = None
        self._rows = 0

    def add(self, line: str, *, indent: int, headed: bool, cut: bool) -> None:
        """Read one line.

        Args:
            line: without emphasis.
            indent: columns before it.
            headed: whether it stands under a heading that says keywords.
            cut: whether it is broken off.
        """
        if line.startswith("|"):
            if not cut:
                self._row([cell.strip() for cell in line.strip("|").split("|")])
            return
        item = BULLET.sub("", line)
        term, synonyms = pair_of(item)
        if cut:
            synonyms = synonyms[:-1]
        if item.endswith("?") or any(len(one.split()) > _MOST_WORDS_IN_LINE for one in (term, *synonyms)):
            self._waiting, self._indent = "", None  # prose
        elif synonyms:
            self._pair(term, synonyms, indent)
        elif cut or is_synonyms_name(term):
            return
        else:
            self._alone(item, term, indent=indent, headed=headed, bulleted=item != line, dotted=line[0] in "-*+•–◦")

    def _pair(self, term: str, synonyms: list[str], indent: int) -> None:
        if is_synonyms_name(term):
            if self._waiting:
                self._new(self._waiting, [], indent)
            if self.pairs:
                self.pairs[-1][1].extend(synonyms)
        elif is_term_name(term):
            self._new(synonyms[0], synonyms[1:], indent)
        elif plain_name(term) not in _REMARKS:
            self._new(term, synonyms, indent)

    def _alone(self, item: str, term: str, *, indent: int, headed: bool, bulleted: bool, dotted: bool) -> None:
        """A term without synonyms, or a synonym in a line of its own beneath its term."""
        if dotted and self._indent is not None and indent >= self._indent + _DEEPER:
            if self._waiting:
                self._new(self._waiting, [], self._indent)
            if not is_placeholder(self.pairs[-1][0]):
                self.pairs[-1][1].append(term)
                return
        if item.endswith(":"):
            self._waiting, self._indent = (term, indent) if bulleted else ("", None)
        elif headed and not bulleted and (several := terms_in(item))[1:]:
            self.pairs.extend((one, []) for one in several)
        elif bulleted or headed:
            self._new(term, [], indent)
        else:
            self._waiting, self._indent = term.lstrip("# "), None

    def _new(self, term: str, synonyms: list[str], indent: int) -> None:
        self.pairs.append((term, synonyms))
        self._indent, self._waiting = indent, ""

    def _row(self, cells: list[str]) -> None:
        """A row of a table. The one above the rule names the columns."""
        if all(not cell.strip("-: ") for cell in cells):
            if self._rows == 1 and self._columns is None:
                self.pairs.pop()
            return
        if self._columns is None and any(is_term_name(cell) or is_synonyms_name(cell) for cell in cells):
            terms = [place for place, cell in enumerate(cells) if not is_synonyms_name(cell)]
            term = next((place for place in terms if is_term_name(cells[place])), terms[0] if terms else 0)
            others = (place for place, cell in enumerate(cells) if is_synonyms_name(cell))
            self._columns = (term, next(others, None))
            return
        term_at, synonyms_at = self._columns or (0, 1)
        if self._columns is None and cells[0].strip("#.").isdecimal():
            term_at, synonyms_at = 1, 2
        if term_at < len(cells):
            listed = terms_in(cells[synonyms_at]) if synonyms_at is not None and synonyms_at < len(cells) else []
            prose = any(len(one.split()) > _MOST_WORDS_IN_LINE for one in listed)
            self.pairs.append((cells[term_at], [] if prose else listed))
            self._rows += 1
